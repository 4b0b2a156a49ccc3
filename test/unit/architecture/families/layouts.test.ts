import assert from 'node:assert/strict';
import { FAMILIES, detectFamily, familyById } from '../../../../src/architecture/registry';
import { configOf, fakeCheckpoint, type FakeTensor } from '../../support/checkpoints';
import { LANGUAGE_MODEL, open, STATE_DICTS, tensorsOf, valuesOf } from '../../support/families';

const CLIP = STATE_DICTS.clip_vision!;
const SIGLIP = STATE_DICTS.siglip_vision_nohead!;
const BARE = CLIP['5']!;
const LLAVA = { model_type: 'llava', architectures: ['LlavaForConditionalGeneration'], vision_config: { model_type: 'clip_vision_model', ...CLIP.config } };

describe('The five layouts of LLaVA on disk', () => {
  const layouts: readonly [what: string, prefix: string, shapes: typeof BARE, projector: string, out: string][] = [
    ['original', 'model.vision_tower.vision_tower.', CLIP['4'], 'model.mm_projector.0.weight', 'vision_model.pre_layrnorm.weight'],
    ['hub', 'vision_tower.', CLIP['4'], 'multi_modal_projector.linear_1.weight', 'vision_model.pre_layrnorm.weight'],
    ['state dict from 4.52', 'model.vision_tower.', CLIP['4'], 'model.multi_modal_projector.linear_1.weight', 'vision_model.pre_layrnorm.weight'],
    ['state dict from 5.6', 'model.vision_tower.', BARE, 'model.multi_modal_projector.linear_1.weight', 'pre_layrnorm.weight'],
    ['saved by 5.6', 'vision_tower.', BARE, 'multi_modal_projector.linear_1.weight', 'pre_layrnorm.weight'],
  ];
  for (const [what, prefix, shapes, projector, out] of layouts) {
    it(`${what}: ${prefix}*`, () => {
      const checkpoint = fakeCheckpoint([...LANGUAGE_MODEL, ...tensorsOf(shapes, prefix), { key: projector }, { key: projector.startsWith('model.') ? 'model.image_newline' : 'image_newline' }]);
      const { family, detection, plan, validation } = open(checkpoint, configOf(LLAVA));
      assert.equal(family.id, 'clip');
      assert.match(detection.reason, /^Llava with a CLIP encoder: /);
      assert.deepEqual(plan.kept.map(({ tensor }) => tensor.key), Object.keys(shapes).map(key => prefix + key));
      assert.ok(plan.kept.some(({ outputKey }) => outputKey === out));
      assert.ok(validation.valid);
      const left = plan.tensors.find(({ tensor }) => tensor.key === projector);
      assert.equal(left?.decision?.rule.why, 'Joins the encoder to the language model.');
    });
  }

  it('takes the sizes from the shapes under the original\'s flat config, and the heads of published models of that width', () => {
    const flat = configOf({ model_type: 'llava_llama', mm_vision_tower: 'openai/clip-vit-large-patch14-336', mm_hidden_size: 1024, hidden_size: 4096 });
    const clip = familyById('clip');
    const large = clip.expectedTensors(clip.resolve(configOf({ model_type: 'llava' }), {}));
    const { validation } = open(fakeCheckpoint([...LANGUAGE_MODEL, ...large.map(({ key, shape }) => ({ key: `model.vision_tower.vision_tower.${key}`, shape }))]), flat);
    assert.ok(validation.valid);
    const { width, layers, heads, mlp_size, patch_size, image_size } = valuesOf(validation);
    assert.deepEqual({ width, layers, heads, mlp_size, patch_size, image_size }, { width: 1024, layers: 24, heads: 16, mlp_size: 4096, patch_size: 14, image_size: 336 });
    assert.deepEqual(validation.hyperparameters.get('layers')?.origin, { kind: 'checkpoint' });
  });
});

