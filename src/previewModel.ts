import { t } from '@vscode/l10n';
import { pictureSizes } from './architecture/forwardGraphs';
import { encoderModel } from './encoder/model';
import type { PreviewModel } from './encoder/preview';
import { trainedTemperature } from './encoder/temperature';
import { UserError } from './errors';
import { validated, type Job } from './job';
import type { Plan } from './recipe/plan';
import { preprocessingOrFamilys, withGeometry, withMostPixels } from './preprocessing';

/** Encoders of pictures of any size take up to 16 million pixels: minutes, and gigabytes of hidden states. These are 2048 patches of 14 pixels. */
const MOST_PIXELS = 2048 * 14 * 14;

/**
 * A job's encoder as the preview runs it.
 * @param plan the job's, with its tensors on this machine
 * @throws UserError when the encoder would not load strictly, so it cannot run either
 */
export async function previewModel(job: Job, plan: Plan = job.plan): Promise<PreviewModel> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError(t('The encoder would not load strictly, so it cannot be run. The Validation view lists what is wrong.'));
  const model = encoderModel(plan, family, validation.hyperparameters, job.config);
  const sizes = pictureSizes(model.graph);
  const { side } = sizes;
  const own = await preprocessingOrFamilys(job, sizes);
  const spec = withMostPixels(own.spec, MOST_PIXELS);
  return {
    model,
    family: family.title,
    preprocessing: { model: spec, square: withGeometry(spec, side, 'square'), crop: withGeometry(spec, side, 'crop') },
    rule: spec === own.spec ? own.from : t`${own.from}; in the preview with at most ${MOST_PIXELS.toLocaleString('en')} pixels`,
    temperature: await trainedTemperature(job.checkpoint),
  };
}
