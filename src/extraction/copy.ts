import type { FileHandle } from 'node:fs/promises';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import type { Dtype } from '../checkpoint/dtype';
import type { FileLayout, FilePart } from './fileLayout';
import type { Prefix } from './journal';
import { runs } from './runs';
import type { Run } from './runs';
import { inLanes } from './thread/lanes';
import type { Advance, Frame, TensorPart } from './thread/messages';
import { threadSource, TensorPuller } from './thread/sources';
import type { Threads } from './thread/threads';
import { treeHash } from './treeHash';

/** What a thread is given at once: enough that handing it over costs nothing, little enough to keep all threads busy. */
const RUN_BYTES = 8 << 20;
/** Bytes written between two flushes of the disk, which then works while the next are copied. */
const FLUSH_BYTES = 64 << 20;

/** A tensor to copy, and the dtype it gets. */
export interface TensorCopy {
  readonly source: ByteSource;
  readonly tensor: Tensor;
  readonly dtype: Dtype;
}

export interface CopiedFile {
  /** The file's tree hash, hexadecimal; see `treeHash`. */
  readonly treeSha256: string;
  /** As `tensors` were given: SHA-256 of the bytes written and of the bytes taken. */
  readonly tensors: readonly { readonly sha256: string; readonly sourceSha256: string }[];
}

export interface CopyOptions {
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes written since the last call, and the key they ended in. */
  readonly onBytes?: (bytes: number, key: string | undefined) => void;
  /** The file's beginning as an earlier run wrote it: it is read back and checked, and not copied again. Not with casts. */
  readonly written?: Prefix;
  /** Called now and then with what is written from the file's first byte on, without gaps. */
  readonly onWritten?: (prefix: Prefix) => Promise<void>;
}

/**
 * Writes one output file as `layout` says, taking the tensors' bytes from their sources (and casting them).
 * The file is cut into runs of whole tensors, which threads copy side by side; one after the other where the order
 * matters: what is no local file is fetched ahead in it, and records of what is written count from the beginning.
 * Rejects with what the sources, the file handle or `signal` throw, after all reads and writes have ended.
 */
export async function copyFile(handle: FileHandle, layout: FileLayout, tensors: readonly TensorCopy[], threads: Threads, options: CopyOptions = {}): Promise<CopiedFile> {
  const copy = new FileCopy(handle, layout, tensors, threads, options);
  try {
    return await copy.run();
  } finally {
    await copy.close();
  }
}

interface TensorResult {
  readonly sha256: string;
  readonly sourceSha256: string;
  readonly crc: number;
}

class FileCopy {
  readonly #handle: FileHandle;
  readonly #layout: FileLayout;
  readonly #tensors: readonly TensorCopy[];
  readonly #threads: Threads;
  readonly #options: CopyOptions;
  readonly #failed = new AbortController();
  readonly #signal: AbortSignal;
  readonly #needsCrcs: boolean;
  readonly #puller: TensorPuller;
  readonly #results: TensorResult[] = [];
  /** CRC-32 of the file so far; kept only when somebody asks for it. */
  #fileCrc: number | undefined;
  /** What the disk is told in the background: the last of it, and what is to come after. */
  #flushing: Promise<void> = Promise.resolve();
  #isFlushing = false;
  #unflushed = 0;
  #prefix: Prefix | undefined;

  constructor(handle: FileHandle, layout: FileLayout, tensors: readonly TensorCopy[], threads: Threads, options: CopyOptions) {
    this.#handle = handle;
    this.#layout = layout;
    this.#tensors = tensors;
    this.#threads = threads;
    this.#options = options;
    this.#signal = options.signal === undefined ? this.#failed.signal : AbortSignal.any([options.signal, this.#failed.signal]);
    this.#needsCrcs = layout.parts.some(part => part.kind === 'late');
    this.#puller = new TensorPuller(tensors, this.#signal);
    this.#fileCrc = options.onWritten !== undefined || options.written !== undefined ? 0 : undefined;
  }