describe('A CLIP model whole', () => {
  const text = ['text_model.embeddings.token_embedding.weight', 'text_model.encoder.layers.0.self_attn.q_proj.weight', 'text_projection.weight', 'logit_scale'].map(key => ({ key }));
  const whole = (prefix = ''): FakeTensor[] => [...text, ...tensorsOf(STATE_DICTS.clip_vision_proj!['4']), { key: 'vision_model.embeddings.position_ids', shape: [1, 17], dtype: 'I64' as const }].map(tensor => ({ ...tensor, key: prefix + tensor.key }));
  const config = configOf({ model_type: 'clip', projection_dim: 33, vision_config: CLIP.config });

  it('gives its tower under the names that CLIPVisionModel wants, without text, projection and position_ids', () => {
    for (const prefix of ['', 'module.']) {
      const { plan, validation } = open(fakeCheckpoint(whole(prefix)), config);
      assert.deepEqual(plan.kept.map(({ outputKey }) => outputKey).sort(), Object.keys(CLIP['4']).sort());
      assert.ok(validation.valid);
      assert.match(plan.tensors.find(({ tensor }) => tensor.key.endsWith('position_ids'))?.decision?.rule.why ?? '', /buffer/);
      assert.match(plan.tensors.find(({ tensor }) => tensor.key.endsWith('visual_projection.weight'))?.decision?.rule.why ?? '', /space shared with text/);
    }
  });

  it('takes the projection in with one rule, and says so in the config it writes', () => {
    for (const prefix of ['', 'module.']) {
      const { family, plan, validation } = open(fakeCheckpoint(whole(prefix)), config, { switched: { projection: true } });
      assert.equal(plan.recipe.overrides.length, 1);
      assert.ok(validation.valid);
      assert.ok(plan.kept.some(({ outputKey }) => outputKey === 'visual_projection.weight'));
      assert.deepEqual(family.encoderConfig(validation.hyperparameters, config).architectures, ['CLIPVisionModelWithProjection']);
    }
  });

  it('lets old vision_config_dict win over vision_config, as transformers does', () => {
    const old = configOf({ model_type: 'clip', vision_config: { ...CLIP.config, num_hidden_layers: 24 }, vision_config_dict: { num_hidden_layers: 2 } });
    assert.ok(open(fakeCheckpoint(whole()), old).validation.valid);
  });
});

describe('Mismatches', () => {
  it('blame the image size for a position table of another size, and offer the one that fits', () => {
    const { validation } = open(fakeCheckpoint(tensorsOf(CLIP['4'])), configOf({ ...CLIP.config, model_type: 'clip_vision_model', image_size: 56 }));
    assert.equal(validation.mismatched.length, 1);
    const [finding] = validation.mismatched;
    assert.match(finding?.blame?.message ?? '', /positions is 17; config\.json says image_size 56, which gives positions 65/);
    assert.ok(finding?.blame?.place);
    assert.deepEqual(finding.fixes[0]?.kind === 'setting' && finding.fixes[0].settings, { image_size: 28 });
  });

  it('blame the sparse config\'s default for a width that is another model\'s', () => {
    const { validation } = open(fakeCheckpoint(tensorsOf(STATE_DICTS.qwen2_5_vl_vision!['4'])), configOf({ model_type: 'qwen2_5_vl', vision_config: { depth: 2, num_heads: 4, intermediate_size: 100, patch_size: 7 } }), { switched: { merger: false } });
    assert.ok(validation.mismatched.every(({ blame }) => blame?.hyperparameter === 'width'));
    assert.match(validation.mismatched[0]?.blame?.message ?? '', /the default of Qwen2\.5-VL is 3584/);
  });

  it('blame the depth once, though other sizes exist by block too', () => {
    const { validation } = open(fakeCheckpoint(tensorsOf(STATE_DICTS.qwen3_vl_vision!['4'])), configOf({ model_type: 'qwen3_vl', vision_config: { ...STATE_DICTS.qwen3_vl_vision!.config, depth: 5 } }), { switched: { merger: true } });
    assert.equal(validation.missing.length, 24);
    assert.deepEqual(new Set(validation.missing.map(({ blame }) => blame?.hyperparameter)), new Set(['layers']));
  });

  it('report a tensor that is missing from one block', () => {
    const key = 'vision_model.encoder.layers.1.mlp.fc1.bias';
    const { validation } = open(fakeCheckpoint(tensorsOf(SIGLIP['4']).filter(tensor => tensor.key !== key)), configOf({ model_type: 'siglip_vision_model', ...SIGLIP.config }));
    assert.deepEqual(validation.missing.map(finding => finding.key), [key]);
  });
});

