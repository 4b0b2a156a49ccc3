import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { MergerSpec } from './graphSpec';
import { activation, gelu, rmsNorm } from './operators';
import type { Grid } from './positions';
import type { VitWeights } from './vitWeights';

/*
 * Mergers and projectors into a language model's width: side x side patches become one token, block by block, row by row of blocks.
 * All take rows (batch * tokens, width) in the grid's order and give (batch * tokens / side^2, merger.width).
 */

/** Blocks of a grid. */
export function mergedGrid({ rows, columns }: Grid, side: number): Grid {
  return { rows: rows / side, columns: columns / side };
}

/**
 * Qwen2-VL's PatchMerger and those after it, and what stands beside other encoders: the patches of a block are joined and normed,
 * if at all, in this order or the other; then come the linear layers that there are, with an activation between them.
 * @param name of its weights: `merger`, `deepstack.0`
 * @param width of the rows
 */
export function mergedByMlp(b: GraphBuilder, w: VitWeights, name: string, merger: MergerSpec, grid: Grid, width: number, rows: Value): Value {
  const { side, join } = merger;
  const joinedWidth = join === undefined ? side ** 2 * width : width;
  const patchwise = merger.normed !== 'block';
  const taken = patchwise ? normed(b, w, name, merger, width, rows) : rows;
  const blocks = join === undefined ? blockRows(b, side, grid, width, taken) : joined(b, w, name, merger, join, grid, width, taken);
  let value = patchwise ? blocks : normed(b, w, name, merger, joinedWidth, blocks);
  for (let layer = 1, inputs = joinedWidth; w.has(`${name}.fc${layer}.weight`); layer++) {
    const outputs = w.has(`${name}.fc${layer + 1}.weight`) ? merger.inner : merger.width;
    if (layer > 1) value = activation(b, merger.activation ?? 'gelu', value);
    value = merger.transposed === true
      ? b.product('MatMul', [value, w.get(`${name}.fc${layer}.weight`, [inputs, outputs])], `${name}.fc${layer}`)
      : w.linear(b, `${name}.fc${layer}`, outputs, inputs, value);
    inputs = outputs;
  }
  return value;
}

/** `rows` as they are where the merger has no norm. */
function normed(b: GraphBuilder, w: VitWeights, name: string, { norm, epsilon }: MergerSpec, length: number, rows: Value): Value {
  if (!w.has(`${name}.norm.weight`)) return rows;
  if (norm !== 'rms-from-one') return w.norm(b, `${name}.norm`, rows, norm, length, epsilon);
  return rmsNorm(b, b.node('Add', [w.get(`${name}.norm.weight`, [length]), b.scalar(1)], `${name}.norm.scale`), epsilon ?? 0, rows, `${name}.norm`);
}

/** The patches of each block as one row of the same width: by a linear layer over each channel's patches, row by row, which is a convolution, or by their mean. */
function joined(b: GraphBuilder, w: VitWeights, name: string, { side }: MergerSpec, join: NonNullable<MergerSpec['join']>, grid: Grid, width: number, rows: Value): Value {
  const map = gridMap(b, grid, width, rows);
  const window = { kernel_shape: [side, side], strides: [side, side] };
  return mapRows(b, width, join === 'mean'
    ? b.node('AveragePool', [map], `${name}.mean`, window)
    : b.product('Conv', [map, b.node('Reshape', [w.get(`${name}.join.weight`, [width, width * side ** 2]), b.integers([width, width, side, side])], `${name}.kernel`)], `${name}.join`, window));
}

/**
 * GLM-4V's (transformers, models/glm4v): a convolution joins the patches of a block in the language model's width, then a
 * projection, its norm and GELU, and a gated MLP.
 */
export function mergedByConvolution(b: GraphBuilder, w: VitWeights, merger: MergerSpec, grid: Grid, width: number, rows: Value): Value {
  const { side, width: size } = merger;
  const weights = [w.get('merger.join.weight', [size, width, side, side]), w.get('merger.join.bias', [size])];
  const tokens = mapRows(b, size, b.product('Conv', [gridMap(b, grid, width, rows), ...weights], 'merger.join', { kernel_shape: [side, side], strides: [side, side] }));
  const projected = normed(b, w, 'merger', merger, size, w.linear(b, 'merger.proj', size, size, tokens));
  return w.mlp(b, 'merger.', gelu(b, projected), { outer: size, inner: merger.inner });
}

/** Llama 4's adapter (transformers, models/llama4, Llama4VisionPixelShuffleMLP): an MLP without norm over the patches of a block side by side, with the exact GELU after either layer; then its projector, where that was taken in too. */
export function mergedByShuffle(b: GraphBuilder, w: VitWeights, merger: MergerSpec, grid: Grid, width: number, rows: Value): Value {
  const blocks = blockRows(b, merger.side, grid, width, rows);
  const { inner } = merger;
  const risen = gelu(b, w.linear(b, 'merger.fc1', inner, merger.side ** 2 * width, blocks));
  const adapted = gelu(b, w.linear(b, 'merger.fc2', inner, inner, risen));
  return w.has('merger.fc3.weight') ? w.linear(b, 'merger.fc3', merger.width, inner, adapted) : adapted;
}

/** Rows of patches as a picture of so many channels: (batch, width, rows, columns). */
function gridMap(b: GraphBuilder, grid: Grid, width: number, rows: Value): Value {
  return b.node('Transpose', [b.node('Reshape', [rows, b.integers([-1, grid.rows, grid.columns, width])], 'merger.grid')], 'merger.map', { perm: [0, 3, 1, 2] });
}

function mapRows(b: GraphBuilder, width: number, map: Value): Value {
  return b.node('Reshape', [b.node('Transpose', [map], 'merger.tokens', { perm: [0, 2, 3, 1] }), b.integers([-1, width])], 'merger.rows');
}

/** Rows of single patches as rows of blocks, whose patches stand side by side, row by row. */
function blockRows(b: GraphBuilder, side: number, grid: Grid, width: number, rows: Value): Value {
  if (side === 1) return rows;
  const across = grid.columns / side;
  const split = b.node('Reshape', [rows, b.integers([-1, side, across, side * width])], 'merger.split');
  return b.node('Reshape', [b.node('Transpose', [split], 'merger.blocks', { perm: [0, 2, 1, 3] }), b.integers([-1, side * side * width])], 'merger.side_by_side');
}
