import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { t } from '@vscode/l10n';
import { elementCount } from '../checkpoint/dtype';
import { openFile } from '../checkpoint/fileSource';
import { readSafetensors } from '../checkpoint/safetensors';
import type { Array32 } from '../encoder/encoder';
import { UserError } from '../errors';
import { writing } from '../extraction/ioErrors';
import { OutputFolder } from '../extraction/outputFolder';
import { safetensorsHeader } from '../extraction/safetensorsWriter';
import { TOOL } from '../version';
import { parseSettings, type RunSettings } from './settings';

/** A picture that a shard holds features of, as it was when it was read. */
const shardPictureSchema = z.object({
  name: z.string(),
  size: z.number(),
  modified: z.string(),
  /** Rows and columns of its patches. */
  grid: z.tuple([z.number(), z.number()]),
});
export type ShardPicture = Readonly<z.infer<typeof shardPictureSchema>>;

/**
 * How pictures lie in a shard: `stacked`, row N of every array is the picture N, or `apart`, for encoders whose pictures
 * have different numbers of patches: the picture N has arrays of one row, `pictures.N.features` and so on.
 */
export type ShardLayout = 'stacked' | 'apart';

/** What stands before the keys of picture `index`. */
export function keyPrefix(layout: ShardLayout, index: number): string {
  return layout === 'apart' ? `pictures.${index}.` : '';
}

export interface Shard {
  /** The file's name. */
  readonly name: string;
  readonly settings: RunSettings;
  /** What the features were computed on. */
  readonly device: string;
  readonly layout: ShardLayout;
  readonly pictures: readonly ShardPicture[];
  readonly bytes: number;
}

const COPY_BYTES = 1 << 20;

interface Grown {
  /** Of one picture. */
  readonly shape: readonly number[];
  rows: number;
  /** Ranges of the scratch file. */
  readonly parts: { readonly offset: number; readonly length: number }[];
}

/**
 * A safetensors file of features that grows picture by picture: how many there will be shows at the end, so values wait in
 * a scratch file. It appears in its folder whole or not at all.
 */
export class ShardWriter {
  readonly #arrays = new Map<string, Grown>();
  readonly #pictures: ShardPicture[] = [];
  readonly #folder: OutputFolder;
  readonly #scratch: FileHandle;
  readonly #layout: ShardLayout;
  #bytes = 0;
  #isWhole = true;

  private constructor(folder: OutputFolder, scratch: FileHandle, layout: ShardLayout) {
    this.#folder = folder;
    this.#scratch = scratch;
    this.#layout = layout;
  }

  /** @throws UserError when nothing can be written into `out` */
  static async create(out: string, layout: ShardLayout): Promise<ShardWriter> {
    const folder = await OutputFolder.prepare(out);
    try {
      return new ShardWriter(folder, await writing(out, () => open(join(folder.staging, 'values'), 'wx+')), layout);
    } catch (error) {
      await folder.discard();
      throw error;
    }
  }

  get pictures(): readonly ShardPicture[] {
    return this.#pictures;
  }

