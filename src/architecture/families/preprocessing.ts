import type { ValueOf } from '../sizes';

/** Channel means and standard deviations of the data that encoders were trained on. */
export const CLIP_STATISTICS = { image_mean: [0.48145466, 0.4578275, 0.40821073], image_std: [0.26862954, 0.26130258, 0.27577711] } as const;
export const IMAGENET_STATISTICS = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] } as const;
export const HALF_STATISTICS = { image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] } as const;

const COMMON = { do_resize: true, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, do_convert_rgb: true } as const;
/** Pillow's numbers for its filters. */
export const BILINEAR = 2;
export const BICUBIC = 3;

/** CLIPImageProcessor: the shorter side to the picture size, then the middle of it. */
export function shortestEdgeAndCrop(value: ValueOf): Record<string, unknown> {
  const side = value('image_size');
  return { image_processor_type: 'CLIPImageProcessor', ...COMMON, ...CLIP_STATISTICS, resample: BICUBIC, size: { shortest_edge: side }, do_center_crop: true, crop_size: { height: side, width: side } };
}

/** Both sides to the picture size, whatever that does to the proportions. CLIP's processor would crop to 224 if it were not told. */
export function squash(type: string, statistics: typeof CLIP_STATISTICS | typeof IMAGENET_STATISTICS | typeof HALF_STATISTICS, resample = BICUBIC): (value: ValueOf) => Record<string, unknown> {
  return value => ({ image_processor_type: type, ...COMMON, ...statistics, resample, ...(type === 'CLIPImageProcessor' && { do_center_crop: false }), size: { height: value('image_size'), width: value('image_size') } });
}
