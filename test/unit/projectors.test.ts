import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { cp, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseConfig } from '../../src/architecture/config';
import { openCheckpoint } from '../../src/checkpoint/open';
import { CpuEncoder } from '../../src/encoder/cpuEncoder';
import type { Array32 } from '../../src/encoder/encoder';
import { encoderModel } from '../../src/encoder/model';
import { modelInfo } from '../../src/encoder/preview';
import { Weights } from '../../src/encoder/weights';
import { UserError } from '../../src/errors';
import { extract } from '../../src/extraction/extract';
import { companionFiles, openJob, updateJob, validated, type Job } from '../../src/job';
import { optionalParts, switchParts } from '../../src/parts';
import { previewModel } from '../../src/previewModel';
import { readFloats, relativeError } from './encoder/fixture';
import { inFolder } from './extraction/support';
import { FIXTURES } from './support/checkpoints';

const FAMILIES = path.join(FIXTURES, 'families');
/** Encoders that come without any part that could be left out. */
const WITHOUT_PARTS = ['aimv2-apple', 'aimv2-tower', 'cogvlm', 'dinov2', 'dinov2-meta', 'dinov2-registers', 'dinov2-v5', 'dinov3', 'dinov3-gated', 'eva-blip2', 'eva-lavis', 'internvit-300m', 'mllama-whole', 'molmo', 'qwen-vl', 'timm-eva-after', 'timm-eva02-mim', 'timm-vit-clip', 'timm-vit-placed', 'timm-vit-registers'];

