import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { dtypeBits } from '../checkpoint/dtype';
import type { Dtype } from '../checkpoint/dtype';
import { UserError } from '../errors';
import { batches } from './batches';
import type { Batch, ElementSizes, Segment } from './batches';
import { makeCast } from './cast';
import type { FileLayout } from './fileLayout';
import type { Prefix } from './journal';
import { StreamHasher } from './streamHasher';
import type { Piece } from './streamHasher';
import { tensorReader } from './tensorReader';
import type { TensorReader } from './tensorReader';

/** Measured: buffers of 256 KB to 1 MB stay in the processor's cache; four lanes fill libuv's four threads. */
const LANES = 4;
const BATCH_BYTES = 1 << 20;
const ALIGNMENT = 8;

/** A tensor to copy, and the dtype it gets. */
export interface TensorCopy {
  readonly source: ByteSource;
  readonly tensor: Tensor;
  readonly dtype: Dtype;
}

export interface CopiedFile {
  /** SHA-256 of the file, hexadecimal. */
  readonly sha256: string;
  /** As `tensors` were given: SHA-256 of the bytes written and of the bytes taken. */
  readonly tensors: readonly { readonly sha256: string; readonly sourceSha256: string }[];
}

export interface CopyOptions {
  readonly signal?: AbortSignal;
  /** Called after each write, with the bytes it wrote and the key it ended in. */
  readonly onBytes?: (bytes: number, key: string | undefined) => void;
  /** The file's beginning as an earlier run wrote it: it is read back and checked, and not copied again. Not with casts. */
  readonly written?: Prefix;
  /** Called each time the file is written up to a later byte, without gaps. */
  readonly onWritten?: (prefix: Prefix) => Promise<void>;
}

/** The threads that hash what is copied; made once for all files of an output. */
export class CopyHashers {
  readonly file = new StreamHasher();
  readonly output = new StreamHasher();
  #source: StreamHasher | undefined;

  /** Started when something is cast; otherwise the bytes taken are the bytes written. */
  readonly source = (): StreamHasher => this.#source ??= new StreamHasher();

