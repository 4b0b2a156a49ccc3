import type { Checkpoint, Tensor } from '../checkpoint/checkpoint';
import type { Plan } from '../recipe/plan';
import { isObject } from './config';
import type { Hyperparameters } from './family';
import { valueOf } from './hyperparameters';

/** Where a tensor of one class's state dict goes in another's: the same numbers, under other names. */
type Move =
  /** Rows, cut into as many tensors of equal height as there are names. */
  | { readonly to: readonly string[] }
  /** Columns for rows. */
  | { readonly transposedTo: string };

/** How an encoder's tensors are laid out anew, so that another class that computes the same loads them. */
export interface Relayout {
  readonly id: string;
  /** Families, as recipes name them. */
  readonly from: string;
  readonly to: string;
  /** Whether the other class computes the same for an encoder of these sizes; else it is not offered. */
  readonly fits?: (value: (name: string) => number, config: Readonly<Record<string, unknown>>) => boolean;
  /** By the encoder's own keys, of which `N` stands for a block's number. */
  readonly moves: Readonly<Record<string, Move>>;
  /** The config of the other class where that of the extracted encoder is none. */
  readonly config?: (hyperparameters: Hyperparameters) => Readonly<Record<string, unknown>>;
}

const moved = (pairs: Readonly<Record<string, string>>): Record<string, Move> => Object.fromEntries(Object.entries(pairs).map(([from, to]) => [from, { to: [to] }]));
/** Weight and bias of modules, the second of them cut in as many as there are names. */
const modulesMoved = (pairs: Readonly<Record<string, string | readonly string[]>>, between = '.'): Record<string, Move> => Object.fromEntries(Object.entries(pairs).flatMap(([from, to]) => ['weight', 'bias'].map(kind => [`${from}${between}${kind}`, { to: [to].flat().map(name => `${name}.${kind}`) }])));

const DINO_BLOCK = 'encoder.layer.N';
const CLIP_BLOCK = 'vision_model.encoder.layers.N';

/**
 * DINOv2 of torch.hub (dinov2/models/vision_transformer.py, layers/attention.py: qkv stacked in this order) for Dinov2Model and
 * Dinov2WithRegistersModel (transformers, models/dinov2/modeling_dinov2.py).
 */
const DINO_V2: Relayout = {
  id: 'dinov2-meta-to-transformers', from: 'dinov2-meta', to: 'dinov2',
  moves: {
    ...moved({ 'cls_token': 'embeddings.cls_token', 'pos_embed': 'embeddings.position_embeddings', 'register_tokens': 'embeddings.register_tokens', 'mask_token': 'embeddings.mask_token', 'blocks.N.ls1.gamma': `${DINO_BLOCK}.layer_scale1.lambda1`, 'blocks.N.ls2.gamma': `${DINO_BLOCK}.layer_scale2.lambda1` }),
    ...modulesMoved({
      'patch_embed.proj': 'embeddings.patch_embeddings.projection', 'norm': 'layernorm',
      'blocks.N.norm1': `${DINO_BLOCK}.norm1`, 'blocks.N.norm2': `${DINO_BLOCK}.norm2`, 'blocks.N.attn.proj': `${DINO_BLOCK}.attention.output.dense`,
      'blocks.N.attn.qkv': ['query', 'key', 'value'].map(name => `${DINO_BLOCK}.attention.attention.${name}`),
      'blocks.N.mlp.fc1': `${DINO_BLOCK}.mlp.fc1`, 'blocks.N.mlp.fc2': `${DINO_BLOCK}.mlp.fc2`, 'blocks.N.mlp.w12': `${DINO_BLOCK}.mlp.weights_in`, 'blocks.N.mlp.w3': `${DINO_BLOCK}.mlp.weights_out`,
    }),
  },
};

/**
 * OpenCLIP's and OpenAI's VisionTransformer (open_clip/transformer.py; torch.nn.MultiheadAttention stacks q, k and v) for
 * CLIPVisionModelWithProjection (transformers, models/clip/modeling_clip.py), whose projection is stored out x in.
 */
