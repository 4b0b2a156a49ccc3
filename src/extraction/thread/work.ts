import { createHash } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { dtypeBits } from '../../checkpoint/dtype';
import type { Dtype } from '../../checkpoint/dtype';
import { makeCast } from '../cast';
import type { Cast } from '../cast';
import type { Advance, Checked, CheckJob, Copied, CopyJob, Frame, Pull, TensorPart, ThreadSource } from './messages';

/** Measured (bench/NOTES.md): 128 KB are still in the core's second-level cache when they are hashed and written. */
const CHUNK_BYTES = 128 << 10;
/** What is aligned in the file is aligned in memory, as casts want it. */
const ALIGNMENT = 8;
const ADVANCE_BYTES = 1 << 20;

/** What the work needs from the thread it runs on. */
export interface ThreadHost {
  /** Has the bytes of a source put in place by the host thread; returns when they are there. */
  pull(request: Pull): void;
  advance(advance: Advance): void;
  /** Throws when the host wants no more of this job. */
  throwIfStopped(): void;
}

/** The file's beginning is not what its record says. */
export class DamagedPart extends Error {}

/**
 * Writes a run of an output file: each piece is read, cast, hashed and written while it is in the cache, by one thread.
 * @throws what the file system throws at writing; DamagedPart
 */
export class RunCopy {
  readonly #output = new SharedArrayBuffer(CHUNK_BYTES + ALIGNMENT);
  readonly #raw = new SharedArrayBuffer(CHUNK_BYTES);
  readonly #host: ThreadHost;
  #job: CopyJob = { kind: 'copy', out: -1, position: 0, parts: [], written: undefined, fileCrc: undefined, tensorCrcs: false };
  /** Where in the file the chunk starts, and how much of it there is. */
  #start = 0;
  #length = 0;
  #fileCrc: number | undefined;
  #unreported = 0;
  #current: number | undefined;

  constructor(host: ThreadHost) {
    this.#host = host;
  }

