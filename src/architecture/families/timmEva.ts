import { t } from '@vscode/l10n';
import { encoderFamily, type EncoderSpec } from '../encoderFamily';
import { flag, headsOf, mlpByRatio, ownSize, part, positions, size, type ValueOf } from '../sizes';
import type { TensorList } from '../tensorList';
import { modules, stacked, tensor, type Places } from '../vitSpec';
import { CLIP_STATISTICS, squash } from './preprocessing';

/** Side of the grid of patches that EVA-02's rotary positions were trained on; others are stretched to it (timm's ref_feat_shape). */
const REFERENCE_GRID = 16;
/** EVA-CLIP's 5B tower, the only one of its width, norms what sub-layers give. */
const ENORMOUS = 1792;

/**
 * What the towers of EVA-CLIP share in timm (timm/models/eva.py, class Eva). `features` is the last hidden state, normed; `pooled` its
 * class token, `projected` what the head, CLIP's projection, makes of that.
 */
const EVA: Pick<EncoderSpec, 'support' | 'parts' | 'config' | 'fields' | 'wrapConfig' | 'preprocessor'> & { readonly sizes: EncoderSpec['sizes'] } = {
  support: 'preview',
  sizes: [
    size('width', 'width', undefined),
    size('layers', 'layers', undefined),
    size('heads', 'heads', undefined, { guess: headsOf({ 768: 12, 1024: 16, 1408: 16, [ENORMOUS]: 16 }) }),
    mlpByRatio('mlp_ratio', 4),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 224),
    positions(1),
    part('projection', t('1 when the projection into the space shared with text is kept.'), 0),
    ownSize('projection_dim', t('Width of the space shared with text.'), { default: 1024, guess: () => 1024, max: 65_536, part: true }),
  ],
  parts: [{ id: 'projection', title: t('Projection into the space shared with text'), modules: ['head'], kept: false, ambiguous: true, why: t('The projection into the space shared with text, or a classifier.') }],
  config: { own: {}, looksOwn: object => typeof object.width === 'number' && typeof object.layers === 'number' },
  fields: {},
  wrapConfig: fields => ({ vision_config: fields }),
  preprocessor: squash('CLIPImageProcessor', CLIP_STATISTICS),
};

function outside(list: TensorList, blocks: () => void): void {
  list.add('cls_token', 1, 1, 'width');
  list.add('pos_embed', 1, 'positions', 'width');
  list.add('patch_embed.proj.weight', 'width', 3, 'patch_size', 'patch_size');
  list.add('patch_embed.proj.bias', 'width');
  list.blocks('blocks', 'layers', blocks);
  list.norm('norm', 'width');
  list.part('projection', () => { list.linear('head', 'projection_dim', 'width'); });
}

function choice(value: ValueOf, block: Places) {
  return {
    outer: { ...tensor('class', 'cls_token'), ...tensor('positions', 'pos_embed'), ...tensor('projection', 'head.weight'), ...tensor('projection.bias', 'head.bias'), ...modules({ patch: 'patch_embed.proj', finalNorm: 'norm' }) },
    blocks: 'blocks',
    block: { ...modules({ norm1: 'norm1', out: 'attn.proj', norm2: 'norm2', fc2: 'mlp.fc2' }), ...block },
    epsilon: 1e-6, finalNorm: { features: true, pooled: false }, pooled: 'class',
    projection: { width: value('projection_dim'), transposed: false },
  } as const;
}

/** EVA-01's g/14 and EVA-02's E/14, whose keys have no bias. */
export const timmEva = encoderFamily({
  ...EVA,
  id: 'timm-eva',
  title: 'EVA-01 (timm)',
  models: 'EVA-CLIP g/14 and E/14 of OpenCLIP',
  sizes: [...EVA.sizes, { ...flag('norm_after', t('1 when blocks norm what their sub-layers give, not what they take.'), 'use_post_norm', 0), usual: value => Number(value('width') === ENORMOUS) }],
  tensors: list => {
    outside(list, () => {
      list.norm('norm1', 'width');
      list.add('attn.q_bias', 'width');
      list.add('attn.v_bias', 'width');
      list.add('attn.qkv.weight', { of: 'width', times: 3 }, 'width');
      list.linear('attn.proj', 'width', 'width');
      list.norm('norm2', 'width');
      list.linear('mlp.fc1', 'mlp_size', 'width');
      list.linear('mlp.fc2', 'width', 'mlp_size');
    });
  },
  anchors: { all: ['blocks.0.attn.q_bias', 'cls_token', 'pos_embed', 'patch_embed.proj.weight', 'blocks.0.mlp.fc1.weight', 'norm.weight'] },
  graph: value => ({
    ...choice(value, { ...stacked('attn.qkv', ['q', 'k', 'v']), ...tensor('q.bias', 'attn.q_bias'), ...tensor('v.bias', 'attn.v_bias'), ...modules({ fc1: 'mlp.fc1' }) }),
    normAfter: value('norm_after') === 1, activation: 'gelu',
  }),
});

/** EVA-02's B/16 and L/14: rotary positions besides the table, gated MLPs, and norms within attention and MLP. */
export const timmEva02 = encoderFamily({
  ...EVA,
  id: 'timm-eva02',
  title: 'EVA-02 (timm)',
  models: 'EVA02-CLIP B/16 and L/14 of OpenCLIP, EVA-02',
  sizes: [...EVA.sizes, part('attention_norm', t('1 when blocks norm what attention gathers.'), 1)],
  tensors: list => {
    outside(list, () => {
      list.norm('norm1', 'width');
      list.linear('attn.q_proj', 'width', 'width');
      list.linear('attn.k_proj', 'width', 'width', false);
      list.linear('attn.v_proj', 'width', 'width');
      list.part('attention_norm', () => { list.norm('attn.norm', 'width'); });
      list.linear('attn.proj', 'width', 'width');
      list.norm('norm2', 'width');
      list.linear('mlp.fc1_g', 'mlp_size', 'width');
      list.linear('mlp.fc1_x', 'mlp_size', 'width');
      list.norm('mlp.norm', 'mlp_size');
      list.linear('mlp.fc2', 'width', 'mlp_size');
    });
  },
  anchors: { all: ['blocks.0.attn.q_proj.weight', 'blocks.0.mlp.fc1_g.weight', 'cls_token', 'pos_embed', 'patch_embed.proj.weight', 'norm.weight'] },
  graph: value => ({
    ...choice(value, modules({ q: 'attn.q_proj', k: 'attn.k_proj', v: 'attn.v_proj', outNorm: 'attn.norm', gate: 'mlp.fc1_g', fc1: 'mlp.fc1_x', innerNorm: 'mlp.norm' })),
    activation: 'silu', rotary: { theta: 10_000, pairs: 'neighbours', axes: 'rows-first', frequencies: 'same', coordinates: 'from-zero', stretchedTo: REFERENCE_GRID },
  }),
});