describe('Encoders in models with code of their own', () => {
  /** A family's module in the sizes of a published model, without the level that configs of transformers put above it. */
  const module = (id: string, settings: Readonly<Record<string, number>>, prefix: string): FakeTensor[] => {
    const family = familyById(id);
    return family.expectedTensors(family.resolve(undefined, settings, {})).map(({ key, shape }) => ({ key: prefix + key, shape }));
  };
  /** SAM's picture encoder, as it lies beside SigLIP in DeepSeek-VL. */
  const sam = (prefix: string): FakeTensor[] => [
    { key: `${prefix}pos_embed`, shape: [1, 64, 64, 768] }, { key: `${prefix}patch_embed.proj.weight`, shape: [768, 3, 16, 16] }, { key: `${prefix}patch_embed.proj.bias`, shape: [768] },
    ...Array.from({ length: 12 }, (_, n) => [['attn.qkv.weight', [2304, 768]], ['attn.rel_pos_h', [27, 64]], ['mlp.lin1.weight', [3072, 768]]].map(([leaf, shape]) => ({ key: `${prefix}blocks.${n}.${String(leaf)}`, shape: shape as number[] }))).flat(),
  ];

  it('Phi-3.5-Vision: OpenAI\'s CLIP, of which its config says nothing but the name', () => {
    const prefix = 'model.vision_embed_tokens.img_processor.';
    const tensors = [...LANGUAGE_MODEL, ...module('clip', { vision_model: 1, width: 1024, layers: 24, heads: 16, mlp_size: 4096, patch_size: 14, image_size: 336, projection: 0 }, prefix),
      ...['glb_GN', 'sub_GN', 'img_projection.0.weight'].map(key => ({ key: `model.vision_embed_tokens.${key}`, shape: [4096] }))];
    const config = configOf({ architectures: ['Phi3VForCausalLM'], model_type: 'phi3_v', num_attention_heads: 32, img_processor: { image_dim_out: 1024, model_name: 'openai/clip-vit-large-patch14-336', name: 'clip_vision_model', num_img_tokens: 144 } });
    const { family, detection, plan, validation } = open(fakeCheckpoint(tensors), config);
    assert.deepEqual([family.id, detection.prefix, validation.valid, plan.kept.length], ['clip', `${prefix}vision_model`, true, 391]);
    assert.equal(valuesOf(validation).heads, 16);
    const graph = family.graph?.(validation.hyperparameters, config);
    assert.deepEqual(graph?.kind === 'vit' && [graph.activation, graph.epsilon, graph.imageSize], ['quick_gelu', 1e-5, 336]);
  });

  it('MiniCPM-V 2.6 and MiniCPM-o: SigLIP, which their config calls siglip', () => {
    const tensors = [...LANGUAGE_MODEL, ...module('siglip', { vision_model: 0, width: 1152, layers: 27, heads: 16, mlp_size: 4304, patch_size: 14, image_size: 980, head: 0 }, 'vpm.'), { key: 'resampler.query', shape: [64, 3584] }];
    const config = configOf({ architectures: ['MiniCPMV'], model_type: 'minicpmv', vision_config: { model_type: 'siglip', hidden_size: 1152, image_size: 980, intermediate_size: 4304, num_attention_heads: 16, num_hidden_layers: 27, patch_size: 14 } });
    const { family, detection, plan, validation } = open(fakeCheckpoint(tensors), config);
    assert.deepEqual([family.id, detection.prefix, validation.valid, validation.warnings, plan.kept.length], ['siglip', 'vpm', true, [], 437]);
  });

  it('DeepSeek-VL 7B: SigLIP, and SAM beside it stays behind', () => {
    const ported = open(fakeCheckpoint([...LANGUAGE_MODEL, ...module('siglip', { vision_model: 0, width: 1024, layers: 24, heads: 16, mlp_size: 4096, patch_size: 16, image_size: 384, head: 0 }, 'model.vision_model.'), ...sam('model.high_res_vision_model.vision_encoder.')]),
      configOf({ model_type: 'deepseek_vl_hybrid', vision_config: { model_type: 'siglip_vision_model', hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, intermediate_size: 4096, image_size: 384, patch_size: 16, vision_use_head: false } }));
    assert.deepEqual([ported.family.id, ported.detection.prefix, ported.validation.valid, ported.plan.kept.length], ['siglip', 'model.vision_model', true, 389]);
    const original = open(fakeCheckpoint([...LANGUAGE_MODEL, ...module('timm-vit', { width: 1024, layers: 24, heads: 16, mlp_size: 4096, patch_size: 16, image_size: 384, head: 1 }, 'vision_model.vision_tower_low.vision_tower.'), ...sam('vision_model.vision_tower_high.vision_tower.')]));
    assert.deepEqual([original.family.id, original.detection.prefix, original.validation.valid, original.plan.kept.length], ['timm-vit', 'vision_model.vision_tower_low.vision_tower', true, 306]);
  });
});

