import { t } from '@vscode/l10n';
import { encoderFamily, type EncoderSpec } from '../encoderFamily';
import { flag, headsOf, positions, size } from '../sizes';
import { modules, stacked, tensor } from '../vitSpec';
import { CLIP_STATISTICS, squash } from './preprocessing';

/** EVA ViT-g, and EVA2-CLIP-E. */
const HEADS = headsOf({ 1408: 16, 1792: 16 });

const GIANT: Pick<EncoderSpec, 'support' | 'sizes' | 'config' | 'fields' | 'class' | 'preprocessor'> = {
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1408),
    size('layers', 'num_hidden_layers', 39),
    size('heads', 'num_attention_heads', 16, { guess: HEADS }),
    size('mlp_size', 'intermediate_size', 6144),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 224),
    positions(1),
    flag('qkv_bias', t('1 when the projections to queries, keys and values have a bias.'), 'qkv_bias', 1),
  ],
  config: {
    own: { blip_2_vision_model: {}, instructblip_vision_model: {} },
    within: { 'blip-2': { type: 'blip_2_vision_model', absent: {} }, instructblip: { type: 'instructblip_vision_model', absent: {} }, instructblipvideo: { type: 'instructblip_vision_model', absent: {} } },
  },
  class: { model_type: 'blip_2_vision_model', architecture: 'Blip2VisionModel' },
  fields: { hidden_act: 'gelu', layer_norm_eps: 1e-6 },
  preprocessor: squash('BlipImageProcessor', CLIP_STATISTICS),
};

/**
 * Blip2VisionModel and InstructBlipVisionModel of transformers (models/blip_2/modeling_blip_2.py).
 * `features` is last_hidden_state, normed; `pooled` its class token, normed once more.
 */
export const evaGiant = encoderFamily({
  ...GIANT,
  id: 'eva-vit-g',
  title: 'EVA ViT-g',
  models: 'BLIP-2, InstructBLIP (Hugging Face)',
  tensors: t => {
    t.add('embeddings.class_embedding', 1, 1, 'width');
    t.add('embeddings.position_embedding', 1, 'positions', 'width');
    t.add('embeddings.patch_embedding.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('embeddings.patch_embedding.bias', 'width');
    t.blocks('encoder.layers', 'layers', () => {
      t.add('self_attn.qkv.weight', { of: 'width', times: 3 }, 'width');
      t.part('qkv_bias', () => { t.add('self_attn.qkv.bias', { of: 'width', times: 3 }); });
      t.linear('self_attn.projection', 'width', 'width');
      t.norm('layer_norm1', 'width');
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      t.norm('layer_norm2', 'width');
    });
    t.norm('post_layernorm', 'width');
  },
  anchors: { all: ['encoder.layers.0.self_attn.projection.weight', 'embeddings.class_embedding', 'embeddings.position_embedding'] },
  graph: (_, field) => ({
    outer: {
      ...tensor('class', 'embeddings.class_embedding'), ...tensor('positions', 'embeddings.position_embedding'),
      ...modules({ patch: 'embeddings.patch_embedding', finalNorm: 'post_layernorm' }),
    },
    blocks: 'encoder.layers',
    block: {
      ...modules({ norm1: 'layer_norm1', out: 'self_attn.projection', norm2: 'layer_norm2', fc1: 'mlp.fc1', fc2: 'mlp.fc2' }),
      ...stacked('self_attn.qkv', ['q', 'k', 'v']),
    },
    epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
    finalNorm: { features: true, pooled: true }, pooled: 'class',
  }),
});

/** VisionTransformer of salesforce/LAVIS (lavis/models/eva_vit.py): no key bias, and the final norm is outside, `ln_vision`. `features` is the last hidden state, not normed. */
export const evaLavis = encoderFamily({
  ...GIANT,
  id: 'eva-vit-g-lavis',
  title: 'EVA ViT-g (LAVIS)',
  models: 'BLIP-2, InstructBLIP, MiniGPT-4 (LAVIS)',
  tensors: t => {
    t.add('cls_token', 1, 1, 'width');
    t.add('pos_embed', 1, 'positions', 'width');
    t.add('patch_embed.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('patch_embed.proj.bias', 'width');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width');
      t.part('qkv_bias', () => {
        t.add('attn.q_bias', 'width');
        t.add('attn.v_bias', 'width');
      });
      t.add('attn.qkv.weight', { of: 'width', times: 3 }, 'width');
      t.linear('attn.proj', 'width', 'width');
      t.norm('norm2', 'width');
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
    });
  },
  anchors: { all: ['blocks.0.attn.q_bias', 'cls_token', 'pos_embed', 'patch_embed.proj.weight'], none: ['norm.weight'] },
  graph: (_, field) => ({
    outer: { ...tensor('class', 'cls_token'), ...tensor('positions', 'pos_embed'), ...modules({ patch: 'patch_embed.proj' }) },
    blocks: 'blocks',
    block: {
      ...modules({ norm1: 'norm1', out: 'attn.proj', norm2: 'norm2', fc1: 'mlp.fc1', fc2: 'mlp.fc2' }),
      ...stacked('attn.qkv', ['q', 'k', 'v']), ...tensor('q.bias', 'attn.q_bias'), ...tensor('v.bias', 'attn.v_bias'),
    },
    epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
    finalNorm: { features: false, pooled: false }, pooled: 'none',
  }),
});

