import { t } from '@vscode/l10n';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { UserError } from '../errors';

const CHUNK_BYTES = 1 << 20;

/** Hands out the bytes of a tensor that is not one byte range, from the first to the last, in pieces of any size. */
export class GatheringReader {
  readonly #chunks: AsyncGenerator<Uint8Array>;
  readonly #key: string;
  #rest: Uint8Array = new Uint8Array(0);
  #position = 0;

  constructor(source: ByteSource, tensor: Omit<Tensor, 'file'>, signal: AbortSignal | undefined) {
    this.#chunks = tensorBytes(source, tensor, { chunkBytes: CHUNK_BYTES, ...(signal !== undefined && { signal }) });
    this.#key = tensor.key;
  }

  /** How many bytes have been handed out or skipped. */
  get position(): number {
    return this.#position;
  }

  /** Fills `target` with the bytes from `from` on, which is not before `position`. */
  async read(target: Uint8Array, from: number): Promise<void> {
    while (this.#position < from) await this.#next(from - this.#position);
    for (let done = 0; done < target.length;) {
      const part = await this.#next(target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return(undefined);
  }

  /** Some of the next bytes, `most` at most. */
  async #next(most: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) throw new UserError(t`The bytes of ${this.#key} end early.`);
      this.#rest = next.value;
    }
    const part = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(part.length);
    this.#position += part.length;
    return part;
  }
}
