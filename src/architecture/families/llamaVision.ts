import * as z from 'zod';
import { t } from '@vscode/l10n';
import { inWords } from '../../checkpoint/wording';
import { UserError } from '../../errors';
import { encoderFamily } from '../encoderFamily';
import { PROJECTOR } from '../projector';
import { ownSize, part, patchValues, positions, size, type ValueOf } from '../sizes';
import { tileLayouts } from '../tiles';
import { activationNamed, epsilonOf, module, modules, rotaryOf, tensor } from '../vitSpec';
import { CLIP_STATISTICS, HALF_STATISTICS, squash } from './preprocessing';
import { LLAMA4, MLLAMA } from './projectors';

const TITLE = 'Mllama';

/**
 * MllamaVisionModel of transformers (models/mllama): pictures in tiles, and a second stack of gated blocks. Its input here is the
 * canvas of tiles as one picture. `features` is the last hidden state of the picture's own tokens, each tile's class token and then the
 * patches, beside those that the config names; `merged` what the projector makes of them.
 */
export const mllama = encoderFamily({
  id: 'mllama',
  title: TITLE,
  models: 'Llama 3.2 Vision',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 1280),
    size('layers', 'num_hidden_layers', 32),
    ownSize('global_layers', t('Number of gated blocks after the others.'), { config: ['num_global_layers'], default: 8, counts: t('global blocks'), max: 1024 }),
    size('heads', ['attention_heads'], 16, { guess: () => 16 }),
    size('mlp_size', 'intermediate_size', 5120),
    size('patch_size', 'patch_size', 14),
    size('image_size', 'image_size', 448),
    positions(1),
    ownSize('tiles', t('Most tiles that a picture is cut into.'), { config: ['max_num_tiles'], default: 4, max: 1024 }),
    { ...ownSize('aspect_ratios', t('Number of ways to lay out tiles.'), { config: ['supported_aspect_ratios'], default: 8, counts: t('aspect ratios'), max: 4096 }), toConfig: (count, value) => tileLayouts(value('tiles')).slice(0, count) },
    ownSize('aspect_rows', t('Rows of the tile tables: aspect ratios, and one for none.'), { derived: { basis: 'aspect_ratios', from: value => value('aspect_ratios') + 1, back: found => found - 1 } }),
    ownSize('tile_values', t('Numbers in a row of the tile position table.'), { max: 2 ** 40, derived: { basis: 'tiles', from: value => value('tiles') * value('positions') * value('width'), back: (found, value) => found / (value('positions') * value('width')) } }),
    ownSize('tile_widths', t('Numbers in a row of a tile table.'), { max: 2 ** 30, derived: { basis: 'tiles', from: value => value('tiles') * value('width'), back: (found, value) => found / value('width') } }),
  ],
  tensors: t => {
    const block = (): void => {
      for (const name of ['q_proj', 'k_proj', 'v_proj', 'o_proj']) t.linear(`self_attn.${name}`, 'width', 'width', false);
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      t.norm('input_layernorm', 'width');
      t.norm('post_attention_layernorm', 'width');
    };
    t.add('class_embedding', 'width');
    t.add('patch_embedding.weight', 'width', 3, 'patch_size', 'patch_size');
    t.add('gated_positional_embedding.gate', 1);
    t.add('gated_positional_embedding.embedding', 'positions', 'width');
    t.add('gated_positional_embedding.tile_embedding.weight', 'aspect_rows', 'tile_values');
    for (const name of ['pre_tile_positional_embedding', 'post_tile_positional_embedding']) {
      t.add(`${name}.gate`, 1);
      t.add(`${name}.embedding.weight`, 'aspect_rows', 'tile_widths');
    }
    t.norm('layernorm_pre', 'width');
    t.norm('layernorm_post', 'width');
    t.blocks('transformer.layers', 'layers', block);
    t.blocks('global_transformer.layers', 'global_layers', () => {
      t.add('gate_attn', 1);
      t.add('gate_ffn', 1);
      block();
    });
  },
  anchors: { all: ['gated_positional_embedding.gate', 'class_embedding', 'global_transformer.layers.0.gate_attn'] },
  projectors: [MLLAMA],
  config: { own: { mllama_vision_model: {} }, within: { mllama: { type: 'mllama_vision_model', absent: {} } } },
  class: { model_type: 'mllama_vision_model', architecture: 'MllamaVisionModel' },
  fields: { hidden_act: 'gelu', norm_eps: 1e-5, num_channels: 3, intermediate_layers_indices: [3, 7, 15, 23, 30], vision_output_dim: 7680 },
  preprocessor: value => ({ ...squash('MllamaImageProcessor', CLIP_STATISTICS, 2)(value), do_pad: true, max_image_tiles: value('tiles') }),
  graph: (value, field) => ({
    kind: 'mllama',
    width: value('width'), heads: value('heads'), mlpSize: value('mlp_size'),
    patchSize: value('patch_size'), tileSize: wholePatches(value('image_size'), value('patch_size')), tiles: value('tiles'),
    // Processors number the layouts; the config's list only says how many rows the tables have.
    layouts: tileLayouts(value('tiles')).slice(0, value('aspect_ratios')),
    plainBlocks: value('layers'), gatedBlocks: value('global_layers'),
    featureBlocks: blockNumbers(field('intermediate_layers_indices'), value('layers')),
    ...(value(PROJECTOR) > 0 && { mergedWidth: value('output_dim') }),
    epsilon: epsilonOf(field('norm_eps'), TITLE), activation: activationNamed(field('hidden_act'), TITLE),
  }),
});

