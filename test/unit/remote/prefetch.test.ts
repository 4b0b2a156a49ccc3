import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ByteSource } from '../../../src/checkpoint/byteSource';
import { readBytes } from '../../../src/checkpoint/byteSource';
import { isAbort } from '../../../src/errors';
import { Prefetch } from '../../../src/remote/prefetch';

const MB = 1 << 20;

/** A remote file of `size` bytes, each made from its position, that records what is asked of it. */
function remoteFile(size: number, fetch: (position: number, signal?: AbortSignal) => Promise<void> = () => Promise.resolve()): ByteSource & { readonly requests: { position: number; length: number }[] } {
  const requests: { position: number; length: number }[] = [];
  const fetchInto = async (target: Uint8Array, position: number, signal?: AbortSignal): Promise<void> => {
    requests.push({ position, length: target.length });
    assert.ok(position >= 0 && position + target.length <= size);
    await fetch(position, signal);
    for (let i = 0; i < target.length; i++) target[i] = byteAt(position + i);
  };
  return { name: 'remote', size, requests, remote: { version: 'v', fetchInto }, readInto: fetchInto, close: () => Promise.resolve() };
}

const byteAt = (position: number): number => (position * 31 + (position >>> 8) * 7 + (position >>> 16)) & 0xff;

function isRight(bytes: Uint8Array, position: number): boolean {
  return bytes.every((byte, i) => byte === byteAt(position + i));
}

describe('Prefetch', () => {
  it('gives every planned byte, whatever the plan\'s order, overlaps and gaps, and wastes next to nothing', async () => {
    const range = fc.record({ file: fc.nat(1), position: fc.nat(80_000), length: fc.integer({ min: 0, max: 20_000 }) });
    await fc.assert(fc.asyncProperty(fc.array(range, { maxLength: 40 }), fc.integer({ min: 1, max: 9000 }), async (ranges, step) => {
      const files = [remoteFile(100_000), remoteFile(100_000)];
      const plan = ranges.map(({ file, position, length }) => ({ source: files[file]!, position, length }));
      const prefetch = new Prefetch(plan);
      for (const [index, { position, length }] of plan.entries()) {
        const source = prefetch.source(index);
        for (let done = 0; done < length; done += step) {
          const bytes = await readBytes(source, position + done, Math.min(step, length - done));
          assert.ok(isRight(bytes, position + done));
        }
      }
      await prefetch.close();
      const wanted = plan.reduce((sum, { length }) => sum + length, 0);
      const fetched = files.flatMap(file => file.requests).reduce((sum, { length }) => sum + length, 0);
      assert.ok(fetched <= wanted * 1.01, `${fetched} of ${wanted}`);
    }), { numRuns: 60 });
  });

  it('makes few requests of neighbours in another order, and holds a bounded part of a large plan', async () => {
    let taken = 0;
    let most = 0;
    const file = remoteFile(200 * MB, () => {
      most = Math.max(most, file.requests.reduce((sum, { length }) => sum + length, 0) - taken);
      return Promise.resolve();
    });
    // Pairs of a small and a large tensor, the small one written first and stored last.
    const plan = Array.from({ length: 20 }, (_, i) => [{ source: file, position: i * 8 * MB + 7 * MB, length: 3000 }, { source: file, position: i * 8 * MB, length: 7 * MB }]).flat();
    const prefetch = new Prefetch(plan);
    for (const [index, { position, length }] of plan.entries()) {
      const source = prefetch.source(index);
      for (let done = 0; done < length; done += MB) {
        await readBytes(source, position + done, Math.min(MB, length - done));
        taken += Math.min(MB, length - done);
      }
    }
    await prefetch.close();
    // What is held, and the part of a request that is taken already.
    assert.ok(most <= 49 * MB, `${most} bytes are held`);
    assert.ok(file.requests.length <= 60, `${file.requests.length} requests`);
  });

  it('serves tied tensors, which are planned twice', async () => {
    const file = remoteFile(10_000);
    const plan = [{ source: file, position: 0, length: 5000 }, { source: file, position: 5000, length: 5000 }, { source: file, position: 0, length: 5000 }];
    const prefetch = new Prefetch(plan);
    // The second of the two is read before the first: each has its own bytes.
    for (const index of [2, 1, 0]) assert.ok(isRight(await readBytes(prefetch.source(index), plan[index]!.position, 5000), plan[index]!.position));
    await prefetch.close();
  });

  it('lets go of what will not be read', async () => {
    const file = remoteFile(300 * MB);
    const plan = Array.from({ length: 3 }, (_, i) => ({ source: file, position: i * 100 * MB, length: 100 * MB }));
    const prefetch = new Prefetch(plan);
    assert.ok(isRight(await readBytes(prefetch.source(0), 0, 1000), 0));
    prefetch.drop(0);
    assert.ok(isRight(await readBytes(prefetch.source(1), 100 * MB, 1000), 100 * MB));
    prefetch.drop(1);
    assert.ok(isRight(await readBytes(prefetch.source(2), 200 * MB, 5 * MB), 200 * MB));
    await prefetch.close();
    const fetched = file.requests.reduce((sum, { length }) => sum + length, 0);
    assert.ok(fetched <= 3 * 52 * MB, `${fetched} bytes were fetched`);
  });

  it('throws a failed request where its bytes are read, and stops at once', async () => {
    const file = remoteFile(64 * MB, position => position >= 8 * MB ? Promise.reject(new Error('broken')) : Promise.resolve());
    const prefetch = new Prefetch([{ source: file, position: 0, length: 64 * MB }]);
    assert.ok(isRight(await readBytes(prefetch.source(0), 0, 1000), 0));
    await assert.rejects(readBytes(prefetch.source(0), 9 * MB, 10), /broken/);
    await prefetch.close();

    const stuck = remoteFile(MB, (_, signal) => new Promise((_resolve, reject) => { signal?.addEventListener('abort', () => { reject(new Error('ended')); }); }));
    const waiting = new Prefetch([{ source: stuck, position: 0, length: MB }]);
    const controller = new AbortController();
    const read = readBytes(waiting.source(0), 0, 10, controller.signal);
    controller.abort();
    await assert.rejects(read, isAbort);
    await waiting.close();
  });
});
