import { t } from '@vscode/l10n';
import { encoderFamily, type EncoderSpec } from '../encoderFamily';
import { flag, headsOf, mlpByRatio, ownSize, positions, size, type Size, type ValueOf } from '../sizes';
import type { TensorList } from '../tensorList';
import { module, modules, rotaryOf, stacked, tensor, type ChooseVit, type Places } from '../vitSpec';
import { BICUBIC, BILINEAR, IMAGENET_STATISTICS, squash } from './preprocessing';

/** Small, base, large, giant; DINOv3's huge-plus and 7B. */
const HEADS = headsOf({ 384: 6, 768: 12, 1024: 16, 1280: 20, 1536: 24, 4096: 32 });
const REGISTERS: Size = ownSize('registers', t('Number of register tokens.'), { config: ['num_register_tokens'], default: 0, min: 0, max: 1024 });

/** SwiGLUFFN of DINOv2 takes two thirds of the MLP's width, in eights. */
function swigluSize(value: ValueOf): number {
  return Math.floor((Math.floor(value('mlp_size') * 2 / 3) + 7) / 8) * 8;
}

const V2_SIZES: readonly Size[] = [
  size('width', 'hidden_size', 768),
  size('layers', 'num_hidden_layers', 12),
  size('heads', 'num_attention_heads', 12, { guess: HEADS }),
  mlpByRatio('mlp_ratio', 4),
  { ...ownSize('swiglu_size', t('Width inside a gated MLP.')), derived: { basis: 'mlp_size', from: swigluSize, back: (found, value) => (swigluSize(() => value('width') * 4) === found ? value('width') * 4 : Math.round(found * 3 / 2)) } },
  size('patch_size', 'patch_size', 14),
  size('image_size', 'image_size', 224),
  positions(1),
  REGISTERS,
  flag('swiglu', t('1 when the MLPs are gated (SwiGLU), as in the giant model.'), 'use_swiglu_ffn', 0),
  flag('qkv_bias', t('1 when the projections to queries, keys and values have a bias.'), 'qkv_bias', 1),
  { ...flag('mask_token', t('1 when there is a mask token, which only training uses.'), 'use_mask_token', 1), part: true },
];

function linearWithFlag(t: TensorList, path: string, bias: string): void {
  t.add(`${path}.weight`, 'width', 'width');
  t.part(bias, () => { t.add(`${path}.bias`, 'width'); });
}

/** Dinov2Model's tensors; `now` for the names that it has in memory since transformers 5, which its files do not take over. */
function huggingFaceV2(t: TensorList, now: boolean): void {
  t.add('embeddings.cls_token', 1, 1, 'width');
  t.part('mask_token', () => { t.add('embeddings.mask_token', 1, 'width'); });
  t.part('registers', () => { t.add('embeddings.register_tokens', 1, 'registers', 'width'); });
  t.add('embeddings.position_embeddings', 1, 'positions', 'width');
  t.add('embeddings.patch_embeddings.projection.weight', 'width', 3, 'patch_size', 'patch_size');
  t.add('embeddings.patch_embeddings.projection.bias', 'width');
  t.blocks('encoder.layer', 'layers', () => {
    t.norm('norm1', 'width');
    for (const [name, before] of [['q_proj', 'query'], ['k_proj', 'key'], ['v_proj', 'value']] as const) linearWithFlag(t, now ? `attention.${name}` : `attention.attention.${before}`, 'qkv_bias');
    t.linear(now ? 'attention.o_proj' : 'attention.output.dense', 'width', 'width');
    t.add('layer_scale1.lambda1', 'width');
    t.norm('norm2', 'width');
    if (t.value('swiglu') === 0) plainMlp(t);
    t.part('swiglu', () => {
      if (now) {
        t.linear('mlp.gate_proj', 'swiglu_size', 'width');
        t.linear('mlp.up_proj', 'swiglu_size', 'width');
        t.linear('mlp.down_proj', 'width', 'swiglu_size');
      } else {
        t.linear('mlp.weights_in', { of: 'swiglu_size', times: 2 }, 'width');
        t.linear('mlp.weights_out', 'width', 'swiglu_size');
      }
    });
    t.add('layer_scale2.lambda1', 'width');
  });
  t.norm('layernorm', 'width');
}

