import assert from 'node:assert/strict';
import type { Checkpoint, Tensor } from '../../../src/checkpoint/checkpoint';
import type { Dtype } from '../../../src/checkpoint/dtype';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { tensorBytes } from '../../../src/checkpoint/tensorBytes';
import { histogram, summarize } from '../../../src/features/statistics';
import { elementReader, patternValues } from '../../../src/inspection/elements';
import { heatMap, MOST_CELLS } from '../../../src/inspection/heatMap';
import { tensorStatistics } from '../../../src/inspection/tensorStatistics';
import { memorySource } from '../checkpoint/support';

function close(actual: number, expected: number, what: string): void {
  assert.ok(Math.abs(actual - expected) <= 1e-6 * Math.max(1, Math.abs(expected)) || (Number.isNaN(actual) && Number.isNaN(expected)), `${what}: ${actual}, not ${expected}`);
}

/** A tensor of plain bytes. */
function plain(dtype: Dtype, shape: readonly number[], bytes: Uint8Array): { tensor: Tensor; source: ReturnType<typeof memorySource> } {
  return { tensor: { key: 'made', dtype, shape, file: 0, offset: 0, length: bytes.length }, source: memorySource(bytes) };
}

const floats = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

async function withCheckpoint(location: string, task: (checkpoint: Checkpoint) => Promise<void>): Promise<void> {
  const checkpoint = await openCheckpoint(location);
  try {
    await task(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

function sourceOf(checkpoint: Checkpoint, tensor: Tensor): Checkpoint['files'][number]['source'] {
  const source = checkpoint.files[tensor.file]?.source;
  assert.ok(source);
  return source;
}

describe('elements of every dtype', () => {
  it('reads small floats as their formats define them', () => {
    // Largest finite value, smallest subnormal, infinity or NaN: OCP 8-bit floating point 1.0, table 1, and IEEE 754.
    const at = (dtype: Dtype, bits: number): number => patternValues(dtype)?.[bits] ?? assert.fail(dtype);
    assert.equal(at('F16', 0x7bff), 65504);
    assert.equal(at('F16', 1), 2 ** -24);
    assert.equal(at('F16', 0xfc00), -Infinity);
    assert.equal(at('BF16', 0x3f80), 1);
    assert.ok(Number.isNaN(at('BF16', 0x7fc0)));
    assert.equal(at('F8_E4M3', 0x7e), 448);
    assert.equal(at('F8_E4M3', 1), 2 ** -9);
    assert.ok(Number.isNaN(at('F8_E4M3', 0xff)));
    assert.equal(at('F8_E5M2', 0x7b), 57344);
    assert.equal(at('F8_E5M2', 0x7c), Infinity);
    assert.equal(at('F8_E4M3FNUZ', 0x7f), 240);
    assert.ok(Number.isNaN(at('F8_E4M3FNUZ', 0x80)));
    assert.equal(at('F8_E5M2FNUZ', 0x7f), 57344);
    assert.equal(at('F8_E8M0', 127), 1);
    assert.equal(at('I8', 0xff), -1);
    assert.equal(at('I16', 0x8000), -32768);
  });

  it('reads wider ones as the machine does, wherever they begin', () => {
    const bytes = new Uint8Array(33);
    bytes.set(new Uint8Array(BigInt64Array.from([-5n, 1n << 60n]).buffer), 1);
    assert.deepEqual([...elementReader('I64')?.(bytes.subarray(1, 17)) ?? []], [-5, 2 ** 60]);
    bytes.set(floats([1.5, -2]), 1);
    assert.deepEqual([...elementReader('F32')?.(bytes.subarray(1, 9)) ?? []], [1.5, -2]);
    assert.equal(elementReader('F4'), undefined);
  });
});

describe('statistics of a tensor', () => {
  it('are those of its values, of whatever dtype and layout the file has them', async () => {
    for (const fixture of ['test/fixtures/qwen-vl-tiny-safetensors', 'test/fixtures/qwen-vl-tiny-bin']) {
      await withCheckpoint(fixture, async checkpoint => {
        let compared = 0;
        for (const tensor of checkpoint.tensors) {
          const read = elementReader(tensor.dtype);
          if (read === undefined || tensor.dtype === 'C64' || tensor.length === 0) continue;
          const values: number[] = [];
          for await (const chunk of tensorBytes(sourceOf(checkpoint, tensor), tensor)) values.push(...read(chunk));
          if (values.some(value => Math.abs(value) > 2 ** 24 && !Number.isFinite(Math.fround(value)))) continue;
          const { statistics, histogram: bins } = await tensorStatistics(sourceOf(checkpoint, tensor), tensor);
          const expected = summarize(Float32Array.from(values));
          for (const field of ['count', 'mean', 'standardDeviation', 'min', 'max', 'zeros', 'nans', 'infinities'] as const) close(statistics[field], expected[field], `${tensor.key} ${field}`);
          assert.equal([...bins.counts].reduce((a, b) => a + b, 0), values.filter(Number.isFinite).length, tensor.key);
          compared++;
        }
        assert.ok(compared >= 8, `${fixture}: ${compared} tensors`);
      });
    }
  });

  it('place each value in its bin as numpy does', async () => {
    const values = Array.from({ length: 1000 }, (_, i) => Math.sin(i) * (i % 7));
    const { tensor, source } = plain('F32', [1000], floats(values));
    const { histogram: bins } = await tensorStatistics(source, tensor);
    assert.deepEqual([...bins.counts], [...histogram(Float32Array.from(values), 64).counts]);
  });

  it('set apart what is not finite', async () => {
    const { tensor, source } = plain('F32', [6], floats([Number.NaN, Infinity, -Infinity, 0, 1, 3]));
    const { statistics } = await tensorStatistics(source, tensor);
    assert.deepEqual({ ...statistics, standardDeviation: undefined, mean: undefined }, { count: 6, zeros: 1, nans: 1, infinities: 2, min: 0, max: 3, standardDeviation: undefined, mean: undefined });
    close(statistics.mean, 4 / 3, 'mean');
    close(statistics.standardDeviation, Math.sqrt(14 / 9), 'deviation');
  });

  it('tell progress over all passes, stop when told, and refuse what has no values', async () => {
    const { tensor, source } = plain('F32', [1 << 20], new Uint8Array(1 << 22));
    const shares: number[] = [];
    await tensorStatistics(source, tensor, { onProgress: ({ done, total }) => { shares.push(done / total); } });
    assert.equal(shares.at(-1), 1);
    assert.deepEqual(shares, [...shares].sort((a, b) => a - b));
    const controller = new AbortController();
    await assert.rejects(tensorStatistics(source, tensor, { signal: controller.signal, onProgress: () => { controller.abort(); } }), { name: 'AbortError' });
    await assert.rejects(tensorStatistics(source, { ...tensor, dtype: 'F4' }), /values cannot be shown/);
  });
});

describe('the picture of a tensor', () => {
  const matrix = Array.from({ length: 2 * 3 * 4 }, (_, i) => i);

  it('is the chosen matrix of the last two dimensions', async () => {
    const { tensor, source } = plain('F32', [2, 3, 4], floats(matrix));
    const { rows, columns, values } = await heatMap(source, tensor, 1, undefined);
    assert.deepEqual([rows, columns, [...values]], [3, 4, matrix.slice(12)]);
  });

  it('is the part of it that was asked for', async () => {
    const { tensor, source } = plain('F32', [2, 3, 4], floats(matrix));
    const { region, values } = await heatMap(source, tensor, 0, { row: 1, column: 2, rows: 9, columns: 2 });
    assert.deepEqual(region, { row: 1, column: 2, rows: 2, columns: 2 });
    assert.deepEqual([...values], [6, 7, 10, 11]);
  });

  it('is averaged where it is larger than the picture', async () => {
    const side = MOST_CELLS * 2 + 1;
    const { tensor, source } = plain('F32', [side, side], floats(Array.from({ length: side * side }, (_, i) => Math.floor(i / side))));
    const { rows, columns, values } = await heatMap(source, tensor, 0, undefined);
    assert.deepEqual([rows, columns], [129, 129]);
    assert.equal(values[0], 1); // rows 0, 1 and 2
    assert.equal(values.at(-1), side - 1); // 384 alone
  });

  it('of a view that is no plain byte range is what the view shows', async () => {
    const source = memorySource(floats([0, 1, 2, 3, 4, 5]));
    const tensor: Tensor = { key: 'transposed', dtype: 'F32', shape: [3, 2], file: 0, offset: 0, length: 24, indirect: { strides: [1, 3] } };
    const { values } = await heatMap(source, tensor, 0, { row: 1, column: 0, rows: 2, columns: 2 });
    assert.deepEqual([...values], [1, 4, 2, 5]);
  });

  it('reads only the rows that are asked for', async () => {
    const { tensor, source } = plain('F32', [1000, 1000], new Uint8Array(4e6));
    const read: number[] = [];
    const counting = { ...source, readInto: (target: Uint8Array, position: number) => { read.push(target.length); return source.readInto(target, position); } };
    await heatMap(counting, tensor, 0, { row: 10, column: 0, rows: 20, columns: 10 });
    assert.equal(read.reduce((a, b) => a + b, 0), 20 * 1000 * 4);
  });

  it('says what cannot be drawn', async () => {
    const { tensor, source } = plain('F32', [2, 2], floats([1, 2, 3, 4]));
    await assert.rejects(heatMap(source, tensor, 1, undefined), /nothing to draw/);
    await assert.rejects(heatMap(source, { ...tensor, dtype: 'C64', shape: [1, 2] }, 0, undefined), /not drawn/);
  });
});
