import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { BindWeight } from './forwardGraph';
import type { ACTIVATIONS } from './graphSpec';

/** The pieces that encoders' forward passes have in common. Rows are tokens: (batch * tokens, channels). */

export function layerNorm(b: GraphBuilder, weight: BindWeight, path: string, size: number, epsilon: number, input: Value): Value {
  const [scale, bias] = ['weight', 'bias'].map(name => weight({ key: `${path}.${name}`, shape: [size], firstRow: 0 }));
  return b.node('LayerNormalization', [input, scale ?? '', bias ?? ''], path, { axis: -1, epsilon: { float: epsilon } });
}

/** x / sqrt(mean(x^2) + epsilon) times `scale`. */
export function rmsNorm(b: GraphBuilder, scale: Value, epsilon: number, input: Value, path: string): Value {
  const mean = b.node('ReduceMean', [b.node('Mul', [input, input], `${path}.squares`)], `${path}.mean`, { axes: [-1], keepdims: 1 });
  const root = b.node('Sqrt', [b.node('Add', [mean, b.scalar(epsilon)], `${path}.kept`)], `${path}.root`);
  return b.node('Mul', [b.node('Div', [input, root], `${path}.normed`), scale], path);
}

/** x W^T + b for x (rows, inputs) and W (outputs, inputs), or some rows of it. */
export function linear(b: GraphBuilder, weight: BindWeight, path: string, outputs: number, inputs: number, input: Value, firstRow = 0): Value {
  const matrix = weight({ key: `${path}.weight`, shape: [outputs, inputs], firstRow });
  const bias = weight({ key: `${path}.bias`, shape: [outputs], firstRow });
  return b.product('Gemm', [input, matrix, bias], path, { transB: 1 });
}

/** softmax(q / sqrt(dim) k^T) for q (..., rows, dim) and k already transposed, (..., dim, tokens); only where `allowed`, (rows, tokens). */
export function attentionWeights(b: GraphBuilder, path: string, dim: number, q: Value, kTransposed: Value, allowed?: Value): Value {
  const scaled = b.node('Mul', [q, b.scalar(1 / Math.sqrt(dim))], `${path}.scaled`);
  const scores = b.product('MatMul', [scaled, kTransposed], `${path}.scores`);
  const masked = allowed === undefined ? scores : b.node('Where', [allowed, scores, b.scalar(-Infinity)], `${path}.masked`);
  return b.node('Softmax', [masked], `${path}.softmax`, { axis: -1 });
}

/** Weights (batch, heads, rows, tokens) times values (batch, heads, tokens, dim), the heads side by side: (batch * rows, width). */
export function gather(b: GraphBuilder, path: string, weights: Value, v: Value, width: number): Value {
  const context = b.product('MatMul', [weights, v], `${path}.context`);
  return b.node('Reshape', [b.node('Transpose', [context], `${path}.context_rows`, { perm: [0, 2, 1, 3] }), b.integers([-1, width])], `${path}.merged`);
}

/** How `count` queries gather what `seen` tokens hold, of (batch, count, width) and (batch, seen, width): (batch, count, width). In one operator where it may be, which never holds a whole attention map. */
export function attend(b: GraphBuilder, { width, heads }: { readonly width: number; readonly heads: number }, q: Value, k: Value, v: Value, count: number, seen: number): Value {
  if (b.style.fused) return b.product('MultiHeadAttention', [q, k, v], 'attn.fused', { num_heads: heads }, 'com.microsoft');
  const headDim = width / heads;
  const byHead = (value: Value, rows: number, label: string, perm: readonly number[]): Value =>
    b.node('Transpose', [b.node('Reshape', [value, b.integers([-1, rows, heads, headDim])], `${label}.by_head`)], `${label}.4d`, { perm });
  const weights = attentionWeights(b, 'attn', headDim, byHead(q, count, 'q', [0, 2, 1, 3]), byHead(k, seen, 'k', [0, 2, 3, 1]));
  return b.node('Reshape', [gather(b, 'attn', weights, byHead(v, seen, 'v', [0, 2, 1, 3]), width), b.integers([-1, count, width])], 'attn.context');
}

/** The exact GELU, x/2 (1 + erf(x / sqrt 2)), in the form that ONNX Runtime fuses where a provider has Gelu. */
export function gelu(b: GraphBuilder, input: Value): Value {
  const erf = b.node('Erf', [b.node('Div', [input, b.scalar(Math.SQRT2)], 'gelu.scaled')], 'gelu.erf');
  const product = b.node('Mul', [input, b.node('Add', [erf, b.scalar(1)], 'gelu.shifted')], 'gelu.product');
  return b.node('Mul', [product, b.scalar(0.5)], 'gelu');
}

/** x/2 (1 + tanh(sqrt(2 / pi) x (1 + 0.044715 x^2))), PyTorch's GELU with approximate='tanh'. */
function geluTanh(b: GraphBuilder, input: Value): Value {
  const square = b.node('Mul', [b.node('Mul', [input, input], 'gelu.square'), b.scalar(0.044715)], 'gelu.cubic');
  const inner = b.node('Mul', [b.node('Mul', [input, b.scalar(Math.sqrt(2 / Math.PI))], 'gelu.linear'), b.node('Add', [square, b.scalar(1)], 'gelu.series')], 'gelu.inner');
  const product = b.node('Mul', [input, b.node('Add', [b.node('Tanh', [inner], 'gelu.tanh'), b.scalar(1)], 'gelu.shifted')], 'gelu.product');
  return b.node('Mul', [product, b.scalar(0.5)], 'gelu');
}

/** x sigmoid(slope x): SiLU at slope 1, OpenAI's quick GELU at 1.702. */
function sigmoidGate(b: GraphBuilder, input: Value, slope: number): Value {
  const steep = slope === 1 ? input : b.node('Mul', [input, b.scalar(slope)], 'gate.scaled');
  return b.node('Mul', [input, b.node('Sigmoid', [steep], 'gate.sigmoid')], 'gate');
}

export type Activation = (typeof ACTIVATIONS)[number];

export function activation(b: GraphBuilder, kind: Activation, input: Value): Value {
  switch (kind) {
    case 'gelu': return gelu(b, input);
    case 'gelu_tanh': return geluTanh(b, input);
    case 'quick_gelu': return sigmoidGate(b, input, 1.702);
    case 'silu': return sigmoidGate(b, input, 1);
    case 'relu': return b.node('Relu', [input], 'relu');
  }
}