const OPEN_CLIP: Relayout = {
  id: 'open-clip-to-transformers', from: 'open-clip', to: 'clip',
  fits: (value, { vision_cfg: tower }) => value('ln_pre') === 1 && value('layer_scale') === 0 && value('attention_pool') === 0
    && (!isObject(tower) || ((tower.pool_type ?? 'tok') === 'tok' && tower.act_kwargs === undefined && tower.norm_kwargs === undefined)),
  moves: {
    ...moved({ 'class_embedding': 'vision_model.embeddings.class_embedding', 'positional_embedding': 'vision_model.embeddings.position_embedding.weight', 'conv1.weight': 'vision_model.embeddings.patch_embedding.weight' }),
    'proj': { transposedTo: 'visual_projection.weight' },
    ...modulesMoved({
      'ln_pre': 'vision_model.pre_layrnorm', 'ln_post': 'vision_model.post_layernorm',
      'transformer.resblocks.N.ln_1': `${CLIP_BLOCK}.layer_norm1`, 'transformer.resblocks.N.ln_2': `${CLIP_BLOCK}.layer_norm2`, 'transformer.resblocks.N.attn.out_proj': `${CLIP_BLOCK}.self_attn.out_proj`,
      'transformer.resblocks.N.mlp.c_fc': `${CLIP_BLOCK}.mlp.fc1`, 'transformer.resblocks.N.mlp.c_proj': `${CLIP_BLOCK}.mlp.fc2`,
    }),
    ...modulesMoved({ 'transformer.resblocks.N.attn.in_proj': ['q', 'k', 'v'].map(name => `${CLIP_BLOCK}.self_attn.${name}_proj`) }, '_'),
  },
  config: sizes => ({
    architectures: ['CLIPVisionModelWithProjection'], model_type: 'clip_vision_model', hidden_size: valueOf(sizes, 'width'), num_hidden_layers: valueOf(sizes, 'layers'), num_attention_heads: valueOf(sizes, 'heads'),
    intermediate_size: valueOf(sizes, 'mlp_size'), patch_size: valueOf(sizes, 'patch_size'), image_size: valueOf(sizes, 'image_size'), projection_dim: valueOf(sizes, 'embed_dim'), hidden_act: valueOf(sizes, 'quick_gelu') === 1 ? 'quick_gelu' : 'gelu', layer_norm_eps: 1e-5,
  }),
};

const RELAYOUTS: readonly Relayout[] = [DINO_V2, OPEN_CLIP];

/** The relayout of a family's encoders for the classes of transformers; undefined when none is known that changes no number. */
export function relayoutFrom(family: string): Relayout | undefined {
  return RELAYOUTS.find(({ from }) => from === family);
}

/** @throws Error when there is none of this id, which manifests are checked for when they are read */
export function relayoutById(id: string): Relayout {
  const relayout = RELAYOUTS.find(one => one.id === id);
  if (relayout === undefined) throw new Error(`There is no relayout ${id}.`);
  return relayout;
}

export const RELAYOUT_IDS: readonly string[] = RELAYOUTS.map(({ id }) => id);

/** Whether the other class computes what an encoder of these sizes, with this config, does. */
export function fits({ fits: check }: Relayout, hyperparameters: Hyperparameters, config: Readonly<Record<string, unknown>>): boolean {
  return check === undefined || check(name => valueOf(hyperparameters, name), config);
}

/** A checkpoint whose tensors are ranges and transposed views of another's, under the keys of another class. */
export interface RelaidCheckpoint extends Checkpoint {
  readonly relaid: { readonly id: string; readonly plan: Plan };
}

export function isRelaid(checkpoint: Checkpoint): checkpoint is RelaidCheckpoint {
  return 'relaid' in checkpoint;
}

/**
 * The plan's encoder as a checkpoint in the other class's layout. No byte is read or copied: stacked rows are ranges of the
 * stored ones, a transposed tensor is a view with the strides exchanged. It shares its files with the plan's checkpoint.
 * Tensors that the relayout does not know keep their keys, so that validation tells of them.
 */
export function relay(plan: Plan, { id, moves }: Relayout): RelaidCheckpoint {
  const tensors = plan.kept.flatMap(({ tensor, outputKey = tensor.key }): Tensor[] => {
    const number = /(?<=\.)\d+(?=\.)/.exec(outputKey)?.[0] ?? '';
    const move = moves[outputKey.replace(/(?<=\.)\d+(?=\.)/, 'N')];
    if (move === undefined) return [{ ...tensor, key: outputKey }];
    const named = (to: string): string => to.replace('N', number);
    if ('transposedTo' in move) return [transposed(tensor, named(move.transposedTo))];
    return move.to.map((to, index) => rows(tensor, index, move.to.length, named(to)));
  });
  return { ...plan.checkpoint, tensors, relaid: { id, plan } };
}

/** Part `index` of `count` parts of equal height. A height that cannot be cut stays whole, and validation tells of its shape. */
function rows(tensor: Tensor, index: number, count: number, key: string): Tensor {
  const [height = 1, ...rest] = tensor.shape;
  if (count === 1 || height % count !== 0) return { ...tensor, key };
  const length = tensor.length / count;
  const perRow = tensor.length / height;
  const stride = tensor.indirect?.strides?.[0];
  const elements = rest.reduce((product, size) => product * size, 1);
  // A view steps through its rows by its own stride, in elements.
  const offset = tensor.offset + index * (height / count) * (stride === undefined ? perRow : stride * perRow / elements);
  return { ...tensor, key, shape: [height / count, ...rest], length, offset };
}

function transposed(tensor: Tensor, key: string): Tensor {
  const [height, width] = tensor.shape;
  if (height === undefined || width === undefined || tensor.shape.length !== 2) return { ...tensor, key };
  const [down = width, right = 1] = tensor.indirect?.strides ?? [];
  return { ...tensor, key, shape: [width, height], indirect: { ...tensor.indirect, strides: [right, down] } };
}
