import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { GraphBuilder, PLAIN } from '../../../src/onnx/graphBuilder';

const info = { name: 'test', producer: 'test' };

async function run(model: Uint8Array | string, feeds: Record<string, Tensor>): Promise<Record<string, { dims: readonly number[]; data: number[] }>> {
  const session = typeof model === 'string' ? await InferenceSession.create(model) : await InferenceSession.create(model);
  try {
    const results = await session.run(feeds);
    return Object.fromEntries(Object.entries(results).map(([name, { dims, data }]) => [name, { dims, data: [...data as Float32Array] }]));
  } finally {
    await session.release();
  }
}

describe('GraphBuilder', () => {
  it('makes models that ONNX Runtime runs: constants, attributes, several outputs, a dynamic batch', async () => {
    const b = new GraphBuilder(PLAIN);
    const x = b.input('x', 'F32', ['batch', 4]);
    const [left = '', right = ''] = b.split(x, 2, 1, 2, 'half');
    const sum = b.node('Add', [left, b.node('Mul', [right, b.scalar(10)], 'scaled')], 'sum');
    b.output('sum_out', sum, 'F32', ['batch', 2]);
    b.output('flat', b.node('Reshape', [sum, b.integers([-1])], 'reshaped'), 'F32', ['all']);
    const result = await run(b.toModel(info), { x: new Tensor('float32', [1, 2, 3, 4, 5, 6, 7, 8], [2, 4]) });
    assert.deepEqual(result, { sum_out: { dims: [2, 2], data: [31, 42, 75, 86] }, flat: { dims: [4], data: [31, 42, 75, 86] } });
  });

  it('points initialisers into files at any offset, casting what is not float32', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'graph-builder-'));
    try {
      // 1, -2 and 0.5 as bfloat16, behind three bytes of something else.
      await writeFile(join(folder, 'weights.bin'), Buffer.from('ffffff803f00c0003f', 'hex'));
      const b = new GraphBuilder(PLAIN);
      const x = b.input('x', 'F32', [3]);
      const w = b.initialiser('w', 'BF16', [3], { location: 'weights.bin', offset: 3, length: 6 });
      b.output('y', b.node('Mul', [x, b.cast(w, 'F32', 'w.cast')], 'product'), 'F32', [3]);
      const path = join(folder, 'model.onnx');
      await writeFile(path, b.toModel(info));
      assert.deepEqual((await run(path, { x: new Tensor('float32', [1, 1, 4], [3]) })).y?.data, [1, -2, 2]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('keeps names unique and constants single, and gives the same bytes again', () => {
    const build = (): GraphBuilder => {
      const b = new GraphBuilder(PLAIN);
      const x = b.input('x', 'F32', [1]);
      const names = [b.node('Relu', [x], 'same'), b.node('Relu', [x], 'same'), b.scalar(2), b.scalar(2), b.integers([1, 2]), b.integers([1, 2])];
      assert.deepEqual(names, ['same', 'same.2', 'float.2', 'float.2', 'int64.1_2', 'int64.1_2']);
      return b;
    };
    assert.deepEqual(build().toModel(info), build().toModel(info));
    assert.throws(() => build().input('x', 'F32', [1]), /two values named x/);
  });

  it('declares ONNX Runtime\'s own operators only when they are used', () => {
    const b = new GraphBuilder(PLAIN);
    b.output('y', b.node('Relu', [b.input('x', 'F32', [1])], 'relu'), 'F32', [1]);
    assert.ok(!Buffer.from(b.toModel(info)).includes('com.microsoft'));
    b.node('Gelu', ['x'], 'gelu', {}, 'com.microsoft');
    assert.ok(Buffer.from(b.toModel(info)).includes('com.microsoft'));
  });
});
