import { t } from '@vscode/l10n';
import { inWords } from '../../checkpoint/wording';
import { encoderFamily, type EncoderSpec, type PartSpec } from '../encoderFamily';
import { mlpByRatio, ownSize, part, size, type Size } from '../sizes';
import type { TensorList } from '../tensorList';
import { modules, rotaryOf, stacked, tensor, type ChooseVit, type Places, type VitChoice } from '../vitSpec';
import type { ValueOf } from '../sizes';
import type { Family } from '../family';
import { UserError } from '../../errors';
import { CLIP_STATISTICS, HALF_STATISTICS } from './preprocessing';

/**
 * The vision encoders of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and 3.5, and of the Omni models, as transformers defines them
 * (models/qwen2_vl, qwen2_5_vl, qwen2_5_omni, qwen3_vl, qwen3_5, qwen3_omni_moe). The merger into the language model's width is
 * a module of the encoder's class, though no part of the encoder: hidden states are those before it, row by row. Where it
 * is taken in, `merged` is what it gives.
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

/** Qwen2.5-Omni's: the same, stored as three. */
function splitAttention(t: TensorList): void {
  for (const name of ['q', 'k', 'v', 'proj']) t.linear(`attn.${name}`, 'width', 'width');
}

function merger(t: TensorList, names: MergerNames, bias = true): void {
  t.part('merger', () => {
    t.norm(`merger.${names.norm}`, 'width', bias);
    mergerLinears(t, 'merger.', names);
  });
}

function mergerLinears(t: TensorList, path: string, { fc1, fc2 }: MergerNames): void {
  t.linear(path + fc1, joined(t), joined(t));
  t.linear(path + fc2, 'output_dim', joined(t));
}

/** How a merger's modules are called, below its own path. */
interface MergerNames {
  readonly norm: string;
  readonly fc1: string;
  readonly fc2: string;
}
const OLD_NAMES: MergerNames = { norm: 'ln_q', fc1: 'mlp.0', fc2: 'mlp.2' };
const NEW_NAMES: MergerNames = { norm: 'norm', fc1: 'linear_fc1', fc2: 'linear_fc2' };

/** Where the forward pass finds a merger. */
function mergerPlaces(name: string, path: string, names: MergerNames): Places {
  return modules(Object.fromEntries(Object.entries(names).map(([part, module]) => [`${name}.${part}`, `${path}.${module}`])));
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

/** What all have in common: norms of 1e-6 in code, rotary positions, a picture repeated in both frames of a patch. */
function common(value: ValueOf, field: (name: string) => unknown, mlp: Readonly<Record<string, string>>, names: MergerNames, norm: 'layer' | 'rms' = 'layer'): VitChoice {
  const multiple = value('spatial_merge_size');
  const unit = multiple * value('patch_size');
  return {
    outer: { ...modules({ patch: 'patch_embed.proj' }), ...mergerPlaces('merger', 'merger', names) }, blocks: 'blocks',
    block: { ...modules({ norm1: 'norm1', norm2: 'norm2', out: 'attn.proj', ...mlp }), ...stacked('attn.qkv', ['q', 'k', 'v']) },
    norm, epsilon: 1e-6, activation: field('hidden_act'), finalNorm: { features: false, pooled: false }, pooled: 'none',
    anyGrid: { multiple, usualSide: Math.max(1, Math.floor(USUAL_SIDE / unit)) * unit },
    frames: value('temporal_patch_size'), rotary: rotaryOf(field),
    ...(value('merger') === 1 && { merger: { kind: 'mlp', side: multiple, width: value('output_dim'), inner: multiple ** 2 * value('width'), norm, epsilon: 1e-6 } }),
  };
}

/** Qwen2.5-VL's windows; blocks in `fullatt_block_indexes` have none. */
const windowed: ChooseVit = (value, field) => {
  const everywhere = field('fullatt_block_indexes');
  if (!isIndexes(everywhere)) throw new UserError(t`The config's fullatt_block_indexes is ${inWords(everywhere)}, not a list of blocks, so the encoder cannot be run.`);
  const merge = value('spatial_merge_size');
  const side = Math.floor(Math.floor(value('window_size') / merge) / value('patch_size')) * merge;
  if (side < 1) throw new UserError(t`The config's window_size of ${value('window_size')} pixels has no room for ${merge} x ${merge} patches, so the encoder cannot be run.`);
  return { ...common(value, field, { gate: 'mlp.gate_proj', fc1: 'mlp.up_proj', fc2: 'mlp.down_proj' }, OLD_NAMES, 'rms'), windows: { side, everywhere } };
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
    merger(t, OLD_NAMES);
  },
  anchors: { all: ['patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.mlp.fc1.weight', 'blocks.0.norm1.bias'], none: ['patch_embed.proj.bias', 'pos_embed'], rank: ['patch_embed.proj.weight', 5] },
  buffers: ['rotary_pos_emb.inv_freq'],
  parts: [MERGER],
  config: { own: { qwen2_vl: {}, qwen2_vl_vision: {} }, within: { qwen2_vl: { type: 'qwen2_vl' }, colqwen2: { type: 'qwen2_vl' } }, places: [['vision_config'], ['thinker_config', 'vision_config'], ['vlm_config', 'vision_config']] },
  class: { model_type: 'qwen2_vl', architecture: 'Qwen2VisionTransformerPretrainedModel' },
  fields: { hidden_act: 'quick_gelu', in_channels: 3 },
  graph: (value, field) => common(value, field, { fc1: 'mlp.fc1', fc2: 'mlp.fc2' }, OLD_NAMES),
  preprocessor: preprocessor(CLIP_STATISTICS, { min_pixels: 3136, max_pixels: 12_845_056 }),
});

