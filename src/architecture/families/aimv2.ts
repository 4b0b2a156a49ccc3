import { t } from '@vscode/l10n';
import { encoderFamily } from '../encoderFamily';
import { flag, part, positions, size } from '../sizes';
import type { Dim } from '../tensorList';
import { module, modules, stacked, tensor } from '../vitSpec';
import { shortestEdgeAndCrop } from './preprocessing';

/**
 * Aimv2VisionModel of transformers (models/aimv2/modeling_aimv2.py): RMS norms, one of them after the patch embedding, and
 * gated MLPs. `features` is last_hidden_state, normed; `pooled` what its head makes of it, whose class token is the query itself.
 */
export const aimv2 = encoderFamily({
  id: 'aimv2',
  title: 'AIMv2',
  models: 'AIMv2 (fixed resolution), Ovis 2 (-hf)',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1024),
    size('layers', 'num_hidden_layers', 24),
    size('heads', 'num_attention_heads', 8, { guess: value => value('width') / 128 }),
    size('mlp_size', 'intermediate_size', 2816),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 224),
    positions(0),
    flag('qkv_bias', t('1 when attention has biases.'), 'qkv_bias', 0),
    flag('mlp_bias', t('1 when the MLPs have biases.'), 'mlp_bias', 0),
    part('head', '1 when the attention pooling head is kept.', 1, { config: ['use_head'], toConfig: value => value === 1 }),
  ],
  tensors: t => {
    const linear = (path: string, out: string, input: string, bias: string): void => {
      t.add(`${path}.weight`, out, input);
      t.part(bias, () => { t.add(`${path}.bias`, out); });
    };
    t.add('embeddings.patch_embed.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('embeddings.patch_embed.bias', 'width');
    t.norm('embeddings.rms_norm', 'width', false);
    t.add('embeddings.position_embedding.weight', 'positions', 'width');
    t.blocks('encoder.layers', 'layers', () => {
      for (const name of ['k_proj', 'v_proj', 'q_proj', 'out_proj']) linear(`attention.${name}`, 'width', 'width', 'qkv_bias');
      linear('ffn.gate_proj', 'mlp_size', 'width', 'mlp_bias');
      linear('ffn.up_proj', 'mlp_size', 'width', 'mlp_bias');
      linear('ffn.down_proj', 'width', 'mlp_size', 'mlp_bias');
      t.norm('rms_norm1', 'width', false);
      t.norm('rms_norm2', 'width', false);
    });
    t.norm('rms_norm', 'width', false);
    t.part('head', () => {
      t.add('head.cls_token', 1, 1, 'width');
      linear('head.k_proj', 'width', 'width', 'qkv_bias');
      linear('head.v_proj', 'width', 'width', 'qkv_bias');
      t.linear('head.output_proj', 'width', 'width');
    });
  },
  anchors: { all: ['embeddings.rms_norm.weight', 'embeddings.patch_embed.weight', 'encoder.layers.0.ffn.gate_proj.weight'] },
  buffers: ['embeddings.position_ids'],
  parts: [{ id: 'head', title: t('Attention pooling head'), modules: ['head'], kept: true, why: t('The pooling head, which gives one vector for the picture.') }],
  config: { own: { aimv2_vision_model: {} }, within: { aimv2: { type: 'aimv2_vision_model', absent: {} } } },
  class: { model_type: 'aimv2_vision_model', architecture: 'Aimv2VisionModel' },
  fields: { hidden_act: 'silu', rms_norm_eps: 1e-5, num_channels: 3, is_native: false },
  preprocessor: shortestEdgeAndCrop,
  graph: (value, field) => ({
    outer: {
      ...module('patch', 'embeddings.patch_embed'), ...module('patchNorm', 'embeddings.rms_norm'), ...tensor('positions', 'embeddings.position_embedding.weight'),
      ...module('finalNorm', 'rms_norm'), ...tensor('pool.probe', 'head.cls_token'), ...modules({ 'pool.k': 'head.k_proj', 'pool.v': 'head.v_proj', 'pool.out': 'head.output_proj' }),
    },
    blocks: 'encoder.layers',
    block: modules({
      norm1: 'rms_norm1', q: 'attention.q_proj', k: 'attention.k_proj', v: 'attention.v_proj', out: 'attention.out_proj',
      norm2: 'rms_norm2', gate: 'ffn.gate_proj', fc1: 'ffn.up_proj', fc2: 'ffn.down_proj',
    }),
    norm: 'rms', epsilon: field('rms_norm_eps'), activation: field('hidden_act'),
    finalNorm: { features: true, pooled: false }, pooled: value('head') === 1 ? 'attention' : 'none',
  }),
});

