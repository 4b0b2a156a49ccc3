import { t } from '@vscode/l10n';
import { encoderFamily } from '../encoderFamily';
import { flag, headsOf, ownSize, part, positions, size, type Size, type ValueOf } from '../sizes';
import { modules, rotaryOf, stacked, tensor } from '../vitSpec';
import { CLIP_STATISTICS, HALF_STATISTICS } from './preprocessing';
import { KIMI, LLAVA, MISTRAL3, MISTRAL_ADAPTER, MISTRAL_MERGER, MOONVIT_MERGE } from './projectors';

/** Encoders for pictures of any shape, which tell positions by rotary embeddings: Pixtral, MoonViT, GLM-4V. */

const PIXTRAL_SIZES: readonly Size[] = [
  size('width', 'hidden_size', 1024),
  size('layers', 'num_hidden_layers', 24),
  size('heads', 'num_attention_heads', 16, { guess: value => value('width') / 64 }),
  size('mlp_size', 'intermediate_size', 4096),
  size('patch_size', 'patch_size', 16),
  size('image_size', 'image_size', 1024, { guess: () => 1024 }),
];

/** Pixels on the side of the usual square; any other size does. */
const USUAL_SIDE = 448;

function anyGrid(value: ValueOf, multiple: number) {
  const unit = multiple * value('patch_size');
  return { multiple, usualSide: Math.max(1, Math.floor(USUAL_SIDE / unit)) * unit };
}

function anyShape(type: string, statistics: typeof CLIP_STATISTICS | typeof HALF_STATISTICS): Record<string, unknown> {
  return { image_processor_type: type, do_resize: true, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, do_convert_rgb: true, resample: 3, ...statistics };
}

/** PixtralVisionModel of transformers (models/pixtral): no bias anywhere, no final norm. */
export const pixtral = encoderFamily({
  id: 'pixtral',
  title: 'Pixtral',
  models: 'Pixtral 12B, Mistral Small 3.1/3.2 and Medium (Hugging Face)',
  support: 'preview',
  sizes: PIXTRAL_SIZES,
  relations: [],
  tensors: t => {
    t.add('patch_conv.weight', 'width', 3, 'patch_size', 'patch_size');
    t.norm('ln_pre', 'width', false);
    t.blocks('transformer.layers', 'layers', () => {
      t.norm('attention_norm', 'width', false);
      t.linear('feed_forward.gate_proj', 'mlp_size', 'width', false);
      t.linear('feed_forward.up_proj', 'mlp_size', 'width', false);
      t.linear('feed_forward.down_proj', 'width', 'mlp_size', false);
      for (const name of ['k_proj', 'v_proj', 'q_proj', 'o_proj']) t.linear(`attention.${name}`, 'width', 'width', false);
      t.norm('ffn_norm', 'width', false);
    });
  },
  anchors: { all: ['patch_conv.weight', 'ln_pre.weight', 'transformer.layers.0.feed_forward.gate_proj.weight'] },
  buffers: ['patch_positional_embedding.inv_freq'],
  projectors: [MISTRAL3, LLAVA],
  config: { own: { pixtral: {} }, within: { mistral3: { type: 'pixtral', absent: { patch_size: 14, image_size: 1540 } } } },
  class: { model_type: 'pixtral', architecture: 'PixtralVisionModel' },
  fields: { hidden_act: 'gelu', num_channels: 3, rope_theta: 10_000, head_dim: 64 },
  graph: (value, field) => ({
    outer: modules({ patch: 'patch_conv', preNorm: 'ln_pre' }), blocks: 'transformer.layers',
    block: modules({
      norm1: 'attention_norm', q: 'attention.q_proj', k: 'attention.k_proj', v: 'attention.v_proj', out: 'attention.o_proj',
      norm2: 'ffn_norm', gate: 'feed_forward.gate_proj', fc1: 'feed_forward.up_proj', fc2: 'feed_forward.down_proj',
    }),
    norm: 'rms', epsilon: 1e-5, activation: field('hidden_act'), finalNorm: { features: false, pooled: false }, pooled: 'none',
    anyGrid: anyGrid(value, 1), rotary: rotaryOf(field, { frequencies: 'dealt' }),
  }),
  preprocessor: value => ({ ...anyShape('PixtralImageProcessor', CLIP_STATISTICS), size: { longest_edge: value('image_size') }, patch_size: { height: value('patch_size'), width: value('patch_size') } }),
});

