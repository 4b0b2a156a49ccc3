import { t } from '@vscode/l10n';
import type { DerivedTable, WeightPart } from '../architecture/forwardGraph';
import type { ByteSource } from '../checkpoint/byteSource';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import { openFile } from '../checkpoint/fileSource';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { UserError } from '../errors';
import { castDtype, makeCast } from '../extraction/cast';
import type { EncoderModel, StoredWeight } from './model';

/** Bytes read and cast at a time: few enough to stay in the processor's cache. */
const CHUNK_BYTES = 1 << 19;

/** Where a graph's weights come from, as float32. */
export interface WeightReader {
  /**
   * The part's values, row-major. Not to be written to.
   * @param scratch gives a buffer to fill when the part is not kept; fresh memory costs more than the cast does
   * @throws UserError
   */
  float32(part: WeightPart, scratch?: (count: number) => Float32Array): Promise<Float32Array>;
}

/**
 * An encoder's weights as float32, read from the checkpoint's files when they are asked for and kept while there is room.
 * Whatever the reader can read serves: any float dtype, views with strides, deflated entries, legacy PyTorch files.
 */
export class Weights implements WeightReader {
  private readonly sources = new Map<string, Promise<ByteSource>>();
  private readonly kept = new Map<string, Float32Array>();
  private keptBytes = 0;
  private readonly chunk = new Uint8Array(CHUNK_BYTES);

  /** @param room most bytes of float32 weights to hold on to */
  constructor(private readonly model: EncoderModel, private room: number) {}

  /** Bytes of float32 weights that are held now. */
  get heldBytes(): number {
    return this.keptBytes;
  }

  /** Changes how much may be held: what is there stays as far as it fits, those that were read last go first. */
  setRoom(bytes: number): void {
    this.room = bytes;
    for (const [key, { byteLength }] of [...this.kept].reverse()) {
      if (this.keptBytes <= bytes) return;
      this.kept.delete(key);
      this.keptBytes -= byteLength;
    }
  }

  async float32(part: WeightPart, scratch: (count: number) => Float32Array = count => new Float32Array(count)): Promise<Float32Array> {
    const count = elementCount(part.shape);
    const first = part.firstRow * elementCount(part.shape.slice(1));
    const whole = this.kept.get(part.key);
    if (whole !== undefined) return whole.subarray(first, first + count);

    const stored = this.stored(part.key);
    const size = elementCount(stored.shape);
    if (this.keptBytes + size * 4 <= this.room) return this.keep(part.key, await this.read(stored, new Float32Array(size))).subarray(first, first + count);
    if (count === size) return this.read(stored, scratch(count));
    if (stored.indirect !== undefined) return (await this.read(stored, new Float32Array(size))).subarray(first, first + count);
    const bytes = dtypeBits(stored.dtype) / 8;
    return this.read({ ...stored, offset: stored.offset + first * bytes, length: count * bytes, shape: part.shape }, scratch(count));
  }

  /** The same with tables that are computed from stored ones, once. */
  withTables(tables: readonly DerivedTable[]): WeightReader {
    const derived = new Map<string, Float32Array>();
    return {
      float32: async (part, scratch) => {
        const table = tables.find(({ key }) => key === part.key);
        if (table === undefined) return this.float32(part, scratch);
        const stored = this.stored(table.from);
        const values = derived.get(part.key) ?? table.derive(await this.read(stored, new Float32Array(elementCount(stored.shape))));
        derived.set(part.key, values);
        return values;
      },
    };
  }

  async close(): Promise<void> {
    this.kept.clear();
    this.keptBytes = 0;
    const sources = await Promise.all(this.sources.values());
    this.sources.clear();
    await Promise.all(sources.map(source => source.close()));
  }

  private stored(key: string): StoredWeight {
    const stored = this.model.weights.get(key);
    if (stored === undefined) throw new Error(`The graph asks for ${key}, which the model does not have.`);
    return stored;
  }

  private keep(key: string, values: Float32Array): Float32Array {
    this.kept.set(key, values);
    this.keptBytes += values.byteLength;
    return values;
  }

  private async read(stored: StoredWeight, target: Float32Array): Promise<Float32Array> {
    if (castDtype(stored.dtype, 'f32') !== 'F32') throw new UserError(t`${stored.key} is ${stored.dtype}, which is not a plain floating-point type, so the encoder cannot be run.`);
    const source = await this.source(stored.path);
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    const cast = makeCast(stored.dtype, 'F32');
    if (stored.indirect === undefined && cast === undefined) {
      await source.readInto(bytes, stored.offset);
      return target;
    }
    let done = 0;
    for await (const chunk of stored.indirect === undefined ? this.chunks(source, stored) : tensorBytes(source, stored)) {
      const length = chunk.length * 32 / dtypeBits(stored.dtype);
      const to = bytes.subarray(done, done + length);
      if (cast === undefined) to.set(chunk);
      else cast(chunk, to);
      done += length;
    }
    return target;
  }

  /** As `tensorBytes`, for plain byte ranges, in one buffer over and over: fresh ones cost a third of the time. */
  private async* chunks(source: ByteSource, { offset, length }: StoredWeight): AsyncGenerator<Uint8Array> {
    for (let done = 0; done < length; done += CHUNK_BYTES) {
      const bytes = this.chunk.subarray(0, Math.min(CHUNK_BYTES, length - done));
      await source.readInto(bytes, offset + done);
      yield bytes;
    }
  }

  private source(path: string): Promise<ByteSource> {
    const known = this.sources.get(path);
    if (known !== undefined) return known;
    const opening = openFile(path);
    this.sources.set(path, opening);
    // What could not be opened is tried anew the next time.
    opening.catch(() => { this.sources.delete(path); });
    return opening;
  }
}
