import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { dtypeBits } from '../checkpoint/dtype';
import { formatShape } from '../format';
import { sameShape } from '../validation/compare';
import { makeCast } from './cast';
import type { Manifest } from './manifest';
import type { StreamHasher } from './streamHasher';
import { tensorReader } from './tensorReader';

const CHUNK_BYTES = 1 << 20;

/** A tensor and the file it is in. */
export interface Located {
  readonly source: ByteSource;
  readonly tensor: Omit<Tensor, 'file'>;
}

/** Where tensors are compared, one after the other: made once, because what is shared with a thread is given back late. */
export class CompareBuffers {
  readonly buffer = new SharedArrayBuffer(CHUNK_BYTES);
  readonly raw = new Uint8Array(CHUNK_BYTES);
  readonly casted = new Uint8Array(CHUNK_BYTES);
}

/**
 * Reads one output tensor and compares it with its entry in the manifest and, when there is a source, element
 * for element with the tensor it came from.
 * @returns What differs, as a sentence; undefined when nothing does.
 */
export async function compareTensor(
  expected: Manifest['output']['tensors'][number],
  output: Located,
  source: Located | 'absent' | undefined,
  hasher: StreamHasher,
  { buffer, raw, casted }: CompareBuffers,
  options: { signal: AbortSignal | undefined; onBytes: (bytes: number) => void },
): Promise<string | undefined> {
  const { tensor } = output;
  if (tensor.dtype !== expected.dtype) return `is ${tensor.dtype}, the manifest says ${expected.dtype}.`;
  if (!sameShape(tensor.shape, expected.shape)) return `has the shape ${formatShape(tensor.shape)}, the manifest says ${formatShape(expected.shape)}.`;
  const original = source === 'absent' ? undefined : source;
  if (source !== undefined) {
    if (original === undefined) return `comes from ${expected.sourceKey}, which the source does not have.`;
    if (!sameShape(original.tensor.shape, expected.shape)) return `has the shape ${formatShape(expected.shape)}, ${expected.sourceKey} in the source ${formatShape(original.tensor.shape)}.`;
    if (original.tensor.dtype !== expected.sourceDtype) return `was ${expected.sourceDtype} when it was extracted, ${expected.sourceKey} in the source is ${original.tensor.dtype}.`;
  }

  const outputReader = tensorReader(output.source, tensor, options.signal);
  const originalReader = original && tensorReader(original.source, original.tensor, options.signal);
  const cast = makeCast(expected.sourceDtype, expected.dtype);
  const sizes = cast === undefined ? { source: 1, output: 1 } : { source: dtypeBits(expected.sourceDtype) / 8, output: dtypeBits(expected.dtype) / 8 };
  const chunkElements = Math.floor(CHUNK_BYTES / Math.max(sizes.source, sizes.output));
  let different: number | undefined;
  try {
    for (let done = 0; ;) {
      const bytes = new Uint8Array(buffer, 0, Math.min(chunkElements * sizes.output, tensor.length - done));
      await outputReader.read(bytes);
      const last = done + bytes.length === tensor.length;
      const hashed = hasher.feed([{ buffer, start: 0, end: bytes.length, last }]);
      if (originalReader !== undefined && different === undefined) {
        const source = raw.subarray(0, bytes.length / sizes.output * sizes.source);
        const wanted = casted.subarray(0, bytes.length);
        await Promise.all([hashed, originalReader.read(source)]);
        if (cast !== undefined) cast(source, wanted);
        const at = firstDifference(bytes, cast === undefined ? source : wanted);
        if (at !== undefined) different = Math.floor((done + at) * 8 / dtypeBits(expected.dtype));
      }
      const [sha256] = await hashed;
      done += bytes.length;
      options.onBytes(bytes.length);
      if (!last) continue;
      if (different !== undefined) return `differs from ${expected.sourceKey} in the source, first at element ${different}.`;
      return sha256 === expected.sha256 ? undefined : 'has other bytes than were written: its SHA-256 is not the manifest\'s.';
    }
  } finally {
    await Promise.all([outputReader.close(), originalReader?.close()]);
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  if (Buffer.compare(a, b) === 0) return undefined;
  return a.findIndex((byte, index) => byte !== b[index]);
}
