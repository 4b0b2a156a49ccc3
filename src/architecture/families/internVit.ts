import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { encoderFamily } from '../encoderFamily';
import { flag, headsOf, positions, size } from '../sizes';
import { module, modules, stacked, tensor } from '../vitSpec';
import { IMAGENET_STATISTICS, squash } from './preprocessing';
import { INTERNVL, INTERNVL_HF } from './projectors';

/** InternViT-300M and -6B. */
const HEADS = headsOf({ 1024: 16, 3200: 25 });

/**
 * InternVisionModel as InternVL 1.5 to 3.5 ship it with their checkpoints (modeling_intern_vit.py). Its config's
 * defaults are InternViT-6B's. Norms are LayerNorm or RMSNorm by norm_type, which only the config says in words:
 * whether norm1 has a bias shows it. `features` is last_hidden_state, which is not normed, `pooled` its class token.
 */
export const internVit = encoderFamily({
  id: 'internvit',
  title: 'InternViT',
  models: 'InternVL 1.5 to 3.5 (original), InternViT-300M and -6B',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 3200),
    size('layers', 'num_hidden_layers', 48),
    size('heads', 'num_attention_heads', 25, { guess: HEADS }),
    size('mlp_size', 'intermediate_size', 12_800),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 224),
    positions(1),
    flag('qkv_bias', t('1 when the projections to queries, keys and values have a bias.'), 'qkv_bias', 0),
    flag('qk_norm', t('1 when queries and keys are normed.'), 'qk_normalization', 1),
    { ...flag('norm_bias', t('1 when norms have a bias: LayerNorm, not RMSNorm.'), 'norm_type', 0), fromWord: { layer_norm: 1, rms_norm: 0 }, toConfig: value => (value === 1 ? 'layer_norm' : 'rms_norm') },
  ],
  tensors: t => {
    t.add('embeddings.class_embedding', 1, 1, 'width');
    t.add('embeddings.position_embedding', 1, 'positions', 'width');
    t.add('embeddings.patch_embedding.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('embeddings.patch_embedding.bias', 'width');
    t.blocks('encoder.layers', 'layers', () => {
      t.add('ls1', 'width');
      t.add('ls2', 'width');
      t.add('attn.qkv.weight', { of: 'width', times: 3 }, 'width');
      t.part('qkv_bias', () => { t.add('attn.qkv.bias', { of: 'width', times: 3 }); });
      t.part('qk_norm', () => {
        t.add('attn.q_norm.weight', 'width');
        t.add('attn.k_norm.weight', 'width');
      });
      t.linear('attn.proj', 'width', 'width');
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      for (const norm of ['norm1', 'norm2']) {
        t.add(`${norm}.weight`, 'width');
        t.part('norm_bias', () => { t.add(`${norm}.bias`, 'width'); });
      }
    });
  },
  anchors: { all: ['encoder.layers.0.ls1', 'embeddings.class_embedding', 'embeddings.position_embedding'] },
  projectors: [INTERNVL],
  config: { own: { intern_vit_6b: {} }, within: { internvl_chat: { type: 'intern_vit_6b', absent: {} } } },
  class: { model_type: 'intern_vit_6b', architecture: 'InternVisionModel' },
  fields: { hidden_act: 'gelu', layer_norm_eps: 1e-6, num_channels: 3, drop_path_rate: 0 },
  preprocessor: squash('CLIPImageProcessor', IMAGENET_STATISTICS),
  graph: (value, field) => ({
    outer: { ...tensor('class', 'embeddings.class_embedding'), ...tensor('positions', 'embeddings.position_embedding'), ...module('patch', 'embeddings.patch_embedding') },
    blocks: 'encoder.layers',
    block: {
      ...modules({ norm1: 'norm1', qNorm: 'attn.q_norm', kNorm: 'attn.k_norm', out: 'attn.proj', norm2: 'norm2', fc1: 'mlp.fc1', fc2: 'mlp.fc2' }),
      ...stacked('attn.qkv', ['q', 'k', 'v']), ...tensor('scale1', 'ls1'), ...tensor('scale2', 'ls2'),
    },
    norm: value('norm_bias') === 1 ? 'layer' : 'rms', epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
    finalNorm: { features: false, pooled: false }, pooled: 'class',
  }),
});

