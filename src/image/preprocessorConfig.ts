import * as z from 'zod';
import { t } from '@vscode/l10n';
import { printable } from '../checkpoint/wording';
import { UserError } from '../errors';
import { roundHalfEven, type FreeResize, type Size } from './freeSizes';
import { atSize, CLIP_MEAN, CLIP_STD, type PreprocessSpec } from './preprocess';
import type { Filter } from './resize';

/** Pillow's numbers for its filters, as `resample` has them. */
const filters = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'] as const satisfies readonly Filter[];

const positive = z.int().positive();
/** Published models have 4. Of each number all layouts are tried, and a canvas of all tiles stands in memory. */
const MOST_TILES = 64;
const box = z.object({ height: positive, width: positive });
const triple = z.tuple([z.number(), z.number(), z.number()]);
const positiveTriple = z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]);
const flag = z.boolean().nullish();

/** What holds whatever size a picture gets. */
const colourFields = {
  image_processor_type: z.string().nullish(),
  feature_extractor_type: z.string().nullish(),
  resample: z.int().min(0).max(5).nullish(),
  do_rescale: flag,
  rescale_factor: z.number().positive().nullish(),
  do_normalize: flag,
  image_mean: triple.nullish(),
  image_std: positiveTriple.nullish(),
  /** MiniCPM-V's names. */
  norm_mean: triple.nullish(),
  norm_std: positiveTriple.nullish(),
};
const colourSchema = z.object(colourFields);
type Colours = z.infer<typeof colourSchema>;

const schema = z.object({
  ...colourFields,
  do_resize: flag,
  size: z.union([positive, box, z.object({ shortest_edge: positive, longest_edge: z.undefined().optional() })],
    t('it has to be a number of pixels, {"shortest_edge": ...} or {"height": ..., "width": ...}')).nullish(),
  do_center_crop: flag,
  /** Ours (writtenRule.ts): half a pixel is rounded as torchvision's CenterCrop does. */
  crop_rounding: z.literal('half_even').nullish(),
  /** Ours: the shorter side goes to the nearest pixel, as OpenCLIP's, not to whole ones that are cut off. */
  side_rounding: z.literal('half_even').nullish(),
  crop_size: z.union([positive, box], t('it has to be a number of pixels or {"height": ..., "width": ...}')).nullish(),
  /** DeepSeek-VL: the longer side, the least of the other, and the colour of the rim that makes a square of it. */
  image_size: positive.nullish(),
  min_size: positive.nullish(),
  background_color: triple.nullish(),
  /** LLaVA 1.5: a rim in the mean colour first. */
  do_pad: flag,
});
type Config = z.infer<typeof schema>;