function blockNumbers(value: unknown, most: number): readonly number[] {
  const parsed = z.array(z.number().int().min(0).max(most)).readonly().safeParse(value);
  if (!parsed.success) throw new UserError(t`The config's intermediate_layers_indices is ${inWords(value)}, no list of numbers up to ${most}, so the ${TITLE} encoder cannot be run.`);
  const twice = parsed.data.find((block, index) => parsed.data.indexOf(block) !== index);
  if (twice !== undefined) throw new UserError(t`The config's intermediate_layers_indices names block ${twice} twice, so the ${TITLE} encoder cannot be run.`);
  return parsed.data;
}

function wholePatches(tile: number, patch: number): number {
  if (tile % patch !== 0) throw new UserError(t`The config's image_size is ${tile}, no multiple of the patches' ${patch} pixels, so the ${TITLE} encoder cannot be run.`);
  return tile;
}

/**
 * Llama4VisionModel of transformers (models/llama4/modeling_llama4.py), which has its class token after the patches, where no
 * rotation turns it, and its adapter inside the class. Each tile of a picture runs alone. `features` is what comes before the
 * adapter, normed; `merged` what the adapter makes of the patches, and the projector of that.
 */
export const llama4 = encoderFamily({
  id: 'llama4',
  title: 'Llama 4',
  models: 'Llama 4 Scout and Maverick',
  support: 'preview',
  sizes: [
    size('width', 'hidden_size', 768),
    size('layers', 'num_hidden_layers', 34),
    size('heads', 'num_attention_heads', 16, { guess: () => 16 }),
    size('mlp_size', 'intermediate_size', 5632),
    size('patch_size', 'patch_size', 14),
    patchValues(3),
    size('image_size', 'image_size', 448),
    positions(1),
    part('adapter', '1 when the adapter to the projector is kept.', 0),
    ownSize('adapter_input', t('Width after the adapter\'s first layer.'), { config: ['projector_input_dim'], default: 4096, guess: () => 4096, max: 65_536 }),
    ownSize('adapter_output', t('Width after the adapter.'), { config: ['projector_output_dim'], default: 4096, guess: () => 4096, max: 65_536 }),
  ],
  tensors: t => {
    t.add('class_embedding', 'width');
    t.add('positional_embedding_vlm', 'positions', 'width');
    t.add('patch_embedding.linear.weight', 'width', 'patch_values');
    t.norm('layernorm_pre', 'width');
    t.norm('layernorm_post', 'width');
    t.blocks('model.layers', 'layers', () => {
      for (const name of ['q_proj', 'k_proj', 'v_proj', 'o_proj']) t.linear(`self_attn.${name}`, 'width', 'width');
      t.linear('mlp.fc1', 'mlp_size', 'width');
      t.linear('mlp.fc2', 'width', 'mlp_size');
      t.norm('input_layernorm', 'width');
      t.norm('post_attention_layernorm', 'width');
    });
    t.part('adapter', () => {
      t.linear('vision_adapter.mlp.fc1', 'adapter_input', 'mlp_size', false);
      t.linear('vision_adapter.mlp.fc2', 'adapter_output', 'adapter_output', false);
    });
  },
  anchors: { all: ['positional_embedding_vlm', 'class_embedding', 'patch_embedding.linear.weight'] },
  parts: [{ id: 'adapter', title: t('Adapter (pixel shuffle and MLP)'), modules: ['vision_adapter'], kept: false, why: t('The adapter to the projector. The encoder\'s class in transformers has it too: take it in to load that class strictly.') }],
  projectors: [LLAMA4],
  config: { own: { llama4_vision_model: {} }, within: { llama4: { type: 'llama4_vision_model', absent: {} } } },
  class: { model_type: 'llama4_vision_model', architecture: 'Llama4VisionModel' },
  fields: { hidden_act: 'gelu', norm_eps: 1e-5, num_channels: 3, rope_theta: 10_000, pixel_shuffle_ratio: 0.5, vision_output_dim: 7680 },
  preprocessor: squash('Llama4ImageProcessorFast', HALF_STATISTICS, 2),
  graph: (value, field) => ({
    outer: { ...module('patch', 'patch_embedding.linear'), ...tensor('class', 'class_embedding'), ...tensor('positions', 'positional_embedding_vlm'), ...modules({ preNorm: 'layernorm_pre', finalNorm: 'layernorm_post', 'merger.fc1': 'vision_adapter.mlp.fc1', 'merger.fc2': 'vision_adapter.mlp.fc2', 'merger.fc3': 'multi_modal_projector.linear_1' }) },
    blocks: 'model.layers',
    block: modules({
      norm1: 'input_layernorm', q: 'self_attn.q_proj', k: 'self_attn.k_proj', v: 'self_attn.v_proj', out: 'self_attn.o_proj',
      norm2: 'post_attention_layernorm', fc1: 'mlp.fc1', fc2: 'mlp.fc2',
    }),
    placedLast: true,
    rotary: rotaryOf(field, { pairs: 'neighbours', axes: 'columns-first', coordinates: 'from-one' }),
    ...(adapterRuns(value, field) && { merger: { kind: 'shuffle', side: SHUFFLED, width: value(value(PROJECTOR) > 0 ? 'output_dim' : 'adapter_output'), inner: value('adapter_input') } }),
    // The class takes neither from its config: its norms have PyTorch's epsilon, its MLPs the exact GELU.
    epsilon: 1e-5, activation: 'gelu',
    finalNorm: { features: true, pooled: false }, pooled: 'none',
  }),
});

/** Patches that the pixel shuffle puts side by side, along each side. */
const SHUFFLED = 2;

/**
 * Whether the adapter is kept, and fits the patches: the class gives its layers sizes of the config's own, which need not.
 * @throws UserError for a projector without the adapter that it comes after
 */
function adapterRuns(value: ValueOf, field: (name: string) => unknown): boolean {
  if (value(PROJECTOR) > 0 && value('adapter') === 0) throw new UserError(t('The projector takes what the adapter gives. Take the adapter in too, or leave the projector out, to run the encoder.'));
  const side = Math.floor(value('image_size') / value('patch_size'));
  return value('adapter') === 1 && field('pixel_shuffle_ratio') === 1 / SHUFFLED && side % SHUFFLED === 0
    && value('mlp_size') === SHUFFLED ** 2 * value('width') && value('adapter_input') === value('adapter_output');
}
