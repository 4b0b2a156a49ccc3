import type { Dtype } from '../checkpoint/dtype';

/** A tensor as an output file will hold it. */
export interface OutputTensor {
  readonly key: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Bytes. */
  readonly length: number;
}

/** One piece of an output file. */
export type FilePart =
  /** Headers, padding: known before anything is copied. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** The bytes of tensor `index` of the list that the layout was made from. */
  | { readonly kind: 'tensor'; readonly index: number; readonly length: number }
  /** Bytes in which the CRC-32s of tensors that stand before them in the file are still to be put, little-endian. */
  | { readonly kind: 'late'; readonly bytes: Uint8Array; readonly crcs: readonly CrcPlace[] };

/** Where in a part's bytes the CRC-32 of tensor `index` goes. */
export interface CrcPlace {
  readonly at: number;
  readonly index: number;
}

/**
 * What an output file consists of, first byte to last, decided from the tensors' descriptions alone.
 * Every size is known, so a file is written front to back, once, whatever its format.
 */
export interface FileLayout {
  readonly parts: readonly FilePart[];
  /** Bytes in all. */
  readonly size: number;
}

export function partLength(part: FilePart): number {
  return part.kind === 'tensor' ? part.length : part.bytes.length;
}

export function layoutOf(parts: readonly FilePart[]): FileLayout {
  return { parts, size: parts.reduce((size, part) => size + partLength(part), 0) };
}