function plainMlp(t: TensorList): void {
  t.linear('mlp.fc1', 'mlp_size', 'width');
  t.linear('mlp.fc2', 'width', 'mlp_size');
}

/** The shorter side to `edge`, then the middle of the result. */
function preprocessor(edge: number, crop: number, resample: number): Record<string, unknown> {
  return { image_processor_type: 'BitImageProcessor', do_resize: true, do_rescale: true, rescale_factor: 1 / 255, do_normalize: true, do_convert_rgb: true, ...IMAGENET_STATISTICS, resample, size: { shortest_edge: edge }, do_center_crop: true, crop_size: { height: crop, width: crop } };
}

const V2: Pick<EncoderSpec, 'support' | 'sizes' | 'config' | 'class' | 'fields' | 'wrapConfig' | 'preprocessor'> = {
  support: 'preview',
  sizes: V2_SIZES,
  config: { own: { dinov2: {}, dinov2_with_registers: { patch_size: 16, registers: 4 } }, places: [['backbone_config'], ['vision_config']] },
  class: { model_type: 'dinov2', architecture: 'Dinov2Model' },
  fields: { hidden_act: 'gelu', layer_norm_eps: 1e-6, num_channels: 3, layerscale_value: 1 },
  wrapConfig: (fields, value) => (value('registers') === 0 ? { ...fields } : { ...fields, model_type: 'dinov2_with_registers', architectures: ['Dinov2WithRegistersModel'] }),
  preprocessor: () => preprocessor(256, 224, BICUBIC),
};

/**
 * What the names of DINOv2 have in common: the class token has a position, the registers after it have none.
 * `features` is the normed last hidden state, `pooled` its class token.
 */
function v2Graph(blocks: string, outer: Places, block: Places, gated: Places): ChooseVit {
  return (value, field) => ({
    outer, blocks,
    block: { ...block, ...(value('swiglu') === 1 ? gated : modules({ fc1: 'mlp.fc1', fc2: 'mlp.fc2' })) },
    epsilon: field('layer_norm_eps'), activation: value('swiglu') === 1 ? 'silu' : field('hidden_act'),
    finalNorm: { features: true, pooled: false }, pooled: 'class',
    registers: value('registers'), mlpSize: value(value('swiglu') === 1 ? 'swiglu_size' : 'mlp_size'),
  });
}

function huggingFaceV2Graph(attention: Readonly<Record<string, string>>, gated: Places): ChooseVit {
  return v2Graph('encoder.layer', {
    ...tensor('class', 'embeddings.cls_token'), ...tensor('registers', 'embeddings.register_tokens'), ...tensor('positions', 'embeddings.position_embeddings'),
    ...modules({ patch: 'embeddings.patch_embeddings.projection', finalNorm: 'layernorm' }),
  }, {
    ...modules({ norm1: 'norm1', norm2: 'norm2', ...attention }), ...tensor('scale1', 'layer_scale1.lambda1'), ...tensor('scale2', 'layer_scale2.lambda1'),
  }, gated);
}

/** Dinov2Model and Dinov2WithRegistersModel of transformers, as their files name the tensors. */
export const dinov2 = encoderFamily({
  ...V2,
  id: 'dinov2',
  title: 'DINOv2',
  models: 'DINOv2 and DINOv2 with registers (Hugging Face), Depth Anything',
  tensors: t => { huggingFaceV2(t, false); },
  anchors: { all: ['encoder.layer.0.layer_scale1.lambda1', 'encoder.layer.0.attention.attention.query.weight', 'embeddings.cls_token'] },
  graph: huggingFaceV2Graph(
    { q: 'attention.attention.query', k: 'attention.attention.key', v: 'attention.attention.value', out: 'attention.output.dense' },
    { ...stacked('mlp.weights_in', ['gate', 'fc1']), ...module('fc2', 'mlp.weights_out') },
  ),
});