/** The same encoder as Mistral's own files name it (mistral-inference, vision_encoder.py; params.json). Its queries and keys are interleaved. */
export const pixtralMistral = encoderFamily({
  id: 'pixtral-mistral',
  title: 'Pixtral (Mistral)',
  models: 'Pixtral, Mistral Small 3.1/3.2 (consolidated.safetensors)',
  support: 'preview',
  sizes: PIXTRAL_SIZES,
  relations: [],
  tensors: t => {
    t.add('patch_conv.weight', 'width', 3, 'patch_size', 'patch_size');
    t.norm('ln_pre', 'width', false);
    t.blocks('transformer.layers', 'layers', () => {
      for (const name of ['wq', 'wk', 'wv', 'wo']) t.linear(`attention.${name}`, 'width', 'width', false);
      t.norm('attention_norm', 'width', false);
      t.norm('ffn_norm', 'width', false);
      t.linear('feed_forward.w1', 'mlp_size', 'width', false);
      t.linear('feed_forward.w2', 'width', 'mlp_size', false);
      t.linear('feed_forward.w3', 'mlp_size', 'width', false);
    });
  },
  anchors: { all: ['patch_conv.weight', 'ln_pre.weight', 'transformer.layers.0.feed_forward.w1.weight'] },
  projectors: [MISTRAL_MERGER, MISTRAL_ADAPTER],
  config: { own: {}, places: [['vision_encoder']], looksOwn: object => typeof object.hidden_size === 'number' && typeof object.num_hidden_layers === 'number' },
  fields: { num_channels: 3, rope_theta: 10_000 },
  graph: (value, field) => ({
    outer: modules({ patch: 'patch_conv', preNorm: 'ln_pre' }), blocks: 'transformer.layers',
    block: modules({
      norm1: 'attention_norm', q: 'attention.wq', k: 'attention.wk', v: 'attention.wv', out: 'attention.wo',
      norm2: 'ffn_norm', gate: 'feed_forward.w1', fc1: 'feed_forward.w3', fc2: 'feed_forward.w2',
    }),
    norm: 'rms', epsilon: 1e-5, activation: 'silu', finalNorm: { features: false, pooled: false }, pooled: 'none',
    anyGrid: anyGrid(value, 1), rotary: rotaryOf(field, { frequencies: 'dealt', pairs: 'neighbours' }),
  }),
  wrapConfig: fields => ({ vision_encoder: fields }),
  preprocessor: value => ({ ...anyShape('PixtralImageProcessor', CLIP_STATISTICS), size: { longest_edge: value('image_size') }, patch_size: { height: value('patch_size'), width: value('patch_size') } }),
});

/**
 * MoonVitPretrainedModel of Kimi-VL (moonshotai/Kimi-VL-A3B, modeling_kimi_vl.py): a position table that is resized, and rotary
 * embeddings. Its projector stands beside the encoder (KimiVLMultiModalProjector); where it is taken in, `merged` is what it gives.
 */
