import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { encoderFamily, type EncoderSpec } from '../encoderFamily';
import { headsOf, ownSize, part, patchValues, positions, size, type Size, type ValueOf } from '../sizes';
import type { TensorList } from '../tensorList';
import { below, module, modules, stacked, tensor, type ChooseVit } from '../vitSpec';
import { CLIP_BLOCK, clipBlock, VISION_MODEL_LEVEL } from './clip';
import { HALF_STATISTICS, squash } from './preprocessing';
import { GEMMA3, IDEFICS3, LLAVA, LLAVA_ORIGINAL_SIGLIP, PALIGEMMA } from './projectors';

const SO400M = { width: 1152, mlp_size: 4304, layers: 27, heads: 16, patch_size: 14, image_size: 384 };
/** Heads of the published models by width: base, large, so400m, giant. */
const HEADS = headsOf({ 768: 12, 1024: 16, 1152: 16, 1536: 16 });

const SHARED: readonly Size[] = [
  VISION_MODEL_LEVEL,
  size('width', 'hidden_size', 768),
  size('layers', 'num_hidden_layers', 12),
  size('heads', 'num_attention_heads', 12, { guess: HEADS }),
  size('mlp_size', 'intermediate_size', 3072),
  size('patch_size', 'patch_size', 16),
];

/** Attention pooling: a learnt probe attends to the tokens. Its config flag is often absent where the head is, and absent means true. */
const HEAD: Size = part('head', '1 when the attention pooling head is kept.', 1, { config: ['vision_use_head'], toConfig: value => value === 1 });

function blocksAndHead(t: TensorList): void {
  t.blocks('encoder.layers', 'layers', () => { clipBlock(t); });
  t.norm('post_layernorm', 'width');
  t.part('head', () => {
    t.add('head.probe', 1, 1, 'width');
    t.add('head.attention.in_proj_weight', { of: 'width', times: 3 }, 'width');
    t.add('head.attention.in_proj_bias', { of: 'width', times: 3 });
    t.linear('head.attention.out_proj', 'width', 'width');
    t.norm('head.layernorm', 'width');
    t.linear('head.mlp.fc1', 'mlp_size', 'width');
    t.linear('head.mlp.fc2', 'width', 'mlp_size');
  });
}

/** @param flexible NaFlex's: patches as rows, of pictures of any size */
function siglipGraph(flexible: boolean): ChooseVit {
  return (value, field) => {
    const level = value('vision_model') === 1 ? 'vision_model' : '';
    return {
      outer: below(level, {
        ...module('patch', 'embeddings.patch_embedding'), ...tensor('positions', 'embeddings.position_embedding.weight'), ...module('finalNorm', 'post_layernorm'),
        ...tensor('pool.probe', 'head.probe'), ...stacked('head.attention.in_proj', ['pool.q', 'pool.k', 'pool.v'], 'weight', 'bias', '_'),
        ...modules({ 'pool.out': 'head.attention.out_proj', 'pool.norm': 'head.layernorm', 'pool.fc1': 'head.mlp.fc1', 'pool.fc2': 'head.mlp.fc2' }),
      }),
      blocks: level === '' ? 'encoder.layers' : `${level}.encoder.layers`,
      block: CLIP_BLOCK, patchRows: flexible,
      ...(flexible && { anyGrid: { multiple: 1, usualSide: tableSide(value) * value('patch_size') }, table: { rows: tableSide(value), columns: tableSide(value), resize: 'antialiased' } }),
      epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
      finalNorm: { features: true, pooled: false }, pooled: value('head') === 1 ? 'attention' : 'none',
    };
  };
}

const PARTS: NonNullable<EncoderSpec['parts']> = [{ id: 'head', title: t('Attention pooling head'), modules: ['head'], kept: true, why: t('The pooling head, which gives one vector for the picture.') }];
const ANCHORS = ['embeddings.patch_embedding.bias', 'embeddings.position_embedding.weight', 'encoder.layers.0.layer_norm1.weight', 'encoder.layers.0.mlp.fc1.bias'];

/**
 * SiglipVisionModel of transformers (models/siglip/modeling_siglip.py). The towers of Idefics 2/3, SmolVLM and
 * MiniCPM-V have the same tensors without the head, under configs with other defaults; of a square picture at native
 * size their patches' positions are the table's rows in order, as here. `features` is last_hidden_state, normed; `pooled`
 * what the head makes of it.
 */
