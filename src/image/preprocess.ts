import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { freeSize, mostPixels, roundHalfEven, up, withinPixels, type FreeResize } from './freeSizes';
import type { Geometry } from './geometry';
import { resize, resizeUnrounded, type Filter } from './resize';
import type { RgbImage } from './rgbImage';
import { onTiles, type TileResize } from './tiles';

type Triple = readonly [number, number, number];

/** What is done to a picture before the encoder sees it, in this order; a step that is absent is not done. */
export interface PreprocessSpec {
  /** The picture is put in the middle of a square of this colour, as LLaVA does. */
  readonly padToSquare?: Triple;
  /** Straight to a size, one side to `size` and the other in proportion (where the longest edge decides, to the nearest pixel; with `least`, cut off to whole pixels, but to no fewer), a size of the picture's own, or onto a canvas of tiles, with a rim at the right and below. */
  readonly resize?: { readonly kind: 'exact'; readonly width: number; readonly height: number } | { readonly kind: 'shortestEdge' | 'longestEdge'; readonly size: number; readonly least?: number } | FreeResize | TileResize;
  readonly filter: Filter;
  /** Resized levels stay fractions, as torchvision leaves those of float tensors; Pillow rounds them to 8 bits. */
  readonly unrounded?: true;
  /** The centre is cut out, or a rim put around it. `torchvision` rounds half a pixel as torchvision's CenterCrop does; transformers leaves it off, and pads the other way. */
  readonly crop?: { readonly width: number; readonly height: number; readonly torchvision?: true };
  /** A rim at the right and below makes multiples of the sides. */
  readonly padTo?: number;
  /** What fills a crop or a rim outside the picture; black unless told. */
  readonly fill?: Triple;
  /** Each level 0 to 255 is multiplied by it. */
  readonly rescale: number;
  /** (value - mean) / std for red, green and blue. */
  readonly normalize?: { readonly mean: Triple; readonly std: Triple };
}

export const CLIP_MEAN: Triple = [0.48145466, 0.4578275, 0.40821073];
export const CLIP_STD: Triple = [0.26862954, 0.26130258, 0.27577711];

/**
 * CLIP's preprocessing for an encoder of `size` x `size` pixels: `square` resizes straight to it, as Qwen-VL does;
 * `crop` resizes the shorter side and cuts out the centre, as CLIPFeatureExtractor does.
 */
export function clipPreprocessing(size: number, geometry: 'square' | 'crop'): PreprocessSpec {
  const common = { filter: 'bicubic', rescale: 1 / 255, normalize: { mean: CLIP_MEAN, std: CLIP_STD } } as const;
  return geometry === 'square'
    ? { ...common, resize: { kind: 'exact', width: size, height: size } }
    : { ...common, resize: { kind: 'shortestEdge', size }, crop: { width: size, height: size } };
}

/** The largest square that a picture is padded to (600 MB), and the largest input that is made (300 MB): a long strip's would be more than a machine has. */
const MAX_SQUARE_PIXELS = 200e6;
const MAX_INPUT_PIXELS = 25e6;

export interface Preprocessed {
  /** (3, geometry.height, geometry.width): red, green and blue planes, row by row. */
  readonly pixels: Float32Array;
  readonly geometry: Geometry;
}

/**
 * Makes an encoder's input. Sizes round as in transformers (`get_resize_output_image_size`, `center_crop` in
 * image_transforms.py); the arithmetic is float32 step by step, so the values equal PyTorch's and transformers' bit by bit.
 *
 * @throws UserError when it would become too large
 */