/** What Qwen2.5-VL's encoder and Qwen2.5-Omni's, whose attention is stored in three, differ in. */
function qwen25(attend: (t: TensorList) => void, own: Pick<Family, 'id' | 'title' | 'models'> & Pick<EncoderSpec, 'config' | 'class'> & { readonly anchor: string; readonly graph: ChooseVit }): Family {
  const { anchor, ...spec } = own;
  return encoderFamily({
    ...spec,
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
        attend(t);
        t.linear('mlp.gate_proj', 'mlp_size', 'width');
        t.linear('mlp.up_proj', 'mlp_size', 'width');
        t.linear('mlp.down_proj', 'width', 'mlp_size');
      });
      merger(t, OLD_NAMES, false);
    },
    anchors: { all: ['patch_embed.proj.weight', anchor, 'blocks.0.mlp.gate_proj.bias', 'blocks.0.norm1.weight'], none: ['post_conv_layernorm.weight', 'patch_embed.proj.bias'], rank: ['patch_embed.proj.weight', 5] },
    buffers: ['rotary_pos_emb.inv_freq'],
    parts: [MERGER],
    fields: { hidden_act: 'silu', in_channels: 3, fullatt_block_indexes: [7, 15, 23, 31], tokens_per_second: 4 },
    preprocessor: preprocessor(CLIP_STATISTICS, { min_pixels: 3136, max_pixels: 12_845_056 }),
  });
}

export const qwen25Vl = qwen25(attention, {
  id: 'qwen2.5-vl',
  title: 'Qwen2.5-VL',
  models: 'Qwen2.5-VL, olmOCR 2, ColQwen2.5, UI-TARS 1.5',
  anchor: 'blocks.0.attn.qkv.bias',
  config: {
    own: { qwen2_5_vl: {}, qwen2_5_vl_vision: {} },
    within: { qwen2_5_vl: { type: 'qwen2_5_vl', absent: {} }, colqwen2_5: { type: 'qwen2_5_vl' } },
    places: [['vision_config'], ['vlm_config', 'vision_config']],
  },
  class: { model_type: 'qwen2_5_vl', architecture: 'Qwen2_5_VisionTransformerPretrainedModel' },
  graph: windowed,
});

export const qwen25Omni = qwen25(splitAttention, {
  id: 'qwen2.5-omni',
  title: 'Qwen2.5-Omni',
  models: 'Qwen2.5-Omni',
  anchor: 'blocks.0.attn.q.bias',
  config: {
    own: { qwen2_5_omni_vision_encoder: {} },
    within: { qwen2_5_omni: { type: 'qwen2_5_omni_vision_encoder', absent: {} }, qwen2_5_omni_thinker: { type: 'qwen2_5_omni_vision_encoder', absent: {} } },
  },
  class: { model_type: 'qwen2_5_omni_vision_encoder', architecture: 'Qwen2_5OmniVisionEncoder' },
  graph: (value, field) => {
    const choice = windowed(value, field);
    return { ...choice, block: { ...choice.block, ...modules({ q: 'attn.q', k: 'attn.k', v: 'attn.v' }) } };
  },
});

/** The blocks whose hidden states Qwen3VLVisionConfig hands on by default. */
const DEEPSTACK: readonly number[] = [8, 16, 24];

