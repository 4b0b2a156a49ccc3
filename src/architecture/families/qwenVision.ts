import { t } from '@vscode/l10n';
import { encoderFamily, type PartSpec } from '../encoderFamily';
import { mlpByRatio, ownSize, part, size, type Size } from '../sizes';
import type { TensorList } from '../tensorList';
import { modules, rotaryOf, stacked, tensor, type ChooseVit, type VitChoice } from '../vitSpec';
import type { ValueOf } from '../sizes';
import { UserError } from '../../errors';
import { CLIP_STATISTICS, HALF_STATISTICS } from './preprocessing';

/**
 * The vision encoders of Qwen2-VL, Qwen2.5-VL and Qwen3-VL, as transformers defines them (models/qwen2_vl, qwen2_5_vl,
 * qwen3_vl). The merger into the language model's width is a module of the encoder's class, though no part of the
 * encoder: hidden states are those before it, row by row.
 */
const MERGER: PartSpec = {
  id: 'merger',
  title: t('Merger into the language model'),
  modules: ['merger'],
  kept: false,
  why: t('The merger into the language model\'s width. The encoder\'s class in transformers has it too: take it in to load that class strictly.'),
};
const MERGER_SIZE: Size = part('merger', '1 when the merger into the language model is kept.', 0);
const FRAMES: Size = ownSize('temporal_patch_size', t('Frames in a patch.'), { config: ['temporal_patch_size'], default: 2, guess: () => 2, max: 64 });
const MERGE: Size = ownSize('spatial_merge_size', t('Patches that the merger joins, along each side.'), { config: ['spatial_merge_size'], default: 2, guess: () => 2, max: 64 });
/** Head dimension 80 in the first two (1280 / 16), 72 in Qwen3-VL (1152 / 16). */
const heads = size('heads', 'num_heads', 16, { guess: () => 16 });

/** Patches joined by the merger, side by side. */
function joined(t: TensorList): { readonly of: string; readonly times: number } {
  return { of: 'width', times: t.value('spatial_merge_size') ** 2 };
}

function attention(t: TensorList): void {
  t.linear('attn.qkv', { of: 'width', times: 3 }, 'width');
  t.linear('attn.proj', 'width', 'width');
}

function firstMerger(t: TensorList, bias: boolean): void {
  t.part('merger', () => {
    t.norm('merger.ln_q', 'width', bias);
    t.linear('merger.mlp.0', joined(t), joined(t));
    t.linear('merger.mlp.2', 'output_dim', joined(t));
  });
}

function mergerLinears(t: TensorList, path: string): void {
  t.linear(`${path}linear_fc1`, joined(t), joined(t));
  t.linear(`${path}linear_fc2`, 'output_dim', joined(t));
}

/** Sides become multiples of patch times merge, near the picture's own; frames are repeated to fill a patch. */
function preprocessor(statistics: typeof CLIP_STATISTICS | typeof HALF_STATISTICS, limits: { readonly min_pixels: number; readonly max_pixels: number }) {
  return (value: (name: string) => number): Record<string, unknown> => ({
    image_processor_type: 'Qwen2VLImageProcessor',
    do_resize: true, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, do_convert_rgb: true, resample: 3,
    ...statistics,
    patch_size: value('patch_size'),
    temporal_patch_size: value('temporal_patch_size'),
    merge_size: value('spatial_merge_size'),
    ...limits,
  });
}

/** Pixels on the side of the usual square; any other size does. */
const USUAL_SIDE = 448;

/** What the three have in common: norms of 1e-6 in code, rotary positions, a picture repeated in both frames of a patch. */
function common(value: ValueOf, field: (name: string) => unknown, mlp: Readonly<Record<string, string>>): VitChoice {
  const multiple = value('spatial_merge_size');
  const unit = multiple * value('patch_size');
  return {
    outer: modules({ patch: 'patch_embed.proj' }), blocks: 'blocks',
    block: { ...modules({ norm1: 'norm1', norm2: 'norm2', out: 'attn.proj', ...mlp }), ...stacked('attn.qkv', ['q', 'k', 'v']) },
    epsilon: 1e-6, activation: field('hidden_act'), finalNorm: { features: false, pooled: false }, pooled: 'none',
    anyGrid: { multiple, usualSide: Math.max(1, Math.floor(USUAL_SIDE / unit)) * unit },
    frames: value('temporal_patch_size'), rotary: rotaryOf(field),
  };
}

