import { forwardGraph } from './architecture/forwardGraphs';
import { encoderModel, type EncoderModel } from './encoder/model';
import type { PreviewModel } from './encoder/preview';
import { trainedTemperature } from './encoder/temperature';
import { UserError } from './errors';
import { validated, type Job } from './job';
import { resizedPreprocessing, usualPreprocessing } from './preprocessing';

/**
 * A job's encoder as the preview runs it.
 * @throws UserError when the encoder would not load strictly, so it cannot run either
 */
export async function previewModel(job: Job): Promise<PreviewModel> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError('The encoder would not load strictly, so it cannot be run. The Validation view lists what is wrong.');
  const model = encoderModel(job.plan, family, validation.hyperparameters, job.config);
  return { model, family: family.title, preprocessing: await preprocessing(job, model), temperature: await trainedTemperature(job.checkpoint) };
}

async function preprocessing(job: Job, model: EncoderModel): Promise<PreviewModel['preprocessing']> {
  const [square, crop] = await Promise.all([resizedPreprocessing(job, model, 'square'), resizedPreprocessing(job, model, 'crop')]);
  const { imageSize } = forwardGraph(model.graph);
  try {
    const { spec } = await usualPreprocessing(job, model);
    // DINOv2 is evaluated at another size than its positions have; the geometry is kept, at the size that runs.
    const size = spec.crop ?? (spec.resize?.kind === 'exact' ? spec.resize : undefined);
    if (size?.width === imageSize && size.height === imageSize) return { model: spec, square, crop };
    return { model: spec.crop === undefined ? square : crop, square, crop };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    // A file that asks for what is not supported is no reason to show nothing: the square is what most encoders take.
    return { model: square, square, crop };
  }
}
