import { t } from '@vscode/l10n';
import { inWords } from '../../checkpoint/wording';
import { UserError } from '../../errors';
import { encoderFamily } from '../encoderFamily';
import { flag, headsOf, mlpByRatio, ownSize, part, positions, size, type Size } from '../sizes';
import type { TensorList } from '../tensorList';
import { below, module, modules, stacked, tensor, type Places } from '../vitSpec';
import { shortestEdgeAndCrop } from './preprocessing';
import { LLAVA, LLAVA_LINEAR, LLAVA_ORIGINAL, VIP_LLAVA } from './projectors';

/** What LLaVA-like models and Phi-3-vision use when their configs describe no tower: openai/clip-vit-large-patch14-336. */
const LARGE_336 = { width: 1024, mlp_size: 4096, layers: 24, heads: 16, patch_size: 14, image_size: 336, projection_dim: 768 };

/** Heads of OpenAI's and LAION's models by width. */
const HEADS = headsOf({ 768: 12, 1024: 16, 1280: 16, 1408: 16, 1664: 16 });

/** Whether keys carry the level vision_model, as the classes of transformers before 5.6 want them; later ones take both. */
export const VISION_MODEL_LEVEL: Size = part('vision_model', '1 when the keys carry the level vision_model, which transformers before 5.6 needs.', 1);

/** Attention and MLP of a CLIP block, which SigLIP shares. */
export function clipBlock(t: TensorList): void {
  for (const name of ['k_proj', 'v_proj', 'q_proj', 'out_proj']) t.linear(`self_attn.${name}`, 'width', 'width');
  t.norm('layer_norm1', 'width');
  t.linear('mlp.fc1', 'mlp_size', 'width');
  t.linear('mlp.fc2', 'width', 'mlp_size');
  t.norm('layer_norm2', 'width');
}

/** A CLIP block's weights, which SigLIP's has too. */
export const CLIP_BLOCK: Places = modules({
  norm1: 'layer_norm1', q: 'self_attn.q_proj', k: 'self_attn.k_proj', v: 'self_attn.v_proj', out: 'self_attn.out_proj',
  norm2: 'layer_norm2', fc1: 'mlp.fc1', fc2: 'mlp.fc2',
});

/**
 * CLIPVisionModel of transformers (models/clip/modeling_clip.py), with the config defaults of CLIPVisionConfig.
 * `features` is its last_hidden_state, which is not normed; `pooled` its pooler_output, the normed class token;
 * `projected` the image_embeds of CLIPVisionModelWithProjection, not divided by their length; `merged` what LLaVA's projector makes of
 * the hidden state that its config names.
 */
export const clip = encoderFamily({
  id: 'clip',
  title: 'CLIP',
  models: 'CLIP (Hugging Face), LLaVA 1.5/1.6 and NeXT, VipLLaVA, Video-LLaVA, Phi-3/3.5-Vision, IP-Adapter image encoders',
  support: 'preview',
  sizes: [
    VISION_MODEL_LEVEL,
    size('width', 'hidden_size', 768),
    size('layers', 'num_hidden_layers', 12),
    size('heads', 'num_attention_heads', 12, { guess: HEADS }),
    size('mlp_size', 'intermediate_size', 3072),
    size('patch_size', 'patch_size', 32),
    size('image_size', 'image_size', 224),
    positions(1),
    part('projection', '1 when visual_projection is kept.', 0),
    ownSize('projection_dim', t('Width of the embedding shared with the text encoder.'), { config: [['projection_dim'], 'projection_dim'], default: 512, guess: () => 512, max: 65_536 }),
  ],
  level: 'vision_model',
  tensors: t => {
    t.level('vision_model', 'vision_model', () => {
      t.add('embeddings.class_embedding', 'width');
      t.add('embeddings.patch_embedding.weight', 'width', 3, 'patch_size', 'patch_size');
      t.add('embeddings.position_embedding.weight', 'positions', 'width');
      t.norm('pre_layrnorm', 'width');
      t.blocks('encoder.layers', 'layers', () => { clipBlock(t); });
      t.norm('post_layernorm', 'width');
    });
    t.part('projection', () => { t.linear('visual_projection', 'projection_dim', 'width', false); });
  },
  // Upstream's misspelling tells it from all others.
  anchors: { all: ['pre_layrnorm.weight', 'embeddings.class_embedding', 'embeddings.patch_embedding.weight'] },
  buffers: ['embeddings.position_ids'],
  parts: [{ id: 'projection', title: t('Projection into the space shared with text'), modules: ['visual_projection'], besideLevel: true, kept: false, why: t('CLIP\'s projection into the space shared with text; CLIPVisionModel has no such tensor.') }],
  projectors: [VIP_LLAVA, LLAVA, LLAVA_ORIGINAL, LLAVA_LINEAR],
  config: {
    own: { clip_vision_model: {} },
    within: {
      clip: { type: 'clip_vision_model', absent: {} },
      llava: { type: 'clip_vision_model', absent: LARGE_336 },
      llava_next: { type: 'clip_vision_model', absent: LARGE_336 },
      llava_next_video: { type: 'clip_vision_model', absent: LARGE_336 },
      vipllava: { type: 'clip_vision_model', absent: LARGE_336 },
      video_llava: { type: 'clip_vision_model' },
      phi3_v: { type: 'clip_vision_model', absent: LARGE_336 },
    },
  },
  class: { model_type: 'clip_vision_model', architecture: 'CLIPVisionModel' },
  fields: { hidden_act: 'quick_gelu', layer_norm_eps: 1e-5, num_channels: 3, attention_dropout: 0 },
  wrapConfig: (fields, value) => (value('projection') === 1 ? { ...fields, architectures: ['CLIPVisionModelWithProjection'] } : { ...fields }),
  preprocessor: shortestEdgeAndCrop,
  graph: (value, field) => {
    const level = value('vision_model') === 1 ? 'vision_model' : '';
    return {
      outer: {
        ...below(level, {
          ...module('patch', 'embeddings.patch_embedding'), ...tensor('class', 'embeddings.class_embedding'), ...tensor('positions', 'embeddings.position_embedding.weight'),
          ...modules({ preNorm: 'pre_layrnorm', finalNorm: 'post_layernorm' }),
        }),
        ...tensor('projection', 'visual_projection.weight'),
      },
      blocks: level === '' ? 'encoder.layers' : `${level}.encoder.layers`,
      block: CLIP_BLOCK,
      epsilon: field('layer_norm_eps'), activation: field('hidden_act'),
      finalNorm: { features: false, pooled: true }, pooled: 'class',
      projection: { width: value('projection') * value('projection_dim'), transposed: false },
    };
  },
});

