import { t } from '@vscode/l10n';
import { pictureSizes } from './architecture/forwardGraphs';
import { encoderModel, type EncoderModel } from './encoder/model';
import type { PreviewModel } from './encoder/preview';
import { trainedTemperature } from './encoder/temperature';
import { UserError } from './errors';
import { validated, type Job } from './job';
import type { Plan } from './recipe/plan';
import { pixelLimit } from './image/preprocess';
import { preprocessingOrFamilys, withGeometry, type Preprocessing } from './preprocessing';

/** Encoders of pictures of any size take up to 16 million pixels: minutes, and gigabytes of hidden states. These are 2048 patches of 14 pixels. */
export const MOST_PIXELS = 2048 * 14 * 14;
/** How many times as many the preview offers besides, up to the model's own limit. */
const MORE = [2, 4, 8];

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
  const { model, preprocessing: { spec, from } } = await runnableEncoder(job, plan);
  const { side } = pictureSizes(model.graph);
  return {
    model,
    family: family.title,
    preprocessing: { model: spec, square: withGeometry(spec, side, 'square'), crop: withGeometry(spec, side, 'crop') },
    rule: from,
    pixelLimits: limitsBelow(pixelLimit(spec) ?? 0),
    temperature: await trainedTemperature(job.checkpoint),
  };
}

/** The limits of a picture's pixels that the preview offers, the least first; none where the model's own is no more than that. */
function limitsBelow(own: number): number[] {
  if (own <= MOST_PIXELS) return [];
  return [MOST_PIXELS, ...MORE.map(times => times * MOST_PIXELS).filter(limit => limit < own), own];
}
