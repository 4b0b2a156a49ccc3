import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { BindWeight, ForwardGraph, PoolOutput } from './forwardGraph';
import type { MllamaSpec } from './graphSpec';
import { activation, attend, attentionWeights, layerNorm, linear } from './operators';
import type { Grid } from './positions';

/** Of the norms before and after the plain blocks; the class leaves them PyTorch's. */
const OUTER_EPSILON = 1e-5;
/** Tiles are padded to a multiple of so many tokens. */
const TOKEN_MULTIPLE = 8;

/**
 * The forward pass of MllamaVisionModel (transformers, models/mllama/modeling_mllama.py) over a picture on its canvas of tiles.
 *
 * The class always runs all tiles. What hides padding and tiles that the picture does not fill is the product of two masks: it
 * hides them from each other, while the picture's own tokens attend to them. So they are in the pass; as idle tokens they come
 * first, then the tiles' class tokens, then the patches, row by row over the whole canvas.
 */
export function mllamaGraph(spec: MllamaSpec, grid: Grid): ForwardGraph {
  const { width, heads, mlpSize, patchSize, tiles, plainBlocks, gatedBlocks } = spec;
  const headDim = width / heads;
  const side = spec.tileSize / patchSize;
  const layout = { rows: grid.rows / side, columns: grid.columns / side };
  const filled = layout.rows * layout.columns;
  /** Of a tile: its patches, with its class token, and with padding. There is always padding: no square is 7 more than a multiple of 8. */
  const patches = side * side;
  const placed = patches + 1;
  const padded = Math.ceil(placed / TOKEN_MULTIPLE) * TOKEN_MULTIPLE;
  const tokens = tiles * padded;
  const seen = filled * placed;
  const idle = tokens - seen;
  /** The row of the tile tables: 0 is for no picture. */
  const layoutNumber = 1 + spec.layouts.findIndex(([rows, columns]) => rows === layout.rows && columns === layout.columns);
  const featureWidth = width * (1 + spec.featureBlocks.length);

  /** The class's order of tokens, tile by tile with padding at the end of each, by number of the tokens here. */
  function classOrder(): number[] {
    const at = (tile: number, token: number): number => tile * padded + token;
    const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
    return [
      ...numbers(tiles).flatMap(tile => numbers(padded).slice(tile < filled ? placed : 0).map(token => at(tile, token))),
      ...numbers(filled).map(tile => at(tile, 0)),
      ...patchPlaces().map(({ tile, patch }) => at(tile, 1 + patch)),
    ];
  }

  /** The tile of each of the canvas's patches, and its number there. */
  function patchPlaces(): { readonly tile: number; readonly patch: number }[] {
    return Array.from({ length: grid.rows * grid.columns }, (_, index) => {
      const [row, column] = [Math.floor(index / grid.columns), index % grid.columns];
      return { tile: Math.floor(row / side) * layout.columns + Math.floor(column / side), patch: row % side * side + column % side };
    });
  }

  /** The canvas's patches tile by tile. */
  function tileOrder(): number[] {
    const order: number[] = [];
    for (const [index, { tile, patch }] of patchPlaces().entries()) order[tile * patches + patch] = index;
    return order;
  }

  function gate(b: GraphBuilder, weight: BindWeight, key: string): Value {
    return b.node('Tanh', [weight({ key, shape: [1], firstRow: 0 })], `${key}.tanh`);
  }

  /** What the layout adds to every token of a tile, (tiles, 1, width). */
  function tileEmbedding(b: GraphBuilder, weight: BindWeight, name: string): Value {
    const row = weight({ key: `${name}.embedding.weight`, shape: [1, tiles * width], firstRow: layoutNumber });
    return b.node('Mul', [b.node('Reshape', [row, b.integers([tiles, 1, width])], `${name}.by_tile`), gate(b, weight, `${name}.gate`)], name);
  }

  function embeddings(b: GraphBuilder, weight: BindWeight, pixels: Value): Value {
    const batch = b.node('Shape', [pixels], 'batch', { start: 0, end: 1 });
    const repeated = (value: Value, shape: readonly number[], label: string): Value =>
      b.node('Expand', [value, b.node('Concat', [batch, b.integers(shape)], `${label}.shape`, { axis: 0 })], label);

    const kernel = weight({ key: 'patch_embedding.weight', shape: [width, 3, patchSize, patchSize], firstRow: 0 });
    const maps = b.product('Conv', [pixels, kernel], 'patch', { kernel_shape: [patchSize, patchSize], strides: [patchSize, patchSize] });
    const rows = b.node('Transpose', [b.node('Reshape', [maps, b.integers([-1, width, filled * patches])], 'patch.flat')], 'patch.rows', { perm: [0, 2, 1] });
    const byTile = b.node('Gather', [rows, b.indices('tiles.order', [filled * patches], tileOrder)], 'tiles.patches', { axis: 1 });
    const own = b.node('Reshape', [byTile, b.integers([-1, filled, patches, width])], 'tiles.filled');
    // A tile that the picture does not fill is all zeros, and the patch embedding has no bias.
    const all = filled === tiles ? own : b.node('Concat', [own, repeated(b.scalar(0), [tiles - filled, patches, width], 'tiles.empty')], 'tiles', { axis: 1 });
    const told = b.node('Add', [all, tileEmbedding(b, weight, 'pre_tile_positional_embedding')], 'tiles.told');
    const classes = repeated(weight({ key: 'class_embedding', shape: [width], firstRow: 0 }), [tiles, 1, width], 'classes');
    const together = b.node('Concat', [classes, told], 'tiles.tokens', { axis: 2 });
    const normed = layerNorm(b, weight, 'layernorm_pre', width, OUTER_EPSILON, b.node('Add', [together, positions(b, weight)], 'tiles.placed'));
    const whole = b.node('Concat', [normed, repeated(b.scalar(0), [tiles, padded - placed, width], 'padding')], 'tiles.padded', { axis: 2 });
    const flat = b.node('Reshape', [whole, b.integers([-1, tokens, width])], 'tiles.flat');
    const ordered = b.node('Gather', [flat, b.indices('tokens.order', [tokens], classOrder)], 'tokens', { axis: 1 });
    return b.node('Reshape', [ordered, b.integers([-1, width])], 'embeddings.rows');
  }

  /** Two tables, the one for any tile and the one for the layout's tiles, between which a gate decides: (tiles, placed, width). */
  function positions(b: GraphBuilder, weight: BindWeight): Value {
    const name = 'gated_positional_embedding';
    const share = gate(b, weight, `${name}.gate`);
    const anyTile = weight({ key: `${name}.embedding`, shape: [placed, width], firstRow: 0 });
    const row = weight({ key: `${name}.tile_embedding.weight`, shape: [1, tiles * placed * width], firstRow: layoutNumber });
    const ofLayout = b.node('Reshape', [row, b.integers([tiles, placed, width])], 'positions.by_tile');
    return b.node('Add', [
      b.node('Mul', [anyTile, b.node('Sub', [b.scalar(1), share], 'positions.rest')], 'positions.any'),
      b.node('Mul', [ofLayout, share], 'positions.layout'),
    ], 'positions');
  }

  /** What block `layer` takes: before the first gated one come a norm and the tile embeddings once more. */
  function entering(b: GraphBuilder, weight: BindWeight, hidden: Value, layer: number): Value {
    if (layer !== plainBlocks) return hidden;
    const normed = b.node('Reshape', [layerNorm(b, weight, 'layernorm_post', width, OUTER_EPSILON, hidden), b.integers([-1, tokens, width])], 'gated.normed');
    const byTile = b.node('Reshape', [tileEmbedding(b, weight, 'post_tile_positional_embedding'), b.integers([tiles, width])], 'gated.by_tile');
    const tileOf = b.indices('tokens.tiles', [tokens], () => classOrder().map(place => Math.floor(place / padded)));
    const told = b.node('Add', [normed, b.node('Gather', [byTile, tileOf], 'gated.tiles', { axis: 0 })], 'gated.told');
    return b.node('Reshape', [told, b.integers([-1, width])], 'gated.rows');
  }

  /** Before a block's own keys, where they are not asked for within it. */
  function keysOf(layer: number): string {
    return layer === plainBlocks ? `${blockModule(layer)}.` : '';
  }

  function blockModule(layer: number): string {
    return layer < plainBlocks ? `transformer.layers.${layer}` : `global_transformer.layers.${layer - plainBlocks}`;
  }

  /** Queries, keys or values without a bias, of all heads or one: (batch, tokens, count). */
  function project(b: GraphBuilder, weight: BindWeight, path: string, normed: Value, some = { first: 0, count: width }): Value {
    const matrix = weight({ key: `${path}.weight`, shape: [some.count, width], firstRow: some.first });
    return b.node('Reshape', [b.product('Gemm', [normed, matrix], path, { transB: 1 }), b.integers([-1, tokens, some.count])], `${path}.batched`);
  }

  function block(b: GraphBuilder, weight: BindWeight, before: Value, layer: number): Value {
    const at = keysOf(layer);
    const hidden = entering(b, weight, before, layer);
    const gated = (update: Value, key: string): Value => (layer < plainBlocks ? update : b.node('Mul', [update, gate(b, weight, at + key)], `${key}.gated`));
    const normed = layerNorm(b, weight, `${at}input_layernorm`, width, spec.epsilon, hidden);
    const [q = '', k = '', v = ''] = ['q', 'k', 'v'].map(name => project(b, weight, `${at}self_attn.${name}_proj`, normed));
    const out = weight({ key: `${at}self_attn.o_proj.weight`, shape: [width, width], firstRow: 0 });
    const attended = b.node('Add', [hidden, gated(b.product('Gemm', [context(b, q, k, v), out], 'attn.out', { transB: 1 }), 'gate_attn')], 'attended');
    const inner = linear(b, weight, `${at}mlp.fc1`, mlpSize, width, layerNorm(b, weight, `${at}post_attention_layernorm`, width, spec.epsilon, attended));
    return b.node('Add', [attended, gated(linear(b, weight, `${at}mlp.fc2`, width, mlpSize, activation(b, spec.activation, inner)), 'gate_ffn')], 'block');
  }

  /** Idle tokens attend to the picture's, these to all. Rows (batch * tokens, width). */
  function context(b: GraphBuilder, q: Value, k: Value, v: Value): Value {
    const cut = (value: Value, first: number, end: number, label: string): Value => b.node('Slice', [value, b.integers([first]), b.integers([end]), b.integers([1])], label);
    const seenOnly = (value: Value, label: string): Value => cut(value, idle, tokens, label);
    const contexts = [
      attend(b, spec, cut(q, 0, idle, 'q.idle'), seenOnly(k, 'k.seen'), seenOnly(v, 'v.seen'), idle, seen),
      attend(b, spec, seenOnly(q, 'q.seen'), k, v, seen, tokens),
    ];
    return b.node('Reshape', [b.node('Concat', contexts, 'attn.contexts', { axis: 1 }), b.integers([-1, width])], 'attn.merged');
  }

  function attention(b: GraphBuilder, weight: BindWeight, before: Value, layer: number, head: number): Value {
    const at = keysOf(layer);
    const normed = layerNorm(b, weight, `${at}input_layernorm`, width, spec.epsilon, entering(b, weight, before, layer));
    const some = { first: head * headDim, count: headDim };
    const q = project(b, weight, `${at}self_attn.q_proj`, normed, some);
    const k = b.node('Transpose', [project(b, weight, `${at}self_attn.k_proj`, normed, some)], 'head.kT', { perm: [0, 2, 1] });
    const idleness = (shape: readonly number[], label: string): Value => b.indices(`tokens.idle.${label}`, shape, () => Array.from({ length: tokens }, (_, token) => Number(token < idle)));
    const both = b.node('Mul', [idleness([tokens, 1], 'rows'), idleness([1, tokens], 'columns')], 'tokens.both_idle');
    return attentionWeights(b, 'head', headDim, q, k, b.node('Equal', [both, b.integer(0)], 'tokens.allowed'));
  }

  /** The last hidden state of the tokens that are seen, and beside it the earlier ones, whose channels take turns. */
  function features(b: GraphBuilder, hidden: Value, earlier: readonly Value[]): Value {
    const own = (state: Value, label: string): Value =>
      b.node('Slice', [b.node('Reshape', [state, b.integers([-1, tokens, width])], `${label}.batched`), b.integers([idle]), b.integers([tokens]), b.integers([1])], `${label}.seen`);
    const last = own(hidden, 'last');
    if (earlier.length === 0) return last;
    const columns = earlier.map((state, index) => b.node('Reshape', [own(state, `earlier.${index}`), b.integers([-1, seen, width, 1])], `earlier.${index}.column`));
    const stacked = b.node('Reshape', [b.node('Concat', columns, 'earlier.stacked', { axis: 3 }), b.integers([-1, seen, featureWidth - width])], 'earlier');
    return b.node('Concat', [last, stacked], 'features.joined', { axis: 2 });
  }

  const { mergedWidth } = spec;
  const poolShapes = new Map<PoolOutput, readonly number[]>([['features', [seen, featureWidth]]]);
  if (mergedWidth !== undefined) poolShapes.set('merged', [seen, mergedWidth]);

  function pool(b: GraphBuilder, weight: BindWeight, hidden: Value, wanted: readonly PoolOutput[], earlier: readonly Value[]): ReadonlyMap<PoolOutput, Value> {
    const outputs = new Map<PoolOutput, Value>();
    if (!wanted.includes('features') && !wanted.includes('merged')) return outputs;
    const all = features(b, hidden, earlier);
    if (wanted.includes('features')) outputs.set('features', all);
    if (mergedWidth !== undefined && wanted.includes('merged')) {
      const rows = linear(b, weight, 'multi_modal_projector', mergedWidth, featureWidth, b.node('Reshape', [all, b.integers([-1, featureWidth])], 'features.rows'));
      outputs.set('merged', b.node('Reshape', [rows, b.integers([-1, seen, mergedWidth])], 'merged.batched'));
    }
    return outputs;
  }

  return {
    layers: plainBlocks + gatedBlocks, heads, width,
    inputShape: [3, grid.rows * patchSize, grid.columns * patchSize], grid,
    prefixTokens: tokens - filled * patches, idleTokens: idle, tokens,
    queries: 0, outputDim: featureWidth,
    poolShapes, blockOutputs: [],
    pooledStates: spec.featureBlocks.map(layer => layer - 1),
    derivedTables: [],
    blockPath: layer => (layer === plainBlocks ? '' : blockModule(layer)),
    blockKind: layer => (layer < plainBlocks ? 'plain' : layer === plainBlocks ? 'first gated' : 'gated'),
    embeddings, block, attention, pool,
  };
}