/**
 * The VisionTransformer of OpenCLIP (open_clip/transformer.py), whose names are OpenAI's: fused in_proj, and `proj`
 * stored in x out. Its heads are width / head_width. Text towers have resblocks too, but no conv1.
 * `features` is the last hidden state, not normed; `pooled` the normed class token (with pool_type avg, the patches' normed
 * mean); `projected` that times proj. With CoCa's attention pool, `features` are its normed queries and `pooled` the first of them.
 */
export const openClip = encoderFamily({
  id: 'open-clip',
  title: 'OpenCLIP',
  models: 'CLIP (OpenAI), OpenCLIP, CoCa',
  support: 'preview',
  sizes: [
    size('width', 'width', 768),
    size('layers', 'layers', 12),
    size('heads', 'head_width', undefined, {
      fromConfig: (headWidth, value) => value('width') / headWidth,
      toConfig: (heads, value) => value('width') / heads,
      usual: value => value('width') / HEAD_WIDTH,
    }),
    mlpByRatio('mlp_ratio', 4),
    size('patch_size', 'patch_size', 16),
    size('image_size', 'image_size', 224),
    positions(1),
    part('ln_pre', '1 when there is a norm before the blocks (no_ln_pre is false).', 1),
    part('layer_scale', '1 when blocks scale what they add (ls_init_value is given).', 0),
    part('attention_pool', '1 when an attention pool gathers the tokens, as in CoCa.', 0),
    part('projection', '1 when proj, into the space shared with text, is kept.', 1),
    ownSize('embed_dim', t('Width of the space shared with text, which is also the attention pool\'s.'), { config: [['embed_dim'], ['model_cfg', 'embed_dim']], default: 512, guess: value => value('width'), max: 65_536 }),
    // OpenAI's own files come without config; LAION's with one.
    { ...flag('quick_gelu', t('1 when the MLPs use OpenAI\'s quick GELU, as its own weights need.'), '', 0), config: [['quick_gelu'], ['model_cfg', 'quick_gelu']], guess: () => 1 },
    ownSize('pool_heads', t('Heads of the attention pool.'), { config: ['attn_pooler_heads'], default: 8, guess: () => 8, max: 1024 }),
    ownSize('n_queries', t('Queries of the attention pool.'), { config: ['attn_pooler_queries'], default: 256, guess: () => 256, max: 65_536 }),
  ],
  tensors: t => {
    t.add('class_embedding', 'width');
    t.add('positional_embedding', 'positions', 'width');
    t.part('projection', () => { t.add('proj', t.value('attention_pool') === 1 ? 'embed_dim' : 'width', 'embed_dim'); });
    t.add('conv1.weight', 'width', 3, 'patch_size', 'patch_size');
    t.part('ln_pre', () => { t.norm('ln_pre', 'width'); });
    t.blocks('transformer.resblocks', 'layers', () => {
      t.norm('ln_1', 'width');
      t.add('attn.in_proj_weight', { of: 'width', times: 3 }, 'width');
      t.add('attn.in_proj_bias', { of: 'width', times: 3 });
      t.linear('attn.out_proj', 'width', 'width');
      t.part('layer_scale', () => { t.add('ls_1.gamma', 'width'); });
      t.norm('ln_2', 'width');
      t.linear('mlp.c_fc', 'mlp_size', 'width');
      t.linear('mlp.c_proj', 'width', 'mlp_size');
      t.part('layer_scale', () => { t.add('ls_2.gamma', 'width'); });
    });
    t.part('attention_pool', () => {
      t.add('attn_pool.query', 'n_queries', 'embed_dim');
      // Where queries and tokens differ in width, torch.nn.MultiheadAttention has three projections in the place of in_proj_weight.
      if (t.value('embed_dim') === t.value('width')) t.add('attn_pool.attn.in_proj_weight', { of: 'embed_dim', times: 3 }, 'embed_dim');
      else for (const [name, input] of [['q', 'embed_dim'], ['k', 'width'], ['v', 'width']] as const) t.add(`attn_pool.attn.${name}_proj_weight`, 'embed_dim', input);
      t.add('attn_pool.attn.in_proj_bias', { of: 'embed_dim', times: 3 });
      t.linear('attn_pool.attn.out_proj', 'embed_dim', 'embed_dim');
      t.norm('attn_pool.ln_q', 'embed_dim');
      t.norm('attn_pool.ln_k', 'width');
    });
    t.norm('ln_post', t.value('attention_pool') === 1 ? 'embed_dim' : 'width');
  },
  anchors: { all: ['conv1.weight', 'class_embedding', 'transformer.resblocks.0.attn.in_proj_weight', 'ln_post.weight'] },
  parts: [{ id: 'projection', title: t('Projection into the space shared with text'), modules: ['proj'], kept: true, why: t('OpenCLIP\'s projection into the space shared with text.') }],
  config: {
    own: {},
    places: [['vision_cfg'], ['model_cfg', 'vision_cfg']],
    // A list of layers is a ResNet's, a timm_model_name another module altogether.
    looksOwn: object => typeof object.width === 'number' && typeof object.layers === 'number',
  },
  fields: {},
  wrapConfig: (fields, value, config) => ({
    embed_dim: value('embed_dim'), quick_gelu: value('quick_gelu') === 1, vision_cfg: fields,
    ...(config?.value.preprocess_cfg !== undefined && { preprocess_cfg: config.value.preprocess_cfg }),
  }),
  preprocessor: shortestEdgeAndCrop,
  graph: (value, field) => {
    const pool = field('pool_type') ?? 'tok';
    const gathers = value('attention_pool') === 1;
    if (pool !== 'tok' && (pool !== 'avg' || gathers)) throw new UserError(t`OpenCLIP encoders with pool_type ${inWords(pool)}${gathers ? ' and an attention pool' : ''} can be extracted, but not run.`);
    if (typeof (field('attentional_pool') ?? true) === 'string') throw new UserError(t('OpenCLIP encoders with two attention pools (attentional_pool as a word) can be extracted, but not run.'));
    // Some models norm what was pooled, the others every token before; of the class token both give the same.
    const after = !gathers && (pool === 'tok' || field('final_ln_after_pool') === true);
    const width = value('embed_dim');
    const latents = { queries: value('n_queries'), width, heads: value('pool_heads') };
    const poolInput: Places = width === value('width')
      ? stacked('attn_pool.attn.in_proj', ['pool.q', 'pool.k', 'pool.v'], 'weight', 'bias', '_')
      : { ...stacked('attn_pool.attn.in_proj', ['pool.q', 'pool.k', 'pool.v'], 'weight', 'bias', '_'), ...tensor('pool.q.weight', 'attn_pool.attn.q_proj_weight'), ...tensor('pool.k.weight', 'attn_pool.attn.k_proj_weight'), ...tensor('pool.v.weight', 'attn_pool.attn.v_proj_weight') };
    return {
      outer: {
        ...module('patch', 'conv1'), ...tensor('class', 'class_embedding'), ...tensor('positions', 'positional_embedding'),
        ...modules({ preNorm: 'ln_pre', finalNorm: 'ln_post' }), ...tensor('projection', 'proj'),
        ...tensor('pool.probe', 'attn_pool.query'), ...poolInput,
        ...modules({ 'pool.out': 'attn_pool.attn.out_proj', 'pool.queryNorm': 'attn_pool.ln_q', 'pool.tokenNorm': 'attn_pool.ln_k' }),
      },
      blocks: 'transformer.resblocks',
      block: {
        ...modules({ norm1: 'ln_1', out: 'attn.out_proj', norm2: 'ln_2', fc1: 'mlp.c_fc', fc2: 'mlp.c_proj' }),
        ...stacked('attn.in_proj', ['q', 'k', 'v'], 'weight', 'bias', '_'),
        ...tensor('scale1', 'ls_1.gamma'), ...tensor('scale2', 'ls_2.gamma'),
      },
      epsilon: 1e-5, activation: value('quick_gelu') === 1 ? 'quick_gelu' : 'gelu',
      finalNorm: { features: !after, pooled: after }, pooled: pool === 'avg' ? 'mean' : 'class', ...(gathers && { latents }),
      projection: { width: value('projection') * value('embed_dim'), transposed: true },
    };
  },
});

/** vision_cfg's default. */
const HEAD_WIDTH = 64;
