import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { UserError } from '../errors';

const CHUNK_BYTES = 1 << 20;

/** Hands out a tensor's bytes, row-major and little-endian, from the first to the last, in pieces of any size. */
export interface TensorReader {
  /** Fills `target` with the next bytes. */
  read(target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export function tensorReader(source: ByteSource, tensor: Omit<Tensor, 'file'>, signal: AbortSignal | undefined): TensorReader {
  return tensor.indirect === undefined ? new RangeReader(source, tensor.offset, signal) : new GatheringReader(source, tensor, signal);
}

class RangeReader implements TensorReader {
  readonly #source: ByteSource;
  readonly #signal: AbortSignal | undefined;
  #position: number;

  constructor(source: ByteSource, position: number, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#position = position;
    this.#signal = signal;
  }

  async read(target: Uint8Array): Promise<void> {
    const position = this.#position;
    this.#position += target.length;
    if (target.length > 0) await this.#source.readInto(target, position, this.#signal);
  }

  async close(): Promise<void> {
    // The source belongs to the checkpoint.
  }
}

class GatheringReader implements TensorReader {
  readonly #chunks: AsyncGenerator<Uint8Array>;
  readonly #key: string;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(source: ByteSource, tensor: Omit<Tensor, 'file'>, signal: AbortSignal | undefined) {
    this.#chunks = tensorBytes(source, tensor, { chunkBytes: CHUNK_BYTES, ...(signal !== undefined && { signal }) });
    this.#key = tensor.key;
  }

  async read(target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done === true) throw new UserError(`The bytes of ${this.#key} end early.`);
        this.#rest = next.value;
        continue;
      }
      const part = this.#rest.subarray(0, target.length - done);
      target.set(part, done);
      this.#rest = this.#rest.subarray(part.length);
      done += part.length;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return(undefined);
  }
}
