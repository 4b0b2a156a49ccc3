import assert from 'node:assert/strict';
import { FAMILIES, familyById } from '../../../../src/architecture/registry';
import { configOf, fakeCheckpoint, type FakeTensor } from '../../support/checkpoints';
import { LANGUAGE_MODEL, open, valuesOf } from '../../support/families';

/** Families whose names are not those of transformers, small, with keys as their own code defines them, written out by hand for block 0. */
const CASES: readonly { readonly family: string; readonly prefix: string; readonly settings: Readonly<Record<string, number>>; readonly some: readonly (readonly [key: string, ...shape: number[]])[]; readonly count: number }[] = [
  {
    family: 'open-clip', prefix: 'visual.', settings: { width: 64, layers: 2, patch_size: 7, image_size: 28, mlp_size: 160, embed_dim: 32 }, count: 8 + 24,
    some: [['class_embedding', 64], ['positional_embedding', 17, 64], ['proj', 64, 32], ['conv1.weight', 64, 3, 7, 7], ['ln_pre.bias', 64], ['transformer.resblocks.1.attn.in_proj_weight', 192, 64], ['transformer.resblocks.0.attn.in_proj_bias', 192], ['transformer.resblocks.0.mlp.c_fc.weight', 160, 64], ['ln_post.weight', 64]],
  },
  {
    family: 'internvit', prefix: 'vision_model.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100, qkv_bias: 1, qk_norm: 0, norm_bias: 1 }, count: 4 + 28,
    some: [['embeddings.class_embedding', 1, 1, 48], ['embeddings.position_embedding', 1, 17, 48], ['encoder.layers.0.ls1', 48], ['encoder.layers.1.attn.qkv.bias', 144], ['encoder.layers.0.norm1.bias', 48]],
  },
  {
    family: 'internvit', prefix: 'vision_model.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100, qkv_bias: 0, qk_norm: 1, norm_bias: 0 }, count: 4 + 26,
    some: [['encoder.layers.0.attn.q_norm.weight', 48], ['encoder.layers.0.norm2.weight', 48]],
  },
  {
    family: 'dinov2-meta', prefix: 'teacher.backbone.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 192, registers: 4 }, count: 8 + 28,
    some: [['cls_token', 1, 1, 48], ['pos_embed', 1, 17, 48], ['register_tokens', 1, 4, 48], ['mask_token', 1, 48], ['blocks.0.ls1.gamma', 48], ['blocks.1.attn.qkv.weight', 144, 48], ['norm.bias', 48]],
  },
  {
    family: 'dinov2-meta', prefix: '', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 192, swiglu: 1, mask_token: 0 }, count: 6 + 28,
    some: [['blocks.0.mlp.w12.weight', 256, 48], ['blocks.0.mlp.w3.weight', 48, 128]],
  },
  {
    family: 'eva-vit-g-lavis', prefix: 'visual_encoder.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100 }, count: 4 + 26,
    some: [['blocks.0.attn.q_bias', 48], ['blocks.0.attn.v_bias', 48], ['blocks.0.attn.qkv.weight', 144, 48], ['pos_embed', 1, 17, 48]],
  },
  {
    family: 'pixtral-mistral', prefix: 'vision_encoder.', settings: { width: 64, heads: 1, layers: 2, patch_size: 7, mlp_size: 100 }, count: 2 + 18,
    some: [['patch_conv.weight', 64, 3, 7, 7], ['ln_pre.weight', 64], ['transformer.layers.0.attention.wq.weight', 64, 64], ['transformer.layers.0.feed_forward.w2.weight', 64, 100]],
  },
  {
    family: 'moonvit', prefix: 'vision_tower.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, mlp_size: 100, table_height: 4, table_width: 5 }, count: 5 + 24,
    some: [['patch_embed.pos_emb.weight', 4, 5, 48], ['encoder.blocks.0.wqkv.weight', 144, 48], ['encoder.blocks.1.norm0.bias', 48], ['encoder.final_layernorm.bias', 48]],
  },
  {
    family: 'cogvlm', prefix: 'model.vision.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100 }, count: 4 + 24,
    some: [['patch_embedding.cls_embedding', 1, 48], ['patch_embedding.position_embedding.weight', 17, 48], ['transformer.layers.0.attention.query_key_value.weight', 144, 48]],
  },
  {
    family: 'molmo', prefix: 'model.vision_backbone.image_vit.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100 }, count: 5 + 32,
    some: [['patch_embedding.weight', 48, 147], ['positional_embedding', 17, 48], ['pre_ln.bias', 48], ['transformer.resblocks.0.attention.wo.bias', 48], ['transformer.resblocks.1.feed_forward.w1.weight', 100, 48]],
  },
  {
    family: 'timm-vit', prefix: 'vision.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100, head: 1 }, count: 5 + 24 + 13,
    some: [['pos_embed', 1, 16, 48], ['blocks.0.attn.qkv.bias', 144], ['attn_pool.latent', 1, 1, 48], ['attn_pool.kv.weight', 96, 48], ['norm.weight', 48]],
  },
  {
    family: 'timm-vit', prefix: 'vision_backbone.dino_featurizer.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100, class_token: 1, registers: 4, layer_scale: 1 }, count: 7 + 28,
    some: [['cls_token', 1, 1, 48], ['reg_token', 1, 4, 48], ['pos_embed', 1, 17, 48], ['blocks.1.ls2.gamma', 48]],
  },
  {
    family: 'timm-vit', prefix: 'visual.trunk.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100, class_token: 1, pre_norm: 1, patch_bias: 0 }, count: 7 + 24,
    some: [['norm_pre.weight', 48], ['patch_embed.proj.weight', 48, 3, 7, 7], ['pos_embed', 1, 17, 48]],
  },
  {
    family: 'timm-eva02', prefix: 'visual.trunk.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100 }, count: 6 + 2 * 21,
    some: [['cls_token', 1, 1, 48], ['pos_embed', 1, 17, 48], ['blocks.0.attn.q_proj.bias', 48], ['blocks.1.attn.norm.weight', 48], ['blocks.0.mlp.fc1_g.weight', 100, 48], ['blocks.0.mlp.norm.bias', 100]],
  },
  {
    family: 'timm-eva', prefix: 'visual.trunk.', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100 }, count: 6 + 2 * 13,
    some: [['blocks.0.attn.q_bias', 48], ['blocks.1.attn.qkv.weight', 144, 48], ['blocks.0.mlp.fc1.weight', 100, 48], ['norm.weight', 48]],
  },
  {
    family: 'aimv2-apple', prefix: '', settings: { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 100 }, count: 5 + 14,
    some: [['preprocessor.pos_embed', 1, 16, 48], ['preprocessor.patchifier.norm.weight', 48], ['trunk.blocks.0.attn.qkv.weight', 144, 48], ['trunk.blocks.1.mlp.fc3.weight', 100, 48], ['trunk.post_trunk_norm.weight', 48]],
  },
  {
    family: 'florence2', prefix: 'vision_tower.', settings: { width_0: 32, width_1: 64, width_2: 64, width_3: 128, blocks_0: 1, blocks_1: 1, blocks_2: 3, blocks_3: 1 }, count: 16 + 6 * 32,
    some: [['convs.0.norm.weight', 32], ['convs.1.norm.weight', 32], ['convs.1.proj.weight', 64, 32, 3, 3], ['blocks.0.0.spatial_block.window_attn.fn.qkv.weight', 96, 32], ['blocks.2.2.channel_block.ffn.fn.net.fc1.weight', 256, 64], ['blocks.3.0.spatial_block.conv1.fn.dw.weight', 128, 1, 3, 3]],
  },
  {
    family: 'florence2-hf', prefix: 'model.vision_tower.', settings: { width_0: 32, width_1: 64, width_2: 64, width_3: 128, blocks_0: 1, blocks_1: 1, blocks_2: 3, blocks_3: 1 }, count: 16 + 6 * 32,
    some: [['convs.0.conv.bias', 32], ['convs.1.norm.weight', 32], ['blocks.0.0.spatial_block.window_attn.qkv.weight', 96, 32], ['blocks.2.2.channel_block.ffn.fc1.weight', 256, 64], ['blocks.3.0.channel_block.conv2.weight', 128, 1, 3, 3], ['blocks.2.1.channel_block.channel_attn.proj.bias', 64], ['blocks.1.0.spatial_block.norm2.bias', 64]],
  },
];