export function preprocess(image: RgbImage, spec: PreprocessSpec): Preprocessed {
  const { padToSquare, ...rest } = spec;
  if (padToSquare !== undefined) return preprocessPadded(image, rest, padToSquare);
  const geometry = plan(image, spec);
  const { resized, left, top, width, height } = geometry;
  checkPixels(image, width, height, MAX_INPUT_PIXELS);
  // The part of the resized picture that is seen; empty on a side only if the crop misses it, which a centred one cannot.
  const window = { left: Math.max(left, 0), top: Math.max(top, 0), width: Math.min(width, resized.width), height: Math.min(height, resized.height) };
  const { filter } = spec;
  const seen = spec.unrounded === true && filter !== 'nearest' ? resizeUnrounded(image, resized.width, resized.height, filter, window) : resize(image, resized.width, resized.height, filter, window);

  const pixels = new Float32Array(3 * width * height);
  for (let channel = 0; channel < 3; channel++) {
    const values = levels(spec, channel);
    const valueOf = seen.data instanceof Uint8Array ? (level: number) => values[level] ?? 0 : (level: number) => valueOfLevel(spec, channel, level);
    const plane = pixels.subarray(channel * width * height, (channel + 1) * width * height);
    if (window.width < width || window.height < height) plane.fill(values[spec.fill?.[channel] ?? 0] ?? 0);
    for (let y = 0; y < seen.height; y++) {
      let to = (y + window.top - top) * width + window.left - left;
      let from = 3 * y * seen.width + channel;
      for (let x = 0; x < seen.width; x++, from += 3) plane[to++] = valueOf(seen.data[from] ?? 0);
    }
  }
  return { pixels, geometry };
}

/** The square around the picture is prepared like any picture; what was seen of it is then told in the picture's own pixels. */
function preprocessPadded(image: RgbImage, spec: PreprocessSpec, colour: Triple): Preprocessed {
  const side = Math.max(image.width, image.height);
  checkPixels(image, side, side, MAX_SQUARE_PIXELS);
  const left = Math.floor((side - image.width) / 2);
  const top = Math.floor((side - image.height) / 2);
  const data = new Uint8Array(3 * side * side);
  for (let at = 0; at < data.length; at += 3) data.set(colour, at);
  for (let y = 0; y < image.height; y++) data.set(image.data.subarray(3 * y * image.width, 3 * (y + 1) * image.width), 3 * ((y + top) * side + left));
  const { pixels, geometry } = preprocess({ width: side, height: side, data }, spec);
  const scale = { x: geometry.resized.width / side, y: geometry.resized.height / side };
  return {
    pixels,
    geometry: {
      ...geometry,
      source: { width: image.width, height: image.height },
      resized: { width: image.width * scale.x, height: image.height * scale.y },
      left: geometry.left - left * scale.x,
      top: geometry.top - top * scale.y,
    },
  };
}

function checkPixels(image: RgbImage, width: number, height: number, most: number): void {
  if (width * height <= most) return;
  throw new UserError(t`The picture of ${image.width} x ${image.height} would become ${width} x ${height} for this encoder, more than ${most / 1e6} million pixels. Cut or shrink it first.`);
}

function plan({ width, height }: Geometry['source'], spec: PreprocessSpec): Geometry {
  const source = { width, height };
  if (spec.resize?.kind === 'tiles') {
    const { resized, canvas } = onTiles(source, spec.resize);
    return { source, resized, left: 0, top: 0, ...canvas };
  }
  const resized = resizedSize(source, spec.resize);
  if (spec.padTo !== undefined) return { source, resized, left: 0, top: 0, width: up(resized.width, spec.padTo), height: up(resized.height, spec.padTo) };
  const { width: seenWidth, height: seenHeight } = spec.crop ?? resized;
  const half = spec.crop?.torchvision === true ? halfToEven : (pixels: number) => Math.floor(pixels / 2);
  return {
    source,
    resized,
    left: half(resized.width - seenWidth),
    top: half(resized.height - seenHeight),
    width: seenWidth,
    height: seenHeight,
  };
}

