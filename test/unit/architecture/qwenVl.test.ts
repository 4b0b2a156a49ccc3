import assert from 'node:assert/strict';
import { ConfigError, type ConfigDocument } from '../../../src/architecture/config';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { detectFamily, familyById } from '../../../src/architecture/registry';
import { elementCount } from '../../../src/checkpoint/dtype';
import { UserError } from '../../../src/errors';
import { checkpointOfIndex, configFixture, configOf, fakeCheckpoint, FULL_SIZE, qwenVlChat, qwenVlTensors } from '../support/checkpoints';

const VISUAL = { heads: 16, image_size: 448, image_start_id: 151_857, layers: 48, mlp_ratio: 4.9231, output_dim: 4096, patch_size: 14, width: 1664 };

function values(config: ConfigDocument | undefined, settings = {}): Record<string, number> {
  return Object.fromEntries([...qwenVl.resolve(config, settings)].map(([name, { value }]) => [name, value]));
}

describe('Qwen-VL', () => {
  it('expects 593 tensors of 1,918,833,408 parameters at full size', () => {
    const expected = qwenVl.expectedTensors(qwenVl.resolve(undefined, FULL_SIZE));
    assert.equal(expected.length, 593);
    assert.equal(expected.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0), 1_918_833_408);
  });

  it('expects no kv_proj when width and output are equal', () => {
    const keys = qwenVl.expectedTensors(qwenVl.resolve(configFixture('qwen-vl-tiny-safetensors/config.json'), {})).map(tensor => tensor.key);
    assert.ok(!keys.includes('attn_pool.kv_proj.weight'));
    assert.equal(keys.length, 592 - 45 * 12);
  });

  it('expects the keys of the small checkpoints in the order in which PyTorch saved them', () => {
    for (const folder of ['qwen-vl-tiny-bin', 'qwen-vl-tiny-safetensors']) {
      const index = folder.endsWith('bin') ? 'pytorch_model.bin.index.json' : 'model.safetensors.index.json';
      const saved = checkpointOfIndex(`${folder}/${index}`).tensors.map(({ key }) => key).filter(key => key.startsWith('transformer.visual.') && key !== 'transformer.visual.proj');
      const expected = qwenVl.expectedTensors(qwenVl.resolve(configFixture(`${folder}/config.json`), {})).map(({ key }) => `transformer.visual.${key}`);
      assert.deepEqual(new Set(saved), new Set(expected), folder);
      if (folder.endsWith('bin')) assert.deepEqual(saved, expected);
    }
  });

  describe('reads', () => {
    it('its own config', () => {
      assert.deepEqual(values(configOf({ model_type: 'qwen', visual: VISUAL })), FULL_SIZE);
      assert.deepEqual(values(configOf({ visual: { ...VISUAL, n_queries: 64 } })).n_queries, 64);
    });

    it('the CLIP bigG config, taking neither its image_size nor its projection_dim', () => {
      assert.deepEqual(values(configFixture('real/models/qwen-vl-deepspeed-visualchat/config.json')), FULL_SIZE);
    });

    it('a bare clip_vision_model config', () => {
      assert.deepEqual(values(configOf({ model_type: 'clip_vision_model', hidden_size: 1664, num_hidden_layers: 48, num_attention_heads: 16, intermediate_size: 8192, patch_size: 14, image_size: 224 })), FULL_SIZE);
    });

    it('the config that it writes, with every value, for awkward MLP ratios too', () => {
      for (const settings of [FULL_SIZE, { ...FULL_SIZE, width: 88, heads: 4, mlp_size: 343, output_dim: 128, image_size: 112, n_queries: 4 }]) {
        const written = configOf(qwenVl.encoderConfig(qwenVl.resolve(undefined, settings), undefined));
        assert.deepEqual(values(written), settings);
        assert.ok(qwenVl.acceptsConfig(written));
      }
      const awkward = Array.from({ length: 400 }, (_, index) => 500 + index).find(mlp => Math.floor(88 * (mlp / 88)) !== mlp);
      assert.ok(awkward !== undefined, 'some quotient is expected to come out too low');
      assert.equal(values(configOf(qwenVl.encoderConfig(qwenVl.resolve(undefined, { ...FULL_SIZE, width: 88, heads: 4, mlp_size: awkward }), undefined))).mlp_size, awkward);
    });

    it('settings before the config, and says where each value came from', () => {
      const resolved = qwenVl.resolve(configOf({ visual: VISUAL }), { output_dim: 128 });
      assert.deepEqual(resolved.get('output_dim'), { name: 'output_dim', value: 128, origin: { kind: 'setting' } });
      assert.deepEqual(resolved.get('mlp_size')?.origin, { kind: 'config', path: ['visual', 'mlp_ratio'] });
      assert.deepEqual(resolved.get('n_queries')?.origin, { kind: 'default' });
    });
  });

  describe('refuses', () => {
    const cases: readonly [name: string, visual: Record<string, unknown>, settings: Record<string, number>, message: RegExp, path?: string[]][] = [
      ['no blocks', { layers: 0 }, {}, /config\.json says visual\.layers 0, but it must be a whole number from 1 to 1024/, ['visual', 'layers']],
      ['a billion blocks', { layers: 1e9 }, {}, /visual\.layers 1000000000/, ['visual', 'layers']],
      ['half a pixel', { patch_size: 14.5 }, {}, /visual\.patch_size 14\.5/, ['visual', 'patch_size']],
      ['a number in quotes', { width: '1664' }, {}, /visual\.width "1664", but it must be a number/, ['visual', 'width']],
      ['heads that do not divide the width', { heads: 15 }, {}, /width 1664 is not a multiple of heads 15/, ['visual', 'heads']],
      ['a negative ratio', { mlp_ratio: -4 }, {}, /visual\.mlp_ratio -4, which gives mlp_size -6656/, ['visual', 'mlp_ratio']],
      ['queries that make no square', { n_queries: 200 }, {}, /n_queries 200 is not a square number/, ['visual', 'n_queries']],
      ['a setting that is no number', {}, { layers: NaN }, /The setting layers is NaN/],
      ['an unknown setting', {}, { outputdim: 128 }, /setting "outputdim" is not known.*output_dim/],
    ];
    for (const [name, visual, settings, message, path] of cases) {
      it(name, () => {
        assert.throws(() => qwenVl.resolve(configOf({ visual: { ...VISUAL, ...visual } }), settings), (error: unknown) => {
          assert.ok(error instanceof ConfigError && error instanceof UserError);
          assert.match(error.message, message);
          assert.deepEqual(error.path, path);
          return true;
        });
      });
    }

    it('a config without the field, naming it, and a config of another model', () => {
      const { heads, ...headless } = VISUAL;
      assert.equal(heads, 16);
      assert.throws(() => qwenVl.resolve(configOf({ visual: headless }), {}), /lacks visual\.heads/);
      assert.throws(() => qwenVl.resolve(configFixture('real/models/gemma3-medgemma-27b/config.json'), {}), /describes no Qwen-VL encoder/);
      assert.throws(() => qwenVl.resolve(undefined, {}), /There is no config\.json to say the encoder's width/);
      assert.equal(qwenVl.acceptsConfig(configFixture('real/models/gemma3-medgemma-27b/config.json')), false);
    });
  });
});

