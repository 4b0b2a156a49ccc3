import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ByteSource } from '../../../src/checkpoint/byteSource';
import { UserError } from '../../../src/errors';

export const FIXTURES = path.resolve('test/fixtures');

/** A file's bytes held in memory, with the number of requests that were made. */
export class MemorySource implements ByteSource {
  readonly size: number;
  reads = 0;

  constructor(private readonly bytes: Uint8Array, readonly name = 'model.bin') {
    this.size = bytes.length;
  }

  static fixture(name: string): MemorySource {
    return new MemorySource(readFileSync(path.join(FIXTURES, name)), path.basename(name));
  }

  readInto(target: Uint8Array, position: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.reads++;
    if (position < 0 || position + target.length > this.size) {
      return Promise.reject(new UserError(`${this.name}: bytes ${position} to ${position + target.length} lie outside the file.`));
    }
    target.set(this.bytes.subarray(position, position + target.length));
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