  async run(): Promise<CopiedFile> {
    const isOrdered = this.#fileCrc !== undefined || this.#tensors.some(({ source }) => source.fd === undefined);
    const lanes = isOrdered ? 1 : Math.min(this.#threads.count, Math.ceil(this.#layout.size / RUN_BYTES));
    const all = [...runs(this.#layout, RUN_BYTES)];
    try {
      if (lanes > 1) await inLanes(all.filter(run => !run.waits), lanes, this.#failed, run => this.#copy(run));
      await inLanes(lanes > 1 ? all.filter(run => run.waits) : all, 1, this.#failed, run => this.#copy(run));
    } finally {
      await this.#flushing;
    }
    this.#signal.throwIfAborted();
    await this.#record();
    const hash = treeHash();
    for (const part of this.#layout.parts) {
      if (part.kind === 'tensor') hash.tensor(part.length, this.#resultOf(part.index).sha256);
      else hash.frame(this.#frame(part, () => true).bytes);
    }
    return {
      treeSha256: hash.digest(),
      tensors: this.#tensors.map((_, index) => {
        const { sha256, sourceSha256 } = this.#resultOf(index);
        return { sha256, sourceSha256 };
      }),
    };
  }

  close(): Promise<void> {
    return this.#puller.close();
  }

  async #copy(run: Run): Promise<void> {
    const inside = new Set(run.parts.flatMap(part => part.kind === 'tensor' ? [part.index] : []));
    const { tensors, fileCrc } = await this.#threads.run({
      kind: 'copy',
      out: this.#handle.fd,
      position: run.position,
      parts: run.parts.map(part => part.kind === 'tensor' ? this.#tensorPart(part.index) : this.#frame(part, index => !inside.has(index))),
      written: this.#options.written,
      fileCrc: this.#fileCrc,
      tensorCrcs: this.#needsCrcs,
    }, {
      signal: this.#signal,
      pull: this.#puller.pull,
      onAdvance: advance => { this.#advance(advance); },
    });
    this.#fileCrc = fileCrc;
    for (const { index, ...result } of tensors) this.#results[index] = result;
  }

  #tensorPart(index: number): TensorPart {
    const { source, tensor, dtype } = this.#copyOf(index);
    return { kind: 'tensor', index, source: threadSource(index, source, tensor), from: tensor.dtype, to: dtype };
  }

  /** The part's bytes, with the CRC-32s of those tensors in place that `isKnown`; the others are put in by the thread. */
  #frame(part: Exclude<FilePart, { kind: 'tensor' }>, isKnown: (index: number) => boolean): Frame {
    if (part.kind === 'bytes') return { kind: 'frame', bytes: part.bytes, crcs: [] };
    const bytes = Buffer.from(part.bytes);
    for (const { at, index } of part.crcs) if (isKnown(index)) bytes.writeUInt32LE(this.#resultOf(index).crc, at);
    return { kind: 'frame', bytes, crcs: part.crcs.filter(({ index }) => !isKnown(index)) };
  }

  #advance({ bytes, id, end, fileCrc }: Advance): void {
    if (fileCrc !== undefined) this.#prefix = { bytes: end, crc: fileCrc };
    this.#unflushed += bytes;
    if (!this.#isFlushing && (this.#options.onWritten !== undefined || this.#unflushed >= FLUSH_BYTES)) {
      this.#isFlushing = true;
      this.#flushing = this.#flush().catch((error: unknown) => { this.#failed.abort(error); }).finally(() => { this.#isFlushing = false; });
    }
    this.#options.onBytes?.(bytes, id === undefined ? undefined : this.#copyOf(id).tensor.key);
  }

  async #flush(): Promise<void> {
    this.#unflushed = 0;
    // A record flushes the disk itself.
    if (this.#options.onWritten === undefined) await this.#handle.datasync();
    else await this.#record();
  }

  async #record(): Promise<void> {
    const prefix = this.#prefix;
    if (prefix !== undefined && prefix.bytes > (this.#options.written?.bytes ?? 0)) await this.#options.onWritten?.(prefix);
  }

  #copyOf(index: number): TensorCopy {
    const copy = this.#tensors[index];
    if (copy === undefined) throw new RangeError(`The layout names tensor ${index}, of ${this.#tensors.length}.`);
    return copy;
  }

  #resultOf(index: number): TensorResult {
    const result = this.#results[index];
    if (result === undefined) throw new RangeError(`Tensor ${index} was not copied.`);
    return result;
  }
}