  async close(): Promise<void> {
    await Promise.all([this.file.close(), this.output.close(), this.#source?.close()]);
  }
}

type TensorSegment = Extract<Segment, { kind: 'tensor' }>;

/** Where a lane works on a batch. */
interface Workspace {
  /** The batch as it will be written, from byte `skew` on. */
  readonly output: SharedArrayBuffer;
  /** Bytes that are still to be cast; nothing is when this is empty. */
  readonly raw: SharedArrayBuffer;
  /** The batch's position in the file modulo 8, so that what is aligned in the file is aligned in memory. */
  readonly skew: number;
}

/**
 * Writes one output file as `layout` says, taking the tensors' bytes from their sources (and casting them).
 * The file's bytes are cut into batches; lanes read and write batches side by side, and between the two each batch
 * passes through the checksums in file order. Memory is a few MB, whatever the size.
 * Rejects with what the sources, the file handle or `signal` throw, after all reads and writes have ended; `hashers`
 * are then of no further use.
 */
export async function copyFile(handle: FileHandle, layout: FileLayout, tensors: readonly TensorCopy[], hashers: CopyHashers, options: CopyOptions = {}): Promise<CopiedFile> {
  const copy = new FileCopy(handle, layout, tensors, hashers, options);
  try {
    return await copy.run();
  } finally {
    await copy.close();
  }
}

class FileCopy {
  readonly #handle: FileHandle;
  readonly #tensors: readonly TensorCopy[];
  readonly #options: CopyOptions;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #casts: boolean;
  readonly #needsCrc: boolean;
  readonly #batches: Iterator<Batch>;
  readonly #hashers: CopyHashers;
  readonly #crcs: number[];
  readonly #outputDigests: string[] = [];
  readonly #sourceDigests: string[] = [];
  /** Those of tensors that are not one byte range, while they are read. */
  readonly #readers = new Map<number, TensorReader>();
  /** The CRC-32 of what has passed the checksums; kept only when somebody asks for it. */
  #fileCrc = 0;
  readonly #needsFileCrc: boolean;
  /** By position, the batches that are written out of order. */
  readonly #ends = new Map<number, Prefix>();
  #prefix: Prefix = { bytes: 0, crc: 0 };
  /** Resolves when the batches taken so far have passed the checksums. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(handle: FileHandle, layout: FileLayout, tensors: readonly TensorCopy[], hashers: CopyHashers, options: CopyOptions) {
    this.#handle = handle;
    this.#hashers = hashers;
    this.#tensors = tensors;
    this.#options = options;
    this.#signal = options.signal === undefined ? this.#failed.signal : AbortSignal.any([options.signal, this.#failed.signal]);
    this.#casts = tensors.some(({ tensor, dtype }) => tensor.dtype !== dtype);
    this.#needsCrc = layout.parts.some(part => part.kind === 'late');
    this.#needsFileCrc = options.onWritten !== undefined || options.written !== undefined;
    this.#crcs = tensors.map(() => 0);
    this.#batches = batches(layout, index => this.#elementSizes(index), BATCH_BYTES);
  }

  async run(): Promise<CopiedFile> {
    const lanes = Array.from({ length: LANES }, () => this.#lane().catch((error: unknown) => {
      this.#failed.abort(error);
      throw error;
    }));
    await Promise.allSettled(lanes);
    this.#signal.throwIfAborted();
    const [sha256 = ''] = await this.#hashers.file.feed([{ buffer: new SharedArrayBuffer(0), start: 0, end: 0, last: true }]);
    return {
      sha256,
      tensors: this.#tensors.map((_, index) => {
        const output = this.#outputDigests[index] ?? '';
        return { sha256: output, sourceSha256: this.#casts ? this.#sourceDigests[index] ?? '' : output };
      }),
    };
  }

  async close(): Promise<void> {
    await Promise.all([...this.#readers.values()].map(reader => reader.close()));
  }

  async #lane(): Promise<void> {
    const output = new SharedArrayBuffer(BATCH_BYTES + ALIGNMENT);
    const raw = new SharedArrayBuffer(this.#casts ? BATCH_BYTES : 0);
    for (;;) {
      this.#signal.throwIfAborted();
      const next = this.#batches.next();
      if (next.done === true) return;
      const batch = next.value;
      const space = { output, raw, skew: batch.position % ALIGNMENT };
      const segments = batch.segments.filter(segment => segment.kind === 'tensor');
      const end = batch.position + batch.length;
      const isWritten = end <= (this.#options.written?.bytes ?? 0);
      // A tensor that is gathered piece by piece can only be read in order, so it waits for its turn.
      const inOrder = !isWritten && segments.some(segment => this.#copyOf(segment).tensor.indirect !== undefined);
      const filled = isWritten ? this.#readBack(batch, space) : inOrder ? Promise.resolve() : this.#fill(segments, space);
      const passed = Promise.all([this.#turn, filled]).then(async () => {
        if (inOrder) await this.#fill(segments, space);
        return this.#check(batch, segments, space);
      });
      this.#turn = passed;
      await allSettledOrThrow([passed, filled]);
      const { hashed, crc } = await passed;
      await allSettledOrThrow([isWritten ? Promise.resolve() : writeAll(this.#handle, new Uint8Array(output, space.skew, batch.length), batch.position), hashed]);
      await this.#advance(batch.position, { bytes: end, crc });
      const last = segments.at(-1);
      this.#options.onBytes?.(batch.length, last && this.#copyOf(last).tensor.key);
    }
  }

  /** Fills the batch with what an earlier run wrote. */
  async #readBack(batch: Batch, space: Workspace): Promise<void> {
    const target = new Uint8Array(space.output, space.skew, batch.length);
    for (let done = 0; done < target.length;) {
      this.#signal.throwIfAborted();
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, batch.position + done);
      if (bytesRead === 0) throw damagedPart();
      done += bytesRead;
    }
  }

  /** Counts a written batch towards the beginning of the file that is whole. */
  async #advance(position: number, end: Prefix): Promise<void> {
    this.#ends.set(position, end);
    const before = this.#prefix.bytes;
    for (let next = this.#ends.get(before); next !== undefined; next = this.#ends.get(next.bytes)) {
      this.#ends.delete(this.#prefix.bytes);
      this.#prefix = next;
    }
    if (this.#prefix.bytes > Math.max(before, this.#options.written?.bytes ?? 0)) await this.#options.onWritten?.(this.#prefix);
  }

