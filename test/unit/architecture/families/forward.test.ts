import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { forwardGraph, gridOf } from '../../../../src/architecture/forwardGraphs';
import { FAMILIES } from '../../../../src/architecture/registry';
import { openCheckpoint } from '../../../../src/checkpoint/open';
import { CpuEncoder } from '../../../../src/encoder/cpuEncoder';
import type { Array32 } from '../../../../src/encoder/encoder';
import { exportOnnx } from '../../../../src/encoder/exportOnnx';
import { encoderModel, type EncoderModel } from '../../../../src/encoder/model';
import { UserError } from '../../../../src/errors';
import { requestSchema } from '../../../../src/encoder/protocol';
import { Weights } from '../../../../src/encoder/weights';
import { openJob, validated } from '../../../../src/job';
import { optionalParts, switchParts } from '../../../../src/parts';
import { readFloats, relativeError, type Known } from '../../encoder/fixture';
import { FIXTURES } from '../../support/checkpoints';

/**
 * Tiny checkpoints that test/reference/*.py made, with what independent PyTorch definitions compute for them in
 * float64; and the family that each has to be recognised as.
 */
const TINY: Readonly<Record<string, string>> = {
  'clip': 'clip',
  'clip-llava': 'clip',
  'clip-llava-original': 'clip',
  'clip-llava-linear': 'clip',
  'clip-vipllava': 'clip',
  'open-clip': 'open-clip',
  'open-clip-quick': 'open-clip',
  'siglip': 'siglip',
  'siglip-gemma3': 'siglip',
  'siglip-paligemma': 'siglip',
  'siglip-onevision': 'siglip',
  'siglip-llava-original': 'siglip',
  'siglip-smolvlm': 'siglip',
  'dinov2': 'dinov2',
  'dinov2-registers': 'dinov2',
  'dinov2-v5': 'dinov2-v5',
  'dinov2-meta': 'dinov2-meta',
  'internvit-6b': 'internvit',
  'internvit-300m': 'internvit',
  'internvl-hf': 'internvl-hf',
  'internvl-hf-6b': 'internvl-hf',
  'eva-blip2': 'eva-vit-g',
  'eva-lavis': 'eva-vit-g-lavis',
  'open-clip-coca': 'open-clip',
  'open-clip-coca-wide': 'open-clip',
  'siglip2': 'siglip2',
  'cogvlm': 'cogvlm',
  'aimv2': 'aimv2',
  'aimv2-tower': 'aimv2',
  'aimv2-apple': 'aimv2-apple',
  'molmo': 'molmo',
  'timm-vit': 'timm-vit',
  'timm-vit-registers': 'timm-vit',
  'timm-vit-placed': 'timm-vit',
  'timm-vit-clip': 'timm-vit',
  'timm-eva': 'timm-eva',
  'timm-eva-after': 'timm-eva',
  'timm-eva02': 'timm-eva02',
  'timm-eva02-mim': 'timm-eva02',
  'qwen2-vl': 'qwen2-vl',
  'qwen2.5-vl': 'qwen2.5-vl',
  'qwen2.5-omni': 'qwen2.5-omni',
  'qwen3-vl': 'qwen3-vl',
  'qwen3.5': 'qwen3-vl',
  'qwen3-omni': 'qwen3-omni',
  'dinov3': 'dinov3',
  'dinov3-gated': 'dinov3',
  'pixtral': 'pixtral',
  'pixtral-mistral3': 'pixtral',
  'pixtral-mistral': 'pixtral-mistral',
  'pixtral-mistral-merger': 'pixtral-mistral',
  'moonvit': 'moonvit',
  'glm4v': 'glm4v',
  'llama4': 'llama4',
  'mllama': 'mllama',
  'mllama-whole': 'mllama',
  'florence2': 'florence2',
  'florence2-hf': 'florence2-hf',
  'qwen-vl': 'qwen-vl',
};

const BOUND = 1e-5;