/** The same with the names that transformers 5 gives them in memory, as FSDP and torch.save write them. */
export const dinov2Memory = encoderFamily({
  ...V2,
  id: 'dinov2-v5',
  title: 'DINOv2 (transformers 5 in memory)',
  models: 'DINOv2 saved by trainers from transformers 5',
  tensors: t => { huggingFaceV2(t, true); },
  anchors: { all: ['encoder.layer.0.layer_scale1.lambda1', 'encoder.layer.0.attention.q_proj.weight', 'embeddings.cls_token'] },
  graph: huggingFaceV2Graph(
    { q: 'attention.q_proj', k: 'attention.k_proj', v: 'attention.v_proj', out: 'attention.o_proj' },
    modules({ gate: 'mlp.gate_proj', fc1: 'mlp.up_proj', fc2: 'mlp.down_proj' }),
  ),
});

/** DinoVisionTransformer of facebookresearch/dinov2 (dinov2/models/vision_transformer.py), as torch.hub gives it. */
export const dinov2Meta = encoderFamily({
  ...V2,
  id: 'dinov2-meta',
  title: 'DINOv2 (Meta)',
  models: 'DINOv2 (torch.hub), its training checkpoints',
  tensors: t => {
    t.add('cls_token', 1, 1, 'width');
    t.add('pos_embed', 1, 'positions', 'width');
    t.part('registers', () => { t.add('register_tokens', 1, 'registers', 'width'); });
    t.part('mask_token', () => { t.add('mask_token', 1, 'width'); });
    t.add('patch_embed.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('patch_embed.proj.bias', 'width');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width');
      t.add('attn.qkv.weight', { of: 'width', times: 3 }, 'width');
      t.part('qkv_bias', () => { t.add('attn.qkv.bias', { of: 'width', times: 3 }); });
      t.linear('attn.proj', 'width', 'width');
      t.add('ls1.gamma', 'width');
      t.norm('norm2', 'width');
      if (t.value('swiglu') === 0) plainMlp(t);
      t.part('swiglu', () => {
        t.linear('mlp.w12', { of: 'swiglu_size', times: 2 }, 'width');
        t.linear('mlp.w3', 'width', 'swiglu_size');
      });
      t.add('ls2.gamma', 'width');
    });
    t.norm('norm', 'width');
  },
  anchors: { all: ['blocks.0.ls1.gamma', 'cls_token', 'pos_embed', 'patch_embed.proj.weight'], none: ['reg_token'] },
  graph: v2Graph('blocks', {
    ...tensor('class', 'cls_token'), ...tensor('registers', 'register_tokens'), ...tensor('positions', 'pos_embed'), ...modules({ patch: 'patch_embed.proj', finalNorm: 'norm' }),
  }, {
    ...modules({ norm1: 'norm1', out: 'attn.proj', norm2: 'norm2' }), ...stacked('attn.qkv', ['q', 'k', 'v']), ...tensor('scale1', 'ls1.gamma'), ...tensor('scale2', 'ls2.gamma'),
  }, { ...stacked('mlp.w12', ['gate', 'fc1']), ...module('fc2', 'mlp.w3') }),
});

