import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import { sizeOf, type BindWeight, type ForwardGraph, type PoolOutput, type Sizes } from './forwardGraph';
import { attentionWeights, gather, gelu, layerNorm, linear } from './operators';
import { resizePositions } from './positions';
import { attentionPoolHeads } from './qwenVl';

/** Every LayerNorm's; the module passes it in code (qwen_clip.py, VisionTransformer). */
const EPSILON = 1e-6;
/** Rows and columns of the stored positional_embedding. */
const POSITION_GRID = { rows: 16, columns: 16 };
const POSITION_TABLE = 'positional_embedding.resized';
const POOL_TABLE = 'attn_pool.pos_embed.resized';

/**
 * The forward pass of Qwen-VL's VisionTransformer (microsoft/DeepSpeedExamples, applications/DeepSpeed-VisualChat,
 * utils/model/third_party_model/qwen_clip/qwen_clip.py), up to and with ln_post.
 */
export function qwenVlGraph(sizes: Sizes): ForwardGraph {
  const value = (name: string): number => sizeOf(sizes, name);
  const [width, heads, mlp, patch, queries, outputDim] = [value('width'), value('heads'), value('mlp_size'), value('patch_size'), value('n_queries'), value('output_dim')];
  const side = Math.floor(value('image_size') / patch);
  const grid = { rows: side, columns: side };
  const tokens = side * side;
  const poolHeads = attentionPoolHeads(outputDim);
  const poolSide = Math.sqrt(queries);

  function embeddings(b: GraphBuilder, weight: BindWeight, pixels: Value): Value {
    const kernel = weight({ key: 'conv1.weight', shape: [width, 3, patch, patch], firstRow: 0 });
    const patches = b.product('Conv', [pixels, kernel], 'conv1', { kernel_shape: [patch, patch], strides: [patch, patch] });
    const flat = b.node('Reshape', [patches, b.integers([-1, width, tokens])], 'conv1.flat');
    const rows = b.node('Transpose', [flat], 'conv1.rows', { perm: [0, 2, 1] });
    const placed = b.node('Add', [rows, weight({ key: POSITION_TABLE, shape: [tokens, width], firstRow: 0 })], 'placed');
    return norm(b, weight, 'ln_pre', width, b.node('Reshape', [placed, b.integers([-1, width])], 'embeddings.rows'));
  }

  function block(b: GraphBuilder, weight: BindWeight, hidden: Value): Value {
    const normed = norm(b, weight, 'ln_1', width, hidden);
    // Head by head q, k, v: (batch * tokens, heads * 3 * head_dim).
    const qkv = linear(b, weight, 'attn.in_proj', 3 * width, width, normed);
    const byHead = b.node('Reshape', [qkv, b.integers([-1, tokens, heads, 3 * (width / heads)])], 'attn.by_head');
    const [q = '', k = '', v = ''] = b.split(byHead, 3, 3, width / heads, 'attn.qkv');
    const context = (b.style.fused ? fusedAttention : plainAttention)(b, q, k, v);
    const attended = b.node('Add', [hidden, linear(b, weight, 'attn.out_proj', width, width, context)], 'attended');
    const inner = linear(b, weight, 'mlp.c_fc', mlp, width, norm(b, weight, 'ln_2', width, attended));
    return b.node('Add', [attended, linear(b, weight, 'mlp.c_proj', width, mlp, gelu(b, inner))], 'block');
  }

  /** From q, k and v, each (batch, tokens, heads, head_dim), to (batch * tokens, width). */
  function plainAttention(b: GraphBuilder, q: Value, k: Value, v: Value): Value {
    const weights = attentionWeights(b, 'attn', width / heads,
      b.node('Transpose', [q], 'attn.q', { perm: [0, 2, 1, 3] }),
      b.node('Transpose', [k], 'attn.k', { perm: [0, 2, 3, 1] }));
    return gather(b, 'attn', weights, b.node('Transpose', [v], 'attn.v', { perm: [0, 2, 1, 3] }), width);
  }

  /** The same in one operator, which never holds a whole attention map: as much arithmetic, far less memory and traffic. */
  function fusedAttention(b: GraphBuilder, ...qkv: readonly [Value, Value, Value]): Value {
    const flat = qkv.map(one => b.node('Reshape', [one, b.integers([-1, tokens, width])], 'attn.flat'));
    const context = b.product('MultiHeadAttention', flat, 'attn.fused', { num_heads: heads }, 'com.microsoft');
    return b.node('Reshape', [context, b.integers([-1, width])], 'attn.merged');
  }

  function attention(b: GraphBuilder, weight: BindWeight, hidden: Value, _layer: number, head: number): Value {
    const dim = width / heads;
    const normed = norm(b, weight, 'ln_1', width, hidden);
    const project = (part: number, label: string): Value => b.node('Reshape', [
      linear(b, weight, 'attn.in_proj', dim, width, normed, (head * 3 + part) * dim), b.integers([-1, tokens, dim])], label);
    const q = project(0, 'head.q');
    const k = b.node('Transpose', [project(1, 'head.k')], 'head.kT', { perm: [0, 2, 1] });
    return attentionWeights(b, 'head', dim, q, k);
  }

  function pool(b: GraphBuilder, weight: BindWeight, hidden: Value, wanted: readonly PoolOutput[]): ReadonlyMap<PoolOutput, Value> {
    const size = outputDim;
    const dim = size / poolHeads;
    // PyTorch MultiheadAttention stacks q, k and v in one weight.
    const project = (input: Value, part: number, label: string): Value => b.product('Gemm', [
      input,
      weight({ key: 'attn_pool.attn.in_proj_weight', shape: [size, size], firstRow: part * size }),
      weight({ key: 'attn_pool.attn.in_proj_bias', shape: [size], firstRow: part * size }),
    ], label, { transB: 1 });
    const heads4d = (input: Value, rows: number, label: string, perm: readonly number[]): Value =>
      b.node('Transpose', [b.node('Reshape', [input, b.integers([-1, rows, poolHeads, dim])], `${label}.by_head`)], label, { perm });

    const narrow = width === size ? hidden : b.product('Gemm', [hidden, weight({ key: 'attn_pool.kv_proj.weight', shape: [size, width], firstRow: 0 })], 'attn_pool.kv_proj', { transB: 1 });
    const kv = norm(b, weight, 'attn_pool.ln_kv', size, narrow);
    const kv3d = b.node('Reshape', [kv, b.integers([-1, tokens, size])], 'attn_pool.kv');
    const placed = b.node('Add', [kv3d, weight({ key: POOL_TABLE, shape: [tokens, size], firstRow: 0 })], 'attn_pool.kv_placed');
    const query = norm(b, weight, 'attn_pool.ln_q', size, weight({ key: 'attn_pool.query', shape: [queries, size], firstRow: 0 }));
    const placedQuery = b.node('Add', [query, weight({ key: 'attn_pool.pos_embed', shape: [queries, size], firstRow: 0 })], 'attn_pool.q_placed');

    const q = heads4d(project(placedQuery, 0, 'attn_pool.q'), queries, 'attn_pool.q4d', [0, 2, 1, 3]);
    const k = heads4d(project(b.node('Reshape', [placed, b.integers([-1, size])], 'attn_pool.k_rows'), 1, 'attn_pool.k'), tokens, 'attn_pool.k4d', [0, 2, 3, 1]);
    const weights = attentionWeights(b, 'attn_pool', dim, q, k);
    const outputs = new Map<PoolOutput, Value>();
    if (wanted.includes('attn_pool.weights')) outputs.set('attn_pool.weights', b.node('ReduceMean', [weights], 'attn_pool.mean', { axes: [1], keepdims: 0 }));
    if (wanted.includes('attn_pool.head_weights')) outputs.set('attn_pool.head_weights', weights);
    if (wanted.includes('features')) {
      const v = heads4d(project(kv, 2, 'attn_pool.v'), tokens, 'attn_pool.v4d', [0, 2, 1, 3]);
      const pooled = linear(b, weight, 'attn_pool.attn.out_proj', size, size, gather(b, 'attn_pool', weights, v, size));
      outputs.set('features', b.node('Reshape', [norm(b, weight, 'ln_post', size, pooled), b.integers([-1, queries, size])], 'pooled'));
    }
    return outputs;
  }

  return {
    layers: value('layers'), heads, width, inputShape: [3, value('image_size'), value('image_size')], grid, prefixTokens: 0, idleTokens: 0, tokens, pooledStates: [], queries, outputDim,
    poolShapes: new Map<PoolOutput, readonly number[]>([
      ['features', [queries, outputDim]], ['attn_pool.weights', [queries, tokens]], ['attn_pool.head_weights', [poolHeads, queries, tokens]],
    ]),
    blockOutputs: [],
    derivedTables: [
      { key: POSITION_TABLE, shape: [tokens, width], from: 'positional_embedding', derive: table => resizePositions(table, width, POSITION_GRID, grid) },
      { key: POOL_TABLE, shape: [tokens, outputDim], from: 'attn_pool.pos_embed', derive: table => resizePositions(table, outputDim, { rows: poolSide, columns: poolSide }, grid) },
    ],
    blockPath: layer => `transformer.resblocks.${layer}`,
    blockKind: () => 'block',
    embeddings, block, attention, pool,
  };
}

function norm(b: GraphBuilder, weight: BindWeight, path: string, size: number, input: Value): Value {
  return layerNorm(b, weight, path, size, EPSILON, input);
}
