import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseConfig, type ConfigDocument } from '../../../../src/architecture/config';
import { forwardGraph } from '../../../../src/architecture/forwardGraphs';
import { absentEncoder, detectFamily, familyById } from '../../../../src/architecture/registry';
import type { Checkpoint } from '../../../../src/checkpoint/checkpoint';
import { elementCount } from '../../../../src/checkpoint/dtype';
import { checkpointOfIndex, configFixture, configOf, fakeCheckpoint, FIXTURES } from '../../support/checkpoints';
import { open } from '../../support/families';

const MODELS = 'real/models';

/** The index's checkpoint with the shapes that the family expects: an index has none. */
function withShapes(checkpoint: Checkpoint, family: string, prefix: string, config: ConfigDocument, observed: Readonly<Record<string, number>>): Checkpoint {
  const known = familyById(family);
  const shapes = new Map(known.expectedTensors(known.resolve(config, {}, observed)).map(({ key, shape }) => [prefix + key, shape]));
  return fakeCheckpoint(checkpoint.tensors.map(({ key }) => ({ key, shape: shapes.get(key) ?? [1] })));
}

describe('Real checkpoints by their indexes', () => {
  const cases = [
    { name: 'olmOCR', folder: 'qwen2-vl-olmocr', family: 'qwen2-vl', module: 'visual', outer: 'visual.', part: /^visual\.merger\./, whole: { merger: true }, count: 391 },
    { name: 'MedGemma', folder: 'gemma3-medgemma-27b', family: 'siglip', module: 'vision_tower', outer: 'vision_tower.', part: undefined, whole: {}, count: 437 },
    { name: 'Reason 2', folder: 'qwen3-vl-reason2', family: 'qwen3-vl', module: 'model.visual', outer: 'model.visual.', part: /^model\.visual\.(merger|deepstack_merger_list)\./, whole: { merger: true }, count: 351 },
  ];
  for (const { name, folder, family, module, outer, part, whole, count } of cases) {
    const index = checkpointOfIndex(`${MODELS}/${folder}/model.safetensors.index.json`);
    const config = configFixture(`${MODELS}/${folder}/config.json`);
    const inside = index.tensors.map(({ key }) => key).filter(key => key.startsWith(`${module}.`));

    it(`${name}: every tensor of the encoder, none of the language model, and all that a strict load wants`, () => {
      for (const switched of [whole, {}]) {
        const kept = switched === whole ? inside : inside.filter(key => part?.test(key) !== true);
        const observed = switched === whole ? { merger: 1, head: 0 } : { merger: 0, head: 0 };
        const opened = open(withShapes(index, family, outer, config, observed), config, { switched });
        assert.equal(opened.family.id, family);
        assert.deepEqual(opened.plan.kept.map(({ tensor }) => tensor.key).sort(), [...kept].sort());
        assert.deepEqual(opened.validation.missing.map(({ key }) => key), []);
        assert.ok(opened.validation.valid, JSON.stringify(opened.validation.problem));
        if (switched === whole) assert.equal(opened.plan.kept.length, count);
      }
    });

    it(`${name}: is recognised by keys alone, and says the model by its config`, () => {
      assert.equal(detectFamily(index.tensors)?.family.id, family);
      const detection = detectFamily(index.tensors, config)?.detection;
      assert.equal(detection?.confidence, 0.99);
      assert.match(detection.reason, /^(Qwen2VL|Gemma3|Qwen3VL) with a .* encoder: the keys under .* are .*, and config\.json describes it\.$/);
    });
  }

  it('MedGemma: its projector makes 256 tokens of a picture, as wide as its language model', () => {
    const config = configFixture(`${MODELS}/gemma3-medgemma-27b/config.json`);
    const index = checkpointOfIndex(`${MODELS}/gemma3-medgemma-27b/model.safetensors.index.json`);
    const family = familyById('siglip');
    const observed = { head: 0, vision_model: 1, projector: 1 };
    const shapes = new Map(family.expectedTensors(family.resolve(config, {}, { ...observed, output_dim: 1 })).map(({ key, shape }) => [key, shape]));
    const { plan, validation } = open(fakeCheckpoint(index.tensors.map(({ key }) => ({ key, shape: shapes.get(key.replace('vision_tower.', '')) ?? [1] }))), config, { switched: { projector: true } });
    assert.ok(validation.valid, JSON.stringify([validation.problem, validation.mismatched]));
    assert.equal(plan.kept.length, 439);
    const spec = family.graph?.(validation.hyperparameters, config);
    assert.deepEqual(spec && forwardGraph(spec).poolShapes.get('merged'), [256, 5376]);
  });

  describe('LISA, whose tower is not in its checkpoint', () => {
    const { tensors } = checkpointOfIndex(`${MODELS}/llava-lisa-7b/pytorch_model.bin.index.json`);

    it('takes SAM for no encoder of the language model, and names the model to get', () => {
      const broken = readFileSync(path.join(FIXTURES, MODELS, 'llava-lisa-7b/config.json'), 'utf8');
      const config = parseConfig(broken.slice(0, broken.indexOf('\n}') + 2), '/models/lisa/config.json');
      assert.equal(detectFamily(tensors, config), undefined);
      assert.match(absentEncoder(tensors, config) ?? '', /holds no vision encoder of its own: config\.json names openai\/clip-vit-large-patch14 as its vision tower.*Get openai\/clip-vit-large-patch14/);
    });

    it('says so without a config too, since the one beside it is broken', () => {
      assert.equal(detectFamily(tensors), undefined);
      assert.match(absentEncoder(tensors) ?? '', /holds a projector \(mm_projector\), but not the vision encoder/);
    });

    it('names the folder of a tower with a local path, and nothing where an encoder is there', () => {
      assert.match(absentEncoder(tensors, configOf({ mm_vision_tower: '/data/models/siglip-so400m-patch14-384/' })) ?? '', /names siglip-so400m-patch14-384 /);
      const { tensors: whole } = checkpointOfIndex(`${MODELS}/gemma3-medgemma-27b/model.safetensors.index.json`);
      assert.equal(absentEncoder(whole, configOf({ mm_vision_tower: 'google/siglip' })), undefined);
      assert.equal(absentEncoder(fakeCheckpoint([{ key: 'lm_head.weight' }]).tensors), undefined);
    });
  });
});