/**
 * AIMv2Model as Apple published it (apple/aimv2-large-patch14-224, modeling_aimv2.py), before transformers had it. Of its MLPs, fc1
 * passes the activation and is multiplied by fc3. `features` is its last hidden state, normed; there is no head.
 */
export const aimv2Apple = encoderFamily({
  id: 'aimv2-apple',
  title: 'AIMv2 (Apple)',
  models: 'AIMv2 (fixed resolution), Ovis 2 (original)',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1024),
    size('layers', 'num_hidden_layers', 24),
    size('heads', 'num_attention_heads', 8, { guess: value => value('width') / 128 }),
    size('mlp_size', 'intermediate_size', 2816),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 224),
    positions(0),
    flag('qkv_bias', t('1 when the projections to queries, keys and values have a bias.'), 'qkv_bias', 0),
    flag('use_bias', t('1 when the other linear layers have a bias.'), 'use_bias', 0),
  ],
  tensors: t => {
    const linear = (path: string, out: Dim, input: string, bias: string): void => {
      t.add(`${path}.weight`, out, input);
      t.part(bias, () => { t.add(`${path}.bias`, out); });
    };
    t.add('preprocessor.pos_embed', 1, 'positions', 'width');
    t.add('preprocessor.patchifier.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('preprocessor.patchifier.proj.bias', 'width');
    t.norm('preprocessor.patchifier.norm', 'width', false);
    t.blocks('trunk.blocks', 'layers', () => {
      linear('attn.qkv', { of: 'width', times: 3 }, 'width', 'qkv_bias');
      linear('attn.proj', 'width', 'width', 'use_bias');
      t.norm('norm_1', 'width', false);
      linear('mlp.fc1', 'mlp_size', 'width', 'use_bias');
      linear('mlp.fc2', 'width', 'mlp_size', 'use_bias');
      linear('mlp.fc3', 'mlp_size', 'width', 'use_bias');
      t.norm('norm_2', 'width', false);
    });
    t.norm('trunk.post_trunk_norm', 'width', false);
  },
  anchors: { all: ['preprocessor.pos_embed', 'preprocessor.patchifier.norm.weight', 'trunk.blocks.0.mlp.fc3.weight'] },
  config: { own: { aimv2: {} }, places: [['vision_config'], ['visual_tokenizer_config', 'backbone_config']] },
  class: { model_type: 'aimv2', architecture: 'AIMv2Model' },
  fields: { rms_norm_eps: 1e-5, num_channels: 3 },
  preprocessor: shortestEdgeAndCrop,
  graph: (_, field) => ({
    outer: { ...modules({ patch: 'preprocessor.patchifier.proj', patchNorm: 'preprocessor.patchifier.norm', finalNorm: 'trunk.post_trunk_norm' }), ...tensor('positions', 'preprocessor.pos_embed') },
    blocks: 'trunk.blocks',
    block: { ...modules({ norm1: 'norm_1', out: 'attn.proj', norm2: 'norm_2', gate: 'mlp.fc1', fc1: 'mlp.fc3', fc2: 'mlp.fc2' }), ...stacked('attn.qkv', ['q', 'k', 'v']) },
    norm: 'rms', epsilon: field('rms_norm_eps'), activation: 'silu',
    finalNorm: { features: true, pooled: false }, pooled: 'none',
  }),
});
