import { t } from '@vscode/l10n';
import { pictureSizes } from './architecture/forwardGraphs';
import { encoderModel, type EncoderModel } from './encoder/model';
import type { PreviewModel } from './encoder/preview';
import { trainedTemperature } from './encoder/temperature';
import { UserError } from './errors';
import { validated, type Job } from './job';
import type { Plan } from './recipe/plan';
import { preprocessingOrFamilys, withGeometry, withMostPixels, type Preprocessing } from './preprocessing';

/** Encoders of pictures of any size take up to 16 million pixels: minutes, and gigabytes of hidden states. These are 2048 patches of 14 pixels. */
export const MOST_PIXELS = 2048 * 14 * 14;

export interface RunnableEncoder {
  readonly model: EncoderModel;
  /** How the checkpoint (or its family) wants its pictures. */
  readonly preprocessing: Preprocessing;
}

/**
 * A job's encoder as it can be run.
 * @param plan the job's, with its tensors on this machine
 * @throws UserError when the encoder would not load strictly, so it cannot run either
 */
export async function runnableEncoder(job: Job, plan: Plan): Promise<RunnableEncoder> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError(t('The encoder would not load strictly, so it cannot be run. The Validation view lists what is wrong.'));
  const model = encoderModel(plan, family, validation.hyperparameters, job.config);
  return { model, preprocessing: await preprocessingOrFamilys(job, pictureSizes(model.graph)) };
}

/**
 * A job's encoder as the preview runs it.
 * @param plan the job's, with its tensors on this machine
 * @throws UserError when the encoder would not load strictly, so it cannot run either
 */
export async function previewModel(job: Job, plan: Plan = job.plan): Promise<PreviewModel> {
  const { family } = validated(job);
  const { model, preprocessing: own } = await runnableEncoder(job, plan);
  const { side } = pictureSizes(model.graph);
  const spec = withMostPixels(own.spec, MOST_PIXELS);
  return {
    model,
    family: family.title,
    preprocessing: { model: spec, square: withGeometry(spec, side, 'square'), crop: withGeometry(spec, side, 'crop') },
    rule: spec === own.spec ? own.from : t`${own.from}; in the preview with at most ${MOST_PIXELS.toLocaleString('en')} pixels`,
    temperature: await trainedTemperature(job.checkpoint),
  };
}