/** What a processor of transformers does where its file is silent. */
interface Defaults {
  /** Whether a bare number for `size` means the shorter side, rather than both. */
  readonly shortestEdge: boolean;
  readonly centerCrop: boolean;
  readonly resample: number;
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

const clip: Defaults = { shortestEdge: true, centerCrop: true, resample: 3, mean: CLIP_MEAN, std: CLIP_STD };
const half: readonly [number, number, number] = [0.5, 0.5, 0.5];
const vit: Defaults = { shortestEdge: false, centerCrop: false, resample: 2, mean: half, std: half };
const imageNet: Defaults = { ...clip, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const blip: Defaults = { ...clip, shortestEdge: false, centerCrop: false };

/** By the start of `image_processor_type`; the class defaults in transformers' image_processing_*.py. Others are CLIP's, or say everything. */
const defaultsByType: readonly (readonly [string, Defaults])[] = [
  ['ViT', vit],
  ['Siglip', { ...vit, resample: 3 }],
  ['Gemma3', vit],
  ['Blip', blip],
  ['VLMImageProcessor', { ...vit, resample: 3 }],
  ['DINOv3', { ...vit, mean: imageNet.mean, std: imageNet.std }],
  ['DeepseekVL', { ...vit, resample: 3 }],
];

/**
 * Processors that cut pictures into tiles, and put the picture whole before (or after) them, straight to a tile's size: that
 * tile is the one that is run. LLaVA-NeXT and Phi-3-vision: image_processing_llava_next.py; Idefics 3: the global image;
 * Llama 4: its global tile, without the rounding to bfloat16.
 */
const tiledByType: readonly (readonly [string, Defaults])[] = [
  ['LlavaNext', clip], ['LlavaOnevision', clip], ['Phi3V', clip],
  ['Idefics3', { ...vit, resample: 1 }], ['SmolVLM', { ...vit, resample: 1 }],
  ['Llama4', vit],
  ['GotOcr2', clip], ['InternVL', imageNet], ['MiniCPM', { ...vit, resample: 3 }],
];

/** What pictures an encoder takes: squares of `side` pixels, or any whose sides are multiples of `unit`. */
export interface PictureSizes {
  readonly side: number;
  readonly patch: number;
  readonly unit?: number;
}

const freeSchema = z.object({
  ...colourFields,
  min_pixels: positive.nullish(),
  max_pixels: positive.nullish(),
  size: z.union([positive, z.object({ shortest_edge: positive.nullish(), longest_edge: positive.nullish(), min_pixels: positive.nullish(), max_pixels: positive.nullish(), height: positive.nullish(), width: positive.nullish() })]).nullish(),
  temporal_patch_size: positive.nullish(),
  in_token_limit: positive.nullish(),
  max_image_tiles: positive.max(MOST_TILES).nullish(),
  max_num_patches: positive.nullish(),
  do_resize: flag,
});
type FreeConfig = z.infer<typeof freeSchema>;

type FreeRule = (config: FreeConfig, sizes: Required<PictureSizes>) => Pick<PreprocessSpec, 'resize' | 'padTo'>;
const patchLimit: FreeRule = ({ in_token_limit: limit }, { patch, unit }) => ({ resize: { kind: 'patches', patch, limit: limit ?? 4096 }, padTo: unit });

/** Processors that give each picture a size of its own, by the start of their type; the class defaults in transformers and Kimi-VL's own code. */
const freeByType: readonly (readonly [string, Defaults, FreeRule])[] = [
  ['Qwen', clip, (config, { unit }) => ({ resize: area(config, unit, 56 * 56, 28 * 28 * 1280) })],
  // GLM-4V counts the pixels of all frames that a picture fills.
  ['Glm4', clip, (config, { unit }) => ({ resize: area(config, unit, 112 * 112, 28 * 28 * 15_000, config.temporal_patch_size ?? 2, true) })],
  ['Pixtral', clip, ({ size }, { unit }) => ({ resize: { kind: 'within', longest: (typeof size === 'object' ? size?.longest_edge ?? size?.height : size) ?? 1024, multiple: unit } })],
  ['Kimi', clip, patchLimit],
  ['MoonViT', clip, patchLimit],
  ['Siglip2', vit, ({ max_num_patches: limit }, { patch }) => ({ resize: { kind: 'naflex', patch, limit: limit ?? 256 } })],
  ['Mllama', vit, ({ max_image_tiles: most }, { unit }) => ({ resize: { kind: 'tiles', tile: unit, most: most ?? 4 } })],
];

/** min_pixels and max_pixels, which `size` has held under several names; they win where both are there. */
function area({ min_pixels: min, max_pixels: max, size }: FreeConfig, multiple: number, leastPixels: number, mostPixels: number, frames = 1, growFirst = false): FreeResize {
  const sides = typeof size === 'object' ? size : undefined;
  const minPixels = (min ?? sides?.shortest_edge ?? sides?.min_pixels ?? leastPixels) / frames;
  return { kind: 'area', multiple, minPixels, maxPixels: (max ?? sides?.longest_edge ?? sides?.max_pixels ?? mostPixels) / frames, growFirst };
}

/** A rule for pictures, with what a person should know of it. */
export interface PictureRule {
  readonly spec: PreprocessSpec;
  readonly note?: string;
}

/**
 * The rule of a preprocessor_config.json for an encoder that takes pictures of such sizes.
 * @throws UserError naming the field that is wrong or not supported.
 */
export function pictureRule(json: unknown, { side, patch, unit }: PictureSizes, name = 'preprocessor_config.json'): PictureRule {
  const type = typeOf(json);
  const [, defaults, free] = freeByType.find(([start]) => type.startsWith(start)) ?? [];
  if (unit !== undefined && defaults !== undefined && free !== undefined) {
    const config = checked(freeSchema, json, name);
    const { resize, ...rim } = free(config, { side, patch, unit });
    const rule = { ...colours(config, defaults), ...rim };
    return config.do_resize === false ? { spec: rule, note: t('as large as they are, since the file says do_resize false') } : { spec: { ...rule, ...(resize && { resize }) } };
  }
  const tiled = tiledByType.find(([start]) => type.startsWith(start))?.[1];
  if (tiled !== undefined) {
    return {
      spec: { ...colours(checked(colourSchema, json, name), tiled), resize: { kind: 'exact', width: side, height: side } },
      note: t('of the tiles that the model cuts a picture into, the one that shows all of it'),
    };
  }
  const spec = parsePreprocessorConfig(json, name);
  const fitted = atSize(spec, side);
  const made = spec.crop ?? (spec.resize?.kind === 'exact' ? spec.resize : undefined);
  const other = made !== undefined && (made.width !== side || made.height !== side);
  if (made === undefined && spec.resize === undefined) return { spec: fitted, note: t('their middle as it is, since the file says do_resize false') };
  return { spec: fitted, ...(other && { note: t`at ${side} x ${side} pixels, for which the encoder has positions; the file says ${made.width} x ${made.height}` }) };
}

const interpolations = { bicubic: 'bicubic', bilinear: 'bilinear', nearest: 'nearest', random: 'bicubic' } as const satisfies Record<string, Filter>;
const openClipSchema = z.object({
  mean: triple.nullish(),
  std: positiveTriple.nullish(),
  interpolation: z.enum(['bicubic', 'bilinear', 'nearest', 'random']).nullish(),
  resize_mode: z.enum(['shortest', 'longest', 'squash']).nullish(),
  fill_color: z.union([z.number(), triple]).nullish(),
});

/**
 * The rule of the `preprocess_cfg` in an open_clip_config.json, as OpenCLIP's image_transform_v2 applies it when it does not
 * train (open_clip/transform.py), for a square of `side`.
 * @throws UserError naming the field that is wrong
 */
export function openClipRule(json: unknown, side: number, name = 'open_clip_config.json'): PictureRule {
  const config = checked(openClipSchema, json, `${name}: preprocess_cfg`);
  const mode = config.resize_mode ?? 'shortest';
  const fill = config.fill_color ?? 0;
  const square = { width: side, height: side };
  return {
    spec: {
      filter: interpolations[config.interpolation ?? 'bicubic'],
      rescale: 1 / 255,
      ...(mode === 'squash' ? { resize: { kind: 'exact', ...square } } : { resize: { kind: mode === 'longest' ? 'longestEdge' : 'shortestEdge', size: side }, crop: { ...square, torchvision: true } }),
      ...(mode === 'longest' && fill !== 0 && { fill: typeof fill === 'number' ? [fill, fill, fill] : fill }),
      normalize: { mean: config.mean ?? CLIP_MEAN, std: config.std ?? CLIP_STD },
    },
  };
}

const timmSchema = z.object({
  mean: triple.nullish(),
  std: positiveTriple.nullish(),
  /** Channels, height, width. */
  input_size: z.tuple([positive, positive, positive]).nullish(),
  interpolation: z.enum(filters).nullish(),
  crop_pct: z.number().positive().max(1).nullish(),
  crop_mode: z.enum(['center', 'squash', 'border']).nullish(),
});

/**
 * The rule of the `pretrained_cfg` in a config.json of timm's, as its transform for evaluation applies it
 * (timm/data/transforms_factory.py, transforms_imagenet_eval; config.py, resolve_data_config), for a square of `side`: the picture is made larger
 * than that by 1 / crop_pct, and its middle cut out.
 * @throws UserError naming the field that is wrong
 */
export function timmRule(json: unknown, side: number, name = 'config.json'): PictureRule {
  const config = checked(timmSchema, json, `${name}: pretrained_cfg`);
  const scaled = Math.floor(side / (config.crop_pct ?? 0.875));
  const mode = config.crop_mode ?? 'center';
  const mean = config.mean ?? imageNet.mean;
  const [, height, width] = config.input_size ?? [3, side, side];
  return {
    spec: {
      filter: config.interpolation ?? 'bicubic',
      rescale: 1 / 255,
      resize: mode === 'squash' ? { kind: 'exact', width: scaled, height: scaled } : { kind: mode === 'border' ? 'longestEdge' : 'shortestEdge', size: scaled },
      crop: { width: side, height: side, torchvision: true },
      ...(mode === 'border' && { fill: [roundHalfEven(255 * mean[0]), roundHalfEven(255 * mean[1]), roundHalfEven(255 * mean[2])] as const }),
      normalize: { mean, std: config.std ?? imageNet.std },
    },
    ...((width !== side || height !== side) && { note: t`at ${side} x ${side} pixels, for which the encoder has positions; the file says ${width} x ${height}` }),
  };
}

/**
 * A rule as a preprocessor_config.json that says everything, so that it makes the same of a picture wherever it is read: here
 * (`pictureRule`) and by transformers' CLIPImageProcessor, LlavaImageProcessor (a rim in the mean colour first), DINOv3ViTImageProcessorFast or
 * DeepSeek-VL's VLMImageProcessor (the longer side, then a rim). Three keys are our own: `crop_rounding`, `side_rounding`, and `crop_size` after a longer side.
 * @param size of the pictures that the encoder takes, for rules that would give each picture a size of its own
 */
export function writtenRule({ resize, crop, filter, unrounded, rescale, normalize, padToSquare, fill }: PreprocessSpec, size: Size): Record<string, unknown> {
  const colours = {
    do_convert_rgb: true,
    resample: filters.indexOf(filter),
    do_rescale: true, rescale_factor: rescale,
    do_normalize: normalize !== undefined, ...(normalize && { image_mean: normalize.mean, image_std: normalize.std }),
  };
  if (resize?.kind === 'longestEdge') {
    return { image_processor_type: 'VLMImageProcessor', image_size: resize.size, ...(resize.least === undefined ? { side_rounding: 'half_even' } : { min_size: resize.least }), background_color: fill ?? [0, 0, 0], ...colours, ...(crop !== undefined && crop.width !== resize.size && { crop_size: { height: crop.height, width: crop.width } }), ...cropRounding(crop) };
  }
  const side = resize === undefined ? undefined
    : resize.kind === 'shortestEdge' ? { shortest_edge: resize.size }
      : resize.kind === 'exact' ? { height: resize.height, width: resize.width } : { height: size.height, width: size.width };
  return {
    image_processor_type: unrounded === true ? 'DINOv3ViTImageProcessorFast' : padToSquare === undefined ? 'CLIPImageProcessor' : 'LlavaImageProcessor',
    ...(padToSquare && { do_pad: true }),
    do_resize: side !== undefined, ...(side && { size: side }),
    do_center_crop: crop !== undefined, ...(crop && { crop_size: { height: crop.height, width: crop.width } }), ...cropRounding(crop),
    ...colours,
  };
}

function cropRounding(crop: PreprocessSpec['crop']): { readonly crop_rounding?: 'half_even' } {
  return crop?.torchvision === true ? { crop_rounding: 'half_even' } : {};
}

/** The rule with a rim of the mean colour that makes the picture square first: LLaVA's expand2square (llava/mm_utils.py). */
export function paddedToSquare(spec: PreprocessSpec): PreprocessSpec {
  const [red, green, blue] = spec.normalize?.mean ?? [0, 0, 0];
  return { ...spec, padToSquare: [Math.trunc(red * 255), Math.trunc(green * 255), Math.trunc(blue * 255)] };
}

/**
 * Reads a preprocessor_config.json of transformers, of a processor that brings every picture to one size.
 *
 * @param json the parsed file
 * @param name the file's name, for messages
 * @throws UserError naming the field that is wrong or not supported.
 */
export function parsePreprocessorConfig(json: unknown, name = 'preprocessor_config.json'): PreprocessSpec {
  refuseFreeSizes(json, name);
  const config = checked(schema, json, name);
  const type = typeOf(json);
  const defaults = defaultsByType.find(([start]) => type.startsWith(start))?.[1] ?? clip;
  // DINOv3's processor rescales first and resizes the float tensor; the others resize 8-bit levels (image_processing_dinov3_vit_fast.py).
  const unrounded = type.startsWith('DINOv3') && config.do_rescale !== false ? { unrounded: true } as const : {};
  const spec = { ...colours(config, defaults), ...sizes(config, defaults), ...unrounded };
  return config.do_pad === true && type.startsWith('Llava') ? paddedToSquare(spec) : spec;
}

function sizes(config: Config, defaults: Defaults): Pick<PreprocessSpec, 'resize' | 'crop' | 'fill'> {
  const { image_size: side, background_color: fill } = config;
  // DeepSeek-VL (image_processing_deepseek_vl.py): the longer side, then a rim that is placed as torchvision places one.
  if (side != null && config.size == null && fill != null) {
    const least = config.side_rounding === 'half_even' ? {} : { least: config.min_size ?? 14 };
    const cut = config.crop_size == null ? { width: side, height: side } : cropSize(config);
    return { resize: { kind: 'longestEdge', size: side, ...least }, crop: { ...cut, torchvision: true }, fill };
  }
  const resize = config.do_resize === false ? undefined : resizeRule(config, defaults);
  const crop = config.do_center_crop ?? defaults.centerCrop ? cropSize(config) : undefined;
  return { ...(resize && { resize }), ...(crop && { crop }) };
}

function colours(config: Colours, defaults: Defaults): Pick<PreprocessSpec, 'filter' | 'rescale' | 'normalize'> {
  const mean = config.image_mean ?? config.norm_mean ?? defaults.mean;
  const std = config.image_std ?? config.norm_std ?? defaults.std;
  return {
    filter: filters[config.resample ?? defaults.resample] ?? 'bicubic',
    rescale: config.do_rescale === false ? 1 : config.rescale_factor ?? 1 / 255,
    ...(config.do_normalize === false ? {} : { normalize: { mean, std } }),
  };
}

function typeOf(json: unknown): string {
  const { data } = z.object({ image_processor_type: z.string().nullish(), feature_extractor_type: z.string().nullish() }).safeParse(json);
  return data?.image_processor_type ?? data?.feature_extractor_type ?? 'CLIP';
}

function checked<T>(what: z.ZodType<T>, json: unknown, name: string): T {
  const parsed = what.safeParse(json);
  if (!parsed.success) throw new UserError(t`${name}: ${describe(parsed.error)}.`);
  return parsed.data;
}

function resizeRule({ size }: Config, { shortestEdge }: Defaults): NonNullable<PreprocessSpec['resize']> {
  if (typeof size === 'object' && size !== null) {
    return 'shortest_edge' in size ? { kind: 'shortestEdge', size: size.shortest_edge } : { kind: 'exact', width: size.width, height: size.height };
  }
  const pixels = size ?? 224;
  return shortestEdge ? { kind: 'shortestEdge', size: pixels } : { kind: 'exact', width: pixels, height: pixels };
}

function cropSize(config: Config): NonNullable<PreprocessSpec['crop']> {
  const { crop_size: size } = config;
  if (typeof size === 'object' && size !== null) return { width: size.width, height: size.height, ...rounding(config) };
  const pixels = size ?? 224;
  return { width: pixels, height: pixels, ...rounding(config) };
}

function rounding({ crop_rounding: rule }: Config): { readonly torchvision?: true } {
  return rule == null ? {} : { torchvision: true };
}

/** Processors such as Qwen2VLImageProcessor choose a size for each picture; to read them as CLIP's would be quietly wrong. */
function refuseFreeSizes(json: unknown, name: string): void {
  const free = z.object({ image_processor_type: z.string().nullish(), min_pixels: z.unknown().optional(), max_pixels: z.unknown().optional(), size: z.unknown().optional() }).safeParse(json);
  if (!free.success) return;
  const { min_pixels, max_pixels, size, image_processor_type: type } = free.data;
  const longest = typeof size === 'object' && size !== null && 'longest_edge' in size;
  if (min_pixels === undefined && max_pixels === undefined && !longest) return;
  throw new UserError(t`${name}: ${printable(type ?? t('this processor'))} gives each picture a size of its own, which is not supported. Choose a fixed size instead.`);
}

function describe(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return t('it is not a preprocessor config');
  return issue.path.length === 0 ? issue.message : t`"${issue.path.join('.')}" is wrong: ${issue.message}`;
}
