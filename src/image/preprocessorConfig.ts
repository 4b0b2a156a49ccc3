import * as z from 'zod';
import { UserError } from '../errors';
import { CLIP_MEAN, CLIP_STD, type PreprocessSpec } from './preprocess';
import type { Filter } from './resize';

/** Pillow's numbers for its filters, as `resample` has them. */
const filters: readonly Filter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];

const positive = z.int().positive();
const box = z.object({ height: positive, width: positive });
const triple = z.tuple([z.number(), z.number(), z.number()]);
const flag = z.boolean().nullish();

const schema = z.object({
  image_processor_type: z.string().nullish(),
  feature_extractor_type: z.string().nullish(),
  do_resize: flag,
  size: z.union([positive, box, z.object({ shortest_edge: positive, longest_edge: z.undefined().optional() })],
    'it has to be a number of pixels, {"shortest_edge": ...} or {"height": ..., "width": ...}').nullish(),
  resample: z.int().min(0).max(5).nullish(),
  do_center_crop: flag,
  crop_size: z.union([positive, box], 'it has to be a number of pixels or {"height": ..., "width": ...}').nullish(),
  do_rescale: flag,
  rescale_factor: z.number().positive().nullish(),
  do_normalize: flag,
  image_mean: triple.nullish(),
  image_std: z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]).nullish(),
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
/** By the start of `image_processor_type`; the class defaults in transformers' image_processing_*.py. Others are CLIP's, or say everything. */
const defaultsByType: readonly (readonly [string, Defaults])[] = [
  ['ViT', vit],
  ['Siglip', { ...vit, resample: 3 }],
  ['Gemma3', vit],
];

/**
 * Reads a preprocessor_config.json of transformers, of a processor that brings every picture to one size.
 *
 * @param json the parsed file
 * @param name the file's name, for messages
 * @throws UserError naming the field that is wrong or not supported.
 */
export function parsePreprocessorConfig(json: unknown, name = 'preprocessor_config.json'): PreprocessSpec {
  refuseFreeSizes(json, name);
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw new UserError(`${name}: ${describe(parsed.error)}.`);
  const config = parsed.data;
  const type = config.image_processor_type ?? config.feature_extractor_type ?? 'CLIP';
  const defaults = defaultsByType.find(([start]) => type.startsWith(start))?.[1] ?? clip;

  const resize = config.do_resize === false ? undefined : resizeRule(config, defaults);
  const crop = config.do_center_crop ?? defaults.centerCrop ? cropSize(config) : undefined;
  return {
    filter: filters[config.resample ?? defaults.resample] ?? 'bicubic',
    rescale: config.do_rescale === false ? 1 : config.rescale_factor ?? 1 / 255,
    ...(resize === undefined ? {} : { resize }),
    ...(crop === undefined ? {} : { crop }),
    ...(config.do_normalize === false ? {} : { normalize: { mean: config.image_mean ?? defaults.mean, std: config.image_std ?? defaults.std } }),
  };
}

function resizeRule({ size }: Config, { shortestEdge }: Defaults): NonNullable<PreprocessSpec['resize']> {
  if (typeof size === 'object' && size !== null) {
    return 'shortest_edge' in size ? { kind: 'shortestEdge', size: size.shortest_edge } : { kind: 'exact', width: size.width, height: size.height };
  }
  const pixels = size ?? 224;
  return shortestEdge ? { kind: 'shortestEdge', size: pixels } : { kind: 'exact', width: pixels, height: pixels };
}

function cropSize({ crop_size: size }: Config): { width: number; height: number } {
  if (typeof size === 'object' && size !== null) return { width: size.width, height: size.height };
  const pixels = size ?? 224;
  return { width: pixels, height: pixels };
}

/** Processors such as Qwen2VLImageProcessor choose a size for each picture; to read them as CLIP's would be quietly wrong. */
function refuseFreeSizes(json: unknown, name: string): void {
  const free = z.object({ image_processor_type: z.string().nullish(), min_pixels: z.unknown().optional(), max_pixels: z.unknown().optional(), size: z.unknown().optional() }).safeParse(json);
  if (!free.success) return;
  const { min_pixels, max_pixels, size, image_processor_type: type } = free.data;
  const longest = typeof size === 'object' && size !== null && 'longest_edge' in size;
  if (min_pixels === undefined && max_pixels === undefined && !longest) return;
  throw new UserError(`${name}: ${type ?? 'this processor'} gives each picture a size of its own, which is not supported. Choose a fixed size instead.`);
}

function describe(error: z.ZodError): string {
  const issue = error.issues[0];
  if (issue === undefined) return 'it is not a preprocessor config';
  return issue.path.length === 0 ? issue.message : `"${issue.path.join('.')}" is wrong: ${issue.message}`;
}
