import { z } from 'zod';
import { TABLE_RESIZES } from './positions';

/**
 * What an encoder's forward pass is made of, as plain data: it travels to the encoder's process, where `forwardGraph`
 * builds the pass from it.
 */

const count = z.number().int().positive();

/** Where a weight lies: a tensor of the encoder's state dict, or one of the equal parts that are stacked in it (q, k and v). */
const weightPlace = z.object({ key: z.string(), part: z.number().int().nonnegative() });
export type WeightPlace = z.infer<typeof weightPlace>;

/** By the builder's names: `patch.weight`, `norm1.bias`, ... Only what the encoder has. */
const weights = z.record(z.string(), weightPlace);

export const ACTIVATIONS = ['gelu', 'gelu_tanh', 'quick_gelu', 'silu', 'relu'] as const;

/** How rotary position embeddings turn queries and keys; `rotaryTables` does it. */
const rotary = z.object({
  theta: z.number().positive(),
  /** Which channels of a head are a pair: channel and channel + half, or neighbours. */
  pairs: z.enum(['halves', 'neighbours']),
  /** Which pairs turn with the row and which with the column; in turn begins with the column. */
  axes: z.enum(['rows-first', 'columns-first', 'in-turn']),
  /** Whether rows and columns have the same frequencies, or have one sequence dealt out to them. */
  frequencies: z.enum(['same', 'dealt']),
  coordinates: z.enum(['from-zero', 'from-one', 'centred']),
  /** There when coordinates that count from zero are stretched to a grid of so many rows and columns. */
  stretchedTo: z.number().positive().exactOptional(),
});
export type RotarySpec = z.infer<typeof rotary>;

/** What joins side x side patches to one token of a language model. */
const merger = z.object({
  /** An MLP of one or more layers over joined patches, as Qwen2-VL's and most projectors, GLM-4V's convolution with what follows it, or Llama 4's pixel shuffle. */
  kind: z.enum(['mlp', 'convolution', 'shuffle']),
  side: count,
  /** Of its output. */
  width: count,
  /** Inside its MLP. */
  inner: count,
  /** How an MLP's patches are joined: side by side unless told, by a linear layer (Mistral's), or averaged (Gemma 3's). */
  join: z.enum(['linear', 'mean']).exactOptional(),
  /** Where it has a norm: of what kind (from-one: of weights that count from 1), and its epsilon. */
  norm: z.enum(['layer', 'rms', 'rms-from-one']).exactOptional(),
  epsilon: z.number().nonnegative().exactOptional(),
  /** Whether an MLP's norm is over each patch before they are joined, or over what they are joined to: of patches unless told. */
  normed: z.enum(['patch', 'block']).exactOptional(),
  /** Between an MLP's layers; the exact GELU unless told. */
  activation: z.enum(ACTIVATIONS).exactOptional(),
  /** There when an MLP's one layer is stored (in, out). */
  transposed: z.literal(true).exactOptional(),
  /** There when an MLP takes not `features`, but the hidden states after these blocks side by side; -1 is what goes into the first. */
  states: z.array(z.number().int().min(-1)).readonly().exactOptional(),
  /** There when all tokens are taken, not only the patches. */
  tokens: z.literal('all').exactOptional(),
});
export type MergerSpec = z.infer<typeof merger>;