async function withJob<T>(folder: string, use: (job: Job) => Promise<T> | T): Promise<T> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return await use(await openJob(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

function everyPart(job: Job, kept: boolean): Job {
  return switchParts(job, Object.fromEntries(optionalParts(job).map(({ id }) => [id, kept])));
}

async function extracted(job: Job, out: string): Promise<void> {
  await extract(job.plan, validated(job).validation, { ...await companionFiles(job), out, format: 'safetensors', dtype: 'keep', overwrite: false });
}

function keysOf(job: Job): string[] {
  return job.plan.kept.flatMap(({ outputKey }) => outputKey ?? []).sort();
}

async function merged(job: Job, pixels: Array32): Promise<Array32> {
  const { family, validation } = validated(job);
  const model = encoderModel(job.plan, family, validation.hyperparameters, job.config);
  const encoder = new CpuEncoder(model.graph, new Weights(model, 0));
  let value: Array32 | undefined;
  try {
    await encoder.run(pixels, ['merged'], { onOutput: (_, given) => { value = given; return Promise.resolve(); }, onProgress: () => undefined, check: () => undefined });
  } finally {
    await encoder.close();
  }
  assert.ok(value);
  return value;
}

describe('An encoder that was extracted with its optional parts', function () {
  this.timeout(60_000);
  for (const name of readdirSync(FAMILIES).filter(one => !WITHOUT_PARTS.includes(one)).sort()) {
    it(`knows when it is opened again what it holds: ${name}`, async () => {
      const parts = await withJob(path.join(FAMILIES, name), job => optionalParts(job).map(({ id }) => id));
      assert.ok(parts.length > 0);
      await inFolder(async folder => {
        const out = path.join(folder, 'encoder');
        const graphs = await withJob(path.join(FAMILIES, name), async preset => {
          const job = everyPart(preset, true);
          await extracted(job, out);
          const { family, validation } = validated(job);
          return { keys: keysOf(job), graph: family.graph?.(validation.hyperparameters, job.config) };
        });
        await withJob(out, async job => {
          const { family, validation } = validated(job);
          assert.ok(validation.valid);
          assert.deepEqual(optionalParts(job).map(({ id, kept }) => [id, kept]), parts.map(id => [id, true]));
          assert.deepEqual(keysOf(job), graphs.keys);
          // What it is run by is in the config beside it: layers, activations, epsilons, sides.
          assert.deepEqual(family.graph?.(validation.hyperparameters, job.config), graphs.graph);
          // A part is left behind from here as from the whole model, and then it is not there.
          const without = everyPart(job, false);
          assert.ok(validated(without).validation.valid);
          await extracted(without, path.join(folder, 'without'));
        });
        await withJob(path.join(folder, 'without'), job => {
          assert.ok(validated(job).validation.valid);
          assert.deepEqual(optionalParts(job), []);
        });
      });
    });
  }

  it('leaves none of the others untested', async () => {
    for (const name of WITHOUT_PARTS) await withJob(path.join(FAMILIES, name), job => { assert.deepEqual(optionalParts(job), [], name); });
  });

  it('is told from a file of timm\'s own, which may have a classifier in the place of the projection', () => inFolder(async folder => {
    const out = path.join(folder, 'encoder');
    await withJob(path.join(FAMILIES, 'timm-eva02'), job => extracted(everyPart(job, true), out));
    await writeFile(path.join(out, 'config.json'), JSON.stringify({ architecture: 'eva02_base_patch16_clip_224', num_classes: 512, pretrained_cfg: {} }));
    await withJob(out, job => { assert.deepEqual(optionalParts(job).map(({ kept }) => kept), [false]); });
  }));
});

describe('A projector', () => {
  it('takes the hidden state that the config names, and refuses one that the encoder does not have', async () => {
    await withJob(path.join(FAMILIES, 'clip-llava'), async preset => {
      const expected = await readFloats(path.join(FAMILIES, 'clip-llava/expected/outputs.safetensors'));
      const [pixels, reference] = [expected.get('pixel_values'), expected.get('merged')];
      assert.ok(pixels && reference && preset.config);
      const job = switchParts(preset, { projector: true });
      const withLayer = (layer: unknown): Job => updateJob(job, { config: parseConfig(JSON.stringify({ ...preset.config?.value, vision_feature_layer: layer }), '/x/config.json') });
      assert.ok(relativeError((await merged(withLayer(-2), pixels)).data, reference.data) < 1e-5);
      assert.ok(relativeError((await merged(withLayer([1]), pixels)).data, reference.data) < 1e-5);
      assert.ok(relativeError((await merged(withLayer(-1), pixels)).data, reference.data) > 1e-2);
      await assert.rejects(merged(withLayer(7), pixels), new UserError('The config\'s vision_feature_layer is 7, where the projector takes 1 of the hidden states 0 to 2. Leave the projector out to run the encoder.'));
      // Two states need a projector of twice the width: the strict validation says so before anything is run.
      const [finding] = validated(withLayer([-2, -1])).validation.mismatched;
      assert.match(finding?.blame?.message ?? '', /says vision_feature_layer \[-2,-1\], which gives projector_input 32/);
    });
  });

  it('of which the first token is dropped is not run where that is a patch', () => withJob(path.join(FAMILIES, 'siglip-onevision'), preset => {
    const job = updateJob(switchParts(preset, { projector: true }), { config: parseConfig(JSON.stringify({ ...preset.config?.value, vision_feature_select_strategy: 'default' }), '/x/config.json') });
    const { family, validation } = validated(job);
    assert.throws(() => encoderModel(job.plan, family, validation.hyperparameters, job.config), /takes all tokens but the first \(default\), which in SigLIP encoders is a patch/);
  }));

  it('is validated strictly against the language model\'s width in the config', () => withJob(path.join(FAMILIES, 'siglip-smolvlm'), preset => {
    const job = updateJob(switchParts(preset, { projector: true }), { config: parseConfig(JSON.stringify({ ...preset.config?.value, text_config: { hidden_size: 30 }, scale_factor: 4 }), '/x/config.json') });
    const [finding, ...others] = validated(job).validation.mismatched;
    assert.deepEqual([finding?.key, finding?.expected, finding?.found, others.length], ['connector.modality_projection.proj.weight', [30, 256], [24, 64], 0]);
    assert.match(finding?.blame?.message ?? '', /scale_factor 4|hidden_size 30/);
  }));

  it('that would join more patches than the grid has room for is refused', () => withJob(path.join(FAMILIES, 'siglip-gemma3'), preset => {
    const job = updateJob(switchParts(preset, { projector: true }), { config: parseConfig(JSON.stringify({ ...preset.config?.value, mm_tokens_per_image: 100 }), '/x/config.json') });
    const { family, validation } = validated(job);
    assert.throws(() => encoderModel(job.plan, family, validation.hyperparameters, job.config), /joins 0 x 0 patches, and the SigLIP encoder has 4 x 4/);
  }));

  it('makes pictures of free sizes multiples of its blocks, once', () => withJob(path.join(FAMILIES, 'pixtral-mistral3'), async preset => {
    for (const job of [preset, switchParts(preset, { projector: true })]) {
      const { preprocessing: { model } } = await previewModel(job);
      assert.equal(model.resize !== undefined && 'multiple' in model.resize ? model.resize.multiple : undefined, 8);
    }
  }));

  it('is in what the preview tells its panel, with its width', () => withJob(path.join(FAMILIES, 'mllama'), async preset => {
    assert.deepEqual(modelInfo(await previewModel(switchParts(preset, { projector: true }))).merged, { names: ['merged'], width: 12 });
  }));

  it('comes after the adapter, which is there without it too: Llama 4', () => withJob(path.join(FAMILIES, 'llama4'), async preset => {
    const expected = await readFloats(path.join(FAMILIES, 'llama4/expected/outputs.safetensors'));
    const [pixels, reference] = [expected.get('pixel_values'), expected.get('merged')];
    assert.ok(pixels && reference);
    await assert.rejects(merged(switchParts(preset, { projector: true }), pixels), new UserError('The projector takes what the adapter gives. Take the adapter in too, or leave the projector out, to run the encoder.'));
    const adapted = await merged(switchParts(preset, { adapter: true }), pixels);
    const matrix = (await readFloats(path.join(FAMILIES, 'llama4/model.safetensors'))).get('multi_modal_projector.linear_1.weight');
    assert.ok(matrix);
    const [outputs = 0, inputs = 0] = matrix.shape;
    assert.deepEqual(adapted.shape, [1, 9, inputs]);
    const projected = Array.from({ length: 9 * outputs }, (_, at) => {
      const [row, output] = [Math.floor(at / outputs), at % outputs];
      return Array.from({ length: inputs }, (__, input) => (adapted.data[row * inputs + input] ?? 0) * (matrix.data[output * inputs + input] ?? 0)).reduce((sum, term) => sum + term, 0);
    });
    assert.ok(relativeError(projected, reference.data) < 1e-5);
  }));

  it('is read from a folder whose config says nothing of the encoder', () => inFolder(async folder => {
    // As a person leaves it who copies the weights alone: sizes from the shapes, the rest as published models have it.
    await cp(path.join(FAMILIES, 'clip-llava/model.safetensors'), path.join(folder, 'model.safetensors'));
    await writeFile(path.join(folder, 'config.json'), JSON.stringify({ model_type: 'llava_llama', hidden_size: 24 }));
    await withJob(folder, preset => {
      const { validation } = validated(updateJob(switchParts(preset, { projector: true }), { recipe: { ...switchParts(preset, { projector: true }).recipe, settings: { heads: 4 } } }));
      assert.ok(validation.valid);
      assert.equal(validation.hyperparameters.get('output_dim')?.value, 24);
    });
    assert.ok((await readFile(path.join(folder, 'config.json'))).length > 0);
  }));
});