export const moonVit = encoderFamily({
  id: 'moonvit',
  title: 'MoonViT',
  models: 'Kimi-VL',
  support: 'preview',
  sizes: [
    size('width', ['hidden_size', 'vt_hidden_size'], 1152),
    size('layers', ['num_hidden_layers', 'vt_num_hidden_layers'], 27),
    size('heads', ['num_attention_heads', 'vt_num_attention_heads'], 16, { guess: headsOf({ 1152: 16 }) }),
    size('mlp_size', ['intermediate_size', 'vt_intermediate_size'], 4304),
    size('patch_size', 'patch_size', 14),
    ownSize('table_height', t('Rows of the position table.'), { config: ['init_pos_emb_height'], default: 64, max: 4096 }),
    ownSize('table_width', t('Columns of the position table.'), { config: ['init_pos_emb_width'], default: 64, max: 4096 }),
  ],
  tensors: t => {
    t.add('patch_embed.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('patch_embed.proj.bias', 'width');
    t.add('patch_embed.pos_emb.weight', 'table_height', 'table_width', 'width');
    t.blocks('encoder.blocks', 'layers', () => {
      t.norm('norm0', 'width');
      t.norm('norm1', 'width');
      t.linear('mlp.fc0', 'mlp_size', 'width');
      t.linear('mlp.fc1', 'width', 'mlp_size');
      t.linear('wqkv', { of: 'width', times: 3 }, 'width');
      t.linear('wo', 'width', 'width');
    });
    t.norm('encoder.final_layernorm', 'width');
  },
  anchors: { all: ['patch_embed.pos_emb.weight', 'patch_embed.proj.bias', 'encoder.blocks.0.wqkv.weight', 'encoder.final_layernorm.weight'] },
  projectors: [KIMI],
  config: { own: { moonvit: {} }, within: { kimi_vl: { type: 'moonvit', absent: {} } } },
  class: { model_type: 'moonvit', architecture: 'MoonVitPretrainedModel' },
  fields: { merge_kernel_size: [2, 2] },
  graph: value => ({
    outer: { ...modules({ patch: 'patch_embed.proj', finalNorm: 'encoder.final_layernorm' }), ...tensor('positions', 'patch_embed.pos_emb.weight') }, blocks: 'encoder.blocks',
    block: { ...modules({ norm1: 'norm0', norm2: 'norm1', out: 'wo', fc1: 'mlp.fc0', fc2: 'mlp.fc1' }), ...stacked('wqkv', ['q', 'k', 'v']) },
    epsilon: 1e-5, activation: 'gelu_pytorch_tanh', finalNorm: { features: true, pooled: false }, pooled: 'none',
    anyGrid: anyGrid(value, MOONVIT_MERGE), table: { rows: value('table_height'), columns: value('table_width'), resize: 'bicubic' },
    rotary: rotaryOf(() => undefined, { pairs: 'neighbours', axes: 'in-turn' }),
  }),
  preprocessor: value => ({ ...anyShape('KimiVLImageProcessor', HALF_STATISTICS), patch_size: value('patch_size'), merge_kernel_size: [2, 2] }),
});

/**
 * Glm4vVisionModel of transformers (models/glm4v). The blocks' MLPs are as wide as the language model (out_hidden_size);
 * the config's intermediate_size is the merger's.
 */
export const glm4v = encoderFamily({
  id: 'glm4v',
  title: 'GLM-4V',
  models: 'GLM-4.1V, GLM-4.5V',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1536),
    size('layers', 'depth', 24),
    size('heads', 'num_heads', 12, { guess: headsOf({ 1536: 12 }) }),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 336),
    positions(0),
    size('mlp_size', 'out_hidden_size', 4096),
    flag('qkv_bias', t('1 when the projections to queries, keys and values have a bias.'), 'attention_bias', 0),
    ownSize('temporal_patch_size', t('Frames in a patch.'), { config: ['temporal_patch_size'], default: 2, max: 64 }),
    ownSize('spatial_merge_size', t('Patches that are joined, along each side.'), { config: ['spatial_merge_size'], default: 2, guess: () => 2, max: 64 }),
    part('merger', '1 when the merger into the language model is kept.', 0),
    ownSize('merger_size', t('Width inside the merger\'s MLP.'), { config: ['intermediate_size'], default: 13_696, guess: () => 13_696 }),
  ],
  tensors: t => {
    t.add('embeddings.position_embedding.weight', 'positions', 'width');
    t.add('patch_embed.proj.weight', 'width', 3, 'temporal_patch_size', 'patch_size', 'patch_size');
    t.add('patch_embed.proj.bias', 'width');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width', false);
      t.norm('norm2', 'width', false);
      t.add('attn.qkv.weight', { of: 'width', times: 3 }, 'width');
      t.part('qkv_bias', () => { t.add('attn.qkv.bias', { of: 'width', times: 3 }); });
      t.linear('attn.proj', 'width', 'width', false);
      t.linear('mlp.gate_proj', 'mlp_size', 'width', false);
      t.linear('mlp.up_proj', 'mlp_size', 'width', false);
      t.linear('mlp.down_proj', 'width', 'mlp_size', false);
    });
    t.part('merger', () => {
      t.linear('merger.proj', 'mlp_size', 'mlp_size', false);
      t.norm('merger.post_projection_norm', 'mlp_size');
      t.linear('merger.gate_proj', 'merger_size', 'mlp_size', false);
      t.linear('merger.up_proj', 'merger_size', 'mlp_size', false);
      t.linear('merger.down_proj', 'mlp_size', 'merger_size', false);
      t.add('downsample.weight', 'mlp_size', 'width', 'spatial_merge_size', 'spatial_merge_size');
      t.add('downsample.bias', 'mlp_size');
    });
    t.norm('post_conv_layernorm', 'width', false);
    t.norm('post_layernorm', 'width', false);
  },
  anchors: { all: ['post_conv_layernorm.weight', 'patch_embed.proj.bias', 'embeddings.position_embedding.weight', 'blocks.0.attn.qkv.weight'] },
  buffers: ['rotary_pos_emb.inv_freq', 'embeddings.position_ids'],
  parts: [{ id: 'merger', title: t('Merger into the language model'), modules: ['merger', 'downsample'], kept: false, why: t('The merger into the language model\'s width. The encoder\'s class in transformers has it too: take it in to load that class strictly.') }],
  config: { own: { glm4v: {}, glm4v_vision: {}, glm4v_moe: {}, glm4v_moe_vision: {} }, within: { glm4v: { type: 'glm4v', absent: {} }, glm4v_moe: { type: 'glm4v_moe' } } },
  class: { model_type: 'glm4v', architecture: 'Glm4vVisionModel' },
  fields: { hidden_act: 'silu', rms_norm_eps: 1e-5, in_channels: 3 },
  graph: (value, field) => {
    const side = Math.floor(Math.sqrt(value('positions')));
    return {
      outer: {
        ...modules({ patch: 'patch_embed.proj', patchNorm: 'post_conv_layernorm', finalNorm: 'post_layernorm' }), ...tensor('positions', 'embeddings.position_embedding.weight'),
        ...modules({ 'merger.join': 'downsample', 'merger.proj': 'merger.proj', 'merger.norm': 'merger.post_projection_norm', 'merger.gate': 'merger.gate_proj', 'merger.fc1': 'merger.up_proj', 'merger.fc2': 'merger.down_proj' }),
      },
      blocks: 'blocks',
      block: { ...modules({ norm1: 'norm1', norm2: 'norm2', out: 'attn.proj', gate: 'mlp.gate_proj', fc1: 'mlp.up_proj', fc2: 'mlp.down_proj' }), ...stacked('attn.qkv', ['q', 'k', 'v']) },
      norm: 'rms', epsilon: field('rms_norm_eps'), activation: field('hidden_act'), finalNorm: { features: true, pooled: false }, pooled: 'none',
      anyGrid: anyGrid(value, value('spatial_merge_size')), frames: value('temporal_patch_size'),
      // grid_sample's bicubic with borders repeated is interpolate's.
      table: { rows: side, columns: side, resize: 'bicubic' }, rotary: rotaryOf(field),
      ...(value('merger') === 1 && { merger: { kind: 'convolution', side: value('spatial_merge_size'), width: value('mlp_size'), inner: value('merger_size'), norm: 'layer', epsilon: 1e-5 } }),
    };
  },
  preprocessor: value => ({ ...anyShape('Glm4vImageProcessor', CLIP_STATISTICS), patch_size: value('patch_size'), temporal_patch_size: value('temporal_patch_size'), merge_size: value('spatial_merge_size') }),
});
