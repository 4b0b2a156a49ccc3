import { t } from '@vscode/l10n';
import { isObject } from './architecture/config';
import { UserError } from './errors';
import { clipPreprocessing, type PreprocessSpec } from './image/preprocess';
import { paddedToSquare, pictureRule, type PictureRule, type PictureSizes } from './image/preprocessorConfig';
import { makersRule, ownPreprocessor, validated, type Job } from './job';

/** How a job's pictures become its encoder's input. */
export interface Preprocessing {
  readonly spec: PreprocessSpec;
  /** Whose rule that is, and what to know of it: completes "Pictures are prepared by". */
  readonly from: string;
}

/**
 * The model's own rule for its pictures: the preprocess_cfg of the OpenCLIP config in use, else its preprocessor_config.json, else
 * the preprocess_cfg beside it, which OpenCLIP's timm towers have, else timm's own pretrained_cfg in config.json, else the family's.
 * @param sizes that the encoder takes
 * @throws UserError naming what is wrong or not supported in a file of the checkpoint's
 */
export async function modelPreprocessing(job: Job, sizes: PictureSizes, signal?: AbortSignal): Promise<Preprocessing> {
  const own = await ownPreprocessor(job, signal);
  // Where OpenCLIP's config is in use, it is OpenCLIP that would load this encoder, by that file.
  if (own === undefined || isObject(job.config?.value.preprocess_cfg)) {
    const makers = await makersRule(job, sizes.side, signal);
    if (makers !== undefined) return preprocessing(job, makers.rule, t`the checkpoint's ${makers.name}`);
  }
  if (own !== undefined) return preprocessing(job, pictureRule(own.value, merging(job, sizes)), t('the checkpoint\'s preprocessor_config.json'));
  return familyPreprocessing(job, sizes);
}

/** The family's rule, for when the model's own cannot be read. */
export function familyPreprocessing(job: Job, sizes: PictureSizes): Preprocessing {
  const { family, validation } = validated(job);
  // Qwen-VL's own code resizes straight to the square; the family's file is CLIP's, which its users go by.
  if (family.id === 'qwen-vl') return { spec: clipPreprocessing(sizes.side, 'square'), from: t('Qwen-VL\'s own rule (straight to the square)') };
  return preprocessing(job, pictureRule(family.preprocessorConfig(validation.hyperparameters), merging(job, sizes)), t`the rule of ${family.title}`);
}

/** Pixtral's config says outside its encoder's part how many patches are merged, and pictures are made multiples of that (transformers, processing_pixtral.py). */
function merging({ config, family }: Job, sizes: PictureSizes): PictureSizes {
  if (sizes.unit === undefined || family?.id.startsWith('pixtral') !== true) return sizes;
  const { spatial_merge_size: whole, vision_encoder: encoder } = config?.value ?? {};
  const merge = whole ?? (isObject(encoder) ? encoder.spatial_merge_size : undefined);
  return typeof merge === 'number' && Number.isInteger(merge) && merge > 0 ? { ...sizes, unit: sizes.patch * merge } : sizes;
}

/** The rule with another geometry; colours stay as they are. */
export function withGeometry({ filter, unrounded, rescale, normalize }: PreprocessSpec, side: number, geometry: 'square' | 'crop'): PreprocessSpec {
  const { resize, crop } = clipPreprocessing(side, geometry);
  return { filter, ...(unrounded && { unrounded }), rescale, ...(normalize && { normalize }), ...(resize && { resize }), ...(crop && { crop }) };
}

/** As `modelPreprocessing`, but a file that cannot be used leaves the family's rule in its place, and says so. */
export async function preprocessingOrFamilys(job: Job, sizes: PictureSizes, signal?: AbortSignal): Promise<Preprocessing> {
  try {
    return await modelPreprocessing(job, sizes, signal);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const family = familyPreprocessing(job, sizes);
    return { ...family, from: t`${family.from}, since the checkpoint's own cannot be used: ${error.message}` };
  }
}

/** LLaVA's original configs ask for a rim in the mean colour around pictures that are not square (`image_aspect_ratio`). */
function preprocessing(job: Job, { spec, note }: PictureRule, from: string): Preprocessing {
  const padded = job.config?.value.image_aspect_ratio === 'pad' && spec.padToSquare === undefined;
  const notes = [...(padded ? [t('with a rim that makes them square first, as config.json says')] : []), ...(note === undefined ? [] : [note])];
  return { spec: padded ? paddedToSquare(spec) : spec, from: notes.length === 0 ? from : `${from} (${notes.join(t('; '))})` };
}
