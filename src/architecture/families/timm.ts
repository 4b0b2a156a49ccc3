import { encoderFamily } from '../encoderFamily';
import { headsOf, mlpByRatio, ownSize, part, positions, size, type Size } from '../sizes';
import { HALF_STATISTICS, squash } from './preprocessing';

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
