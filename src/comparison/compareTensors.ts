import { dtypeBits, elementCount, type Dtype } from '../checkpoint/dtype';
import { GatheringReader } from '../extraction/gatheringReader';
import type { Located } from '../extraction/thread/sources';
import { elementReader, type ReadElements } from '../inspection/elements';
import { DifferenceSums, type Difference } from './difference';

/** What comparing the elements of two tensors of one shape finds. */
export type ValueOutcome =
  | { readonly kind: 'equalBytes' }
  /** Other bytes, the same numbers: of another dtype, or 0 and -0. */
  | { readonly kind: 'equalValues' }
  /** `difference` is undefined when the elements cannot be read as numbers. */
  | { readonly kind: 'different'; readonly difference: Difference | undefined };

export interface CompareTensorsOptions {
  readonly signal: AbortSignal | undefined;
  /** Told the bytes read from both sides together. */
  readonly onAdvance: (bytes: number) => void;
}

/** Elements that are compared at once: at most 2 MiB of each side. A multiple of 8, so that elements below a byte make whole bytes. */
const ELEMENTS = 1 << 18;

/**
 * Compares two tensors of one shape, piece by piece, each in its own dtype. While the bytes of one dtype are equal, nothing
 * is decoded: equal tensors cost the reading.
 * @param again the left tensor for a second reading of its beginning, when that turns out to be needed
 * @throws UserError when a tensor cannot be read
 */
export async function compareTensors(left: Located, right: Located, again: Located, { signal, onAdvance }: CompareTensorsOptions): Promise<ValueOutcome> {
  const [a, b] = [left.tensor.dtype, right.tensor.dtype];
  const elements = elementCount(left.tensor.shape);
  const decode = decoders(a, b);
  const sums = new DifferenceSums();
  const readers = [left, right].map(({ source, tensor }) => new GatheringReader(source, tensor, signal));
  const buffers = [left, right].map(({ tensor }) => pieces(tensor.dtype));
  /** Undefined while all bytes were equal. */
  let differsFrom: number | undefined = a === b ? undefined : 0;
  try {
    for (let start = 0; start < elements; start += ELEMENTS) {
      signal?.throwIfAborted();
      const [leftBytes, rightBytes] = await Promise.all(readers.map(async (reader, side) => {
        const piece = buffers[side]?.(Math.min(ELEMENTS, elements - start)) ?? new Uint8Array();
        await reader.read(piece, reader.position);
        return piece;
      }));
      if (leftBytes === undefined || rightBytes === undefined) break;
      onAdvance(leftBytes.length + rightBytes.length);
      if (differsFrom === undefined && Buffer.compare(leftBytes, rightBytes) === 0) continue;
      differsFrom ??= start;
      if (decode !== undefined) sums.add(decode.left(leftBytes), decode.right(rightBytes));
    }
    if (differsFrom === undefined) return { kind: 'equalBytes' };
    if (decode === undefined) return { kind: 'different', difference: undefined };
    // Whole numbers of 64 bits may differ by less than a double tells.
    if (sums.isEqual && !(a === b && isInteger(a))) return { kind: 'equalValues' };
    if (differsFrom > 0) await addEqual(sums, again, differsFrom, decode.left, signal);
    return { kind: 'different', difference: sums.difference };
  } finally {
    await Promise.all(readers.map(reader => reader.close()));
  }
}

/** Makes up for the beginning that was skipped as equal: the norms are of the whole tensors. */
async function addEqual(sums: DifferenceSums, { source, tensor }: Located, elements: number, read: ReadElements, signal: AbortSignal | undefined): Promise<void> {
  const reader = new GatheringReader(source, tensor, signal);
  const piece = pieces(tensor.dtype);
  try {
    for (let start = 0; start < elements; start += ELEMENTS) {
      signal?.throwIfAborted();
      const bytes = piece(Math.min(ELEMENTS, elements - start));
      await reader.read(bytes, reader.position);
      const values = read(bytes);
      sums.add(values, values);
    }
  } finally {
    await reader.close();
  }
}

/** Buffers for so many elements, all of one memory. */
function pieces(dtype: Dtype): (elements: number) => Uint8Array {
  const buffer = new Uint8Array(ELEMENTS * dtypeBits(dtype) / 8);
  return elements => buffer.subarray(0, Math.ceil(elements * dtypeBits(dtype) / 8));
}

/** How the two sides' elements become numbers; undefined when one's cannot, or only one is complex. */
function decoders(a: Dtype, b: Dtype): { readonly left: ReadElements; readonly right: ReadElements } | undefined {
  const [left, right] = [elementReader(a), elementReader(b)];
  if (left === undefined || right === undefined || (a === 'C64') !== (b === 'C64')) return undefined;
  return { left, right };
}

function isInteger(dtype: Dtype): boolean {
  return /^[IU]\d/.test(dtype);
}