/** What no shape shows. */
function headsOnly({ heads }: Readonly<Record<string, number>>): Record<string, number> {
  return heads === undefined ? {} : { heads };
}

describe('Names of other makers', () => {
  for (const { family, prefix, settings, some, count } of CASES) {
    it(`${family} under "${prefix}" with ${Object.keys(settings).slice(-2).join(' and ')} is expected, recognised and valid without a config`, () => {
      const known = familyById(family);
      // Parts, which keys decide, are given like sizes.
      const expected = known.expectedTensors(known.resolve(undefined, settings, {}));
      const shapes = new Map(expected.map(({ key, shape }) => [key, shape]));
      for (const [key, ...shape] of some) assert.deepEqual(shapes.get(key), shape, key);
      assert.equal(expected.length, count);
      const tensors: FakeTensor[] = [...(prefix === '' ? [] : LANGUAGE_MODEL), ...expected.map(({ key, shape }) => ({ key: prefix + key, shape }))];
      const opened = open(fakeCheckpoint(tensors), undefined, { settings: headsOnly(settings) });
      assert.equal(opened.family.id, family);
      assert.equal(`${opened.detection.prefix}${opened.detection.prefix === '' ? '' : '.'}`, prefix);
      assert.ok(opened.validation.valid, JSON.stringify([opened.validation.problem, opened.validation.missing.slice(0, 3), opened.validation.unexpected.slice(0, 3), opened.validation.mismatched.slice(0, 3)]));
      assert.equal(opened.plan.kept.length, count);
      const seen = valuesOf(opened.validation);
      for (const [name, value] of Object.entries(settings)) assert.equal(seen[name], value, name);
      const others = FAMILIES.filter(one => one.id !== 'generic' && one.detect(fakeCheckpoint(tensors).tensors, undefined) !== undefined).map(({ id }) => id);
      assert.equal(others[0], family, others.join(', '));
      const written = configOf(known.encoderConfig(opened.validation.hyperparameters, undefined));
      assert.deepEqual(valuesOf(open(fakeCheckpoint(tensors), written, { settings: headsOnly(settings) }).validation), seen);
    });
  }

  it('a teacher is taken before its student', () => {
    const known = familyById('dinov2-meta');
    const expected = known.expectedTensors(known.resolve(undefined, { width: 48, heads: 4, layers: 2, patch_size: 7, image_size: 28, mlp_size: 192 }));
    const both = ['student.backbone.', 'teacher.backbone.'].flatMap(prefix => expected.map(({ key, shape }) => ({ key: prefix + key, shape })));
    assert.equal(open(fakeCheckpoint(both), undefined, { settings: { heads: 4 } }).detection.prefix, 'teacher.backbone');
  });

  it('OpenAI\'s text tower, which has resblocks too, and its extras stay behind', () => {
    const known = familyById('open-clip');
    const expected = known.expectedTensors(known.resolve(undefined, { width: 64, layers: 2, patch_size: 7, image_size: 28, mlp_size: 256, embed_dim: 32 }));
    const text = ['transformer.resblocks.0.attn.in_proj_weight', 'positional_embedding', 'token_embedding.weight', 'ln_final.weight', 'text_projection', 'logit_scale', 'input_resolution', 'context_length', 'vocab_size'].map(key => ({ key, shape: [] }));
    const { plan, validation } = open(fakeCheckpoint([...text, ...expected.map(({ key, shape }) => ({ key: `visual.${key}`, shape }))]));
    assert.ok(validation.valid, validation.problem?.message);
    assert.ok(plan.kept.every(({ tensor }) => tensor.key.startsWith('visual.')));
    assert.equal(valuesOf(validation).heads, 1);
  });
});
