import { open, type FileHandle } from 'node:fs/promises';
import { elementCount } from '../checkpoint/dtype';
import { safetensorsHeader } from '../extraction/safetensorsWriter';
import { npyHeader } from '../features/npy';

export type FeatureFormat = 'safetensors' | 'npy';

/** A float32 array of a file: its name and the shape of all pictures together, batch first. */
export interface Stacked {
  readonly key: string;
  readonly shape: readonly number[];
}

/**
 * A file of float32 arrays that is filled picture by picture, in any order: every place in it is known beforehand, so
 * nothing is held in memory.
 */
export class FeatureFile {
  private constructor(private readonly handle: FileHandle, private readonly offsets: ReadonlyMap<string, number>) {}

  /**
   * @param arrays one only, unless it is safetensors
   * @param metadata for a safetensors header
   */
  static async create(path: string, format: FeatureFormat, arrays: readonly Stacked[], metadata: Readonly<Record<string, string>>): Promise<FeatureFile> {
    const { header, offsets } = format === 'safetensors' ? safetensorsPlan(arrays, metadata) : npyPlan(arrays);
    const handle = await open(path, 'wx');
    const file = new FeatureFile(handle, offsets);
    try {
      await file.write(header, 0);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return file;
  }

  /** Puts the values of pictures `first` and on into array `key`; arrays that the file does not have are passed over. */
  async put(key: string, first: number, { shape: [pictures = 0], data }: { readonly shape: readonly number[]; readonly data: Float32Array }): Promise<void> {
    const offset = this.offsets.get(key);
    if (offset === undefined) return;
    await this.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset + first * data.byteLength / pictures);
  }

  async sync(): Promise<void> {
    await this.handle.sync();
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  private async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length;) done += (await this.handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

interface FilePlan {
  readonly header: Uint8Array;
  /** Of each array's first byte. */
  readonly offsets: ReadonlyMap<string, number>;
}

function npyPlan(arrays: readonly Stacked[]): FilePlan {
  const [array, ...more] = arrays;
  if (array === undefined || more.length > 0) throw new Error('Such a file holds one array.');
  const header = npyHeader('<f4', array.shape);
  return { header, offsets: new Map([[array.key, header.length]]) };
}

function safetensorsPlan(arrays: readonly Stacked[], metadata: Readonly<Record<string, string>>): FilePlan {
  const { header, order } = safetensorsHeader(arrays.map(({ key, shape }) => ({ key, dtype: 'F32', shape, length: elementCount(shape) * 4 })), metadata);
  return { header, offsets: new Map(order.map(({ tensor, offset }) => [tensor.key, offset])) };
}
