import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, realpath, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '../../../src/architecture/config';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { CpuEncoder } from '../../../src/encoder/cpuEncoder';
import { DeviceEncoder } from '../../../src/encoder/deviceEncoder';
import type { Array32 } from '../../../src/encoder/encoder';
import { commonFolder, locateWeights } from '../../../src/encoder/locate';
import { encoderModel, type EncoderModel } from '../../../src/encoder/model';
import { Weights } from '../../../src/encoder/weights';
import { UserError } from '../../../src/errors';
import { extract } from '../../../src/extraction/extract';
import { makePlan } from '../../../src/recipe/plan';
import { validate } from '../../../src/validation/validate';
import { openJob, validated } from '../../../src/job';
import { FIXTURES } from '../support/checkpoints';
import { expected, fixturePath, readFloats, relativeError, TINY, tinyModel, tinyModelAt, type Tiny } from './fixture';

const quiet = { onProgress: () => undefined, check: () => undefined };

/** The relative error of `features`, with weights fed and with weights pointed at, both on the CPU. */
async function errors(model: EncoderModel, name: Tiny): Promise<number[]> {
  const known = await expected(name);
  const [pixels, reference] = [known.get('pixel_values'), known.get('features')];
  assert.ok(pixels && reference);
  const weights = new Weights(model, 0);
  const fed = new CpuEncoder(model.graph, weights);
  const cwd = process.cwd();
  const pointed = await DeviceEncoder.load(model.graph, fed, { provider: 'cpu', precision: 'float32', blocks: Infinity, blockBytes: 1 << 28, locate: graph => locateWeights(model, graph, weights) }, quiet);
  process.chdir(cwd);
  const results: number[] = [];
  try {
    for (const encoder of [fed, pointed]) {
      let features: Array32 | undefined;
      await encoder.run(pixels, ['features'], { ...quiet, onOutput: (_, value) => { features = value; return Promise.resolve(); } });
      assert.ok(features);
      results.push(relativeError(features.data, reference.data));
    }
  } finally {
    await pointed.close();
  }
  return results;
}

describe('an encoder on a device', () => {
  it('takes for its output what earlier sessions gave', async () => {
    const folder = join(FIXTURES, 'families', 'mllama');
    const known = await readFloats(join(folder, 'expected', 'outputs.safetensors'));
    const pixels = known.get('pixel_values');
    assert.ok(pixels);
    const checkpoint = await openCheckpoint(folder);
    const job = await openJob(checkpoint);
    await checkpoint.close();
    const { family, validation } = validated(job);
    const model = encoderModel(job.plan, family, validation.hyperparameters, job.config);
    const weights = new Weights(model, 0);
    const cwd = process.cwd();
    // A block of half a gigabyte has a session of its own.
    const encoder = await DeviceEncoder.load(model.graph, new CpuEncoder(model.graph, weights), { provider: 'cpu', precision: 'float32', blocks: 5, blockBytes: 1 << 29, locate: graph => locateWeights(model, graph, weights) }, quiet);
    process.chdir(cwd);
    try {
      for (const names of [[...known.keys()].filter(name => name !== 'pixel_values' && name !== 'merged'), ['features'], ['hidden_states.4'], ['hidden_states.0']]) {
        const given = new Map<string, Array32>();
        await encoder.run(pixels, names, { ...quiet, onOutput: (name, value) => { given.set(name, value); return Promise.resolve(); } });
        assert.deepEqual([...given.keys()].sort(), [...names].sort());
        for (const [name, { data }] of given) assert.ok(relativeError(data, known.get(name)?.data ?? []) < 1e-5, name);
      }
    } finally {
      await encoder.close();
      process.chdir(cwd);
    }
  });

  it('loads no more blocks than will run', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const [pixels, reference] = [known.get('pixel_values'), known.get('hidden_states.1')];
    assert.ok(pixels && reference);
    const model = await tinyModel('qwen-vl-tiny-bin');
    const weights = new Weights(model, 0);
    const labels: string[] = [];
    const cwd = process.cwd();
    // A block a session; the third's is not made.
    const encoder = await DeviceEncoder.load(model.graph, new CpuEncoder(model.graph, weights), { provider: 'cpu', precision: 'float32', blocks: 2, blockBytes: 1 << 29, locate: graph => locateWeights(model, graph, weights) },
      { ...quiet, onProgress: (_done, _total, label) => { labels.push(label); } });
    process.chdir(cwd);
    try {
      assert.deepEqual(labels, ['blocks 0 to 0', 'blocks 1 to 1']);
      let hidden: Array32 | undefined;
      await encoder.run(pixels, ['hidden_states.1'], { ...quiet, onOutput: (_, value) => { hidden = value; return Promise.resolve(); } });
      assert.ok(relativeError(hidden?.data ?? [], reference.data) < 1e-5);
    } finally {
      await encoder.close();
    }
  });
});

