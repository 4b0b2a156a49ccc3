import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { UserError } from '../../../src/errors';
import { decoderFromConfig, DECODERS, namedDecoder } from '../../../src/handover/decoders';
import { MersenneTwister } from '../../../src/handover/mersenneTwister';
import { FORMS, projectionFiles, projectionModule, type Projection } from '../../../src/handover/projection';
import { inFolder, needTorch, python } from '../extraction/support';

/** Writes a projection's files into a folder. */
function write(folder: string, projection: Projection, format: 'safetensors' | 'torch'): string[] {
  mkdirSync(folder, { recursive: true });
  return projectionFiles(projection, format).map(({ name, size, chunks }) => {
    const bytes = Buffer.concat([...chunks()].map(chunk => Buffer.from(chunk)));
    assert.equal(bytes.length, size, name);
    const path = join(folder, name);
    writeFileSync(path, bytes);
    return path;
  });
}

const TINY: Projection = { form: 'baseline', features: 24, decoder: { title: 'tiny', width: 40 }, seed: 7 };

describe('random numbers', () => {
  it('are those that the C++ standard gives for mt19937, drawn or skipped', () => {
    // [rand.predef]: the 10000th number of a default-constructed mt19937 is 4123659995.
    const drawn = new MersenneTwister(5489);
    for (let i = 1; i < 10_000; i++) drawn.bits();
    assert.equal(drawn.bits(), 4123659995);
    const skipped = new MersenneTwister(5489);
    skipped.skip(0);
    skipped.skip(5000);
    skipped.skip(4999);
    assert.equal(skipped.bits(), 4123659995);
  });
});

describe('a projection', function () {
  this.timeout(60_000);

  it('is what PyTorch makes after manual_seed, bit for bit, and loads strictly', async function () {
    needTorch(this);
    const projections = [
      ...FORMS.flatMap(form => [0, 7, 2 ** 32 + 7].map((seed): Projection => ({ ...TINY, form, seed }))),
      // More numbers than are made at a time.
      { form: 'baseline', features: 128, decoder: DECODERS['llama-2-13b'], seed: 1 } as const,
    ];
    await inFolder(folder => {
      const cases = projections.map((projection, index) => [projection.seed, projectionModule(projection), write(join(folder, `${index}`), projection, 'torch')[0]]);
      const program = `
import json, sys, torch
from torch import nn
for seed, module, path in json.loads(sys.argv[1]):
    torch.manual_seed(seed)
    module = eval(module)
    fresh = {key: value.clone() for key, value in module.state_dict().items()}
    stored = torch.load(path)
    module.load_state_dict(stored, strict=True)
    print(list(stored) == list(fresh), all(torch.equal(fresh[key], stored[key]) for key in fresh), {value.dtype for value in stored.values()})`;
      assert.deepEqual(python(['-c', program, JSON.stringify(cases)]).trim().split('\n'), projections.map(() => 'True True {torch.float32}'));
      return Promise.resolve();
    });
  });

  it('holds the same tensors in both formats', () => inFolder(async folder => {
    const shapes = [];
    for (const format of ['torch', 'safetensors'] as const) {
      const [path = ''] = write(folder, TINY, format);
      const checkpoint = await openCheckpoint(path);
      shapes.push(Object.fromEntries(checkpoint.tensors.map(({ key, dtype, shape }) => [key, `${dtype} ${shape.join('x')}`])));
      await checkpoint.close();
    }
    assert.deepEqual(shapes[0], { '0.weight': 'F32 40x24', '0.bias': 'F32 40', '1.weight': 'F32 40', '1.bias': 'F32 40' });
    assert.deepEqual(shapes[1], shapes[0]);
  }));

  it('says in Python and in JSON what it is', () => {
    assert.equal(projectionModule({ ...TINY, features: 4096, decoder: DECODERS['llama-2-13b'] }), 'nn.Sequential(nn.Linear(4096, 5120), nn.LayerNorm(5120, eps=1e-12))');
    assert.equal(projectionModule({ ...TINY, form: 'norm-first', features: 4096, decoder: DECODERS['opt-1.3b'] }), 'nn.Sequential(nn.LayerNorm(4096, eps=1e-12), nn.Linear(4096, 2048))');
    const json = projectionFiles(TINY, 'safetensors')[1];
    const text = Buffer.concat([...json?.chunks() ?? []].map(chunk => Buffer.from(chunk))).toString();
    const { form, features, width, weights, initialisation } = JSON.parse(text) as Record<string, unknown>;
    assert.deepEqual({ form, features, width, weights, seed: (initialisation as { seed: number }).seed }, { form: 'baseline', features: 24, width: 40, weights: 'projection.safetensors', seed: 7 });
  });
});

describe('decoders', () => {
  it('have the widths of their token embeddings', () => {
    assert.equal(namedDecoder('LLaMA-2-70B')?.width, 8192);
    // Its hidden states are 1024 wide; what stands among its token embeddings is projected by the decoder itself.
    assert.equal(namedDecoder('opt-350m')?.width, 512);
    assert.equal(namedDecoder('opt-66b')?.width, 9216);
    assert.equal(namedDecoder('config.json'), undefined);
  });

  for (const [what, config, width] of [
    ['LLaMA\'s config', { model_type: 'llama', hidden_size: 4096 }, 4096],
    ['OPT-350m\'s, whose embeddings are narrower than its hidden states', { model_type: 'opt', hidden_size: 1024, word_embed_proj_dim: 512 }, 512],
    ['GPT-2\'s', { model_type: 'gpt2', n_embd: 768 }, 768],
    ['MPT\'s', { model_type: 'mpt', d_model: 4096 }, 4096],
    ['a multimodal model\'s, of which the language part counts', { model_type: 'llava', hidden_size: 1, text_config: { model_type: 'mistral', hidden_size: 4096 } }, 4096],
  ] as const) {
    it(`are as wide as told by ${what}`, () => { assert.equal(decoderFromConfig(JSON.stringify(config), '/models/config.json').width, width); });
  }

  it('that a config does not describe are refused in a sentence', () => {
    const refused = (config: unknown): UserError => {
      try {
        decoderFromConfig(JSON.stringify(config), '/models/config.json');
      } catch (error) {
        assert.ok(error instanceof UserError);
        return error;
      }
      assert.fail('was taken');
    };
    assert.match(refused({ model_type: 'x' }).message, /^\/models\/config\.json does not say how wide the decoder's token embeddings are \(word_embed_proj_dim, hidden_size, .*\)\. Give the decoder's config\.json\.$/);
    for (const bad of [0, -1, 1.5, '4096', 1e12, null]) assert.match(refused({ hidden_size: bad }).message, /hidden_size must be a positive whole number/);
    assert.match(refused([]).message, /it must be an object/);
    assert.match(refused({ text_config: { hidden_size: 'wide' } }).message, /text_config\.hidden_size must be/);
  });
});