describe('detectFamily', () => {
  it('finds the prefix by the keys, whatever it is, and says why', () => {
    for (const [prefix, path] of [['transformer.visual.', 'transformer.visual'], ['module.model.visual.', 'module.model.visual'], ['', '']] as const) {
      const found = detectFamily(fakeCheckpoint(qwenVlTensors(FULL_SIZE, prefix)).tensors);
      assert.equal(found?.family, qwenVl);
      assert.equal(found.detection.prefix, path);
      assert.match(found.detection.reason, /Qwen-VL/);
    }
  });

  it('is surer with the config', () => {
    const { tensors } = qwenVlChat();
    const config = configOf({ model_type: 'qwen', visual: VISUAL });
    assert.ok((detectFamily(tensors, config)?.detection.confidence ?? 0) > (detectFamily(tensors)?.detection.confidence ?? 1));
    const absent = detectFamily(fakeCheckpoint([{ key: 'lm_head.weight' }]).tensors, config);
    assert.match(absent?.detection.reason ?? '', /no keys of its vision encoder/);
  });

  it('takes no other model for Qwen-VL', () => {
    for (const index of ['llava-lisa-7b/pytorch_model.bin.index.json', 'qwen2-vl-olmocr/model.safetensors.index.json', 'qwen3-vl-reason2/model.safetensors.index.json', 'gemma3-medgemma-27b/model.safetensors.index.json']) {
      const { tensors } = checkpointOfIndex(`real/models/${index}`);
      assert.ok(tensors.length > 100);
      assert.equal(qwenVl.detect(tensors, undefined), undefined, index);
    }
    const openClip = ['conv1.weight', 'transformer.resblocks.0.attn.in_proj_weight', 'attn_pool.query', 'attn_pool.attn.in_proj_weight'].map(key => ({ key: `visual.${key}` }));
    assert.equal(qwenVl.detect(fakeCheckpoint(openClip).tensors, undefined), undefined);
  });

  it('names the known families when asked for another', () => {
    assert.equal(familyById('qwen-vl'), qwenVl);
    assert.throws(() => familyById('qwen'), /"qwen" is not known\. Known are: .*qwen-vl/);
  });
});
