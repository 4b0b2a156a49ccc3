import assert from 'node:assert/strict';
import { join } from 'node:path';
import { pictureSizes } from '../../../src/architecture/forwardGraphs';
import { elementCount } from '../../../src/checkpoint/dtype';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { CpuEncoder } from '../../../src/encoder/cpuEncoder';
import type { Array32 } from '../../../src/encoder/encoder';
import { encoderModel } from '../../../src/encoder/model';
import { Weights } from '../../../src/encoder/weights';
import { openJob, validated } from '../../../src/job';
import { FIXTURES } from '../support/checkpoints';
import { expected, relativeError, TINY, tinyModel, type Tiny } from './fixture';

async function run(name: Tiny, pixels: Array32, names: readonly string[], keepBytes: number): Promise<Map<string, Array32>> {
  const model = await tinyModel(name);
  const encoder = new CpuEncoder(model.graph, new Weights(model, keepBytes));
  const outputs = new Map<string, Array32>();
  try {
    await encoder.run(pixels, names, {
      onOutput: (output, value) => { outputs.set(output, value); return Promise.resolve(); },
      onProgress: () => undefined,
      check: () => undefined,
    });
  } finally {
    await encoder.close();
  }
  return outputs;
}

describe('CpuEncoder', () => {
  for (const name of TINY) {
    it(`agrees with the float64 reference on ${name}`, async () => {
      const known = await expected(name);
      const pixels = known.get('pixel_values');
      assert.ok(pixels);
      const names = [...known.keys()].filter(key => key !== 'pixel_values');
      assert.equal(names.length, 5);
      const outputs = await run(name, pixels, names, 0);
      for (const key of names) {
        const [actual, reference] = [outputs.get(key), known.get(key)];
        assert.ok(actual && reference, key);
        assert.deepEqual(actual.shape, reference.shape, key);
        const error = relativeError(actual.data, reference.data);
        assert.ok(error < 1e-5, `${key}: relative error ${error}`);
      }
    });
  }

  it('reads weights anew when it may keep none, with the same numbers', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const pixels = known.get('pixel_values');
    assert.ok(pixels);
    const [kept, anew] = [await run('qwen-vl-tiny-bin', pixels, ['features'], 1e9), await run('qwen-vl-tiny-bin', pixels, ['features'], 0)];
    assert.deepEqual(kept.get('features'), anew.get('features'));
  });

  it('gives attention maps whose rows sum to one, and runs no more blocks than asked for', async () => {
    const known = await expected('qwen-vl-tiny-safetensors');
    const pixels = known.get('pixel_values');
    assert.ok(pixels);
    const outputs = await run('qwen-vl-tiny-safetensors', pixels, ['embeddings', 'attentions.0.3', 'attentions.1.0'], 0);
    assert.deepEqual([...outputs.keys()], ['embeddings', 'attentions.0.3', 'attentions.1.0']);
    const map = outputs.get('attentions.1.0');
    assert.deepEqual(map?.shape, [1, 64, 64]);
    for (let row = 0; row < 64; row++) {
      const sum = map.data.subarray(row * 64, row * 64 + 64).reduce((total, weight) => total + weight, 0);
      assert.ok(Math.abs(sum - 1) < 1e-5);
    }
  });

  it('gives pictures of many shapes the same numbers in turn as each alone, whether it keeps weights or not', async () => {
    const checkpoint = await openCheckpoint(join(FIXTURES, 'families/qwen2-vl'));
    const job = await openJob(checkpoint);
    await checkpoint.close();
    const { family, validation } = validated(job);
    const model = encoderModel(job.plan, family, validation.hyperparameters, job.config);
    const { unit = 1 } = pictureSizes(model.graph);
    // More shapes than it remembers, and the first of them again.
    const shapes = [[2, 3], [3, 2], [4, 4], [1, 6], [5, 2], [2, 3], [3, 2]].map(([rows = 0, columns = 0]) => [1, 3, rows * unit, columns * unit]);
    const pictures = shapes.map(shape => ({ shape, data: Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(i * i)) }));
    const features = async (encoder: CpuEncoder, pixels: Array32): Promise<Array32> => {
      let value: Array32 | undefined;
      await encoder.run(pixels, ['features', 'attentions.1.0'], { onOutput: (name, each) => { if (name === 'features') value = each; return Promise.resolve(); }, onProgress: () => undefined, check: () => undefined });
      assert.ok(value);
      return value;
    };
    const encoders = [0, 1e9].map(keepBytes => new CpuEncoder(model.graph, new Weights(model, keepBytes)));
    try {
      for (const picture of pictures) {
        const alone = new CpuEncoder(model.graph, new Weights(model, 1e9));
        const wanted = await features(alone, picture);
        await alone.close();
        for (const encoder of encoders) assert.deepEqual(await features(encoder, picture), wanted);
      }
    } finally {
      await Promise.all(encoders.map(encoder => encoder.close()));
    }
  });

  it('averages the pool\'s heads, and runs a batch as its pictures one by one', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const pixels = known.get('pixel_values');
    assert.ok(pixels);
    const other = pixels.data.map(value => -value);
    const both = await run('qwen-vl-tiny-bin', { shape: [2, 3, 112, 112], data: Float32Array.of(...pixels.data, ...other) }, ['features', 'attn_pool.weights', 'attn_pool.head_weights'], 0);
    const alone = await run('qwen-vl-tiny-bin', { shape: [1, 3, 112, 112], data: other }, ['features'], 0);
    const [features, single] = [both.get('features'), alone.get('features')];
    assert.ok(features && single);
    assert.ok(relativeError(features.data.subarray(single.data.length), single.data) < 1e-6);
    // One head: its weights are the mean.
    assert.deepEqual(both.get('attn_pool.head_weights')?.shape, [2, 1, 256, 64]);
    assert.deepEqual(both.get('attn_pool.head_weights')?.data, both.get('attn_pool.weights')?.data);
  });
});
