import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { elementCount } from '../checkpoint/dtype';
import { systemErrorCode } from '../errors';
import type { ExtraFile } from '../extraction/extraFiles';
import { jsonFile, weightsFile } from '../extraction/extraFiles';
import type { OutputTensor } from '../extraction/fileLayout';
import type { OutputFormat } from '../extraction/weightsLayout';
import type { Decoder } from './decoders';
import { MersenneTwister } from './mersenneTwister';

/**
 * In which order the two layers stand:
 * - baseline: the linear layer, then the norm over the decoder's width; DeepSpeed-VisualChat's `baseline`
 *   (microsoft/DeepSpeedExamples at 83757d9c, applications/DeepSpeed-VisualChat/utils/model/modeling_dsvl.py, build_projection);
 *   Its `vit` and `perceiver`, for plain CLIP, have more before that and are not made here (utils/model/vis_proj.py);
 * - norm-first: a norm over the encoder's features, then the linear layer.
 */
export const FORMS = ['baseline', 'norm-first'] as const;
export type ProjectionForm = (typeof FORMS)[number];

/** A trainable projection from an encoder's features into a decoder's token embeddings. */
export interface Projection {
  readonly form: ProjectionForm;
  /** Width of the encoder's features. */
  readonly features: number;
  readonly decoder: Decoder;
  /** What the linear layer is initialised from. */
  readonly seed: number;
}

/** The largest seed: JavaScript's largest exact integer. Of larger than 32 bits PyTorch takes the lower 32. */
export const MAX_SEED = Number.MAX_SAFE_INTEGER;

type Layer =
  | { readonly kind: 'linear'; readonly from: number; readonly to: number }
  | { readonly kind: 'norm'; readonly width: number };

/** DeepSpeed-VisualChat's, in both forms. */
const EPSILON = '1e-12';
/** Values that are made at a time. */
const CHUNK = 1 << 18;

export function projectionLayers({ form, features, decoder }: Projection): readonly Layer[] {
  const linear: Layer = { kind: 'linear', from: features, to: decoder.width };
  return form === 'baseline' ? [linear, { kind: 'norm', width: decoder.width }] : [{ kind: 'norm', width: features }, linear];
}

/** The layers as Python: `nn.Sequential(nn.Linear(4096, 5120), nn.LayerNorm(5120, eps=1e-12))`. */
export function projectionModule(projection: Projection): string {
  const layers = projectionLayers(projection).map(layer => layer.kind === 'linear' ? `nn.Linear(${layer.from}, ${layer.to})` : `nn.LayerNorm(${layer.width}, eps=${EPSILON})`);
  return `nn.Sequential(${layers.join(', ')})`;
}

const DESCRIPTION = 'projection.json';
const descriptionSchema = z.object({ form: z.enum(FORMS), module: z.string(), weights: z.enum(['projection.safetensors', 'projection.bin']), initialisation: z.object({ seed: z.number() }) });

/** The files of a projection that an earlier run has written into a folder; none when its projection.json is somebody else's. */
export async function earlierProjection(folder: string): Promise<string[]> {
  const text = await readFile(join(folder, DESCRIPTION), 'utf8').catch((error: unknown) => {
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  });
  const described = text === undefined ? undefined : parseDescription(text);
  return described === undefined ? [] : [described.weights, DESCRIPTION];
}

function parseDescription(text: string): z.infer<typeof descriptionSchema> | undefined {
  try {
    return descriptionSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

export function projectionName(format: OutputFormat): string {
  return `projection.${format === 'torch' ? 'bin' : 'safetensors'}`;
}

/**
 * The projection's state dict (keys 0.weight, 0.bias, 1.weight, 1.bias; float32) and projection.json, which describes it.
 * The numbers are those of `torch.manual_seed(seed)` before the module is made: PyTorch's own initialisation.
 */
export function projectionFiles(projection: Projection, format: OutputFormat): ExtraFile[] {
  const parameters = projectionLayers(projection).flatMap((layer, index) => parametersOf(layer, index));
  const tensors = parameters.map(({ key, shape }): OutputTensor => ({ key, dtype: 'F32', shape, length: elementCount(shape) * 4 }));
  const { form, features, decoder, seed } = projection;
  return [
    weightsFile(projectionName(format), tensors, format, index => valuesOf(parameters[index], seed)),
    jsonFile(DESCRIPTION, {
      form, module: projectionModule(projection), weights: projectionName(format),
      features, decoder: decoder.title, width: decoder.width, dtype: 'float32',
      initialisation: { seed, equals: `torch.manual_seed(${seed}); ${projectionModule(projection)}`, generator: 'MT19937, as PyTorch\'s on the CPU' },
    }),
  ];
}

interface Parameter {
  readonly key: string;
  readonly shape: readonly number[];
  /** One number for all, or evenly from [-bound, bound), after so many other random numbers. */
  readonly values: number | { readonly bound: number; readonly after: number };
}

/**
 * torch.nn.Linear's reset_parameters (torch/nn/modules/linear.py): the weight by kaiming_uniform_ with a = sqrt(5), the
 * bias from ±1/sqrt(from), in this order. torch.nn.LayerNorm: ones and zeros, nothing random.
 */
function parametersOf(layer: Layer, index: number): Parameter[] {
  if (layer.kind === 'norm') return [{ key: `${index}.weight`, shape: [layer.width], values: 1 }, { key: `${index}.bias`, shape: [layer.width], values: 0 }];
  const { from, to } = layer;
  const gain = Math.sqrt(2 / (1 + Math.sqrt(5) ** 2));
  return [
    { key: `${index}.weight`, shape: [to, from], values: { bound: Math.sqrt(3) * (gain / Math.sqrt(from)), after: 0 } },
    { key: `${index}.bias`, shape: [to], values: { bound: 1 / Math.sqrt(from), after: to * from } },
  ];
}

function* valuesOf(parameter: Parameter | undefined, seed: number): Iterable<Uint8Array> {
  if (parameter === undefined) throw new RangeError('The projection has no such parameter.');
  const { shape, values } = parameter;
  const random = typeof values === 'number' ? undefined : new MersenneTwister(seed);
  if (typeof values !== 'number') random?.skip(values.after);
  for (let left = elementCount(shape); left > 0; left -= CHUNK) {
    const chunk = new Float32Array(Math.min(left, CHUNK));
    if (typeof values === 'number') chunk.fill(values);
    else random?.uniform(chunk, values.bound);
    yield new Uint8Array(chunk.buffer);
  }
}
