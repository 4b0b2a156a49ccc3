import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import type { RunOptions } from '../progress';

/** Larger tensors are not held: each reading of theirs is a download. */
const MOST_HELD = 64 << 20;
/** Of one request. */
const REQUEST_BYTES = 4 << 20;

/** The bytes of the remote tensor that was asked for last: its statistics and every picture of it come from one download. */
export class HeldTensor {
  private held: { readonly source: ByteSource; readonly offset: number; readonly bytes: Uint8Array } | undefined;

  /**
   * What to read the tensor from: `source` itself, or a copy of the tensor's range when it is at the other end of a network.
   * Progress counts bytes.
   * @throws UserError when it cannot be read
   */
  async sourceFor(source: ByteSource, { offset, length, indirect, key }: Tensor, { signal, onProgress }: RunOptions = {}): Promise<ByteSource> {
    if (source.remote === undefined || indirect !== undefined || length > MOST_HELD) return source;
    if (this.held?.source !== source || this.held.offset !== offset || this.held.bytes.length !== length) {
      this.held = undefined;
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; done += REQUEST_BYTES) {
        await source.readInto(bytes.subarray(done, Math.min(length, done + REQUEST_BYTES)), offset + done, signal);
        onProgress?.({ done: Math.min(length, done + REQUEST_BYTES), total: length, label: key });
      }
      this.held = { source, offset, bytes };
    }
    const { bytes } = this.held;
    return {
      name: source.name,
      size: source.size,
      readInto: (target, position) => { target.set(bytes.subarray(position - offset, position - offset + target.length)); return Promise.resolve(); },
      close: () => Promise.resolve(),
    };
  }
}