/** DINOv3ViTModel of transformers (models/dinov3_vit); in memory its blocks lie under `model` since transformers 5. */
export const dinov3 = encoderFamily({
  id: 'dinov3',
  title: 'DINOv3 ViT',
  models: 'DINOv3 ViT (Hugging Face)',
  support: 'preview',
  sizes: [
    { name: 'model_level', description: t('1 when the blocks lie under model, as in dumps from transformers 5.'), default: 0, min: 0, max: 1, part: true },
    size('width', 'hidden_size', 384),
    size('layers', 'num_hidden_layers', 12),
    size('heads', 'num_attention_heads', 6, { guess: HEADS }),
    size('mlp_size', 'intermediate_size', 1536),
    size('patch_size', 'patch_size', 16),
    size('image_size', 'image_size', 224, { guess: () => 224 }),
    REGISTERS,
    flag('query_bias', t('1 when queries have a bias.'), 'query_bias', 1),
    flag('key_bias', t('1 when keys have a bias.'), 'key_bias', 0),
    flag('value_bias', t('1 when values have a bias.'), 'value_bias', 1),
    flag('proj_bias', t('1 when the attention\'s output has a bias.'), 'proj_bias', 1),
    flag('mlp_bias', t('1 when the MLPs have biases.'), 'mlp_bias', 1),
    flag('gated_mlp', t('1 when the MLPs are gated.'), 'use_gated_mlp', 0),
  ],
  tensors: t => {
    t.add('embeddings.cls_token', 1, 1, 'width');
    t.add('embeddings.mask_token', 1, 1, 'width');
    // The class has this parameter also where there are no registers, with no elements.
    t.add('embeddings.register_tokens', 1, 'registers', 'width');
    t.add('embeddings.patch_embeddings.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('embeddings.patch_embeddings.bias', 'width');
    t.level('model', 'model_level', () => {
      t.blocks('layer', 'layers', () => {
        t.norm('norm1', 'width');
        for (const [name, bias] of [['q_proj', 'query_bias'], ['k_proj', 'key_bias'], ['v_proj', 'value_bias'], ['o_proj', 'proj_bias']] as const) linearWithFlag(t, `attention.${name}`, bias);
        t.add('layer_scale1.lambda1', 'width');
        t.norm('norm2', 'width');
        t.part('gated_mlp', () => { mlpLinear(t, 'mlp.gate_proj', 'mlp_size', 'width'); });
        mlpLinear(t, 'mlp.up_proj', 'mlp_size', 'width');
        mlpLinear(t, 'mlp.down_proj', 'width', 'mlp_size');
        t.add('layer_scale2.lambda1', 'width');
      });
    });
    t.norm('norm', 'width');
  },
  anchors: { all: ['embeddings.patch_embeddings.weight', 'embeddings.cls_token', 'embeddings.mask_token', 'norm.weight'], none: ['embeddings.position_embeddings'] },
  buffers: ['rope_embeddings.inv_freq'],
  config: { own: { dinov3_vit: {} }, places: [['backbone_config'], ['vision_config']] },
  class: { model_type: 'dinov3_vit', architecture: 'DINOv3ViTModel' },
  fields: { hidden_act: 'gelu', layer_norm_eps: 1e-5, num_channels: 3, rope_theta: 100, layerscale_value: 1 },
  graph: (value, field) => ({
    outer: { ...tensor('class', 'embeddings.cls_token'), ...(value('registers') > 0 ? tensor('registers', 'embeddings.register_tokens') : {}), ...modules({ patch: 'embeddings.patch_embeddings', finalNorm: 'norm' }) },
    registers: value('registers'),
    blocks: value('model_level') === 1 ? 'model.layer' : 'layer',
    block: {
      ...modules({ norm1: 'norm1', q: 'attention.q_proj', k: 'attention.k_proj', v: 'attention.v_proj', out: 'attention.o_proj', norm2: 'norm2', gate: 'mlp.gate_proj', fc1: 'mlp.up_proj', fc2: 'mlp.down_proj' }),
      ...tensor('scale1', 'layer_scale1.lambda1'), ...tensor('scale2', 'layer_scale2.lambda1'),
    },
    epsilon: field('layer_norm_eps'), activation: field('hidden_act'), finalNorm: { features: true, pooled: false }, pooled: 'class',
    anyGrid: { multiple: 1, usualSide: Math.floor(value('image_size') / value('patch_size')) * value('patch_size') },
    rotary: rotaryOf(field, { coordinates: 'centred' }),
  }),
  preprocessor: squash('DINOv3ViTImageProcessorFast', IMAGENET_STATISTICS, BILINEAR),
});

function mlpLinear(t: TensorList, path: string, out: string, input: string): void {
  t.add(`${path}.weight`, out, input);
  t.part('mlp_bias', () => { t.add(`${path}.bias`, out); });
}
