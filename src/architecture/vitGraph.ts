import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { BindWeight, ForwardGraph, PoolOutput } from './forwardGraph';
import type { VitSpec, WeightPlace } from './graphSpec';
import { activation, attentionWeights, gather, rmsNorm } from './operators';

/**
 * The forward pass of a vision transformer that norms what its sub-layers take (ViT, arXiv 2010.11929), with the parts
 * that the families differ in: pre-norm, registers, norms of queries and keys, layer scale, gated MLPs, a final norm,
 * pooling and projection. A part is there when its weights are.
 */
export function vitGraph(spec: VitSpec): ForwardGraph {
  const { width, layers, heads, mlpSize, patchSize, imageSize, registers, finalNorm, pooled } = spec;
  const side = Math.floor(imageSize / patchSize);
  const grid = { rows: side, columns: side };
  const patches = side * side;
  const hasClass = spec.weights.class !== undefined;
  const prefixTokens = (hasClass ? 1 : 0) + registers;
  const tokens = prefixTokens + patches;
  const headDim = width / heads;

  /** The weights by the builder's names; of a block, their keys are within it. */
  class Weights {
    constructor(private readonly places: Readonly<Record<string, WeightPlace>>, private readonly bind: BindWeight) {}

    has(name: string): boolean {
      return this.places[name] !== undefined;
    }

    /** Some rows of a weight of `all` rows; leading dimensions of 1 do not count. */
    get(name: string, shape: readonly number[], { first = 0, all = shape[0] ?? 1 }: { readonly first?: number; readonly all?: number } = {}): Value {
      const place = this.places[name];
      if (place === undefined) throw new Error(`The encoder has no weight ${name}.`);
      return this.bind({ key: place.key, shape, firstRow: place.part * all + first });
    }

    /** x W^T, with the bias where there is one, for x (rows, inputs); or only the outputs of `some`. */
    linear(b: GraphBuilder, name: string, all: number, inputs: number, input: Value, some = { first: 0, count: all }): Value {
      const rows = { first: some.first, all };
      const bias = this.has(`${name}.bias`) ? [this.get(`${name}.bias`, [some.count], rows)] : [];
      return b.product('Gemm', [input, this.get(`${name}.weight`, [some.count, inputs], rows), ...bias], name, { transB: 1 });
    }

    norm(b: GraphBuilder, name: string, input: Value, kind = spec.norm): Value {
      const scale = this.get(`${name}.weight`, [width]);
      if (kind === 'rms') return rmsNorm(b, scale, spec.epsilon, input, name);
      return b.node('LayerNormalization', [input, scale, this.get(`${name}.bias`, [width])], name, { axis: -1, epsilon: { float: spec.epsilon } });
    }

    mlp(b: GraphBuilder, prefix: string, input: Value): Value {
      const inner = this.linear(b, `${prefix}fc1`, mlpSize, width, input);
      if (!this.has(`${prefix}gate.weight`)) return this.linear(b, `${prefix}fc2`, width, mlpSize, activation(b, spec.activation, inner));
      const gate = activation(b, spec.activation, this.linear(b, `${prefix}gate`, mlpSize, width, input));
      return this.linear(b, `${prefix}fc2`, width, mlpSize, b.node('Mul', [gate, inner], 'mlp.gated'));
    }
  }
  const outer = (bind: BindWeight): Weights => new Weights(spec.weights, bind);
  const inner = (bind: BindWeight): Weights => new Weights(spec.block, bind);

  function embeddings(b: GraphBuilder, bind: BindWeight, pixels: Value): Value {
    const w = outer(bind);
    const kernel = w.get('patch.weight', [width, 3, patchSize, patchSize]);
    const bias = w.has('patch.bias') ? [w.get('patch.bias', [width])] : [];
    const maps = b.product('Conv', [pixels, kernel, ...bias], 'patch', { kernel_shape: [patchSize, patchSize], strides: [patchSize, patchSize] });
    const flat = b.node('Reshape', [maps, b.integers([-1, width, patches])], 'patch.flat');
    let embedded = b.node('Transpose', [flat], 'patch.rows', { perm: [0, 2, 1] });
    // The first row of the table is the class token's.
    const placed = w.has('positions');
    if (placed) embedded = b.node('Add', [embedded, w.get('positions', [patches, width], { first: hasClass ? 1 : 0 })], 'patch.placed');
    const before: Value[] = [];
    if (hasClass) {
      const token = w.get('class', [1, width]);
      before.push(placed ? b.node('Add', [token, w.get('positions', [1, width])], 'class.placed') : token);
    }
    if (registers > 0) before.push(w.get('registers', [registers, width]));
    if (before.length > 0) {
      const prefix = before.length === 1 ? before[0] ?? '' : b.node('Concat', before, 'prefix.rows', { axis: 0 });
      const batch = b.node('Shape', [pixels], 'batch', { start: 0, end: 1 });
      const repeated = b.node('Expand', [prefix, b.node('Concat', [batch, b.integers([prefixTokens, width])], 'prefix.shape', { axis: 0 })], 'prefix');
      embedded = b.node('Concat', [repeated, embedded], 'tokens', { axis: 1 });
    }
    const rows = b.node('Reshape', [embedded, b.integers([-1, width])], 'embeddings.rows');
    return w.has('preNorm.weight') ? w.norm(b, 'preNorm', rows) : rows;
  }

  function block(b: GraphBuilder, bind: BindWeight, hidden: Value): Value {
    const w = inner(bind);
    const normed = w.norm(b, 'norm1', hidden);
    const [q, k, v] = [queries(b, w, normed, 'q'), queries(b, w, normed, 'k'), w.linear(b, 'v', width, width, normed)];
    const context = (b.style.fused ? fusedAttention : plainAttention)(b, q, k, v);
    const attended = added(b, w, hidden, 'scale1', w.linear(b, 'out', width, width, context));
    return added(b, w, attended, 'scale2', w.mlp(b, '', w.norm(b, 'norm2', attended)));
  }

  function added(b: GraphBuilder, w: Weights, hidden: Value, scale: string, update: Value): Value {
    const scaled = w.has(scale) ? b.node('Mul', [update, w.get(scale, [width])], `${scale}.scaled`) : update;
    return b.node('Add', [hidden, scaled], `${scale}.added`);
  }

  /** Queries or keys as rows (batch * tokens, width), normed over all heads together where the encoder does so. */
  function queries(b: GraphBuilder, w: Weights, normed: Value, name: 'q' | 'k'): Value {
    const projected = w.linear(b, name, width, width, normed);
    return w.has(`${name}Norm.weight`) ? w.norm(b, `${name}Norm`, projected, 'rms') : projected;
  }

  /** Rows (batch * rowCount, width) by head. */
  function byHead(b: GraphBuilder, rows: Value, rowCount: number, label: string, perm: readonly number[]): Value {
    return b.node('Transpose', [b.node('Reshape', [rows, b.integers([-1, rowCount, heads, headDim])], `${label}.by_head`)], `${label}.4d`, { perm });
  }

  function plainAttention(b: GraphBuilder, q: Value, k: Value, v: Value): Value {
    const weights = attentionWeights(b, 'attn', headDim, byHead(b, q, tokens, 'q', [0, 2, 1, 3]), byHead(b, k, tokens, 'k', [0, 2, 3, 1]));
    return gather(b, 'attn', weights, byHead(b, v, tokens, 'v', [0, 2, 1, 3]), width);
  }

  /** The same in one operator, which never holds a whole attention map. */
  function fusedAttention(b: GraphBuilder, ...qkv: readonly [Value, Value, Value]): Value {
    const flat = qkv.map(one => b.node('Reshape', [one, b.integers([-1, tokens, width])], 'attn.flat'));
    const context = b.product('MultiHeadAttention', flat, 'attn.fused', { num_heads: heads }, 'com.microsoft');
    return b.node('Reshape', [context, b.integers([-1, width])], 'attn.merged');
  }

  /** One head of queries or keys, (batch, tokens, headDim). Where they are normed, all heads are needed first. */
  function oneHead(b: GraphBuilder, w: Weights, normed: Value, name: 'q' | 'k', head: number): Value {
    const first = head * headDim;
    const rows = w.has(`${name}Norm.weight`)
      ? b.node('Slice', [queries(b, w, normed, name), b.integers([first]), b.integers([first + headDim]), b.integers([1])], `head.${name}.cut`)
      : w.linear(b, name, width, width, normed, { first, count: headDim });
    return b.node('Reshape', [rows, b.integers([-1, tokens, headDim])], `head.${name}`);
  }

  function attention(b: GraphBuilder, bind: BindWeight, hidden: Value, head: number): Value {
    const w = inner(bind);
    const normed = w.norm(b, 'norm1', hidden);
    const q = oneHead(b, w, normed, 'q', head);
    const k = b.node('Transpose', [oneHead(b, w, normed, 'k', head)], 'head.kT', { perm: [0, 2, 1] });
    return attentionWeights(b, 'head', headDim, q, k);
  }

  const poolShapes = new Map<PoolOutput, readonly number[]>([['features', [tokens, width]]]);
  if (pooled !== 'none') poolShapes.set('pooled', [width]);
  const projection = spec.weights.projection;
  const projectedWidth = spec.projectedWidth;
  if (projection !== undefined && projectedWidth > 0) poolShapes.set('projected', [projectedWidth]);
  if (pooled === 'attention') poolShapes.set('attn_pool.weights', [1, tokens]).set('attn_pool.head_weights', [heads, 1, tokens]);

  function pool(b: GraphBuilder, bind: BindWeight, hidden: Value, wanted: readonly PoolOutput[]): ReadonlyMap<PoolOutput, Value> {
    const w = outer(bind);
    const rows = finalNorm.features ? w.norm(b, 'finalNorm', hidden, spec.finalNormKind) : hidden;
    const features = b.node('Reshape', [rows, b.integers([-1, tokens, width])], 'features.batched');
    const outputs = new Map<PoolOutput, Value>();
    if (wanted.includes('features')) outputs.set('features', features);
    const vector = ['pooled', 'projected'].some(name => wanted.some(one => one === name));
    let one: Value | undefined;
    if (pooled === 'attention') {
      const weights = probeWeights(b, w, rows);
      if (wanted.includes('attn_pool.weights')) outputs.set('attn_pool.weights', b.node('ReduceMean', [weights], 'attn_pool.mean', { axes: [1], keepdims: 0 }));
      if (wanted.includes('attn_pool.head_weights')) outputs.set('attn_pool.head_weights', weights);
      if (vector) one = probeVector(b, w, rows, weights);
    } else if (vector) {
      one = pooled === 'mean' ? meanOfPatches(b, features) : b.node('Gather', [features, b.integer(0)], 'class.row', { axis: 1 });
      if (finalNorm.pooled) one = w.norm(b, 'finalNorm', one, spec.finalNormKind);
    }
    if (one !== undefined && wanted.includes('pooled')) outputs.set('pooled', one);
    if (one !== undefined && wanted.includes('projected')) {
      const transposed = spec.projectionTransposed;
      const matrix = w.get('projection', transposed ? [width, projectedWidth] : [projectedWidth, width]);
      outputs.set('projected', b.product('Gemm', [one, matrix], 'projection', { transB: transposed ? 0 : 1 }));
    }
    return outputs;
  }

  function meanOfPatches(b: GraphBuilder, features: Value): Value {
    const cut = b.node('Slice', [features, b.integers([prefixTokens]), b.integers([tokens]), b.integers([1])], 'patches');
    return b.node('ReduceMean', [cut], 'patches.mean', { axes: [1], keepdims: 0 });
  }

  /** How a learnt query attends to the tokens: (batch, heads, 1, tokens). */
  function probeWeights(b: GraphBuilder, w: Weights, rows: Value): Value {
    const q = byHead(b, w.linear(b, 'pool.q', width, width, w.get('pool.probe', [1, width])), 1, 'pool.q', [0, 2, 1, 3]);
    const k = byHead(b, w.linear(b, 'pool.k', width, width, rows), tokens, 'pool.k', [0, 2, 3, 1]);
    return attentionWeights(b, 'pool', headDim, q, k);
  }

  /** SiglipMultiheadAttentionPoolingHead: what was gathered, plus an MLP of its norm. */
  function probeVector(b: GraphBuilder, w: Weights, rows: Value, weights: Value): Value {
    const v = byHead(b, w.linear(b, 'pool.v', width, width, rows), tokens, 'pool.v', [0, 2, 1, 3]);
    const gathered = w.linear(b, 'pool.out', width, width, gather(b, 'pool', weights, v, width));
    return b.node('Add', [gathered, w.mlp(b, 'pool.', w.norm(b, 'pool.norm', gathered))], 'pool.vector');
  }

  return {
    layers, heads, width, imageSize, grid, prefixTokens, tokens,
    queries: pooled === 'attention' ? 1 : 0, outputDim: width, poolShapes,
    derivedTables: [],
    blockPath: layer => `${spec.blocks}.${layer}`,
    embeddings, block, attention, pool,
  };
}
