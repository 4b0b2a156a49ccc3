import { t } from '@vscode/l10n';
import { encoderFamily } from '../encoderFamily';
import type { Observed } from '../family';
import { flag, headsOf, mlpByRatio, ownSize, part, positions, size, type Size, type ValueOf } from '../sizes';
import { modules, stacked, tensor } from '../vitSpec';
import { HALF_STATISTICS, squash } from './preprocessing';

/** Rows of the position table: one for each patch of the square picture, and for the tokens before them as many as the model places. */
const POSITIONS: Size = {
  ...positions(0),
  derived: {
    basis: 'image_size',
    from: value => Math.floor(value('image_size') / value('patch_size')) ** 2 + value('placed_prefix'),
    back: (found, value) => {
      const side = Math.sqrt(found - value('placed_prefix'));
      return Number.isInteger(side) && side > 0 ? side * value('patch_size') : undefined;
    },
  },
};

/** Only the whole of them shows which tokens have a position: the class token, none (no_embed_class), or registers too. */
function placedPrefix(kept: ReadonlyMap<string, readonly number[]>): Observed {
  const rows = kept.get('pos_embed')?.[1] ?? 0;
  const classes = kept.has('cls_token') ? 1 : 0;
  const registers = kept.get('reg_token')?.[1] ?? 0;
  const placed = [classes, 0, classes + registers].find(count => rows > count && Number.isInteger(Math.sqrt(rows - count)));
  return placed === undefined ? {} : { placed_prefix: placed };
}

/** timm's SigLIP models at patches of 32 or with so400m's 16, giantopt and large at 512 take the tanh GELU; all others the exact one. */
function activation(value: ValueOf): string {
  if (value('quick_gelu') === 1) return 'quick_gelu';
  const [width, patch] = [value('width'), value('patch_size')];
  const tanh = value('class_token') === 0 && ((width === 768 && patch === 32) || (width === 1024 && value('image_size') === 512) || (width === 1152 && patch === 16) || (width === 1536 && patch === 16));
  return tanh ? 'gelu_pytorch_tanh' : 'gelu';
}

/**
 * VisionTransformer of timm (timm/models/vision_transformer.py; the head is AttentionPoolLatent of timm/layers) in the forms
 * that multimodal models take it in. `features` is the last hidden state after `norm`, where there is one; `pooled` what the head
 * makes of it, or its class token.
 */
export const timmVit = encoderFamily({
  id: 'timm-vit',
  title: 'timm ViT',
  models: 'DeepSeek-VL2, MiniCPM-V 2.0, OpenCLIP with timm towers (ViT, CLIP and SigLIP), Prismatic, OpenVLA',
  support: 'preview',
  sizes: [
    size('width', 'width', undefined),
    size('layers', 'layers', undefined),
    size('heads', 'heads', undefined, { guess: headsOf({ 192: 3, 384: 6, 768: 12, 1024: 16, 1152: 16, 1280: 16 }) }),
    mlpByRatio('mlp_ratio', 4),
    size('patch_size', 'patch_size', 16),
    part('patch_bias', t('1 when the patch embedding has a bias.'), 1),
    part('class_token', '1 when there is a class token.', 0),
    ownSize('registers', t('Number of register tokens.'), { default: 0, min: 0, max: 1024, part: true }),
    ownSize('placed_prefix', t('Tokens before the patches that have a position.'), { min: 0, max: 1025, part: true, usual: value => value('class_token') }),
    size('image_size', 'image_size', 224),
    POSITIONS,
    part('pre_norm', t('1 when there is a norm before the blocks.'), 0),
    flag('quick_gelu', t('1 when MLPs have OpenAI\'s quick GELU, which no tensor shows.'), 'quick_gelu', 0),
    part('layer_scale', '1 when blocks scale what they add.', 0),
    part('final_norm', '1 when there is a norm after the blocks.', 1),
    part('head', '1 when the attention pooling head is kept.', 0),
  ],
  tensors: t => {
    t.part('class_token', () => { t.add('cls_token', 1, 1, 'width'); });
    t.part('registers', () => { t.add('reg_token', 1, 'registers', 'width'); });
    t.add('pos_embed', 1, 'positions', 'width');
    t.add('patch_embed.proj.weight', 'width', 3, 'patch_size', 'patch_size');
    t.part('patch_bias', () => { t.add('patch_embed.proj.bias', 'width'); });
    t.part('pre_norm', () => { t.norm('norm_pre', 'width'); });
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
  alsoObserve: placedPrefix,
  anchors: { all: ['pos_embed', 'patch_embed.proj.weight', 'blocks.0.attn.qkv.weight', 'blocks.0.mlp.fc1.weight'], none: ['blocks.0.attn.q_bias', 'blocks.0.mlp.w12.weight'] },
  parts: [{ id: 'head', title: t('Attention pooling head'), modules: ['attn_pool'], kept: true, why: t('The pooling head, which gives one vector for the picture.') }],
  excluded: [{ modules: ['head'], why: t('A classifier.') }],
  config: { own: {}, looksOwn: object => typeof object.width === 'number' && typeof object.layers === 'number' },
  fields: {},
  wrapConfig: fields => ({ vision_config: fields }),
  preprocessor: squash('SiglipImageProcessor', HALF_STATISTICS),
  graph: value => ({
    outer: {
      ...tensor('class', 'cls_token'), ...tensor('registers', 'reg_token'), ...tensor('positions', 'pos_embed'), ...modules({ patch: 'patch_embed.proj', preNorm: 'norm_pre', finalNorm: 'norm' }),
      ...tensor('pool.probe', 'attn_pool.latent'), ...stacked('attn_pool.kv', ['pool.k', 'pool.v']),
      ...modules({ 'pool.q': 'attn_pool.q', 'pool.out': 'attn_pool.proj', 'pool.norm': 'attn_pool.norm', 'pool.fc1': 'attn_pool.mlp.fc1', 'pool.fc2': 'attn_pool.mlp.fc2' }),
    },
    blocks: 'blocks',
    block: {
      ...modules({ norm1: 'norm1', out: 'attn.proj', norm2: 'norm2', fc1: 'mlp.fc1', fc2: 'mlp.fc2' }),
      ...stacked('attn.qkv', ['q', 'k', 'v']), ...tensor('scale1', 'ls1.gamma'), ...tensor('scale2', 'ls2.gamma'),
    },
    registers: value('registers'), placedPrefix: value('placed_prefix'),
    // CLIP's towers have PyTorch's epsilon in place of timm's.
    epsilon: value('pre_norm') === 1 ? 1e-5 : 1e-6, activation: activation(value),
    finalNorm: { features: value('final_norm') === 1, pooled: false },
    pooled: value('head') === 1 ? 'attention' : value('class_token') === 1 ? 'class' : 'none',
  }),
});
