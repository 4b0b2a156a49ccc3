import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { formatBytes } from '../format';
import { readBytes, type ByteSource } from './byteSource';
import type { Tensor } from './checkpoint';
import { dtypeBits } from './dtype';
import { gather, type ReadRange } from './gather';
import { inflateRange, type Deflated } from './inflate';
import { isExpansionBomb, spanElements } from './layout';

export interface TensorBytesOptions {
  readonly signal?: AbortSignal;
  /** The most bytes in one chunk; 1 MiB, which is what disks like. */
  readonly chunkBytes?: number;
}

/** A compressed storage can only be read from its start, so a view of it that is not contiguous is inflated in memory, up to this much. */
const MAX_INFLATED_VIEW = 256 * 1024 * 1024;

/**
 * The tensor's `length` bytes, row-major and little-endian, in chunks of at most `chunkBytes`,
 * whatever `indirect` says about how they lie in the file. Memory stays within a few MiB, but for
 * compressed views. A chunk is valid until the next one is asked for.
 * @throws UserError when the bytes cannot be read, are damaged, or would repeat a few elements beyond reason (layout.ts).
 */
export async function* tensorBytes(source: ByteSource, tensor: Omit<Tensor, 'file'>, options: TensorBytesOptions = {}): AsyncGenerator<Uint8Array> {
  const { signal, chunkBytes = 1 << 20 } = options;
  signal?.throwIfAborted();
  if (tensor.length === 0) return;
  const limit = Math.max(MAX_ELEMENT, Math.floor(chunkBytes / MAX_ELEMENT) * MAX_ELEMENT);
  const unit = tensor.indirect?.bigEndian === true ? swapUnit(tensor) : 1;
  for await (const chunk of orderedBytes(source, tensor, limit, signal)) {
    signal?.throwIfAborted();
    yield unit > 1 ? swapped(chunk, unit) : chunk;
  }
}

/** Bytes of the largest element; chunks hold a multiple of it, so that no element is torn. */
const MAX_ELEMENT = 8;

function orderedBytes(source: ByteSource, tensor: Omit<Tensor, 'file'>, limit: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const { strides, deflate } = tensor.indirect ?? {};
  if (strides !== undefined) return stridedBytes(source, tensor, strides, limit, signal);
  if (deflate !== undefined) return rechunk(inflateRange(source, deflate, tensor.offset, tensor.length, signal), limit);
  return plainBytes(source, tensor, limit, signal);
}

async function* plainBytes(source: ByteSource, { offset, length }: Omit<Tensor, 'file'>, limit: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < length; done += limit) {
    yield await readBytes(source, offset + done, Math.min(limit, length - done), signal);
  }
}

async function* stridedBytes(source: ByteSource, tensor: Omit<Tensor, 'file'>, strides: readonly number[], limit: number, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  const { key, dtype, shape, offset, length } = tensor;
  if (isExpansionBomb(dtype, length, { shape, strides })) {
    throw new UserError(t`${key} in ${source.name} repeats a few stored elements until it claims ${formatBytes(length)}; it was not copied. Leave it out with a rule that excludes it.`);
  }
  const elementBytes = dtypeBits(dtype) / 8;
  const deflate = tensor.indirect?.deflate;
  const read: ReadRange = deflate === undefined
    ? (target, start) => source.readInto(target, offset + start, signal)
    : fromMemory(await inflateView(source, tensor, deflate, spanElements({ shape, strides }) * elementBytes, signal));
  yield* gather({ shape, strides, elementBytes }, read, limit, signal);
}

async function inflateView(source: ByteSource, tensor: Omit<Tensor, 'file'>, deflate: Deflated, span: number, signal: AbortSignal | undefined): Promise<Uint8Array> {
  if (span > MAX_INFLATED_VIEW) {
    throw new UserError(t`${tensor.key} in ${source.name} is a rearranged view of compressed data of more than ${formatBytes(MAX_INFLATED_VIEW)}, which cannot be read piece by piece. Save the checkpoint again with torch.save, which does not compress.`);
  }
  const bytes = new Uint8Array(span);
  let done = 0;
  for await (const chunk of inflateRange(source, deflate, tensor.offset, span, signal)) {
    bytes.set(chunk, done);
    done += chunk.length;
  }
  return bytes;
}

function fromMemory(bytes: Uint8Array): ReadRange {
  return (target, start) => {
    target.set(bytes.subarray(start, start + target.length));
    return Promise.resolve();
  };
}

/** Chunks of exactly `limit` bytes, but for the last: inflating yields pieces of any size. */
async function* rechunk(chunks: AsyncIterable<Uint8Array>, limit: number): AsyncGenerator<Uint8Array> {
  let pending = new Uint8Array(limit);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + limit - filled);
      pending.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled === limit) {
        yield pending;
        pending = new Uint8Array(limit);
        filled = 0;
      }
    }
  }
  if (filled > 0) yield pending.subarray(0, filled);
}

/** Bytes that are reversed together: an element, and of a complex one each half. */
function swapUnit({ dtype }: Omit<Tensor, 'file'>): number {
  return dtype === 'C64' ? 4 : dtypeBits(dtype) / 8;
}

function swapped(chunk: Uint8Array, unit: number): Uint8Array {
  const bytes = Buffer.from(chunk);
  if (unit === 2) return bytes.swap16();
  return unit === 4 ? bytes.swap32() : bytes.swap64();
}
