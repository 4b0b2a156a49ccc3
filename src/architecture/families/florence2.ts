import { t } from '@vscode/l10n';
import { z } from 'zod';
import { inWords } from '../../checkpoint/wording';
import { UserError } from '../../errors';
import { encoderFamily, type EncoderSpec } from '../encoderFamily';
import type { DavitSpec, GraphSpec } from '../graphSpec';
import { ownSize, type Relation, type Size, type ValueOf } from '../sizes';
import type { Describe } from '../tensorList';
import { activationNamed } from '../vitSpec';
import { IMAGENET_STATISTICS, squash } from './preprocessing';

const STAGES = [0, 1, 2, 3] as const;
/** DaViT-B of Florence-2-base. */
const WIDTHS = [128, 256, 512, 1024] as const;
const DEPTHS = [1, 1, 9, 1] as const;
/** Channels of a head and of a group, in both sizes. */
const HEAD_WIDTH = 32;
/** Of the convolutions before each stage, and whether the norm comes before them; the same in both sizes. */
const CONVOLUTIONS = { patch_size: [7, 3, 3, 3], patch_stride: [4, 2, 2, 2], patch_padding: [3, 1, 1, 1], patch_prenorm: [false, true, true, true] };
/** Side of the pictures that Florence-2's processor makes; no config of the encoder's has it. */
const PICTURE = 768;

const KINDS = ['spatial', 'channel'] as const;
type Kind = (typeof KINDS)[number];
type Layout = Pick<DavitSpec, 'conv'> & Readonly<Record<Kind, DavitSpec['spatial']>>;

/** As microsoft/Florence-2-large has them (modeling_florence2.py). */
const ORIGINAL: Layout = {
  conv: 'proj',
  spatial: originalBlock('window_attn'),
  channel: originalBlock('channel_attn'),
};

function originalBlock(attention: string): DavitSpec['spatial'] {
  return {
    conv1: 'conv1.fn.dw', norm1: `${attention}.norm`, qkv: `${attention}.fn.qkv`, out: `${attention}.fn.proj`,
    conv2: 'conv2.fn.dw', norm2: 'ffn.norm', fc1: 'ffn.fn.net.fc1', fc2: 'ffn.fn.net.fc2',
  };
}

/** As transformers has them (models/florence2/modeling_florence2.py). */
const TRANSFORMERS: Layout = {
  conv: 'conv',
  spatial: transformersBlock('window_attn'),
  channel: transformersBlock('channel_attn'),
};

function transformersBlock(attention: string): DavitSpec['spatial'] {
  return { conv1: 'conv1', norm1: 'norm1', qkv: `${attention}.qkv`, out: `${attention}.proj`, conv2: 'conv2', norm2: 'norm2', fc1: 'ffn.fc1', fc2: 'ffn.fc2' };
}

function tensorsOf(layout: Layout): Describe {
  return t => {
    for (const stage of STAGES) {
      const width = `width_${stage}`;
      const input = stage === 0 ? 3 : `width_${stage - 1}`;
      const kernel = CONVOLUTIONS.patch_size[stage] ?? 1;
      t.add(`convs.${stage}.${layout.conv}.weight`, width, input, kernel, kernel);
      t.add(`convs.${stage}.${layout.conv}.bias`, width);
      t.norm(`convs.${stage}.norm`, CONVOLUTIONS.patch_prenorm[stage] === true ? input : width);
      t.blocks(`blocks.${stage}`, `blocks_${stage}`, () => {
        for (const kind of KINDS) {
          const at = (name: keyof DavitSpec['spatial']): string => `${kind}_block.${layout[kind][name]}`;
          for (const conv of [at('conv1'), at('conv2')]) {
            t.add(`${conv}.weight`, width, 1, 3, 3);
            t.add(`${conv}.bias`, width);
          }
          t.norm(at('norm1'), width);
          t.linear(at('qkv'), { of: width, times: 3 }, width);
          t.linear(at('out'), width, width);
          t.norm(at('norm2'), width);
          t.linear(at('fc1'), { of: width, times: 4 }, width);
          t.linear(at('fc2'), width, { of: width, times: 4 });
        }
      });
    }
  };
}

/** Heads or groups when only the widths are known. */
function ofUsualWidth(stage: number): (value: ValueOf) => number {
  return value => Math.max(1, Math.floor(value(`width_${stage}`) / HEAD_WIDTH));
}