describe('where an encoder is run from', function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(async () => { folder = await realpath(await mkdtemp(join(tmpdir(), 'encoder-sources-'))); });
  afterEach(async () => { await rm(folder, { recursive: true, force: true }); });

  for (const name of TINY) {
    for (const format of ['safetensors', 'torch'] as const) {
      it(`runs ${name} after extraction to ${format}`, async () => {
        const checkpoint = await openCheckpoint(fixturePath(name));
        const out = join(folder, 'encoder');
        try {
          const location = fixturePath(name, 'config.json');
          const config = parseConfig(await readFile(location, 'utf8'), location);
          const plan = makePlan(checkpoint, qwenVl.recipe('transformer.visual'));
          const hyperparameters = qwenVl.resolve(config, {});
          await extract(plan, validate(plan, qwenVl, config), { out, format, dtype: 'keep', config: qwenVl.encoderConfig(hyperparameters, config), preprocessor: {} });
        } finally {
          await checkpoint.close();
        }
        for (const error of await errors(await tinyModelAt(out, ''), name)) assert.ok(error < 1e-5, `${error}`);
      });
    }

    it(`runs ${name} from its own shards, through a cache's links`, async () => {
      const snapshot = join(folder, 'snapshots', 'main');
      await cp(fixturePath(name), join(folder, 'blobs'), { recursive: true });
      await mkdir(join(folder, 'snapshots'));
      await symlink(join(folder, 'blobs'), snapshot);
      for (const error of await errors(await tinyModelAt(snapshot), name)) assert.ok(error < 1e-5, `${error}`);
    });
  }

  for (const [kind, save] of [['legacy', 'torch.save(d, out, _use_new_zipfile_serialization=False)'], ['zip', 'torch.save(d, out)']] as const) {
    it(`runs a PyTorch ${kind} file of transposed views in float64`, async function () {
      const script = [
        'import sys, torch',
        'd = {}',
        'for f in sys.argv[2:]: d.update(torch.load(f, map_location="cpu"))',
        'd = {k: (v.double().t().contiguous().t() if v.dim() == 2 else v.double()) for k, v in d.items()}',
        'out = sys.argv[1]',
        save,
      ].join('\n');
      const shards = [1, 2, 3].map(number => fixturePath('qwen-vl-tiny-bin', `pytorch_model-0000${number}-of-00003.bin`));
      const made = spawnSync('/usr/bin/python3', ['-c', script, join(folder, 'pytorch_model.bin'), ...shards], { encoding: 'utf8' });
      if (made.status !== 0) {
        console.log(`      NOT RUN: python3-torch could not write the checkpoint: ${made.stderr.trim().split('\n').at(-1) ?? 'it is not installed'}.`);
        this.skip();
      }
      await cp(fixturePath('qwen-vl-tiny-bin', 'config.json'), join(folder, 'config.json'));
      const model = await tinyModelAt(folder);
      assert.ok([...model.weights.values()].some(({ indirect }) => indirect?.strides !== undefined));
      for (const error of await errors(model, 'qwen-vl-tiny-bin')) assert.ok(error < 1e-5, `${error}`);
    });
  }

  it('says which tensor keeps an encoder from running', async () => {
    const { name, sizes } = await tinyModel('qwen-vl-tiny-bin');
    assert.equal(name, 'qwen-vl-tiny-bin');
    const checkpoint = await openCheckpoint(fixturePath('qwen-vl-tiny-bin'));
    try {
      const plan = makePlan(checkpoint, qwenVl.recipe('transformer.visual'));
      assert.throws(() => encoderModel(plan, qwenVl, qwenVl.resolve(undefined, { ...sizes, layers: 4 })),
        (error: unknown) => error instanceof UserError && error.message.includes('transformer.resblocks.3.ln_1.weight'));
      assert.throws(() => encoderModel(plan, qwenVl, qwenVl.resolve(undefined, { ...sizes, mlp_size: 200 })),
        (error: unknown) => error instanceof UserError && error.message.includes('[196, 64]') && error.message.includes('[200, 64]'));
    } finally {
      await checkpoint.close();
    }
  });

  it('finds the deepest folder that holds all files', () => {
    assert.equal(commonFolder([join(folder, 'a', 'b', 'x'), join(folder, 'a', 'bc', 'y')]), join(folder, 'a'));
    assert.equal(commonFolder([join(folder, 'a', 'x')]), join(folder, 'a'));
    assert.equal(commonFolder([join(folder, 'a', 'x'), join(folder, 'y')]), folder);
  });
});