/** A vision transformer with a table of positions: CLIP, SigLIP, DINOv2, InternViT, ...; with rotary positions: Qwen2-VL, Pixtral, ... */
const vit = z.object({
  kind: z.literal('vit'),
  width: count,
  layers: count,
  heads: count,
  mlpSize: count,
  patchSize: count,
  /** Side of the square picture that is run, or of the usual one where pictures decide the grid. */
  imageSize: count,
  /** There when pictures of any size are taken whose rows and columns of patches are multiples of it. */
  gridMultiple: count.exactOptional(),
  /** There when the patch embedding is stored with so many frames, which a picture fills with copies of itself. */
  frames: count.exactOptional(),
  /** There when the table of positions is for another grid, and resized to the picture's. */
  table: z.object({ rows: count, columns: count, resize: z.enum(TABLE_RESIZES) }).exactOptional(),
  rotary: rotary.exactOptional(),
  /** There when tokens attend only within windows of so many patches a side, except in some blocks. */
  windows: z.object({ side: count, everywhere: z.array(z.number().int().nonnegative()).readonly() }).exactOptional(),
  /** Whether the patch embedding is stored as a linear layer over a patch's pixels, the channels of each side by side. */
  patchRows: z.boolean(),
  norm: z.enum(['layer', 'rms']),
  /** Whether blocks norm what their sub-layers give, not what they take. */
  normAfter: z.boolean(),
  finalNormKind: z.enum(['layer', 'rms']),
  epsilon: z.number().nonnegative(),
  activation: z.enum(ACTIVATIONS),
  /** Tokens before the patches: a class token and registers. */
  registers: z.number().int().nonnegative(),
  /** How many of these have a row in the table of positions, before the patches' unless told. */
  placedPrefix: z.number().int().nonnegative(),
  /** Whether those rows are after the patches', as Llama 4's. */
  placedLast: z.boolean(),
  /** The final norm: over every token (then `features` are normed), over the class token that is pooled, or both. */
  finalNorm: z.object({ features: z.boolean(), pooled: z.boolean() }),
  /** An attention pool of many queries, of a width of its own, before the final norm: CoCa's. */
  latents: z.object({ queries: count, width: count, heads: count }).exactOptional(),
  /** What gives one vector for the picture. */
  pooled: z.enum(['none', 'class', 'mean', 'attention']),
  /** Width of the space that the pooled vector is projected to; 0 when there is no projection. */
  projectedWidth: z.number().int().nonnegative(),
  /** Whether the projection is stored (in, out), the other way than linear layers are. */
  projectionTransposed: z.boolean(),
  /** There when the merger into the language model was taken in. */
  merger: merger.exactOptional(),
  /** Blocks whose hidden states have mergers of their own, for the language model's first layers. */
  deepstack: z.array(z.number().int().nonnegative()).readonly().exactOptional(),
  /** The module path before the number of a block. */
  blocks: z.string(),
  weights,
  /** Keys within a block. */
  block: weights,
});
export type VitSpec = z.infer<typeof vit>;

/** Llama 3.2 Vision's: pictures on square tiles, plain blocks, then gated ones. Weights are found under transformers' keys. */
const mllama = z.object({
  kind: z.literal('mllama'),
  width: count,
  heads: count,
  mlpSize: count,
  patchSize: count,
  /** Side of a tile, in pixels. */
  tileSize: count,
  /** Tiles that run for every picture, filled or not. */
  tiles: count,
  /** Rows and columns of tiles that pictures come on, as they are numbered from 1. */
  layouts: z.array(z.tuple([count, count]).readonly()).readonly(),
  plainBlocks: count,
  gatedBlocks: count,
  /** The plain blocks whose inputs are part of the features; their number stands for the last one's output. */
  featureBlocks: z.array(z.number().int().nonnegative()).readonly(),
  epsilon: z.number().nonnegative(),
  activation: z.enum(ACTIVATIONS),
  /** Width of the language model, there when the projector was taken in. */
  mergedWidth: count.exactOptional(),
});
export type MllamaSpec = z.infer<typeof mllama>;

/** Keys of a DaViT block's modules, within the spatial or the channel block. */
const davitBlock = z.object({ conv1: z.string(), norm1: z.string(), qkv: z.string(), out: z.string(), conv2: z.string(), norm2: z.string(), fc1: z.string(), fc2: z.string() });

/** DaViT's: stages, each of a convolution that lowers the grid, and of pairs of blocks, which attend within windows and among channels. */
const davit = z.object({
  kind: z.literal('davit'),
  stages: z.array(z.object({
    width: count, blocks: count, heads: count,
    /** Groups of channels that attend to each other. */
    groups: count,
    /** Of the convolution before the stage, which has padding of half its kernel. */
    kernel: count, stride: count,
    /** Whether the norm is before the convolution. */
    normFirst: z.boolean(),
  })).readonly(),
  /** Patches on a window's side. */
  window: count,
  /** Side of the usual square picture, in pixels. */
  imageSize: count,
  activation: z.enum(ACTIVATIONS),
  /** Of the convolution before a stage, within `convs.N`. */
  conv: z.string(),
  spatial: davitBlock,
  channel: davitBlock,
});
export type DavitSpec = z.infer<typeof davit>;

const qwenVl = z.object({ kind: z.literal('qwen-vl'), sizes: z.record(z.string(), z.number()) });

export const graphSpecSchema = z.discriminatedUnion('kind', [qwenVl, mllama, davit, vit]);
export type GraphSpec = z.infer<typeof graphSpecSchema>;
