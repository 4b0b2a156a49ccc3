import { t } from '@vscode/l10n';
import { UserError } from '../errors';

/** How encoders that take pictures of any shape choose a picture's size: one of these rules, `multiple` and `patch` in pixels. */
export type FreeResize =
  /** Qwen2-VL, GLM-4V: both sides multiples, as near to the picture's own as the number of pixels allows; GLM-4V first makes the shorter side a multiple long, where it is not. */
  | { readonly kind: 'area'; readonly multiple: number; readonly minPixels: number; readonly maxPixels: number; readonly growFirst: boolean }
  /** Pixtral: shrunk until the longer side fits, then both sides up to multiples. */
  | { readonly kind: 'within'; readonly longest: number; readonly multiple: number }
  /** MoonViT: shrunk until there are no more patches than `limit`; a rim makes multiples of the sides. */
  | { readonly kind: 'patches'; readonly patch: number; readonly limit: number }
  /** SigLIP 2 NaFlex: grown or shrunk until there are nearly `limit` patches, both sides up to multiples. */
  | { readonly kind: 'naflex'; readonly patch: number; readonly limit: number };

export interface Size {
  readonly width: number;
  readonly height: number;
}

/**
 * The size that a picture is resized to. Sources: transformers' image_processing_qwen2_vl.py and image_processing_glm4v.py
 * (smart_resize), image_processing_pixtral.py (get_resize_output_image_size), image_processing_siglip2.py
 * (get_image_size_for_max_num_patches), Kimi-VL's image_processing_kimi_vl.py (rescale).
 * @throws UserError for a strip that Qwen2-VL's and GLM-4V's processors do not take
 */
export function freeSize(source: Size, rule: FreeResize): Size {
  switch (rule.kind) {
    case 'area': return areaSize(source, rule);
    case 'within': {
      const ratio = Math.max(source.width, source.height) / rule.longest;
      return each(source, side => up(ratio > 1 ? Math.max(1, Math.floor(side / ratio)) : side, rule.multiple));
    }
    case 'patches': {
      const count = Math.floor(source.width / rule.patch) * Math.floor(source.height / rule.patch);
      if (count <= rule.limit) return source;
      const scale = Math.sqrt(rule.limit / count);
      return each(source, side => Math.max(1, Math.trunc(side * scale)));
    }
    case 'naflex': return naflexSize(source, rule);
  }
}

/** smart_resize's, of Qwen2-VL and GLM-4V. */
const MOST_PROPORTION = 200;

/** The rule with no more than so many pixels. */
export function withinPixels(rule: FreeResize, pixels: number): FreeResize {
  switch (rule.kind) {
    case 'area': return { ...rule, minPixels: Math.min(rule.minPixels, pixels), maxPixels: Math.min(rule.maxPixels, pixels) };
    // Sides are rounded up, so a square of one multiple less stays within.
    case 'within': return { ...rule, longest: Math.min(rule.longest, Math.max(rule.multiple, Math.floor(Math.sqrt(pixels) / rule.multiple) * rule.multiple)) };
    case 'patches': case 'naflex': return { ...rule, limit: Math.min(rule.limit, Math.max(1, Math.floor(pixels / rule.patch ** 2))) };
  }
}

/** The most pixels that the rule gives a picture, rims and rounding aside. */
export function mostPixels(rule: FreeResize): number {
  switch (rule.kind) {
    case 'area': return rule.maxPixels;
    case 'within': return rule.longest ** 2;
    case 'patches': case 'naflex': return rule.limit * rule.patch ** 2;
  }
}

function areaSize(source: Size, { multiple, minPixels, maxPixels, growFirst }: FreeResize & { readonly kind: 'area' }): Size {
  const small = Math.min(source.width, source.height);
  // The processors raise there.
  if (Math.max(source.width, source.height) > MOST_PROPORTION * small) throw new UserError(t`The picture of ${source.width} x ${source.height} is more than ${MOST_PROPORTION} times as long on one side as on the other, which the model's own processor refuses. Cut it first.`);
  const { width, height } = growFirst && small < multiple ? each(source, side => Math.trunc(side * multiple / small)) : source;
  const rounded = each({ width, height }, side => roundHalfEven(side / multiple) * multiple);
  const pixels = rounded.width * rounded.height;
  if (pixels > maxPixels) {
    const shrink = Math.sqrt(width * height / maxPixels);
    return each({ width, height }, side => Math.max(multiple, Math.floor(side / shrink / multiple) * multiple));
  }
  if (pixels < minPixels) {
    const grow = Math.sqrt(minPixels / (width * height));
    return each({ width, height }, side => Math.ceil(side * grow / multiple) * multiple);
  }
  return rounded;
}

/** By halving, from the same ends and to the same distance as the processor: its scale is a little below the largest that fits. */
function naflexSize(source: Size, { patch, limit }: FreeResize & { readonly kind: 'naflex' }): Size {
  const scaled = (scale: number): Size => each(source, side => Math.max(patch, up(side * scale, patch)));
  let [low, high] = [1e-6, 100];
  while (high - low >= 1e-5) {
    const middle = (low + high) / 2;
    const { width, height } = scaled(middle);
    if (width / patch * (height / patch) <= limit) low = middle;
    else high = middle;
  }
  return scaled(low);
}

/** As Python's round(). */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + floor % 2 : Math.round(value);
}

export function up(side: number, multiple: number): number {
  return Math.ceil(side / multiple) * multiple;
}

function each({ width, height }: Size, change: (side: number) => number): Size {
  return { width: change(width), height: change(height) };
}