describe('Written configs', () => {
  for (const [name, dicts] of Object.entries(STATE_DICTS)) {
    it(`of ${name} are read back to the same sizes`, () => {
      const checkpoint = fakeCheckpoint(tensorsOf(dicts['4']));
      const first = open(checkpoint, undefined, { settings: { heads: 4 } });
      assert.ok(first.validation.valid, first.validation.problem?.message);
      const written = configOf(first.family.encoderConfig(first.validation.hyperparameters, undefined));
      assert.ok(first.family.acceptsConfig(written));
      const again = open(checkpoint, written);
      assert.ok(again.validation.valid, again.validation.problem?.message);
      assert.deepEqual(valuesOf(again.validation), valuesOf(first.validation));
      assert.deepEqual(first.family.encoderConfig(again.validation.hyperparameters, written), written.value);
      assert.ok(Array.isArray(first.family.preprocessorConfig(first.validation.hyperparameters).image_mean));
    });
  }
});

describe('Families', () => {
  it('have ids of their own, and read no setting that they do not list', () => {
    assert.equal(new Set(FAMILIES.map(({ id }) => id)).size, FAMILIES.length);
    for (const family of FAMILIES) assert.throws(() => family.resolve(undefined, { no_such_setting: 1 }), /no_such_setting/, family.id);
  });

  it('are told apart: the state dict of each is taken for that one alone, or for it before others', () => {
    for (const [name, dicts] of Object.entries(STATE_DICTS)) {
      const { tensors } = fakeCheckpoint(tensorsOf(dicts['4'], 'model.vision.'));
      const all = FAMILIES.filter(family => family.id !== 'generic' && family.detect(tensors, undefined) !== undefined);
      assert.deepEqual(all.length, 1, `${name}: ${all.map(({ id }) => id).join(', ')}`);
    }
  });

  it('are recognised among 100,000 keys of experts', () => {
    const tensors = [...Array.from({ length: 100_000 }, (_, index) => ({ key: `model.language_model.layers.${index % 100}.experts.${Math.floor(index / 100)}.down_proj.weight` })), ...tensorsOf(SIGLIP['4'], 'model.vision_tower.')];
    const found = detectFamily(fakeCheckpoint(tensors).tensors);
    assert.equal(found?.family.id, 'siglip');
    assert.equal(found.detection.prefix, 'model.vision_tower.vision_model');
  });
});
