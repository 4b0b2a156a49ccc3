import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { MergerSpec } from './graphSpec';
import { gelu } from './operators';
import type { Grid } from './positions';
import type { VitWeights } from './vitWeights';

/*
 * Mergers into a language model's width: side x side patches become one token, block by block, row by row of blocks.
 * All take rows (batch * tokens, width) in the grid's order and give (batch * tokens / side^2, merger.width).
 */

/** Blocks of a grid. */
export function mergedGrid({ rows, columns }: Grid, side: number): Grid {
  return { rows: rows / side, columns: columns / side };
}

/**
 * Qwen2-VL's PatchMerger and those after it, Kimi-VL's projector too: the patches of a block side by side, normed one by one
 * before or together after, then an MLP with the exact GELU.
 * @param name of its weights: `merger`, `deepstack.0`
 * @param normed what its norm is over
 */
export function mergedByMlp(b: GraphBuilder, w: VitWeights, name: string, merger: MergerSpec, normed: 'patch' | 'block', grid: Grid, width: number, rows: Value): Value {
  const size = merger.side ** 2 * width;
  const norm = (input: Value, length: number): Value => w.norm(b, `${name}.norm`, input, merger.norm, length, merger.epsilon);
  const blocks = normed === 'patch' ? blockRows(b, merger.side, grid, width, norm(rows, width)) : norm(blockRows(b, merger.side, grid, width, rows), size);
  return w.linear(b, `${name}.fc2`, merger.width, merger.inner, gelu(b, w.linear(b, `${name}.fc1`, merger.inner, size, blocks)));
}

/**
 * GLM-4V's (transformers, models/glm4v): a convolution joins the patches of a block in the language model's width, then a
 * projection, its norm and GELU, and a gated MLP.
 */
export function mergedByConvolution(b: GraphBuilder, w: VitWeights, merger: MergerSpec, grid: Grid, width: number, rows: Value): Value {
  const { side, width: size } = merger;
  const map = b.node('Transpose', [b.node('Reshape', [rows, b.integers([-1, grid.rows, grid.columns, width])], 'merger.grid')], 'merger.map', { perm: [0, 3, 1, 2] });
  const joined = b.product('Conv', [map, w.get('merger.join.weight', [size, width, side, side]), w.get('merger.join.bias', [size])], 'merger.join', { kernel_shape: [side, side], strides: [side, side] });
  const tokens = b.node('Reshape', [b.node('Transpose', [joined], 'merger.tokens', { perm: [0, 2, 3, 1] }), b.integers([-1, size])], 'merger.rows');
  const projected = w.norm(b, 'merger.norm', w.linear(b, 'merger.proj', size, size, tokens), merger.norm, size, merger.epsilon);
  return w.mlp(b, 'merger.', gelu(b, projected), { outer: size, inner: merger.inner });
}

/** Llama 4's adapter (transformers, models/llama4, Llama4VisionPixelShuffleMLP): an MLP without norm over the patches of a block side by side, with the exact GELU after either layer. */
export function mergedByShuffle(b: GraphBuilder, w: VitWeights, merger: MergerSpec, grid: Grid, width: number, rows: Value): Value {
  const blocks = blockRows(b, merger.side, grid, width, rows);
  const inner = gelu(b, w.linear(b, 'merger.fc1', merger.inner, merger.side ** 2 * width, blocks));
  return gelu(b, w.linear(b, 'merger.fc2', merger.width, merger.inner, inner));
}

/** Rows of single patches as rows of blocks, whose patches stand side by side, row by row. */
function blockRows(b: GraphBuilder, side: number, grid: Grid, width: number, rows: Value): Value {
  const across = grid.columns / side;
  const split = b.node('Reshape', [rows, b.integers([-1, side, across, side * width])], 'merger.split');
  return b.node('Reshape', [b.node('Transpose', [split], 'merger.blocks', { perm: [0, 2, 1, 3] }), b.integers([-1, side * side * width])], 'merger.side_by_side');
}