  /** Whether every picture has all of its values: not when adding some has failed, and then it is to be discarded. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Of all values. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds what the encoder made of some pictures: each output (pictures, ...), in the pictures' order. */
  async append(pictures: readonly ShardPicture[], outputs: ReadonlyMap<string, Array32>): Promise<void> {
    const before = this.#pictures.length;
    this.#isWhole = false;
    for (const [name, { shape: [, ...shape], data }] of outputs) {
      const offset = this.#bytes;
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      await writing(this.#folder.staging, () => writeAll(this.#scratch, bytes, offset));
      this.#bytes += bytes.length;
      if (this.#layout === 'stacked') this.#grow(name, shape, pictures.length, offset, bytes.length);
      else pictures.forEach((_, index) => { this.#grow(keyPrefix('apart', before + index) + name, shape, 1, offset + index * bytes.length / pictures.length, bytes.length / pictures.length); });
    }
    this.#pictures.push(...pictures);
    this.#isWhole = true;
  }

  /** Puts the shard in its place, on the disk for good, and takes `stale` files away. */
  async commit(name: string, settings: RunSettings, device: string, stale: readonly string[]): Promise<Shard> {
    const file = join(this.#folder.staging, name);
    let bytes: number;
    try {
      bytes = await writing(file, () => this.#writeFile(file, settings, device));
      await this.#scratch.close();
      await rm(join(this.#folder.staging, 'values'));
      await this.#folder.commit([name], stale);
    } catch (error) {
      await this.discard();
      throw error;
    }
    return { name, settings, device, layout: this.#layout, pictures: this.#pictures, bytes };
  }

  async discard(): Promise<void> {
    await this.#scratch.close();
    await this.#folder.discard();
  }

  #grow(key: string, shape: readonly number[], rows: number, offset: number, length: number): void {
    const array = this.#arrays.get(key) ?? { shape, rows: 0, parts: [] };
    array.rows += rows;
    array.parts.push({ offset, length });
    this.#arrays.set(key, array);
  }

  /** @returns the file's size in bytes */
  async #writeFile(path: string, settings: RunSettings, device: string): Promise<number> {
    const arrays = [...this.#arrays].map(([key, { shape, rows, parts }]) => ({ key, shape: [rows, ...shape], parts }));
    const { header, order } = safetensorsHeader(
      arrays.map(({ key, shape }) => ({ key, dtype: 'F32', shape, length: elementCount(shape) * 4 })),
      { format: 'pt', tool: `${TOOL.name} ${TOOL.version}`, device, layout: this.#layout, settings: JSON.stringify(settings), pictures: JSON.stringify(this.#pictures) });
    const handle = await open(path, 'wx');
    try {
      await writeAll(handle, header, 0);
      let end = header.length;
      const block = new Uint8Array(COPY_BYTES);
      for (const { index } of order) {
        for (const { offset, length } of arrays[index]?.parts ?? []) {
          for (let done = 0; done < length;) {
            const { bytesRead } = await this.#scratch.read(block, 0, Math.min(block.length, length - done), offset + done);
            if (bytesRead === 0) throw new UserError(t`A temporary file beside ${path} ended early. Was it changed? Run it again.`);
            await writeAll(handle, block.subarray(0, bytesRead), end);
            done += bytesRead;
            end += bytesRead;
          }
        }
      }
      await handle.sync();
      return end;
    } finally {
      await handle.close();
    }
  }
}

/**
 * Reads what a shard's header says.
 * @throws UserError when it is damaged, or was not written by such a run
 */
export async function readShard(out: string, name: string, signal?: AbortSignal): Promise<Shard> {
  const path = join(out, name);
  const source = await openFile(path);
  let metadata: ReadonlyMap<string, string>;
  try {
    ({ metadata } = await readSafetensors(source, signal));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(t`${path} is damaged. Delete it and run again: its pictures are then done anew.`, { detail: error.message, cause: error });
  } finally {
    await source.close();
  }
  return parseShard(path, name, metadata, source.size);
}

/** @throws UserError when the header's `metadata` is none of such a run */
export function parseShard(path: string, name: string, metadata: ReadonlyMap<string, string>, bytes: number): Shard {
  try {
    return {
      name,
      settings: parseSettings(metadata.get('settings') ?? ''),
      device: metadata.get('device') ?? '',
      layout: z.enum(['stacked', 'apart']).parse(metadata.get('layout')),
      pictures: z.array(shardPictureSchema).parse(JSON.parse(metadata.get('pictures') ?? '')),
      bytes,
    };
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof z.ZodError)) throw error;
    throw new UserError(t`${path} was not written by this version's features of a folder. Choose another folder for them.`, { detail: error.message, cause: error });
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}