  /** Reads the batch's tensor bytes and casts them; what lies side by side in the source and in memory is read at once. */
  async #fill(segments: readonly TensorSegment[], space: Workspace): Promise<void> {
    let run: { source: ByteSource; position: number; target: Uint8Array } | undefined;
    const flush = async (): Promise<void> => {
      if (run !== undefined && run.target.length > 0) await run.source.readInto(run.target, run.position, this.#signal);
      run = undefined;
    };
    for (const segment of segments) {
      const { source, tensor } = this.#copyOf(segment);
      const target = this.#rawBytes(segment, space);
      if (tensor.indirect !== undefined) {
        await this.#readNext(segment, target);
        continue;
      }
      const position = tensor.offset + segment.from;
      if (run?.source === source && run.position + run.target.length === position && touches(run.target, target)) {
        run.target = new Uint8Array(target.buffer, run.target.byteOffset, run.target.length + target.length);
      } else {
        await flush();
        run = { source, position, target };
      }
    }
    await flush();
    for (const segment of segments) {
      const { tensor, dtype } = this.#copyOf(segment);
      makeCast(tensor.dtype, dtype)?.(this.#rawBytes(segment, space), outputBytes(segment, space));
    }
  }

  /** Everything that needs the file's order: checksums, and the bytes made from them. Does not wait for the hashes. */
  #check(batch: Batch, segments: readonly TensorSegment[], space: Workspace): { hashed: Promise<unknown>; crc: number } {
    for (const segment of batch.segments) {
      const target = outputBytes(segment, space);
      if (segment.kind === 'tensor') {
        if (this.#needsCrc) this.#crcs[segment.index] = crc32(target, this.#crcs[segment.index]);
      } else {
        const { part, from } = segment;
        const bytes = part.kind === 'bytes' ? part.bytes : part.make(index => this.#crcs[index] ?? 0);
        target.set(bytes.subarray(from, from + segment.length));
      }
    }
    if (this.#needsFileCrc) this.#fileCrc = crc32(new Uint8Array(space.output, space.skew, batch.length), this.#fileCrc);
    const { written } = this.#options;
    if (written?.bytes === batch.position + batch.length && written.crc !== this.#fileCrc) throw damagedPart();
    const ended = segments.filter(segment => segment.last).map(segment => segment.index);
    const keep = (digests: string[]) => (found: readonly string[]): void => {
      ended.forEach((index, i) => { digests[index] = found[i] ?? ''; });
    };
    const { file, output, source } = this.#hashers;
    const { skew } = space;
    return {
      crc: this.#fileCrc,
      hashed: Promise.all([
        file.feed([{ buffer: space.output, start: skew, end: skew + batch.length, last: false }]),
        output.feed(segments.map(segment => piece(outputBytes(segment, space), segment.last))).then(keep(this.#outputDigests)),
        ...(this.#casts ? [source().feed(segments.map(segment => piece(this.#rawBytes(segment, space), segment.last))).then(keep(this.#sourceDigests))] : []),
      ]),
    };
  }

  /** Fills `target` with the next bytes of a tensor that is not one byte range. */
  async #readNext(segment: TensorSegment, target: Uint8Array): Promise<void> {
    const { source, tensor } = this.#copyOf(segment);
    const known = this.#readers.get(segment.index);
    const reader = known ?? tensorReader(source, tensor, this.#signal);
    this.#readers.set(segment.index, reader);
    if (known === undefined) await skip(reader, segment.from);
    await reader.read(target);
    if (!segment.last) return;
    await reader.close();
    this.#readers.delete(segment.index);
  }

  #copyOf({ index }: { index: number }): TensorCopy {
    const copy = this.#tensors[index];
    if (copy === undefined) throw new RangeError(`The layout names tensor ${index}, of ${this.#tensors.length}.`);
    return copy;
  }

  /** Where the segment's bytes are read to: their final place, or that from which they are cast. */
  #rawBytes(segment: TensorSegment, space: Workspace): Uint8Array<SharedArrayBuffer> {
    const { tensor, dtype } = this.#copyOf(segment);
    return tensor.dtype === dtype ? outputBytes(segment, space) : new Uint8Array(space.raw, segment.rawStart, segment.rawLength);
  }

  #elementSizes(index: number): ElementSizes {
    const { tensor, dtype } = this.#copyOf({ index });
    return tensor.dtype === dtype ? { source: 1, output: 1 } : { source: dtypeBits(tensor.dtype) / 8, output: dtypeBits(dtype) / 8 };
  }
}

function outputBytes({ start, length }: Segment, { output, skew }: Workspace): Uint8Array<SharedArrayBuffer> {
  return new Uint8Array(output, skew + start, length);
}

function piece(bytes: Uint8Array<SharedArrayBuffer>, last: boolean): Piece {
  return { buffer: bytes.buffer, start: bytes.byteOffset, end: bytes.byteOffset + bytes.length, last };
}

/** Whether `next` begins in memory where `bytes` ends. */
function touches(bytes: Uint8Array, next: Uint8Array): boolean {
  return bytes.buffer === next.buffer && bytes.byteOffset + bytes.length === next.byteOffset;
}

/** A tensor whose beginning an earlier run wrote is read from its beginning all the same. */
async function skip(reader: TensorReader, bytes: number): Promise<void> {
  const scrap = new Uint8Array(Math.min(bytes, BATCH_BYTES));
  for (let done = 0; done < bytes; done += scrap.length) await reader.read(scrap.subarray(0, bytes - done));
}

function damagedPart(): UserError {
  return new UserError('What an interrupted extraction had written is damaged, so it was deleted. Extract again.');
}

/** Fails with the first failure, but only when no operation touches the buffer any more. */
async function allSettledOrThrow(operations: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(operations);
  await Promise.all(operations);
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}
