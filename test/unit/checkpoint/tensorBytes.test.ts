import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Tensor } from '../../../src/checkpoint/checkpoint';
import { isContiguous, spanElements } from '../../../src/checkpoint/layout';
import { tensorBytes } from '../../../src/checkpoint/tensorBytes';
import { MemorySource } from './memorySource';
import { collect, rejects } from './torch/support';

const DTYPES = { U8: 1, I16: 2, F32: 4, I64: 8 } as const;
type Dtype = keyof typeof DTYPES;

/** The elements of a view, one by one. */
function expected(bytes: Uint8Array, dtype: Dtype, offset: number, shape: readonly number[], strides: readonly number[]): Buffer {
  const size = DTYPES[dtype];
  const parts: Buffer[] = [];
  const visit = (dimension: number, at: number): void => {
    if (dimension === shape.length) parts.push(Buffer.from(bytes.subarray(offset + at * size, offset + (at + 1) * size)));
    else for (let i = 0; i < (shape[dimension] ?? 0); i++) visit(dimension + 1, at + i * (strides[dimension] ?? 0));
  };
  visit(0, 0);
  return Buffer.concat(parts);
}

function view(dtype: Dtype, offset: number, shape: number[], strides: number[]): Omit<Tensor, 'file'> {
  return { key: 'w', dtype, shape, offset, length: shape.reduce((a, b) => a * b, DTYPES[dtype]), indirect: { strides } };
}

const random = (length: number): Buffer => Buffer.from(Uint32Array.from({ length: Math.ceil(length / 4) }, (_, i) => Math.imul(i + 1, 2654435761)).buffer).subarray(0, length);

describe('tensorBytes', () => {
  it('yields a plain tensor in chunks of the asked size', async () => {
    const bytes = random(1000);
    const sizes: number[] = [];
    for await (const chunk of tensorBytes(new MemorySource(bytes), { key: 'w', dtype: 'F32', shape: [50], offset: 4, length: 200 }, { chunkBytes: 64 })) {
      assert.deepEqual(Buffer.from(chunk), bytes.subarray(4 + 64 * sizes.length, Math.min(204, 68 + 64 * sizes.length)));
      sizes.push(chunk.length);
    }
    assert.deepEqual(sizes, [64, 64, 64, 8]);
  });

  it('yields nothing for an empty tensor', async () => {
    assert.equal((await collect(tensorBytes(new MemorySource(Buffer.alloc(0)), { key: 'w', dtype: 'F32', shape: [0, 3], offset: 0, length: 0 }))).length, 0);
  });

  it('gathers any view in row-major order', async () => {
    await fc.assert(fc.asyncProperty(
      fc.constantFrom<Dtype>('U8', 'I16', 'F32', 'I64'),
      fc.array(fc.record({ size: fc.integer({ min: 1, max: 6 }), stride: fc.integer({ min: 0, max: 40 }) }), { maxLength: 4 }),
      fc.integer({ min: 0, max: 20 }), fc.integer({ min: 1, max: 100 }),
      async (dtype, dimensions, offset, chunkBytes) => {
        const shape = dimensions.map(({ size }) => size);
        const strides = dimensions.map(({ stride }) => stride);
        const bytes = random(offset + spanElements({ shape, strides }) * DTYPES[dtype]);
        const got = await collect(tensorBytes(new MemorySource(bytes), view(dtype, offset, shape, strides), { chunkBytes }));
        assert.deepEqual(got, expected(bytes, dtype, offset, shape, strides));
      }), { numRuns: 300, seed: 7 });
  });

  it('gathers a transposed matrix larger than its windows and blocks with few requests', async () => {
    const rows = 5000;
    const columns = 1100;
    const bytes = random(rows * columns * 4 + 12);
    const source = new MemorySource(bytes);
    const tensor = view('F32', 12, [columns, rows], [1, columns]);
    let done = 0;
    for await (const part of tensorBytes(source, tensor)) {
      const chunk = Buffer.from(part);
      for (let i = 0; i < chunk.length; i += 4004) {
        const element = (done + i) / 4;
        const at = 12 + 4 * ((element % rows) * columns + Math.floor(element / rows));
        assert.equal(chunk.readUInt32LE(i), bytes.readUInt32LE(at));
      }
      done += chunk.length;
    }
    assert.equal(done, tensor.length);
    assert.ok(source.reads < 100, `${source.reads} requests`);
  });

  it('gathers a column whose elements lie far apart', async () => {
    const bytes = random(3_000_000);
    const strides = [700_000, 300];
    const got = await collect(tensorBytes(new MemorySource(bytes), view('U8', 5, [4, 1000], strides)));
    assert.deepEqual(got, expected(bytes, 'U8', 5, [4, 1000], strides));
  });

  it('swaps big-endian elements, and each half of a complex one', async () => {
    const bytes = random(16);
    const swap = async (dtype: Tensor['dtype']): Promise<Buffer> => collect(tensorBytes(new MemorySource(bytes), { key: 'w', dtype, shape: [], offset: 0, length: 16, indirect: { bigEndian: true } }));
    assert.deepEqual(await swap('F16'), Buffer.from(bytes).swap16());
    assert.deepEqual(await swap('F32'), Buffer.from(bytes).swap32());
    assert.deepEqual(await swap('C64'), Buffer.from(bytes).swap32());
    assert.deepEqual(await swap('F64'), Buffer.from(bytes).swap64());
    assert.deepEqual(await swap('U8'), bytes);
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    const chunks = tensorBytes(new MemorySource(random(100)), { key: 'w', dtype: 'U8', shape: [100], offset: 0, length: 100 }, { chunkBytes: 8, signal: controller.signal });
    assert.equal((await chunks.next()).done, false);
    controller.abort();
    await assert.rejects(chunks.next(), { name: 'AbortError' });
  });

  it('refuses a view that repeats a few elements for gigabytes', async () => {
    await rejects(collect(tensorBytes(new MemorySource(random(24)), view('F32', 0, [2 ** 30, 6], [0, 1]))), /w in model\.bin repeats a few stored elements/);
  });
});

describe('layout', () => {
  it('knows contiguous views as torch does', () => {
    assert.ok(isContiguous({ shape: [2, 3], strides: [3, 1] }));
    assert.ok(isContiguous({ shape: [2, 1, 3], strides: [3, 99, 1] }));
    assert.ok(isContiguous({ shape: [], strides: [] }));
    assert.ok(isContiguous({ shape: [0, 3], strides: [7, 7] }));
    assert.ok(!isContiguous({ shape: [2, 3], strides: [1, 2] }));
    assert.ok(!isContiguous({ shape: [2, 3], strides: [4, 1] }));
    assert.ok(!isContiguous({ shape: [3], strides: [0] }));
  });
});
