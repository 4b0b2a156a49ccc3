import type { ByteSource } from '../../checkpoint/byteSource';
import type { Tensor } from '../../checkpoint/checkpoint';
import { GatheringReader } from '../gatheringReader';
import type { ThreadSource } from './messages';

/** A tensor and the file it is in. */
export interface Located {
  readonly source: ByteSource;
  readonly tensor: Omit<Tensor, 'file'>;
}

/** How a thread gets at a tensor: by itself when it is one range of an open file. */
export function threadSource(id: number, source: ByteSource, { offset, length, indirect }: Located['tensor']): ThreadSource {
  return { id, length, file: source.fd === undefined || indirect !== undefined ? undefined : { fd: source.fd, offset } };
}

/** Reads for threads what they cannot read themselves: files over a network, tensors that are gathered piece by piece. */
export class TensorPuller {
  readonly #tensors: readonly (Located | undefined)[];
  readonly #signal: AbortSignal | undefined;
  /** Those of gathered tensors, while they are read. */
  readonly #readers = new Map<number, GatheringReader>();

  /** @param tensors by the id that threads know them by */
  constructor(tensors: readonly (Located | undefined)[], signal: AbortSignal | undefined) {
    this.#tensors = tensors;
    this.#signal = signal;
  }

  /** Fills `target` with bytes of tensor `id` from byte `from` on; gathered tensors from their first byte to their last. */
  readonly pull = async (id: number, from: number, target: Uint8Array): Promise<void> => {
    const located = this.#tensors[id];
    if (located === undefined) throw new RangeError(`A thread asks for tensor ${id}, of ${this.#tensors.length}.`);
    const { source, tensor } = located;
    if (tensor.indirect === undefined) {
      await source.readInto(target, tensor.offset + from, this.#signal);
      return;
    }
    const reader = this.#readers.get(id) ?? new GatheringReader(source, tensor, this.#signal);
    this.#readers.set(id, reader);
    await reader.read(target, from);
    if (reader.position < tensor.length) return;
    await reader.close();
    this.#readers.delete(id);
  };

  async close(): Promise<void> {
    await Promise.all([...this.#readers.values()].map(reader => reader.close()));
  }
}
