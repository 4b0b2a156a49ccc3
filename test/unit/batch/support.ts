import { appendFileSync } from 'node:fs';
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FolderEncoder, FolderRequest } from '../../../src/batch/encodeFolder';
import { UserError } from '../../../src/errors';
import { clipPreprocessing } from '../../../src/image/preprocess';

const SIDE = 112;
export const TOKENS = 4;
export const WIDTH = 64;

/** The one number that the fake encoder makes features of. */
export function valueOf(content: string): number {
  return Buffer.from(content).reduce((sum, byte) => (sum * 31 + byte) % 65_521, 7);
}

/**
 * An encoder whose features are all the number that is made of a picture's text. Pictures that say "broken" cannot be
 * decoded. Writes the path of each picture that it is given into `log`.
 */
export function fakeEncoder({ log, onRun }: { readonly log?: string; readonly onRun?: () => void | Promise<void> } = {}): FolderEncoder & { readonly decoded: string[]; loads: number } {
  const decoded: string[] = [];
  const fake = {
    decoded,
    loads: 0,
    pid: 1,
    load: (): ReturnType<FolderEncoder['load']> => {
      fake.loads += 1;
      return Promise.resolve({ device: 'cpu', precision: 'float32', rejected: [] });
    },
    preprocess: (name: string, bytes: Uint8Array, _: unknown, { signal }: { signal?: AbortSignal } = {}): ReturnType<FolderEncoder['preprocess']> => {
      signal?.throwIfAborted();
      const text = Buffer.from(bytes).toString();
      if (text === 'broken') return Promise.reject(new UserError(`${name} cannot be decoded.`));
      decoded.push(name);
      if (log !== undefined) appendFileSync(log, `${name}\n`);
      return Promise.resolve({ pixels: { shape: [1, 3, SIDE, SIDE], data: new Float32Array(3 * SIDE * SIDE).fill(valueOf(text)) }, decodeMs: 0, resizeMs: 0 });
    },
    run: async ({ shape: [batch = 0], data }: Parameters<FolderEncoder['run']>[0], outputs: readonly string[]): ReturnType<FolderEncoder['run']> => {
      await onRun?.();
      const values = new Float32Array(batch * TOKENS * WIDTH);
      for (let index = 0; index < batch; index++) values.fill(data[index * 3 * SIDE * SIDE] ?? 0, index * TOKENS * WIDTH, (index + 1) * TOKENS * WIDTH);
      return new Map(outputs.map(name => [name, { shape: [batch, TOKENS, WIDTH], data: values }]));
    },
  };
  return fake;
}

/** Written long ago, so that a change shows. */
export async function writePicture(path: string, content: string, year = 2001): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  await utimes(path, new Date(year, 0), new Date(year, 0));
}

export function request(folder: string, out: string, more: Partial<FolderRequest> = {}): FolderRequest {
  return { folder, out, outputs: ['features'], preprocessing: clipPreprocessing(SIDE, 'square'), device: 'cpu', precision: 'float32', batchSize: 2, shardPictures: 4, ...more };
}

export interface Entry {
  readonly shard: string;
  readonly prefix?: string;
  readonly row: number;
  readonly grid: readonly number[];
}

export interface IndexJson {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly pictures: Readonly<Record<string, Entry>>;
  readonly skipped: Readonly<Record<string, string>>;
  readonly removed: readonly string[];
}

export async function readIndex(out: string): Promise<IndexJson> {
  return JSON.parse(await readFile(join(out, 'index.json'), 'utf8')) as IndexJson;
}
