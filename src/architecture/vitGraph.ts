import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { BindWeight, BlockOutput, DerivedTable, ForwardGraph, PoolOutput } from './forwardGraph';
import type { VitSpec } from './graphSpec';
import { mergedByConvolution, mergedByMlp, mergedByShuffle, mergedGrid } from './merger';
import { resizePositions, type Grid } from './positions';
import { attentionWeights, gather } from './operators';
import { rotaryTables, type RotaryTables } from './rotary';
import { VitWeights } from './vitWeights';
import { inverseOrder, windowGroups, windowNumbers } from './windows';

/** Positions resized to the grid, under a name that no stored tensor has. */
const RESIZED_POSITIONS = 'positions.resized';

/**
 * The forward pass of a vision transformer (ViT, arXiv 2010.11929), with the parts that the families differ in: pre-norm,
 * registers, norms of queries and keys, layer scale, gated MLPs, norms before or after sub-layers, a final norm, pooling
 * and projection, rotary positions, windows. A part is there when its weights are. Tokens stay in the grid's order, row by
 * row: the orders in which Qwen's own code has them (blocks that the merger joins, windows) change no token's value.
 */
export function vitGraph(spec: VitSpec, grid: Grid): ForwardGraph {
  const { width, layers, heads, patchSize, imageSize, registers, placedPrefix, normAfter, finalNorm, latents, pooled } = spec;
  const patches = grid.rows * grid.columns;
  const inputShape = spec.gridMultiple === undefined ? [3, imageSize, imageSize] as const : [3, grid.rows * patchSize, grid.columns * patchSize] as const;
  const hasClass = spec.weights.class !== undefined;
  const prefixTokens = (hasClass ? 1 : 0) + registers;
  const tokens = prefixTokens + patches;
  const headDim = width / heads;

  const outer = (bind: BindWeight): VitWeights => new VitWeights(spec, spec.weights, bind);
  const inner = (bind: BindWeight): VitWeights => new VitWeights(spec, spec.block, bind);

  function embeddings(b: GraphBuilder, bind: BindWeight, pixels: Value): Value {
    const w = outer(bind);
    const bias = w.has('patch.bias') ? [w.get('patch.bias', [width])] : [];
    const maps = b.product('Conv', [pixels, kernel(b, w), ...bias], 'patch', { kernel_shape: [patchSize, patchSize], strides: [patchSize, patchSize] });
    const flat = b.node('Reshape', [maps, b.integers([-1, width, patches])], 'patch.flat');
    let embedded = b.node('Transpose', [flat], 'patch.rows', { perm: [0, 2, 1] });
    if (w.has('patchNorm.weight')) embedded = w.norm(b, 'patchNorm', embedded);
    const placed = w.has('positions');
    if (placed) {
      const table = spec.table === undefined ? w.get('positions', [patches, width], { first: spec.placedLast ? 0 : placedPrefix }) : bind({ key: RESIZED_POSITIONS, shape: [patches, width], firstRow: 0 });
      embedded = b.node('Add', [embedded, table], 'patch.placed');
    }
    const prefixed = (name: string, count: number, first: number): Value => {
      const rows = w.get(name, [count, width]);
      return placed && first < placedPrefix ? b.node('Add', [rows, w.get('positions', [count, width], { first: spec.placedLast ? patches + first : first })], `${name}.placed`) : rows;
    };
    const before = [...(hasClass ? [prefixed('class', 1, 0)] : []), ...(registers > 0 ? [prefixed('registers', registers, hasClass ? 1 : 0)] : [])];
    if (before.length > 0) {
      const prefix = before.length === 1 ? before[0] ?? '' : b.node('Concat', before, 'prefix.rows', { axis: 0 });
      const batch = b.node('Shape', [pixels], 'batch', { start: 0, end: 1 });
      const repeated = b.node('Expand', [prefix, b.node('Concat', [batch, b.integers([prefixTokens, width])], 'prefix.shape', { axis: 0 })], 'prefix');
      embedded = b.node('Concat', [repeated, embedded], 'tokens', { axis: 1 });
    }
    const rows = b.node('Reshape', [embedded, b.integers([-1, width])], 'embeddings.rows');
    return w.has('preNorm.weight') ? w.norm(b, 'preNorm', rows) : rows;
  }

  /** The patch embedding's kernel, (width, 3, patchSize, patchSize). */
  function kernel(b: GraphBuilder, w: VitWeights): Value {
    if (spec.frames !== undefined) {
      const frames = w.get('patch.weight', [width * 3, spec.frames, patchSize * patchSize]);
      return b.node('Reshape', [b.node('ReduceSum', [frames, b.integers([1])], 'patch.frames', { keepdims: 0 }), b.integers([width, 3, patchSize, patchSize])], 'patch.kernel');
    }
    if (!spec.patchRows) return w.get('patch.weight', [width, 3, patchSize, patchSize]);
    const rows = w.get('patch.weight', [width, patchSize * patchSize * 3]);
    const pixelwise = b.node('Reshape', [rows, b.integers([width, patchSize, patchSize, 3])], 'patch.pixelwise');
    return b.node('Transpose', [pixelwise], 'patch.kernel', { perm: [0, 3, 1, 2] });
  }

  /** What a sub-layer takes. */
  function taken(b: GraphBuilder, w: VitWeights, norm: string, hidden: Value): Value {
    return normAfter ? hidden : w.norm(b, norm, hidden);
  }

  /** What a sub-layer gives. */
  function given(b: GraphBuilder, w: VitWeights, norm: string, update: Value): Value {
    return normAfter ? w.norm(b, norm, update) : update;
  }

  function block(b: GraphBuilder, bind: BindWeight, hidden: Value, layer: number): Value {
    const w = inner(bind);
    const normed = taken(b, w, 'norm1', hidden);
    const [q, k, v] = [queries(b, w, normed, 'q'), queries(b, w, normed, 'k'), w.linear(b, 'v', width, width, normed)];
    const context = windowSide(layer) === undefined ? attend(b, tokens, q, k, v) : attendInWindows(b, windowSide(layer) ?? 0, q, k, v);
    const attended = added(b, w, hidden, 'scale1', given(b, w, 'norm1', w.linear(b, 'out', width, width, w.has('outNorm.weight') ? w.norm(b, 'outNorm', context) : context)));
    return added(b, w, attended, 'scale2', given(b, w, 'norm2', w.mlp(b, '', taken(b, w, 'norm2', attended))));
  }

  function added(b: GraphBuilder, w: VitWeights, hidden: Value, scale: string, update: Value): Value {
    const scaled = w.has(scale) ? b.node('Mul', [update, w.get(scale, [width])], `${scale}.scaled`) : update;
    return b.node('Add', [hidden, scaled], `${scale}.added`);
  }

  /** Queries or keys as rows (batch * tokens, width), normed over all heads together where the encoder does so. */
  function queries(b: GraphBuilder, w: VitWeights, normed: Value, name: 'q' | 'k'): Value {
    const projected = w.linear(b, name, width, width, normed);
    return rotated(b, w.has(`${name}Norm.weight`) ? w.norm(b, `${name}Norm`, projected, 'rms') : projected, heads, name);
  }

  let tables: RotaryTables | undefined;

  /** Rows (batch * tokens, count * headDim), each pair of channels turned by the angle of the token's place. */
  function rotated(b: GraphBuilder, rows: Value, count: number, label: string): Value {
    const { rotary } = spec;
    if (rotary === undefined) return rows;
    const table = (kind: keyof RotaryTables): Value => b.table(`rotary.${kind}`, [tokens, 1, headDim], () => (tables ??= rotaryTables(rotary, headDim, grid, prefixTokens))[kind]);
    const split = rotary.pairs === 'halves' ? [-1, tokens, count, 2, headDim / 2] : [-1, tokens, count, headDim / 2, 2];
    const axis = rotary.pairs === 'halves' ? 3 : 4;
    const byPair = b.node('Reshape', [rows, b.integers(split)], `${label}.pairs`);
    const [first = '', second = ''] = b.split(byPair, 2, axis, 1, `${label}.pair`);
    const byToken = (value: Value, name: string): Value => b.node('Reshape', [value, b.integers([-1, tokens, count, headDim])], `${label}.${name}`);
    const swapped = byToken(b.node('Concat', [second, first], `${label}.exchanged`, { axis }), 'swapped');
    const turned = b.node('Add', [
      b.node('Mul', [byToken(rows, 'straight'), table('cos')], `${label}.cos`),
      b.node('Mul', [swapped, table('sin')], `${label}.sin`),
    ], `${label}.turned`);
    return b.node('Reshape', [turned, b.integers([-1, count * headDim])], `${label}.rotated`);
  }

  /** The windows' side in block `layer`; undefined where every token attends to all. */
  function windowSide(layer: number): number | undefined {
    return spec.windows === undefined || spec.windows.everywhere.includes(layer) ? undefined : spec.windows.side;
  }

  /** From rows (batch * count, width) of queries, keys and values. */
  function attend(b: GraphBuilder, count: number, ...qkv: readonly [Value, Value, Value]): Value {
    return (b.style.fused ? fusedAttention : plainAttention)(b, count, ...qkv);
  }

  /** The same within windows: those of one shape together, as if they were pictures of a batch. */
  function attendInWindows(b: GraphBuilder, side: number, ...qkv: readonly [Value, Value, Value]): Value {
    const groups = windowGroups(grid, side);
    const batched = qkv.map(rows => b.node('Reshape', [rows, b.integers([-1, tokens, width])], 'windows.batched'));
    const contexts = groups.map(({ tokens: members, size }, group) => {
      const chosen = b.indices(`windows.${side}.${group}`, [members.length], () => members);
      const rows = (value: Value | undefined): Value => b.node('Reshape', [b.node('Gather', [value ?? '', chosen], 'windows.cut', { axis: 1 }), b.integers([-1, width])], 'windows.rows');
      const context = attend(b, size, rows(batched[0]), rows(batched[1]), rows(batched[2]));
      return b.node('Reshape', [context, b.integers([-1, members.length, width])], 'windows.context');
    });
    const joined = contexts.length === 1 ? contexts[0] ?? '' : b.node('Concat', contexts, 'windows.joined', { axis: 1 });
    const back = b.indices(`windows.${side}.back`, [tokens], () => inverseOrder(groups.flatMap(group => group.tokens)));
    return b.node('Reshape', [b.node('Gather', [joined, back], 'windows.ordered', { axis: 1 }), b.integers([-1, width])], 'windows.merged');
  }

  /** Rows (batch * rowCount, width) by head. */
  function byHead(b: GraphBuilder, rows: Value, rowCount: number, label: string, perm: readonly number[], split = { heads, headDim }): Value {
    return b.node('Transpose', [b.node('Reshape', [rows, b.integers([-1, rowCount, split.heads, split.headDim])], `${label}.by_head`)], `${label}.4d`, { perm });
  }

  function plainAttention(b: GraphBuilder, count: number, q: Value, k: Value, v: Value): Value {
    const weights = attentionWeights(b, 'attn', headDim, byHead(b, q, count, 'q', [0, 2, 1, 3]), byHead(b, k, count, 'k', [0, 2, 3, 1]));
    return gather(b, 'attn', weights, byHead(b, v, count, 'v', [0, 2, 1, 3]), width);
  }

  /** The same in one operator, which never holds a whole attention map. */
  function fusedAttention(b: GraphBuilder, count: number, ...qkv: readonly [Value, Value, Value]): Value {
    const flat = qkv.map(one => b.node('Reshape', [one, b.integers([-1, count, width])], 'attn.flat'));
    const context = b.product('MultiHeadAttention', flat, 'attn.fused', { num_heads: heads }, 'com.microsoft');
    return b.node('Reshape', [context, b.integers([-1, width])], 'attn.merged');
  }

  /** One head of queries or keys, (batch, tokens, headDim). Where they are normed, all heads are needed first. */
  function oneHead(b: GraphBuilder, w: VitWeights, normed: Value, name: 'q' | 'k', head: number): Value {
    const first = head * headDim;
    const rows = w.has(`${name}Norm.weight`)
      ? b.node('Slice', [queries(b, w, normed, name), b.integers([first]), b.integers([first + headDim]), b.integers([1])], `head.${name}.cut`)
      : rotated(b, w.linear(b, name, width, width, normed, { first, count: headDim }), 1, `head.${name}`);
    return b.node('Reshape', [rows, b.integers([-1, tokens, headDim])], `head.${name}`);
  }

  function attention(b: GraphBuilder, bind: BindWeight, hidden: Value, layer: number, head: number): Value {
    const w = inner(bind);
    const normed = taken(b, w, 'norm1', hidden);
    const q = oneHead(b, w, normed, 'q', head);
    const k = b.node('Transpose', [oneHead(b, w, normed, 'k', head)], 'head.kT', { perm: [0, 2, 1] });
    return attentionWeights(b, 'head', headDim, q, k, sameWindow(b, layer));
  }

  /** Which tokens attend to which in block `layer`, (tokens, tokens); undefined where all do. */
  function sameWindow(b: GraphBuilder, layer: number): Value | undefined {
    const side = windowSide(layer);
    if (side === undefined) return undefined;
    const numbers = (shape: readonly number[], name: string): Value => b.indices(`windows.${side}.${name}`, shape, () => windowNumbers(grid, side));
    return b.node('Equal', [numbers([tokens, 1], 'rows'), numbers([1, tokens], 'columns')], 'windows.same');
  }

  const outputDim = latents?.width ?? width;
  const rowCount = latents?.queries ?? tokens;
  const poolShapes = new Map<PoolOutput, readonly number[]>([['features', [rowCount, outputDim]]]);
  if (pooled !== 'none') poolShapes.set('pooled', [outputDim]);
  const projection = spec.weights.projection;
  const projectedWidth = spec.projectedWidth;
  if (projection !== undefined && projectedWidth > 0) poolShapes.set('projected', [projectedWidth]);
  const { merger } = spec;
  const mergedShape = merger && [merger.tokens === 'all' ? tokens : mergedGrid(grid, merger.side).rows * mergedGrid(grid, merger.side).columns, merger.width];
  /** What the merger takes besides the last hidden state; no block is a pooled state twice. */
  const pooledStates = [...new Set(merger?.states ?? [])].filter(layer => layer !== layers - 1);
  if (mergedShape !== undefined) poolShapes.set('merged', mergedShape);
  const probes = latents?.queries ?? (pooled === 'attention' ? 1 : 0);
  if (probes > 0) poolShapes.set('attn_pool.weights', [probes, tokens]).set('attn_pool.head_weights', [latents?.heads ?? heads, probes, tokens]);

  function pool(b: GraphBuilder, bind: BindWeight, hidden: Value, wanted: readonly PoolOutput[], earlier: readonly Value[]): ReadonlyMap<PoolOutput, Value> {
    const w = outer(bind);
    const outputs = new Map<PoolOutput, Value>();
    const putWeights = (weights: Value): void => {
      if (wanted.includes('attn_pool.weights')) outputs.set('attn_pool.weights', b.node('ReduceMean', [weights], 'attn_pool.mean', { axes: [1], keepdims: 0 }));
      if (wanted.includes('attn_pool.head_weights')) outputs.set('attn_pool.head_weights', weights);
    };
    const gathered = latents === undefined ? hidden : latentRows(b, w, hidden, latents, putWeights);
    const rows = finalNorm.features ? w.norm(b, 'finalNorm', gathered, spec.finalNormKind, outputDim) : gathered;
    const features = b.node('Reshape', [rows, b.integers([-1, rowCount, outputDim])], 'features.batched');
    if (wanted.includes('features')) outputs.set('features', features);
    if (merger !== undefined && wanted.includes('merged')) {
      const taken = merger.states === undefined ? features : statesBeside(b, merger.states, hidden, earlier);
      outputs.set('merged', b.node('Reshape', [merged(b, w, merger, taken), b.integers([-1, ...mergedShape ?? []])], 'merged.batched'));
    }
    const vector = ['pooled', 'projected'].some(name => wanted.some(one => one === name));
    let one: Value | undefined;
    if (pooled === 'attention') {
      const weights = probeWeights(b, w, rows);
      putWeights(weights);
      if (vector) one = probeVector(b, w, rows, weights);
    } else if (vector) {
      one = pooled === 'mean' ? meanOfPatches(b, features) : b.node('Gather', [features, b.integer(0)], 'class.row', { axis: 1 });
      if (finalNorm.pooled) one = w.norm(b, 'finalNorm', one, spec.finalNormKind, outputDim);
    }
    if (one !== undefined && wanted.includes('pooled')) outputs.set('pooled', one);
    if (one !== undefined && wanted.includes('projected')) {
      const transposed = spec.projectionTransposed;
      const matrix = w.get('projection', transposed ? [outputDim, projectedWidth] : [projectedWidth, outputDim]);
      const bias = w.has('projection.bias') ? [w.get('projection.bias', [projectedWidth])] : [];
      outputs.set('projected', b.product('Gemm', [one, matrix, ...bias], 'projection', { transB: transposed ? 0 : 1 }));
    }
    return outputs;
  }

  /** OpenCLIP's AttentionalPooler (open_clip/transformer.py): normed queries attend to normed tokens. Rows (batch * queries, latents.width). */
  function latentRows(b: GraphBuilder, w: VitWeights, hidden: Value, { queries: count, width: size, heads: parts }: NonNullable<typeof latents>, onWeights: (weights: Value) => void): Value {
    const split = { heads: parts, headDim: size / parts };
    const tokenRows = w.norm(b, 'pool.tokenNorm', hidden);
    const queryRows = w.norm(b, 'pool.queryNorm', w.get('pool.probe', [count, size]), 'layer', size);
    const q = byHead(b, w.linear(b, 'pool.q', size, size, queryRows), count, 'pool.q', [0, 2, 1, 3], split);
    const k = byHead(b, w.linear(b, 'pool.k', size, width, tokenRows), tokens, 'pool.k', [0, 2, 3, 1], split);
    const v = byHead(b, w.linear(b, 'pool.v', size, width, tokenRows), tokens, 'pool.v', [0, 2, 1, 3], split);
    const weights = attentionWeights(b, 'pool', split.headDim, q, k);
    onWeights(weights);
    return w.linear(b, 'pool.out', size, size, gather(b, 'pool', weights, v, size));
  }

  /** The hidden states after these blocks, channels side by side: (batch, tokens, width * states). */
  function statesBeside(b: GraphBuilder, states: readonly number[], hidden: Value, earlier: readonly Value[]): Value {
    const batched = states.map(layer => b.node('Reshape', [layer === layers - 1 ? hidden : earlier[pooledStates.indexOf(layer)] ?? '', b.integers([-1, tokens, width])], 'merger.state'));
    return batched.length === 1 ? batched[0] ?? '' : b.node('Concat', batched, 'merger.states', { axis: 2 });
  }

  /** What the merger makes of (batch, tokens, width), or of so many times that width. */
  function merged(b: GraphBuilder, w: VitWeights, spec: NonNullable<typeof merger>, taken: Value): Value {
    const size = width * (spec.states?.length ?? 1);
    const rows = b.node('Reshape', [spec.tokens === 'all' ? taken : onlyPatches(b, taken), b.integers([-1, size])], 'merger.taken');
    switch (spec.kind) {
      case 'mlp': return mergedByMlp(b, w, 'merger', spec, grid, size, rows);
      case 'convolution': return mergedByConvolution(b, w, spec, grid, width, rows);
      case 'shuffle': return mergedByShuffle(b, w, spec, grid, width, rows);
    }
  }

  /** Of (batch, tokens, width) those that are patches. */
  function onlyPatches(b: GraphBuilder, features: Value): Value {
    return prefixTokens === 0 ? features : b.node('Slice', [features, b.integers([prefixTokens]), b.integers([tokens]), b.integers([1])], 'patches');
  }

  function meanOfPatches(b: GraphBuilder, features: Value): Value {
    return b.node('ReduceMean', [onlyPatches(b, features)], 'patches.mean', { axes: [1], keepdims: 0 });
  }

  /** How a learnt query attends to the tokens: (batch, heads, 1, tokens). */
  function probeWeights(b: GraphBuilder, w: VitWeights, rows: Value): Value {
    const probe = w.get('pool.probe', [1, width]);
    const q = byHead(b, w.has('pool.q.weight') ? w.linear(b, 'pool.q', width, width, probe) : probe, 1, 'pool.q', [0, 2, 1, 3]);
    const k = byHead(b, w.linear(b, 'pool.k', width, width, rows), tokens, 'pool.k', [0, 2, 3, 1]);
    return attentionWeights(b, 'pool', headDim, q, k);
  }

  /** What was gathered; plus an MLP of its norm where there is one, as in SiglipMultiheadAttentionPoolingHead. */
  function probeVector(b: GraphBuilder, w: VitWeights, rows: Value, weights: Value): Value {
    const v = byHead(b, w.linear(b, 'pool.v', width, width, rows), tokens, 'pool.v', [0, 2, 1, 3]);
    const gathered = w.linear(b, 'pool.out', width, width, gather(b, 'pool', weights, v, width));
    if (!w.has('pool.norm.weight')) return gathered;
    return b.node('Add', [gathered, w.mlp(b, 'pool.', w.norm(b, 'pool.norm', gathered))], 'pool.vector');
  }

  /** Qwen3-VL's deepstack: what other mergers make of hidden states on the way. */
  const blockOutputs = (spec.deepstack ?? []).flatMap((layer, index): BlockOutput[] => merger === undefined || mergedShape === undefined ? [] : [{
    name: `deepstack.${index}`, layer, shape: mergedShape,
    build: (b, bind, hidden) => b.node('Reshape', [mergedByMlp(b, outer(bind), `deepstack.${index}`, { ...merger, normed: 'block' }, grid, width, hidden), b.integers([-1, ...mergedShape])], `deepstack.${index}.batched`),
  }]);

  return {
    layers, heads, width, inputShape, grid, prefixTokens, idleTokens: 0, tokens, pooledStates,
    queries: probes, outputDim, poolShapes, blockOutputs,
    derivedTables: positionTable(spec, grid),
    blockPath: layer => `${spec.blocks}.${layer}`,
    blockKind: layer => (windowSide(layer) === undefined ? 'everywhere' : 'windows'),
    embeddings, block, attention, pool,
  };
}

function positionTable({ table, width, weights: { positions } }: VitSpec, grid: Grid): DerivedTable[] {
  if (table === undefined || positions === undefined) return [];
  return [{ key: RESIZED_POSITIONS, shape: [grid.rows * grid.columns, width], from: positions.key, derive: stored => resizePositions(stored, width, table, grid, table.resize) }];
}