const SIZES: readonly Size[] = STAGES.flatMap(stage => [
  ownSize(`width_${stage}`, t`Width of stage ${stage}.`, { config: [`dim_embed.${stage}`, `embed_dim.${stage}`], default: WIDTHS[stage], max: 65_536 }),
  ownSize(`blocks_${stage}`, t`Pairs of blocks in stage ${stage}.`, { config: [`depths.${stage}`], default: DEPTHS[stage], counts: t`block pairs in stage ${stage}`, max: 1024 }),
  ownSize(`heads_${stage}`, t`Attention heads of stage ${stage}.`, { config: [`num_heads.${stage}`], usual: ofUsualWidth(stage), max: 1024 }),
  ownSize(`groups_${stage}`, t`Groups of channels in stage ${stage}.`, { config: [`num_groups.${stage}`], usual: ofUsualWidth(stage), max: 1024 }),
]);

/** Heads and groups divide their stage's width. */
const RELATIONS: readonly Relation[] = STAGES.flatMap(stage => [`heads_${stage}`, `groups_${stage}`].map((name): Relation => ({
  names: [name, `width_${stage}`],
  fault: value => (value(`width_${stage}`) % value(name) === 0 ? undefined : t`width_${stage} ${value(`width_${stage}`)} is not a multiple of ${name} ${value(name)}`),
})));

const numbers = (name: string, value: ValueOf): number[] => STAGES.map(stage => value(`${name}_${stage}`));

const windowSide = z.number().int().min(1).max(1024);

/** @throws UserError when the config asks for other convolutions than those that the published encoders have, or for no windows */
function graph(layout: Layout, value: ValueOf, field: (name: string) => unknown): GraphSpec {
  for (const [name, known] of Object.entries(CONVOLUTIONS)) {
    const asked = field(name);
    if (JSON.stringify(asked) !== JSON.stringify(known)) throw new UserError(t`The config's ${name} is ${inWords(asked)}, and a DaViT encoder can be run with ${JSON.stringify(known)} only.`);
  }
  const window = windowSide.safeParse(field('window_size'));
  if (!window.success) throw new UserError(t`The config's window_size is ${inWords(field('window_size'))}, not a number of patches, so the DaViT encoder cannot be run.`);
  return {
    kind: 'davit',
    stages: STAGES.map(stage => ({
      width: value(`width_${stage}`), blocks: value(`blocks_${stage}`), heads: value(`heads_${stage}`), groups: value(`groups_${stage}`),
      kernel: CONVOLUTIONS.patch_size[stage] ?? 1, stride: CONVOLUTIONS.patch_stride[stage] ?? 1, normFirst: CONVOLUTIONS.patch_prenorm[stage] ?? false,
    })),
    window: window.data, imageSize: PICTURE, activation: activationNamed(field('activation_function') ?? 'gelu', 'DaViT'), ...layout,
  };
}

/** What both layouts share. */
function davit(layout: Layout, widths: string): Pick<EncoderSpec, 'support' | 'sizes' | 'relations' | 'tensors' | 'wrapConfig' | 'preprocessor' | 'graph'> {
  return {
    support: 'preview',
    sizes: SIZES,
    relations: RELATIONS,
    tensors: tensorsOf(layout),
    wrapConfig: (fields, value) => ({ ...fields, [widths]: numbers('width', value), depths: numbers('blocks', value), num_heads: numbers('heads', value), num_groups: numbers('groups', value) }),
    preprocessor: () => squash('CLIPImageProcessor', IMAGENET_STATISTICS)(() => PICTURE),
    graph: (value, field) => graph(layout, value, field),
  };
}

/** DaViT of Florence-2 (microsoft/Florence-2-large, modeling_florence2.py): four stages of window and channel attention. `features` is the last stage's, without a norm. */
export const florence2 = encoderFamily({
  ...davit(ORIGINAL, 'dim_embed'),
  id: 'florence2',
  title: 'DaViT (Florence-2)',
  models: 'Florence-2 (original)',
  anchors: { all: ['convs.0.proj.weight', 'convs.0.norm.weight', 'blocks.0.0.spatial_block.window_attn.fn.qkv.weight'] },
  config: { own: { davit: {}, florence_vision: {} } },
  class: { model_type: 'davit', architecture: 'DaViT' },
  fields: { ...CONVOLUTIONS, window_size: 12 },
});

/** Florence2VisionBackbone of transformers (models/florence2/modeling_florence2.py): the same under other names. */
export const florence2Hf = encoderFamily({
  ...davit(TRANSFORMERS, 'embed_dim'),
  id: 'florence2-hf',
  title: 'DaViT (Florence-2, transformers)',
  models: 'Florence-2 (-hf)',
  anchors: { all: ['convs.0.conv.weight', 'convs.0.norm.weight', 'blocks.0.0.spatial_block.window_attn.qkv.weight'] },
  config: { own: { florence_vision: {}, davit: {} }, within: { florence2: { type: 'florence_vision', absent: {} } } },
  class: { model_type: 'florence_vision', architecture: 'Florence2VisionBackbone' },
  fields: { in_channels: 3, ...CONVOLUTIONS, window_size: 12, mlp_ratio: 4, qkv_bias: true, activation_function: 'gelu' },
});