/** What Qwen3-VL's encoder and Qwen3-Omni's, whose mergers have other names, differ in. */
function qwen3(names: MergerNames, list: string, own: Pick<Family, 'id' | 'title' | 'models'> & Pick<EncoderSpec, 'config' | 'class'> & { readonly anchors: Partial<EncoderSpec['anchors']> }): Family {
  return encoderFamily({
    ...own,
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
      merger(t, names);
      t.part('merger', () => {
        // These norm the joined patches, the main merger each patch.
        t.blocks(list, 'deepstack', () => {
          t.norm(names.norm, joined(t));
          mergerLinears(t, '', names);
        });
      });
    },
    anchors: { ...own.anchors, all: ['patch_embed.proj.bias', 'pos_embed.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.mlp.linear_fc1.weight', ...own.anchors.all ?? []] },
    buffers: ['rotary_pos_emb.inv_freq'],
    parts: [{ ...MERGER, modules: ['merger', list] }],
    fields: { hidden_act: 'gelu_pytorch_tanh', in_channels: 3 },
    graph: (value, field) => {
      const choice = common(value, field, { fc1: 'mlp.linear_fc1', fc2: 'mlp.linear_fc2' }, names);
      const side = Math.floor(Math.sqrt(value('positions')));
      const deepstack = value('merger') === 1 ? deepstackBlocks(value, field) : [];
      const places = deepstack.map((_, index) => mergerPlaces(`deepstack.${index}`, `${list}.${index}`, names));
      return {
        ...choice, table: { rows: side, columns: side, resize: 'corners' }, ...(deepstack.length > 0 && { deepstack }),
        outer: Object.assign({}, choice.outer, tensor('positions', 'pos_embed.weight'), ...places) as Places,
      };
    },
    preprocessor: preprocessor(HALF_STATISTICS, { min_pixels: 65_536, max_pixels: 16_777_216 }),
  });
}

/** The blocks after which there is a merger, in the mergers' order. */
function deepstackBlocks(value: ValueOf, field: (name: string) => unknown): readonly number[] {
  const blocks = field('deepstack_visual_indexes');
  if (!isIndexes(blocks) || blocks.length !== value('deepstack') || blocks.some(block => block >= value('layers'))) {
    throw new UserError(t`The config's deepstack_visual_indexes is ${inWords(blocks)}, not a list of ${value('deepstack')} of the encoder's ${value('layers')} blocks, so the encoder cannot be run with its mergers.`);
  }
  return blocks;
}

const NO_DEEPSTACK = { deepstack: 0 };

export const qwen3Vl = qwen3(NEW_NAMES, 'deepstack_merger_list', {
  id: 'qwen3-vl',
  title: 'Qwen3-VL',
  models: 'Qwen3-VL, Qwen3-VL-MoE, Qwen3.5, Cosmos-Reason2',
  anchors: { none: ['merger.ln_q.weight'] },
  config: {
    own: {
      qwen3_vl: {}, qwen3_vl_vision: {}, qwen3_vl_moe: {}, qwen3_vl_moe_vision: {}, qwen3_omni_moe_vision_encoder: {},
      qwen3_5: NO_DEEPSTACK, qwen3_5_vision: NO_DEEPSTACK, qwen3_5_moe: NO_DEEPSTACK, qwen3_5_moe_vision: NO_DEEPSTACK,
    },
    within: {
      qwen3_vl: { type: 'qwen3_vl', absent: {} }, qwen3_vl_moe: { type: 'qwen3_vl_moe', absent: {} },
      qwen3_5: { type: 'qwen3_5', absent: NO_DEEPSTACK }, qwen3_5_moe: { type: 'qwen3_5_moe', absent: NO_DEEPSTACK },
    },
  },
  class: { model_type: 'qwen3_vl', architecture: 'Qwen3VLVisionModel' },
});

export const qwen3Omni = qwen3(OLD_NAMES, 'merger_list', {
  id: 'qwen3-omni',
  title: 'Qwen3-Omni',
  models: 'Qwen3-Omni',
  anchors: { all: ['merger.ln_q.weight'] },
  config: {
    own: { qwen3_omni_moe_vision_encoder: {} },
    within: { qwen3_omni_moe: { type: 'qwen3_omni_moe_vision_encoder', absent: {} }, qwen3_omni_moe_thinker: { type: 'qwen3_omni_moe_vision_encoder', absent: {} } },
  },
  class: { model_type: 'qwen3_omni_moe_vision_encoder', architecture: 'Qwen3OmniMoeVisionEncoder' },
});
