import { t } from '@vscode/l10n';
import { encoderFamily } from '../encoderFamily';
import { ownSize } from '../sizes';
import { IMAGENET_STATISTICS, squash } from './preprocessing';

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
  notRun: t('It can be extracted, but not run: the grid and the width of its hidden states change from stage to stage, and all that shows them here has one of each.'),
  sizes: STAGES.flatMap(stage => [
    ownSize(`width_${stage}`, t`Width of stage ${stage}.`, { config: [`dim_embed.${stage}`, `embed_dim.${stage}`], default: WIDTHS[stage], max: 65_536 }),
    ownSize(`blocks_${stage}`, t`Pairs of blocks in stage ${stage}.`, { config: [`depths.${stage}`], default: DEPTHS[stage], counts: t`block pairs in stage ${stage}`, max: 1024 }),
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
  preprocessor: () => squash('CLIPImageProcessor', IMAGENET_STATISTICS)(() => 768),
});