/** Qwen2.5-VL's windows; blocks in `fullatt_block_indexes` have none. */
const windowed: ChooseVit = (value, field) => {
  const everywhere = field('fullatt_block_indexes');
  if (!isIndexes(everywhere)) throw new UserError(t`The config's fullatt_block_indexes is ${JSON.stringify(everywhere)}, not a list of blocks, so the encoder cannot be run.`);
  const merge = value('spatial_merge_size');
  const side = Math.floor(Math.floor(value('window_size') / merge) / value('patch_size')) * merge;
  if (side < 1) throw new UserError(t`The config's window_size of ${value('window_size')} pixels has no room for ${merge} x ${merge} patches, so the encoder cannot be run.`);
  return { ...common(value, field, { gate: 'mlp.gate_proj', fc1: 'mlp.up_proj', fc2: 'mlp.down_proj' }), norm: 'rms', windows: { side, everywhere } };
};

function isIndexes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(one => Number.isInteger(one) && one >= 0);
}

export const qwen2Vl = encoderFamily({
  id: 'qwen2-vl',
  title: 'Qwen2-VL',
  models: 'Qwen2-VL, QVQ, olmOCR (first), ColQwen2, GME',
  support: 'preview',
  sizes: [
    size('width', 'embed_dim', 1280),
    size('layers', 'depth', 32),
    heads,
    mlpByRatio('mlp_ratio', 4),
    size('patch_size', ['patch_size'], 14),
    FRAMES, MERGE, MERGER_SIZE,
    // hidden_size is the language model's width here, and the encoder's own in the later families.
    ownSize('output_dim', t('Width of the merger\'s output, the language model\'s.'), { config: ['hidden_size'], default: 3584, guess: () => 3584, max: 65_536 }),
  ],
  tensors: t => {
    t.add('patch_embed.proj.weight', 'width', 3, 'temporal_patch_size', 'patch_size', 'patch_size');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width');
      t.norm('norm2', 'width');
      attention(t);
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
    });
    firstMerger(t, true);
  },
  anchors: { all: ['patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.mlp.fc1.weight', 'blocks.0.norm1.bias'], none: ['patch_embed.proj.bias', 'pos_embed'], rank: ['patch_embed.proj.weight', 5] },
  buffers: ['rotary_pos_emb.inv_freq'],
  parts: [MERGER],
  config: { own: { qwen2_vl: {}, qwen2_vl_vision: {} }, within: { qwen2_vl: { type: 'qwen2_vl' }, colqwen2: { type: 'qwen2_vl' } }, places: [['vision_config'], ['thinker_config', 'vision_config'], ['vlm_config', 'vision_config']] },
  class: { model_type: 'qwen2_vl', architecture: 'Qwen2VisionTransformerPretrainedModel' },
  fields: { hidden_act: 'quick_gelu', in_channels: 3 },
  graph: (value, field) => common(value, field, { fc1: 'mlp.fc1', fc2: 'mlp.fc2' }),
  preprocessor: preprocessor(CLIP_STATISTICS, { min_pixels: 3136, max_pixels: 12_845_056 }),
});

export const qwen25Vl = encoderFamily({
  id: 'qwen2.5-vl',
  title: 'Qwen2.5-VL',
  models: 'Qwen2.5-VL, Qwen2.5-Omni, olmOCR 2, ColQwen2.5, UI-TARS 1.5',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 3584),
    size('layers', 'depth', 32),
    heads,
    size('mlp_size', 'intermediate_size', 3420),
    size('patch_size', 'patch_size', 14),
    FRAMES, MERGE, MERGER_SIZE,
    ownSize('output_dim', t('Width of the merger\'s output, the language model\'s.'), { config: ['out_hidden_size'], default: 3584, guess: () => 3584, max: 65_536 }),
    ownSize('window_size', t('Side of an attention window, in pixels.'), { config: ['window_size'], default: 112, guess: () => 112, max: 65_536 }),
  ],
  tensors: t => {
    t.add('patch_embed.proj.weight', 'width', 3, 'temporal_patch_size', 'patch_size', 'patch_size');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width', false);
      t.norm('norm2', 'width', false);
      attention(t);
      t.linear('mlp.gate_proj', 'mlp_size', 'width');
      t.linear('mlp.up_proj', 'mlp_size', 'width');
      t.linear('mlp.down_proj', 'width', 'mlp_size');
    });
    firstMerger(t, false);
  },
  anchors: { all: ['patch_embed.proj.weight', 'blocks.0.attn.qkv.bias', 'blocks.0.mlp.gate_proj.bias', 'blocks.0.norm1.weight'], none: ['post_conv_layernorm.weight', 'patch_embed.proj.bias'], rank: ['patch_embed.proj.weight', 5] },
  buffers: ['rotary_pos_emb.inv_freq'],
  parts: [MERGER],
  config: {
    own: { qwen2_5_vl: {}, qwen2_5_vl_vision: {}, qwen2_5_omni_vision_encoder: {} },
    within: { qwen2_5_vl: { type: 'qwen2_5_vl', absent: {} }, qwen2_5_omni: { type: 'qwen2_5_omni_vision_encoder' }, qwen2_5_omni_thinker: { type: 'qwen2_5_omni_vision_encoder' }, colqwen2_5: { type: 'qwen2_5_vl' } },
    places: [['vision_config'], ['thinker_config', 'vision_config'], ['vlm_config', 'vision_config']],
  },
  class: { model_type: 'qwen2_5_vl', architecture: 'Qwen2_5_VisionTransformerPretrainedModel' },
  fields: { hidden_act: 'silu', in_channels: 3, fullatt_block_indexes: [7, 15, 23, 31], tokens_per_second: 4 },
  graph: windowed,
  preprocessor: preprocessor(CLIP_STATISTICS, { min_pixels: 3136, max_pixels: 12_845_056 }),
});