/** Detection, preset, strict validation, model: what a person's click on Preview does, with every optional part taken in unless told. */
async function open(name: string, parts: 'all' | 'preset' = 'all'): Promise<{ family: string; model: EncoderModel }> {
  const checkpoint = await openCheckpoint(path.join(FIXTURES, 'families', name));
  try {
    const preset = await openJob(checkpoint);
    const job = parts === 'preset' ? preset : switchParts(preset, Object.fromEntries(optionalParts(preset).map(({ id }) => [id, true])));
    const { family, validation } = validated(job);
    assert.ok(validation.valid, JSON.stringify([validation.missing, validation.unexpected, validation.mismatched]));
    return { family: family.id, model: encoderModel(job.plan, family, validation.hyperparameters, job.config) };
  } finally {
    await checkpoint.close();
  }
}

async function expected(name: string): Promise<{ pixels: Known; outputs: Map<string, Known> }> {
  const outputs = await readFloats(path.join(FIXTURES, 'families', name, 'expected', 'outputs.safetensors'));
  const pixels = outputs.get('pixel_values');
  assert.ok(pixels);
  outputs.delete('pixel_values');
  return { pixels, outputs };
}

async function run(model: EncoderModel, pixels: Array32, names: readonly string[]): Promise<Map<string, Array32>> {
  const encoder = new CpuEncoder(model.graph, new Weights(model, 0));
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

function assertClose(actual: Array32 | undefined, reference: Known, name: string): void {
  assert.ok(actual, name);
  assert.deepEqual(actual.shape, reference.shape, name);
  const error = relativeError(actual.data, reference.data);
  assert.ok(error < BOUND, `${name}: relative error ${error}`);
}

describe('forward passes', () => {
  for (const [name, familyId] of Object.entries(TINY)) {
    it(`of ${name}: every hidden state, attention map and feature agrees with the float64 reference`, async () => {
      const { family, model } = await open(name);
      assert.equal(family, familyId);
      const { pixels, outputs } = await expected(name);
      const [, , height = 0, width = 0] = pixels.shape;
      const graph = forwardGraph(model.graph, gridOf(model.graph, height, width));
      // Nothing that the encoder hands out goes unchecked.
      assert.deepEqual([...graph.poolShapes.keys(), ...graph.blockOutputs.map(one => one.name)].filter(one => !outputs.has(one)), []);
      assert.ok([...outputs.keys()].some(one => one.startsWith('attentions.')));
      assert.equal([...outputs.keys()].filter(one => one.startsWith('hidden_states.')).length, graph.layers);
      const actual = await run(model, pixels, [...outputs.keys()]);
      for (const [key, reference] of outputs) assertClose(actual.get(key), reference, key);
    });
  }

  for (const [name] of Object.entries(TINY)) {
    it(`of ${name} export to ONNX, with a dynamic batch, and agree with the reference there too`, async () => {
      const { model } = await open(name);
      const { pixels, outputs } = await expected(name);
      const folder = await mkdtemp(path.join(tmpdir(), 'forward-'));
      try {
        const file = path.join(folder, 'model.onnx');
        const [, , height = 0, width = 0] = pixels.shape;
        const grid = gridOf(model.graph, height, width);
        await exportOnnx(model, { path: file, outputs: [...outputs.keys()], weights: 'one-file', grid });
        const session = await InferenceSession.create(file);
        try {
          const twice = Float32Array.of(...pixels.data.map(value => -value), ...pixels.data);
          const results = await session.run({ pixel_values: new Tensor('float32', twice, [2, ...pixels.shape.slice(1)]) });
          for (const [key, reference] of outputs) {
            const data = results[key]?.data;
            assert.ok(data instanceof Float32Array, key);
            assertClose({ shape: reference.shape, data: data.subarray(reference.data.length) }, reference, key);
          }
        } finally {
          await session.release();
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
  }

  it('have the merger\'s outputs only where it was taken in, and the same features either way', async () => {
    for (const name of ['qwen2-vl', 'qwen2.5-vl', 'qwen2.5-omni', 'qwen3-vl', 'qwen3.5', 'qwen3-omni', 'glm4v', 'moonvit', 'clip-llava', 'clip-vipllava', 'siglip-gemma3', 'internvit-6b', 'pixtral-mistral3', 'mllama', 'llama4']) {
      const { model } = await open(name, 'preset');
      const { pixels, outputs } = await expected(name);
      const reference = outputs.get('features');
      assert.ok(reference && outputs.has('merged'), name);
      assertClose((await run(model, pixels, ['features'])).get('features'), reference, name);
      await assert.rejects(run(model, pixels, ['merged']), /There is no output "merged"/);
    }
  });

  it('take pictures of one grid after another', async () => {
    const { model } = await open('qwen2.5-vl');
    const { pixels, outputs } = await expected('qwen2.5-vl');
    const encoder = new CpuEncoder(model.graph, new Weights(model, 1e9));
    const features = async (input: Array32): Promise<Array32> => {
      let value: Array32 | undefined;
      await encoder.run(input, ['features'], { onOutput: (_, given) => { value = given; return Promise.resolve(); }, onProgress: () => undefined, check: () => undefined });
      assert.ok(value);
      return value;
    };
    try {
      // Twice around, past the number of grids that are kept.
      for (const [height, width] of [[8, 8], [8, 16], [16, 8], [24, 8], [8, 8], [48, 40]] as const) {
        assert.deepEqual((await features({ shape: [1, 3, height, width], data: new Float32Array(3 * height * width) })).shape, [1, height * width / 16, 24]);
        const reference = outputs.get('features');
        assert.ok(reference);
        assertClose(await features(pixels), reference, 'features');
      }
      await assert.rejects(features({ shape: [1, 3, 12, 16], data: new Float32Array(3 * 12 * 16) }), new UserError('The encoder does not take pictures of 16 x 12 pixels: rows and columns have to be multiples of 2.'));
      await assert.rejects(features({ shape: [1, 3, 9, 16], data: new Float32Array(3 * 9 * 16) }), new UserError('The encoder does not take pictures of 16 x 9 pixels: patches are 4 x 4 pixels.'));
    } finally {
      await encoder.close();
    }
  });

  it('say which tiles an encoder takes', async () => {
    const { model } = await open('mllama');
    assert.deepEqual(gridOf(model.graph, 48, 12), { rows: 12, columns: 3 });
    assert.throws(() => gridOf(model.graph, 36, 24), new UserError('The encoder does not take pictures of 24 x 36 pixels: tiles have to be laid out 1 x 1, 1 x 2, 1 x 3, 1 x 4, 2 x 1, 2 x 2, 3 x 1, 4 x 1.'));
    assert.throws(() => gridOf(model.graph, 12, 20), new UserError('The encoder does not take pictures of 20 x 12 pixels: rows and columns have to be multiples of 3.'));
  });

  it('travel to the encoder\'s process as plain data', async () => {
    for (const name of Object.keys(TINY)) {
      const { model } = await open(name);
      const sent = requestSchema.parse(structuredClone({ type: 'load', id: 1, encoder: 'main', model, device: 'cpu', precision: 'float32' }));
      assert.deepEqual(sent.type === 'load' && sent.model.graph, model.graph, name);
    }
  });

  it('are there for exactly the families that say so, each with a reference', async () => {
    const tested = new Set(Object.values(TINY));
    for (const family of FAMILIES) {
      const { id, support } = family;
      assert.equal(support === 'preview', family.graph !== undefined, id);
      // Those that do not run say why, where they are recognised and where they are asked to.
      assert.equal(family.notRun === undefined, family.graph !== undefined, id);
      assert.equal(support === 'preview', tested.has(id), id);
    }
    assert.deepEqual((await readdir(path.join(FIXTURES, 'families'))).sort(), Object.keys(TINY).sort());
  });
});
