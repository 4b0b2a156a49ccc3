import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { Hyperparameters } from './family';
import type { Grid } from './positions';

/** Hyperparameters as plain numbers by name, which is all that a graph needs of them. */
export type Sizes = Readonly<Record<string, number>>;

export function sizesOf(hyperparameters: Hyperparameters): Sizes {
  return Object.fromEntries([...hyperparameters].map(([name, { value }]) => [name, value]));
}

export function sizeOf(sizes: Sizes, name: string): number {
  const size = sizes[name];
  if (size === undefined) throw new Error(`The encoder's ${name} is not given.`);
  return size;
}

/** A part of the state dict that a graph multiplies with: a whole tensor, or some of its first dimension. */
export interface WeightPart {
  readonly key: string;
  /** Of the part. */
  readonly shape: readonly number[];
  /** Index of the part's first row along the tensor's first dimension; 0 when it is the whole tensor. */
  readonly firstRow: number;
}

/** Puts a weight into the graph as float32, however the graph gets at it. */
export type BindWeight = (part: WeightPart) => Value;

/** A table computed from stored ones before the graph is built, under a name that no stored tensor has. */
export interface DerivedTable {
  readonly key: string;
  readonly shape: readonly number[];
  /** The stored tensor that it comes from. */
  readonly from: string;
  readonly derive: (stored: Float32Array) => Float32Array;
}

/**
 * What `pool` can hand out. `features`: what the encoder hands on, the family's last hidden state (after the final norm
 * where its class norms every token), or what an attention pool with many queries makes of it. `pooled`: one vector for
 * the picture, the family's pooler output. `projected`: that in the space shared with text. `merged`: what the merger into
 * the language model makes of the features, where it was taken in.
 */
export const POOL_OUTPUTS = ['features', 'pooled', 'projected', 'merged', 'attn_pool.weights', 'attn_pool.head_weights'] as const;
export type PoolOutput = (typeof POOL_OUTPUTS)[number];

/** A hidden state: a row of `width` values for each token, of which the last are the patches of `grid`, row by row whatever order the family's own code has them in; and the heads of the block that gives it. */
export interface HiddenState {
  readonly grid: Grid;
  readonly width: number;
  readonly tokens: number;
  readonly heads: number;
}

/** Of an encoder whose hidden states differ from stage to stage and whose tokens attend within windows alone. */
export interface Stages {
  /** The hidden state after block `layer`, -1 for the embeddings. */
  stateAt(layer: number): HiddenState;
  /** Columns of an attention map: the places of a window. */
  readonly columns: number;
  /** The token at each place of the window of one, in block `layer`; -1 for padding. */
  windowOf(layer: number, token: number): readonly number[];
}

/** An output made of the hidden state after a block, such as Qwen3-VL's deepstack features. */
export interface BlockOutput {
  readonly name: string;
  /** The block whose hidden state it takes. */
  readonly layer: number;
  /** After the batch. */
  readonly shape: readonly number[];
  readonly build: (builder: GraphBuilder, weight: BindWeight, hidden: Value) => Value;
}

/**
 * A vision encoder's forward pass over one grid of patches as a chain of stages: embeddings, blocks 0 to layers - 1, pool.
 * Hidden states are (batch * tokens, width) between the stages, float32. `grid`, `width`, `tokens` and `heads` are those of the last
 * one, and of all where there are no `stages`.
 * Matrix products go through the builder's `product`, so that they can run in half precision.
 * Only operators that ONNX Runtime's CPU, CUDA, WebGPU, DirectML and CoreML providers have.
 */
export interface ForwardGraph extends HiddenState {
  readonly layers: number;
  /** Of one picture's pixels: channels, height and width. */
  readonly inputShape: readonly [number, number, number];
  readonly stages?: Stages;
  /** Tokens that are no patches (class token, registers); they come first. */
  readonly prefixTokens: number;
  /** How many of these, the first, are of no picture and in no `features`: padding that tokens attend to all the same. */
  readonly idleTokens: number;
  /** Queries of the attention pool; 0 when there is none. */
  readonly queries: number;
  /** Width of `features`. */
  readonly outputDim: number;
  /** The outputs that `pool` has, with their shapes after the batch. */
  readonly poolShapes: ReadonlyMap<PoolOutput, readonly number[]>;
  /** Earlier hidden states that `pool` takes besides the last: the blocks that they come after, -1 for the embeddings. */
  readonly pooledStates: readonly number[];
  readonly blockOutputs: readonly BlockOutput[];
  readonly derivedTables: readonly DerivedTable[];
  /** From pixel values (batch, ...inputShape). */
  embeddings(builder: GraphBuilder, weight: BindWeight, pixels: Value): Value;
  /** The module path before the keys of block `layer`; empty for one that takes more than its module's. */
  blockPath(layer: number): string;
  /** Blocks of one kind differ in nothing but their weights. */
  blockKind(layer: number): string;
  /** Block `layer`; its weights are asked for by their keys within the block. */
  block(builder: GraphBuilder, weight: BindWeight, hidden: Value, layer: number): Value;
  /** The attention map of one head of block `layer`, (batch, tokens, tokens) or (batch, tokens, stages.columns), from the block's input. Keys as in `block`. */
  attention(builder: GraphBuilder, weight: BindWeight, hidden: Value, layer: number, head: number): Value;
  /**
   * What is wanted of the pool, each (batch, ...poolShapes).
   * @param earlier the hidden states of `pooledStates`
   */
  pool(builder: GraphBuilder, weight: BindWeight, hidden: Value, wanted: readonly PoolOutput[], earlier: readonly Value[]): ReadonlyMap<PoolOutput, Value>;
}

/** The whole key of a block's weight. */
export function keyInBlock(graph: ForwardGraph, layer: number, key: string): string {
  const path = graph.blockPath(layer);
  return path === '' ? key : `${path}.${key}`;
}

/** The hidden state after block `layer`, -1 for the embeddings. */
export function stateAt(graph: ForwardGraph, layer: number): HiddenState {
  return graph.stages?.stateAt(layer) ?? graph;
}

/** The output that is the hidden state after block `layer`, -1 for the embeddings. */
export function stateName(layer: number): string {
  return layer < 0 ? 'embeddings' : `hidden_states.${layer}`;
}