describe('Published models at full size', () => {
  const parameters = (family: string, config: Record<string, unknown>, observed: Readonly<Record<string, number>> = {}): number => {
    const known = familyById(family);
    return known.expectedTensors(known.resolve(configOf(config), {}, observed)).reduce((sum, { shape }) => sum + elementCount(shape), 0);
  };
  const cases: readonly [name: string, family: string, config: Record<string, unknown>, observed: Readonly<Record<string, number>>, parameters: number][] = [
    ['CLIP ViT-L/14 at 336', 'clip', { model_type: 'clip_vision_model', hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 24, num_attention_heads: 16, patch_size: 14, image_size: 336 }, {}, 303_507_456],
    ['LLaVA 1.5, whose config says nothing', 'clip', { model_type: 'llava' }, {}, 303_507_456],
    ['SigLIP so400m at 384 with its head', 'siglip', { model_type: 'siglip_vision_model', hidden_size: 1152, intermediate_size: 4304, num_hidden_layers: 27, num_attention_heads: 16, patch_size: 14, image_size: 384 }, {}, 428_225_600],
    ['Qwen2.5-VL-7B with its merger', 'qwen2.5-vl', { model_type: 'qwen2_5_vl', vision_config: { hidden_size: 1280, out_hidden_size: 3584 } }, { merger: 1 }, 676_550_144],
    ['Qwen2-VL-7B with its merger', 'qwen2-vl', { model_type: 'qwen2_vl', vision_config: {} }, { merger: 1 }, 675_759_104],
    ['InternViT-300M', 'internvit', { model_type: 'intern_vit_6b', hidden_size: 1024, num_attention_heads: 16, intermediate_size: 4096, num_hidden_layers: 24, image_size: 448, qkv_bias: true, qk_normalization: false, norm_type: 'layer_norm' }, {}, 304_012_288],
    ['DINOv2 large at 518', 'dinov2', { model_type: 'dinov2', hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, image_size: 518 }, {}, 304_368_640],
    ['DINOv2 giant at 518', 'dinov2', { model_type: 'dinov2', hidden_size: 1536, num_hidden_layers: 40, num_attention_heads: 24, image_size: 518, use_swiglu_ffn: true }, {}, 1_136_480_768],
    ['BLIP-2', 'eva-vit-g', { model_type: 'blip-2' }, {}, 985_952_256],
  ];
  for (const [name, family, config, observed, expected] of cases) {
    it(`${name}: ${expected.toLocaleString('en')} parameters`, () => { assert.equal(parameters(family, config, observed), expected); });
  }

  // Millions of image parameters, from OpenCLIP's own table (docs/model_profile.csv).
  const openClip: readonly [name: string, millions: number, observed?: Readonly<Record<string, number>>][] = [
    ['ViT-B-32', 87.85], ['ViT-L-14', 303.97], ['ViT-L-14-336', 304.29], ['ViT-H-14', 632.08], ['ViT-bigG-14', 1844.91], ['coca_ViT-L-14', 306.72, { attention_pool: 1 }], ['ViT-H-14-CLIPA-336', 632.48, { ln_pre: 0 }],
  ];
  for (const [name, millions, observed] of openClip) {
    it(`OpenCLIP ${name}: ${millions} million parameters`, () => {
      const config = JSON.parse(readFileSync(path.join(FIXTURES, MODELS, 'open_clip', `${name}.json`), 'utf8')) as Record<string, unknown>;
      assert.equal((parameters('open-clip', config, observed) / 1e6).toFixed(2), millions.toFixed(2));
      assert.equal((parameters('open-clip', { model_cfg: config, preprocess_cfg: {} }, observed) / 1e6).toFixed(2), millions.toFixed(2));
    });
  }

  it('OpenCLIP configs of ResNets and timm towers are not taken for ViTs', () => {
    for (const name of ['RN50', 'ViT-B-16-SigLIP']) assert.equal(familyById('open-clip').acceptsConfig(configFixture(`${MODELS}/open_clip/${name}.json`)), false, name);
  });
});
