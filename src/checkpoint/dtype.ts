/**
 * Tensor element types, under their safetensors names.
 * The order is the safetensors writer's (dtype enum, descending alignment):
 * https://github.com/huggingface/safetensors safetensors/src/tensor.rs.
 * C128 and the quantised PyTorch storages have no safetensors name; they can be browsed but not extracted.
 */
const BITS = {
  U64: 64, I64: 64, F64: 64, C64: 64,
  F32: 32, U32: 32, I32: 32,
  BF16: 16, F16: 16, U16: 16, I16: 16,
  F8_E5M2FNUZ: 8, F8_E4M3FNUZ: 8, F8_E8M0: 8, F8_E4M3: 8, F8_E5M2: 8, I8: 8, U8: 8,
  F6_E3M2: 6, F6_E2M3: 6, F4: 4,
  BOOL: 8,
} as const;

export type Dtype = keyof typeof BITS;

/** All dtypes in the order in which the safetensors writer sorts tensors. */
export const DTYPES = Object.keys(BITS) as readonly Dtype[];
const NAMES: ReadonlySet<string> = new Set(DTYPES);

export function isDtype(name: string): name is Dtype {
  return NAMES.has(name);
}

/** Bits of one element. */
export function dtypeBits(dtype: Dtype): number {
  return BITS[dtype];
}

/** Product of the dimensions; 1 for a scalar. Shapes in a Checkpoint are checked to stay within 2^53. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