/** InternVLVisionModel, the port in transformers (models/internvl/modeling_internvl.py), of the `-hf` checkpoints. `features` is last_hidden_state. */
export const internVlHf = encoderFamily({
  id: 'internvl-hf',
  title: 'InternVL (transformers)',
  models: 'InternVL 2.5 to 3.5 (-hf), Intern-S1',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1024),
    size('layers', 'num_hidden_layers', 24),
    size('heads', 'num_attention_heads', 16, { guess: HEADS }),
    size('mlp_size', 'intermediate_size', 4096),
    size('patch_size', 'patch_size', 14, { toConfig: side => [side, side] }),
    size('image_size', 'image_size', 448, { toConfig: side => [side, side] }),
    positions(1),
    flag('qkv_bias', t('1 when the projections to queries, keys and values have a bias.'), 'attention_bias', 0),
    flag('qk_norm', t('1 when queries and keys are normed.'), 'use_qk_norm', 0),
    { ...flag('norm_bias', t('1 when norms have a bias: LayerNorm, not RMSNorm.'), 'norm_type', 1), fromWord: { layer_norm: 1, rms_norm: 0 }, toConfig: value => (value === 1 ? 'layer_norm' : 'rms_norm') },
    flag('mask_token', t('1 when there is a mask token.'), 'use_mask_token', 0),
    flag('position_table', t('1 when there is a position table.'), 'use_absolute_position_embeddings', 1),
    flag('mean_pooling', t('1 when there is no final norm.'), 'use_mean_pooling', 1),
  ],
  tensors: t => {
    t.add('embeddings.cls_token', 1, 1, 'width');
    t.part('mask_token', () => { t.add('embeddings.mask_token', 1, 1, 'width'); });
    t.part('position_table', () => { t.add('embeddings.position_embeddings', 1, 'positions', 'width'); });
    t.add('embeddings.patch_embeddings.projection.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('embeddings.patch_embeddings.projection.bias', 'width');
    t.blocks('encoder.layer', 'layers', () => {
      t.add('lambda_1', 'width');
      t.add('lambda_2', 'width');
      for (const name of ['q_proj', 'k_proj', 'v_proj']) {
        t.add(`attention.${name}.weight`, 'width', 'width');
        t.part('qkv_bias', () => { t.add(`attention.${name}.bias`, 'width'); });
      }
      t.linear('attention.projection_layer', 'width', 'width');
      t.part('qk_norm', () => {
        t.add('attention.q_norm.weight', 'width');
        t.add('attention.k_norm.weight', 'width');
      });
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      for (const norm of ['layernorm_before', 'layernorm_after']) {
        t.add(`${norm}.weight`, 'width');
        t.part('norm_bias', () => { t.add(`${norm}.bias`, 'width'); });
      }
    });
    if (t.value('mean_pooling') === 0) t.norm('layernorm', 'width');
  },
  anchors: { all: ['encoder.layer.0.lambda_1', 'embeddings.cls_token', 'embeddings.patch_embeddings.projection.weight'] },
  projectors: [INTERNVL_HF],
  config: { own: { internvl_vision: {} }, within: { internvl: { type: 'internvl_vision', absent: {} }, interns1: { type: 'internvl_vision' } } },
  class: { model_type: 'internvl_vision', architecture: 'InternVLVisionModel' },
  fields: { hidden_act: 'gelu', layer_norm_eps: 1e-6, num_channels: 3, layer_scale_init_value: 0.1 },
  preprocessor: squash('GotOcr2ImageProcessor', IMAGENET_STATISTICS),
  graph: (value, field) => {
    if (value('position_table') === 0) throw new UserError(t('InternVL encoders without a position table can be extracted, but not run yet.'));
    return {
      outer: {
        ...tensor('class', 'embeddings.cls_token'), ...tensor('positions', 'embeddings.position_embeddings'),
        ...modules({ patch: 'embeddings.patch_embeddings.projection', finalNorm: 'layernorm' }),
      },
      blocks: 'encoder.layer',
      block: {
        ...modules({
          norm1: 'layernorm_before', q: 'attention.q_proj', k: 'attention.k_proj', v: 'attention.v_proj', qNorm: 'attention.q_norm', kNorm: 'attention.k_norm', out: 'attention.projection_layer',
          norm2: 'layernorm_after', fc1: 'mlp.fc1', fc2: 'mlp.fc2',
        }),
        ...tensor('scale1', 'lambda_1'), ...tensor('scale2', 'lambda_2'),
      },
      norm: value('norm_bias') === 1 ? 'layer' : 'rms', epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
      finalNorm: { features: value('mean_pooling') === 0, pooled: false }, finalNormKind: 'layer', pooled: 'none',
    };
  },
});
