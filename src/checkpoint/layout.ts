import { dtypeBits, type Dtype } from './dtype';

/** How elements lie in a storage; strides count elements. */
interface Layout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/**
 * Whether the elements lie in row-major order without gaps. Dimensions of size 1 may have any
 * stride, and a tensor without elements always qualifies, as in torch.Tensor.is_contiguous.
 */
export function isContiguous({ shape, strides }: Layout): boolean {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const size = shape[i] ?? 1;
    if (size === 1) continue;
    if (strides[i] !== expected) return false;
    expected *= size;
  }
  return true;
}

/** Elements from the first to the last that is used, both included; 0 for a tensor without elements. */
export function spanElements({ shape, strides }: Layout): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((span, size, i) => span + (size - 1) * (strides[i] ?? 0), 1);
}

const EXPANSION_RATIO = 1024;
const EXPANSION_BYTES = 64 * 1024 * 1024;

/**
 * The policy on views that repeat elements (stride 0 or overlapping windows): they are legal in
 * PyTorch, and 24 bytes may claim to be a terabyte. A tensor that would take over 64 MiB and more
 * than 1024 times what is stored is listed with a warning, and its bytes cannot be read.
 */
export function isExpansionBomb(dtype: Dtype, length: number, layout: Layout): boolean {
  const stored = spanElements(layout) * dtypeBits(dtype) / 8;
  return length > EXPANSION_BYTES && length > EXPANSION_RATIO * stored;
}