function resizedSize({ width, height }: Geometry['source'], rule: Exclude<PreprocessSpec['resize'], TileResize>): Geometry['resized'] {
  if (rule === undefined) return { width, height };
  if (rule.kind === 'exact') return { width: rule.width, height: rule.height };
  if (rule.kind === 'longestEdge') {
    const longest = Math.max(width, height);
    // DeepSeek-VL's processor: max(int(side / longest * size), min_size). OpenCLIP's ResizeKeepRatio: round(side / ratio), as Python rounds.
    const scaled = (side: number): number => Math.max(rule.least ?? 1, rule.least === undefined ? roundHalfEven(side / (longest / rule.size)) : Math.trunc(side / longest * rule.size));
    return { width: scaled(width), height: scaled(height) };
  }
  if (!('size' in rule)) return freeSize({ width, height }, rule);
  const long = Math.trunc(rule.size * Math.max(width, height) / Math.min(width, height));
  return width <= height ? { width: rule.size, height: long } : { width: long, height: rule.size };
}

/** Half of it as Python's round() makes it whole; padding, which torchvision places by flooring, is its negative. */
function halfToEven(pixels: number): number {
  if (pixels < 0) return -Math.floor(-pixels / 2);
  const floor = Math.floor(pixels / 2);
  return pixels % 2 === 0 || floor % 2 === 0 ? floor : floor + 1;
}

/**
 * The rule for an encoder whose input is a square of `side`: the positions that a model has decide, not the size for
 * which its preprocessor's file was written. Sides change in proportion, and what is left free is cut to the square.
 */
export function atSize(spec: PreprocessSpec, side: number): PreprocessSpec {
  const { resize: rule, crop } = spec;
  const square = { width: side, height: side };
  if (rule !== undefined && !('size' in rule) && rule.kind !== 'exact') return { ...spec, resize: { kind: 'exact', ...square } };
  if (crop === undefined) {
    if (rule === undefined) return { ...spec, crop: square };
    return rule.kind === 'exact' ? { ...spec, resize: { kind: 'exact', ...square } } : { ...spec, resize: { ...rule, size: side }, crop: square };
  }
  const scaled = (size: number): number => Math.round(size * side / Math.min(crop.width, crop.height));
  const resize = rule === undefined ? undefined : rule.kind === 'exact' ? { ...rule, width: scaled(rule.width), height: scaled(rule.height) } : { ...rule, size: scaled(rule.size) };
  return { ...spec, ...(resize && { resize }), crop: { ...crop, ...square } };
}

/** The rule where it leaves pictures sizes of their own. */
function freeRule({ resize }: PreprocessSpec): FreeResize | undefined {
  return resize === undefined || resize.kind === 'exact' || resize.kind === 'tiles' || 'size' in resize ? undefined : resize;
}

/** The rule with no more than so many pixels, where it leaves pictures sizes of their own. */
export function withMostPixels(spec: PreprocessSpec, pixels: number): PreprocessSpec {
  const rule = freeRule(spec);
  return rule === undefined ? spec : { ...spec, resize: withinPixels(rule, pixels) };
}

/** The most pixels that a picture has after it; undefined where it does not leave pictures sizes of their own. */
export function pixelLimit(spec: PreprocessSpec): number | undefined {
  const rule = freeRule(spec);
  return rule && mostPixels(rule);
}

/** The size of the encoder's input that a picture becomes. */
export function inputSize(source: Geometry['source'], spec: PreprocessSpec): { readonly width: number; readonly height: number } {
  const { width, height } = plan({ ...source }, spec);
  return { width, height };
}

/** What each of the 256 levels becomes. */
function levels(spec: PreprocessSpec, channel: number): Float32Array {
  return Float32Array.from({ length: 256 }, (_, level) => valueOfLevel(spec, channel, level));
}

/** float32 after every step: rounding a float64 quotient or difference once gives float32's own. */
function valueOfLevel({ rescale, normalize }: PreprocessSpec, channel: number, level: number): number {
  return Math.fround(Math.fround(level * rescale) - Math.fround(normalize?.mean[channel] ?? 0)) / Math.fround(normalize?.std[channel] ?? 1);
}