  run(job: CopyJob): Copied {
    this.#job = job;
    this.#start = job.position;
    this.#length = 0;
    this.#fileCrc = job.fileCrc;
    // What the job before left says nothing of this one, which may be of another file, whose tensors have other ids.
    this.#unreported = 0;
    this.#current = undefined;
    const tensors: Copied['tensors'][number][] = [];
    for (const part of job.parts) {
      if (part.kind === 'tensor') tensors.push(this.#tensor(part));
      else this.#frame(withCrcs(part, tensors));
    }
    this.#flush();
    this.#report();
    return { tensors, fileCrc: this.#fileCrc };
  }

  #tensor({ index, source, from, to }: TensorPart): Copied['tensors'][number] {
    this.#current = source.id;
    const cast = makeCast(from, to);
    const sizes = elementSizes(cast, from, to);
    const elements = source.length / sizes.source;
    const hash = createHash('sha256');
    const sourceHash = cast && createHash('sha256');
    let crc = 0;
    for (let done = 0; done < elements;) {
      const count = Math.min(Math.floor(this.#room() / sizes.output), Math.floor(CHUNK_BYTES / sizes.source), elements - done);
      if (count <= 0) {
        this.#flush();
        continue;
      }
      const isWritten = this.#isWritten();
      const target = this.#append(count * sizes.output);
      if (!isWritten) {
        const raw = cast === undefined ? target : new Uint8Array(this.#raw, 0, count * sizes.source);
        read(source, done * sizes.source, raw, this.#host);
        sourceHash?.update(raw);
        cast?.(raw, target);
      }
      hash.update(target);
      if (this.#job.tensorCrcs) crc = crc32(target, crc);
      done += count;
    }
    const sha256 = hash.digest('hex');
    return { index, sha256, sourceSha256: sourceHash?.digest('hex') ?? sha256, crc };
  }

  #frame(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const count = Math.min(this.#room(), bytes.length - done);
      if (count <= 0) {
        this.#flush();
        continue;
      }
      const isWritten = this.#isWritten();
      const target = this.#append(count);
      if (!isWritten) target.set(bytes.subarray(done, done + count));
      done += count;
    }
  }

  /** Writes end where chunks of the file would, so that pages are written whole; and where the record of an earlier run ends. */
  #room(): number {
    const end = this.#start + this.#length;
    const written = this.#job.written?.bytes ?? 0;
    return Math.min(CHUNK_BYTES - this.#start % CHUNK_BYTES - this.#length, end < written ? written - end : Infinity);
  }

  #isWritten(): boolean {
    return this.#start + this.#length < (this.#job.written?.bytes ?? 0);
  }

  /** The next bytes of the chunk: those of the file when it has them already, to be filled otherwise. */
  #append(length: number): Uint8Array<SharedArrayBuffer> {
    const target = new Uint8Array(this.#output, this.#start % ALIGNMENT + this.#length, length);
    if (this.#isWritten() && !readFully(this.#job.out, target, this.#start + this.#length)) throw new DamagedPart();
    this.#length += length;
    return target;
  }

  #flush(): void {
    this.#host.throwIfStopped();
    if (this.#length === 0) return;
    const bytes = new Uint8Array(this.#output, this.#start % ALIGNMENT, this.#length);
    const { written, out } = this.#job;
    if (this.#fileCrc !== undefined) this.#fileCrc = crc32(bytes, this.#fileCrc);
    if (this.#start >= (written?.bytes ?? 0)) {
      for (let done = 0; done < bytes.length;) done += writeSync(out, bytes, done, bytes.length - done, this.#start + done);
    }
    this.#start += bytes.length;
    this.#length = 0;
    if (written?.bytes === this.#start && written.crc !== this.#fileCrc) throw new DamagedPart();
    this.#unreported += bytes.length;
    if (this.#unreported >= ADVANCE_BYTES) this.#report();
  }

  #report(): void {
    if (this.#unreported === 0) return;
    this.#host.advance({ bytes: this.#unreported, id: this.#current, end: this.#start, fileCrc: this.#fileCrc });
    this.#unreported = 0;
  }
}

/** Hashes tensors and compares them, one at a time. */
export class TensorCheck {
  readonly #bytes = new SharedArrayBuffer(CHUNK_BYTES);
  readonly #raw = new SharedArrayBuffer(CHUNK_BYTES);
  readonly #casted = new Uint8Array(CHUNK_BYTES);
  readonly #host: ThreadHost;

  constructor(host: ThreadHost) {
    this.#host = host;
  }

  run({ tensor, original }: CheckJob): Checked {
    const cast = original && makeCast(original.from, original.to);
    const sizes = original === undefined ? { source: 1, output: 1 } : elementSizes(cast, original.from, original.to);
    const step = Math.floor(CHUNK_BYTES / Math.max(sizes.source, sizes.output)) * sizes.output;
    const hash = createHash('sha256');
    let differsAt: number | undefined;
    let unreported = 0;
    for (let done = 0; done < tensor.length;) {
      this.#host.throwIfStopped();
      const bytes = new Uint8Array(this.#bytes, 0, Math.min(step, tensor.length - done));
      read(tensor, done, bytes, this.#host);
      hash.update(bytes);
      if (original !== undefined && differsAt === undefined) {
        const raw = new Uint8Array(this.#raw, 0, bytes.length / sizes.output * sizes.source);
        read(original.source, done / sizes.output * sizes.source, raw, this.#host);
        const wanted = cast === undefined ? raw : this.#casted.subarray(0, bytes.length);
        cast?.(raw, wanted);
        if (Buffer.compare(bytes, wanted) !== 0) differsAt = done + bytes.findIndex((byte, index) => byte !== wanted[index]);
      }
      done += bytes.length;
      unreported += bytes.length;
      if (unreported < ADVANCE_BYTES && done < tensor.length) continue;
      this.#host.advance({ bytes: unreported, id: tensor.id, end: done, fileCrc: undefined });
      unreported = 0;
    }
    return { sha256: hash.digest('hex'), differsAt };
  }
}

function elementSizes(cast: Cast | undefined, from: Dtype, to: Dtype): { source: number; output: number } {
  return cast === undefined ? { source: 1, output: 1 } : { source: dtypeBits(from) / 8, output: dtypeBits(to) / 8 };
}

function withCrcs({ bytes, crcs }: Frame, tensors: Copied['tensors']): Uint8Array {
  if (crcs.length === 0) return bytes;
  const filled = Buffer.from(bytes);
  for (const { at, index } of crcs) {
    const crc = tensors.find(tensor => tensor.index === index)?.crc;
    if (crc === undefined) throw new RangeError(`Tensor ${index} is not in this run.`);
    filled.writeUInt32LE(crc, at);
  }
  return filled;
}

/** What cannot be read here is asked of the host, which reads it or says in words why not. */
function read({ id, file }: ThreadSource, from: number, target: Uint8Array<SharedArrayBuffer>, host: ThreadHost): void {
  if (file !== undefined) {
    try {
      if (readFully(file.fd, target, file.offset + from)) return;
    } catch {
      // The host meets the same error and describes it.
    }
  }
  host.pull({ id, from, space: target.buffer, start: target.byteOffset, length: target.length });
}

/** False when the file ends early. */
function readFully(fd: number, target: Uint8Array, position: number): boolean {
  for (let done = 0; done < target.length;) {
    const bytesRead = readSync(fd, target, done, target.length - done, position + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}
