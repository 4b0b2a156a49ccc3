import { forwardGraph } from './architecture/forwardGraphs';
import { encoderModel } from './encoder/model';
import type { PreviewModel } from './encoder/preview';
import { trainedTemperature } from './encoder/temperature';
import { UserError } from './errors';
import { validated, type Job } from './job';
import { preprocessingOrFamilys, withGeometry } from './preprocessing';

/**
 * A job's encoder as the preview runs it.
 * @throws UserError when the encoder would not load strictly, so it cannot run either
 */
export async function previewModel(job: Job): Promise<PreviewModel> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError('The encoder would not load strictly, so it cannot be run. The Validation view lists what is wrong.');
  const model = encoderModel(job.plan, family, validation.hyperparameters, job.config);
  const side = forwardGraph(model.graph).imageSize;
  const { spec, from } = await preprocessingOrFamilys(job, side);
  return {
    model,
    family: family.title,
    preprocessing: { model: spec, square: withGeometry(spec, side, 'square'), crop: withGeometry(spec, side, 'crop') },
    rule: from,
    temperature: await trainedTemperature(job.checkpoint),
  };
}
