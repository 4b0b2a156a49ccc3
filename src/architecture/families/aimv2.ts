import { t } from '@vscode/l10n';
import { encoderFamily } from '../encoderFamily';
import { flag, part, positions, size } from '../sizes';
import { module, modules, tensor } from '../vitSpec';
import { shortestEdgeAndCrop } from './preprocessing';

/**
 * Aimv2VisionModel of transformers (models/aimv2/modeling_aimv2.py): RMS norms, one of them after the patch embedding, and
 * gated MLPs. `features` is last_hidden_state, normed; `pooled` what its head makes of it, whose class token is the query itself.
 */
export const aimv2 = encoderFamily({
  id: 'aimv2',
  title: 'AIMv2',
  models: 'AIMv2 (fixed resolution), Ovis 2',
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
