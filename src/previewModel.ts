import { usualSide } from './architecture/forwardGraphs';
import { encoderModel } from './encoder/model';
import type { PreviewModel } from './encoder/preview';
import { trainedTemperature } from './encoder/temperature';
import { UserError } from './errors';
import { validated, type Job } from './job';
import type { Plan } from './recipe/plan';
import { preprocessingOrFamilys, withGeometry } from './preprocessing';

/**
 * A job's encoder as the preview runs it.
 * @param plan the job's, with its tensors on this machine
 * @throws UserError when the encoder would not load strictly, so it cannot run either
 */
export async function previewModel(job: Job, plan: Plan = job.plan): Promise<PreviewModel> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError('The encoder would not load strictly, so it cannot be run. The Validation view lists what is wrong.');
  const model = encoderModel(plan, family, validation.hyperparameters, job.config);
  const side = usualSide(model.graph);
  const { spec, from } = await preprocessingOrFamilys(job, side);
  return {
    model,
    family: family.title,
    preprocessing: { model: spec, square: withGeometry(spec, side, 'square'), crop: withGeometry(spec, side, 'crop') },
    rule: from,
    temperature: await trainedTemperature(job.checkpoint),
  };
}