export const siglip = encoderFamily({
  id: 'siglip',
  title: 'SigLIP',
  models: 'SigLIP, SigLIP 2 (fixed resolution), LLaVA-OneVision, PaliGemma, Gemma 3, MedGemma, ShieldGemma 2, Idefics 2/3, SmolVLM, MiniCPM-V 2.5/2.6, Phi-4-multimodal, DeepSeek-VL',
  support: 'preview',
  sizes: [...SHARED, size('image_size', 'image_size', 224), positions(0), HEAD],
  level: 'vision_model',
  tensors: t => {
    t.level('vision_model', 'vision_model', () => {
      t.add('embeddings.patch_embedding.weight', 'width', 3, 'patch_size', 'patch_size');
      t.add('embeddings.patch_embedding.bias', 'width');
      t.add('embeddings.position_embedding.weight', 'positions', 'width');
      blocksAndHead(t);
    });
  },
  anchors: { all: ANCHORS, none: ['embeddings.class_embedding'], rank: ['embeddings.patch_embedding.weight', 4] },
  buffers: ['embeddings.position_ids'],
  parts: PARTS,
  projectors: [GEMMA3, PALIGEMMA, IDEFICS3, LLAVA, LLAVA_ORIGINAL_SIGLIP],
  config: {
    own: {
      siglip_vision_model: {},
      // As MiniCPM-V 2.6 and MiniCPM-o write it.
      siglip: {},
      idefics2: { patch_size: 32 },
      idefics2_vision: { patch_size: 32 },
      idefics3_vision: { width: 1152, heads: 16, patch_size: 32 },
      smolvlm_vision: { width: 1152, heads: 16, patch_size: 32 },
      phi4_multimodal_vision: { ...SO400M, image_size: 448 },
    },
    within: {
      siglip: { type: 'siglip_vision_model', absent: {} },
      llava_onevision: { type: 'siglip_vision_model', absent: { ...SO400M, layers: 26, head: 0 } },
      paligemma: { type: 'siglip_vision_model', absent: { ...SO400M, mlp_size: 4096, image_size: 224, head: 0 } },
      gemma3: { type: 'siglip_vision_model', absent: {} },
      shieldgemma2: { type: 'siglip_vision_model', absent: {} },
      idefics2: { type: 'idefics2_vision', absent: { patch_size: 32 } },
      idefics3: { type: 'idefics3_vision', absent: { width: 1152, heads: 16, patch_size: 32 } },
      smolvlm: { type: 'smolvlm_vision', absent: { width: 1152, heads: 16, patch_size: 32 } },
      minicpmv: { type: 'siglip_vision_model' },
      minicpmo: { type: 'siglip_vision_model' },
      deepseek_vl: { type: 'siglip_vision_model', absent: {} },
      deepseek_vl_hybrid: { type: 'siglip_vision_model', absent: {} },
      phi4_multimodal: { type: 'phi4_multimodal_vision', absent: { ...SO400M, image_size: 448 } },
    },
  },
  class: { model_type: 'siglip_vision_model', architecture: 'SiglipVisionModel' },
  fields: { hidden_act: 'gelu_pytorch_tanh', layer_norm_eps: 1e-6, num_channels: 3, attention_dropout: 0 },
  preprocessor: squash('SiglipImageProcessor', HALF_STATISTICS),
  graph: siglipGraph(false),
});

/** Rows and columns of NaFlex's position table, which is a square whatever a picture's grid is. */
function tableSide(value: ValueOf): number {
  const side = Math.sqrt(value('num_patches'));
  if (!Number.isInteger(side)) throw new UserError(t`The position table has ${value('num_patches')} rows, which are no square, so the encoder cannot be run.`);
  return side;
}

/**
 * Siglip2VisionModel of transformers (models/siglip2), the NaFlex form: patches come flattened, channels last, from a picture that
 * keeps its proportions, and the position table is resized to their grid. The rows that a batch is padded with are no patches, and
 * attended to by none, so they are left out here.
 */
export const siglip2 = encoderFamily({
  id: 'siglip2',
  title: 'SigLIP 2 NaFlex',
  models: 'SigLIP 2 NaFlex',
  support: 'preview',
  sizes: [
    ...SHARED,
    ownSize('num_patches', t('Rows of the position table, which is resized to each picture\'s patches.'), { config: ['num_patches'], default: 256 }),
    patchValues(3),
    HEAD,
  ],
  level: 'vision_model',
  tensors: t => {
    t.level('vision_model', 'vision_model', () => {
      t.linear('embeddings.patch_embedding', 'width', 'patch_values');
      t.add('embeddings.position_embedding.weight', 'num_patches', 'width');
      blocksAndHead(t);
    });
  },
  anchors: { all: ANCHORS, none: ['embeddings.class_embedding'], rank: ['embeddings.patch_embedding.weight', 2] },
  parts: PARTS,
  config: { own: { siglip2_vision_model: {} }, within: { siglip2: { type: 'siglip2_vision_model', absent: {} } } },
  class: { model_type: 'siglip2_vision_model', architecture: 'Siglip2VisionModel' },
  fields: { hidden_act: 'gelu_pytorch_tanh', layer_norm_eps: 1e-6, num_channels: 3, attention_dropout: 0 },
  preprocessor: value => ({ image_processor_type: 'Siglip2ImageProcessor', do_resize: true, resample: 2, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, do_convert_rgb: true, ...HALF_STATISTICS, patch_size: value('patch_size'), max_num_patches: value('num_patches') }),
  graph: siglipGraph(true),
});
