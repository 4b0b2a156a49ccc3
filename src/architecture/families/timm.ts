import { encoderFamily } from '../encoderFamily';
import { headsOf, mlpByRatio, ownSize, part, patchValues, positions, size, type Size } from '../sizes';
import { CLIP_STATISTICS, HALF_STATISTICS, shortestEdgeAndCrop, squash } from './preprocessing';

/** Rows of a position table that has one for the class token where there is one. */
const POSITIONS: Size = {
  ...positions(0),
  derived: {
    basis: 'image_size',
    from: value => Math.floor(value('image_size') / value('patch_size')) ** 2 + value('class_token'),
    back: (found, value) => {
      // A file without class token has a square number of rows; timm also drops the class token's row in some models that have one.
      const side = [Math.sqrt(found - value('class_token')), Math.sqrt(found)].find(Number.isInteger);
      return side === undefined || side === 0 ? undefined : side * value('patch_size');
    },
  },
};

/** VisionTransformer of timm (timm/models/vision_transformer.py) in the forms that multimodal models take it in. */
export const timmVit = encoderFamily({
  id: 'timm-vit',
  title: 'timm ViT',
  models: 'DeepSeek-VL2, MiniCPM-V 2.0, OpenCLIP with timm towers, Prismatic, OpenVLA',
  support: 'validate',
  sizes: [
    size('width', 'width', undefined),
    size('layers', 'layers', undefined),
    size('heads', 'heads', undefined, { guess: headsOf({ 192: 3, 384: 6, 768: 12, 1024: 16, 1152: 16, 1280: 16 }) }),
    mlpByRatio('mlp_ratio', 4),
    size('patch_size', 'patch_size', 16),
    part('class_token', '1 when there is a class token.', 0),
    size('image_size', 'image_size', 224),
    POSITIONS,
    ownSize('registers', 'Number of register tokens.', { default: 0, min: 0, max: 1024, part: true }),
    part('layer_scale', '1 when blocks scale what they add.', 0),
    part('final_norm', '1 when there is a norm after the blocks.', 1),
    part('head', '1 when the attention pooling head is kept.', 0),
  ],
  tensors: t => {
    t.part('class_token', () => { t.add('cls_token', 1, 1, 'width'); });
    t.part('registers', () => { t.add('reg_token', 1, 'registers', 'width'); });
    t.add('pos_embed', 1, 'positions', 'width');
    t.add('patch_embed.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('patch_embed.proj.bias', 'width');
    t.blocks('blocks', 'layers', () => {
      t.norm('norm1', 'width');
      t.linear('attn.qkv', { of: 'width', times: 3 }, 'width');
      t.linear('attn.proj', 'width', 'width');
      t.part('layer_scale', () => { t.add('ls1.gamma', 'width'); });
      t.norm('norm2', 'width');
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      t.part('layer_scale', () => { t.add('ls2.gamma', 'width'); });
    });
    t.part('final_norm', () => { t.norm('norm', 'width'); });
    t.part('head', () => {
      t.add('attn_pool.latent', 1, 1, 'width');
      t.linear('attn_pool.q', 'width', 'width');
      t.linear('attn_pool.kv', { of: 'width', times: 2 }, 'width');
      t.linear('attn_pool.proj', 'width', 'width');
      t.norm('attn_pool.norm', 'width');
      t.linear('attn_pool.mlp.fc1', 'mlp_size', 'width');
      t.linear('attn_pool.mlp.fc2', 'width', 'mlp_size');
    });
  },
  anchors: { all: ['pos_embed', 'patch_embed.proj.bias', 'blocks.0.attn.qkv.weight', 'blocks.0.mlp.fc1.weight'], none: ['blocks.0.attn.q_bias', 'blocks.0.mlp.w12.weight'] },
  parts: [{ id: 'head', title: 'Attention pooling head', modules: ['attn_pool'], kept: true, why: 'The pooling head, which gives one vector for the picture.' }],
  excluded: [{ modules: ['head'], why: 'A classifier.' }],
  config: { own: {}, looksOwn: object => typeof object.width === 'number' && typeof object.layers === 'number' },
  fields: {},
  wrapConfig: fields => ({ vision_config: fields }),
  preprocessor: squash('SiglipImageProcessor', HALF_STATISTICS),
});

/** The picture tower of Molmo (allenai/Molmo-7B-D, modeling_molmo.py): OpenAI's ViT-L/14-336 without its last block. Configs say nothing about it. */
export const molmo = encoderFamily({
  id: 'molmo',
  title: 'Molmo ViT',
  models: 'Molmo',
  support: 'validate',
  sizes: [
    size('width', 'image_emb_dim', 1024),
    size('layers', 'image_num_layers', 23),
    size('heads', 'image_num_heads', 16, { guess: () => 16 }),
    size('mlp_size', 'image_mlp_dim', 4096),
    size('patch_size', 'image_patch_size', 14),
    patchValues(3),
    size('image_size', 'image_default_input_size', 336),
    positions(1),
  ],
  tensors: t => {
    t.add('class_embedding', 'width');
    t.add('positional_embedding', 'positions', 'width');
    t.add('patch_embedding.weight', 'width', 'patch_values');
    t.norm('pre_ln', 'width');
    t.blocks('transformer.resblocks', 'layers', () => {
      for (const name of ['wq', 'wk', 'wv', 'wo']) t.linear(`attention.${name}`, 'width', 'width');
      t.linear('feed_forward.w1', 'mlp_size', 'width');
      t.linear('feed_forward.w2', 'width', 'mlp_size');
      t.norm('attention_norm', 'width');
      t.norm('ffn_norm', 'width');
    });
  },
  anchors: { all: ['pre_ln.weight', 'class_embedding', 'positional_embedding', 'transformer.resblocks.0.attention.wq.weight'] },
  config: { own: {}, places: [['vision_backbone'], ['vit']], looksOwn: object => typeof object.image_emb_dim === 'number', within: { molmo: { type: '', absent: {} } } },
  fields: {},
  wrapConfig: fields => ({ vision_backbone: fields }),
  preprocessor: value => ({ ...shortestEdgeAndCrop(value), ...CLIP_STATISTICS }),
});

const STAGES = [0, 1, 2, 3] as const;
/** DaViT-B of Florence-2-base. */
const WIDTHS = [128, 256, 512, 1024] as const;
const DEPTHS = [1, 1, 9, 1] as const;
/** Sides of the convolutions before each stage, and whether the norm comes before them; the same in both sizes. */
const KERNELS = [7, 3, 3, 3] as const;
const NORM_FIRST = [false, true, true, true] as const;

/** DaViT of Florence-2 (microsoft/Florence-2-large, modeling_florence2.py): four stages of window and channel attention. */
export const florence2 = encoderFamily({
  id: 'florence2',
  title: 'DaViT (Florence-2)',
  models: 'Florence-2 (original)',
  support: 'validate',
  sizes: STAGES.flatMap(stage => [
    ownSize(`width_${stage}`, `Width of stage ${stage}.`, { config: [`dim_embed.${stage}`, `embed_dim.${stage}`], default: WIDTHS[stage], max: 65_536 }),
    ownSize(`blocks_${stage}`, `Pairs of blocks in stage ${stage}.`, { config: [`depths.${stage}`], default: DEPTHS[stage], counts: `block pairs in stage ${stage}`, max: 1024 }),
  ]),
  tensors: t => {
    for (const stage of STAGES) {
      const width = `width_${stage}`;
      const input = stage === 0 ? 3 : `width_${stage - 1}`;
      t.add(`convs.${stage}.proj.weight`, width, input, KERNELS[stage], KERNELS[stage]);
      t.add(`convs.${stage}.proj.bias`, width);
      t.norm(`convs.${stage}.norm`, NORM_FIRST[stage] ? input : width);
      t.blocks(`blocks.${stage}`, `blocks_${stage}`, () => {
        for (const kind of ['spatial_block', 'channel_block']) {
          const attention = `${kind}.${kind === 'spatial_block' ? 'window_attn' : 'channel_attn'}`;
          for (const conv of ['conv1', 'conv2']) {
            t.add(`${kind}.${conv}.fn.dw.weight`, width, 1, 3, 3);
            t.add(`${kind}.${conv}.fn.dw.bias`, width);
          }
          t.norm(`${attention}.norm`, width);
          t.linear(`${attention}.fn.qkv`, { of: width, times: 3 }, width);
          t.linear(`${attention}.fn.proj`, width, width);
          t.norm(`${kind}.ffn.norm`, width);
          t.linear(`${kind}.ffn.fn.net.fc1`, { of: width, times: 4 }, width);
          t.linear(`${kind}.ffn.fn.net.fc2`, width, { of: width, times: 4 });
        }
      });
    }
  },
  anchors: { all: ['convs.0.proj.weight', 'convs.0.norm.weight', 'blocks.0.0.spatial_block.window_attn.fn.qkv.weight'] },
  config: { own: { davit: {}, florence_vision: {} } },
  class: { model_type: 'davit', architecture: 'DaViT' },
  fields: { patch_size: KERNELS, patch_stride: [4, 2, 2, 2], patch_padding: [3, 1, 1, 1], patch_prenorm: NORM_FIRST, window_size: 12 },
  wrapConfig: (fields, value) => ({ num_heads: STAGES.map(stage => value(`width_${stage}`) / 32), num_groups: STAGES.map(stage => value(`width_${stage}`) / 32), ...fields, dim_embed: STAGES.map(stage => value(`width_${stage}`)), depths: STAGES.map(stage => value(`blocks_${stage}`)) }),
  preprocessor: () => ({ ...squash('CLIPImageProcessor', { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] })(() => 768) }),
});
