import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ByteSource } from '../../../src/checkpoint/byteSource';
import { UserError } from '../../../src/errors';

export const FIXTURES = resolve('test/fixtures');

/** A file in memory. */
export function memorySource(bytes: Uint8Array, name = 'model.safetensors'): ByteSource & { reads: number } {
  return {
    name,
    size: bytes.length,
    reads: 0,
    readInto(target, position) {
      this.reads++;
      if (position + target.length > bytes.length) return Promise.reject(new UserError('outside'));
      target.set(bytes.subarray(position, position + target.length));
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

/** A safetensors file with this header text and `dataBytes` zeros behind it. */
export function safetensorsFile(header: string | Uint8Array, dataBytes = 0): Buffer {
  const text = typeof header === 'string' ? Buffer.from(header) : header;
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

/** A file with one U8 tensor of each name, `bytes` long each. */
export function fileWith(keys: readonly string[], bytes = 1): Buffer {
  const entries = keys.map((key, index) => `${JSON.stringify(key)}:{"dtype":"U8","shape":[${bytes}],"data_offsets":[${index * bytes},${(index + 1) * bytes}]}`);
  return safetensorsFile(`{${entries.join(',')}}`, keys.length * bytes);
}

/** Runs `use` with a folder that is removed afterwards. */
export async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'checkpoint-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** For assert.rejects: a UserError whose message matches all of `patterns` and is a sentence. */
export function userError(...patterns: RegExp[]): (error: unknown) => boolean {
  return error => {
    if (!(error instanceof UserError)) throw error;
    for (const pattern of patterns) if (!pattern.test(error.message)) throw new Error(`${JSON.stringify(error.message)} does not match ${String(pattern)}`);
    return /^\S.*\.$/s.test(error.message);
  };
}