/**
 * EVA2CLIPModel of CogVLM (THUDM/CogVLM, visual.py), which norms what each sub-layer gives, not what it takes. `features` is
 * the last hidden state, of which the language model gets the patches.
 */
export const cogVlm = encoderFamily({
  id: 'cogvlm',
  title: 'EVA2-CLIP-E (CogVLM)',
  models: 'CogVLM, CogVLM2, CogAgent, GLM-4V-9B',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1792),
    size('layers', 'num_hidden_layers', 63),
    size('heads', 'num_heads', 16, { guess: HEADS }),
    size('mlp_size', 'intermediate_size', 15_360),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 490),
    positions(1),
  ],
  tensors: t => {
    t.add('patch_embedding.cls_embedding', 1, 'width');
    t.add('patch_embedding.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('patch_embedding.proj.bias', 'width');
    t.add('patch_embedding.position_embedding.weight', 'positions', 'width');
    t.blocks('transformer.layers', 'layers', () => {
      t.norm('input_layernorm', 'width');
      t.linear('attention.query_key_value', { of: 'width', times: 3 }, 'width');
      t.linear('attention.dense', 'width', 'width');
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      t.norm('post_attention_layernorm', 'width');
    });
  },
  anchors: { all: ['patch_embedding.cls_embedding', 'patch_embedding.position_embedding.weight', 'transformer.layers.0.attention.query_key_value.weight'] },
  excluded: [{ modules: ['linear_proj', 'boi', 'eoi', 'conv'], why: t('Joins the encoder to the language model.') }],
  config: { own: {}, looksOwn: object => typeof object.hidden_size === 'number' && typeof object.num_heads === 'number' && typeof object.num_positions === 'number' },
  fields: { hidden_act: 'gelu', layer_norm_eps: 1e-6 },
  wrapConfig: (fields, value) => ({ vision_config: { ...fields, num_positions: value('positions') } }),
  preprocessor: squash('BlipImageProcessor', CLIP_STATISTICS),
  graph: (_, field) => ({
    outer: { ...tensor('class', 'patch_embedding.cls_embedding'), ...tensor('positions', 'patch_embedding.position_embedding.weight'), ...modules({ patch: 'patch_embedding.proj' }) },
    blocks: 'transformer.layers',
    block: {
      ...modules({ norm1: 'input_layernorm', out: 'attention.dense', norm2: 'post_attention_layernorm', fc1: 'mlp.fc1', fc2: 'mlp.fc2' }),
      ...stacked('attention.query_key_value', ['q', 'k', 'v']),
    },
    normAfter: true, epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
    finalNorm: { features: false, pooled: false }, pooled: 'none',
  }),
});