/** The blocks whose hidden states Qwen3VLVisionConfig hands on by default. */
const DEEPSTACK: readonly number[] = [8, 16, 24];

export const qwen3Vl = encoderFamily({
  id: 'qwen3-vl',
  title: 'Qwen3-VL',
  models: 'Qwen3-VL, Qwen3-VL-MoE, Qwen3.5, Cosmos-Reason2',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1152),
    size('layers', 'depth', 27),
    heads,
    size('mlp_size', 'intermediate_size', 4304),
    size('patch_size', 'patch_size', 16),
    FRAMES, MERGE, MERGER_SIZE,
    ownSize('positions', t('Rows of the position table, a square grid that is interpolated.'), { config: ['num_position_embeddings'], default: 2304 }),
    ownSize('deepstack', t('Blocks whose hidden states go into the language model\'s first layers too.'), { config: ['deepstack_visual_indexes'], toConfig: count => DEEPSTACK.slice(0, count), default: DEEPSTACK.length, min: 0, max: 1024, counts: t('deepstack mergers') }),
    ownSize('output_dim', t('Width of the merger\'s output, the language model\'s.'), { config: ['out_hidden_size'], default: 3584, guess: () => 3584, max: 65_536 }),
  ],
  tensors: t => {
    t.add('patch_embed.proj.weight', 'width', 3, 'temporal_patch_size', 'patch_size', 'patch_size');
    t.add('patch_embed.proj.bias', 'width');
    t.add('pos_embed.weight', 'positions', 'width');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width');
      t.norm('norm2', 'width');
      attention(t);
      t.linear('mlp.linear_fc1', 'mlp_size', 'width');
      t.linear('mlp.linear_fc2', 'width', 'mlp_size');
    });
    t.part('merger', () => {
      t.norm('merger.norm', 'width');
      mergerLinears(t, 'merger.');
      // These norm the joined patches, the main merger each patch.
      t.blocks('deepstack_merger_list', 'deepstack', () => {
        t.norm('norm', joined(t));
        mergerLinears(t, '');
      });
    });
  },
  anchors: { all: ['patch_embed.proj.bias', 'pos_embed.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.mlp.linear_fc1.weight'] },
  buffers: ['rotary_pos_emb.inv_freq'],
  parts: [{ ...MERGER, modules: ['merger', 'deepstack_merger_list'] }],
  config: {
    own: { qwen3_vl: {}, qwen3_vl_vision: {}, qwen3_vl_moe: {}, qwen3_vl_moe_vision: {}, qwen3_5: {}, qwen3_5_vision: {}, qwen3_5_moe: {}, qwen3_5_moe_vision: {}, qwen3_omni_moe_vision_encoder: {} },
    within: { qwen3_vl: { type: 'qwen3_vl', absent: {} }, qwen3_vl_moe: { type: 'qwen3_vl_moe', absent: {} }, qwen3_5: { type: 'qwen3_5' }, qwen3_5_moe: { type: 'qwen3_5_moe' } },
  },
  class: { model_type: 'qwen3_vl', architecture: 'Qwen3VLVisionModel' },
  fields: { hidden_act: 'gelu_pytorch_tanh', in_channels: 3 },
  graph: (value, field) => {
    const choice = common(value, field, { fc1: 'mlp.linear_fc1', fc2: 'mlp.linear_fc2' });
    const side = Math.floor(Math.sqrt(value('positions')));
    return { ...choice, outer: { ...choice.outer, ...tensor('positions', 'pos_embed.weight') }, table: { rows: side, columns: side, resize: 'corners' } };
  },
  preprocessor: preprocessor(HALF_STATISTICS, { min_pixels: 65_536, max_pixels: 16_777_216 }),
});
