import { t } from '@vscode/l10n';
import { inWords } from '../../checkpoint/wording';
import { UserError } from '../../errors';
import type { MergerSpec } from '../graphSpec';
import type { ProjectedEncoder, ProjectorSpec } from '../projector';
import { flag, ownSize, type Size, type ValueOf } from '../sizes';
import type { Dim, TensorList } from '../tensorList';
import { activationNamed, epsilonOf, modules, tensor } from '../vitSpec';

/**
 * The projectors that whole models have beside their encoders. `merged` is what they give for the patches, row by row: what the
 * language model gets of one square picture, before it cuts rims off or puts tokens between rows.
 */

const WHERE = ['output_dim', ['text_config', 'hidden_size'], ['llm_config', 'hidden_size']] as const satisfies Size['config'];
const OUTPUT: Size = ownSize('output_dim', t('Width of the projector\'s output, the language model\'s.'), { config: WHERE, max: 65_536 });

const STATES = t('Hidden states that the projector takes, side by side.');
const STATES_INPUT = input('feature_states', value => value('feature_states'), times => times);

function stateCount(field: string): readonly Size[] {
  return [ownSize('feature_states', STATES, { config: [[field]], listOrOne: true, guess: () => 1, max: 1024 }), STATES_INPUT];
}

/** @param field of the whole model's config: how many patches a side, or its inverse */
function joinedSide(field: string, standard: number, inverse: boolean): readonly Size[] {
  return [
    ownSize('projector_side', t('Patches that the projector joins, along each side.'), {
      config: [field, [field]], default: standard, guess: () => standard, max: 64, ...(inverse && { fromConfig: (ratio: number) => Math.round(1 / ratio), toConfig: (side: number) => 1 / side }),
    }),
    input('projector_side', value => value('projector_side') ** 2, Math.sqrt),
  ];
}

/** What the first layer takes: so many times the encoder's width. */
function input(basis: string, times: (value: ValueOf) => number, back: (times: number) => number): Size {
  return ownSize('projector_input', t('Width of what the projector takes.'), {
    derived: {
      basis,
      from: value => times(value) * value('width'),
      back: (found, value) => (Number.isInteger(back(found / value('width'))) ? back(found / value('width')) : undefined),
    },
  });
}

function biasFlag(field: string): Size {
  return { ...flag('projector_bias', t('1 when the projector\'s layers have a bias.'), field, 1), config: [field, [field]] };
}

/** A linear layer whose bias goes by the config. */
function layer(list: TensorList, path: string, out: Dim, from: Dim): void {
  list.linear(path, out, from, false);
  list.part('projector_bias', () => { list.add(`${path}.bias`, out); });
}

type Field = (name: string) => unknown;

/** An MLP of two layers, both as wide as the language model. */
function twoLayers(value: ValueOf, more: Omit<MergerSpec, 'kind' | 'width' | 'inner' | 'side'> & { readonly side?: number }): MergerSpec {
  return { kind: 'mlp', side: 1, width: value('output_dim'), inner: value('output_dim'), ...more };
}

function activationOf(field: Field, { title }: ProjectedEncoder): NonNullable<MergerSpec['activation']> {
  return activationNamed(field('projector_hidden_act'), title);
}

/**
 * The hidden states that a model takes, as `hidden_states` of transformers counts them: 0 is what goes into the first block, -1 what
 * comes out of the last; as the blocks that they come after.
 * @param count how many the projector has weights for
 */
function states(name: string, field: Field, value: ValueOf, count = 1): Pick<MergerSpec, 'states'> {
  const said = field(name);
  const layers = value('layers');
  const numbers = (Array.isArray(said) ? said as readonly unknown[] : [said]).map(one => (typeof one === 'number' && Number.isInteger(one) && one >= -layers - 1 && one <= layers ? one : undefined));
  if (numbers.length !== count || numbers.includes(undefined)) {
    throw new UserError(t`The config's ${name} is ${inWords(said)}, where the projector takes ${count} of the hidden states 0 to ${layers}. Leave the projector out to run the encoder.`);
  }
  return { states: numbers.flatMap(one => (one === undefined ? [] : [(one < 0 ? one + layers + 1 : one) - 1])) };
}

/**
 * Whether the class token is dropped (`default`), or all tokens are projected (`full`).
 * @throws UserError for an encoder without one, whose first patch models would drop
 */
function tokens(strategy: unknown, { title, hasClass }: ProjectedEncoder): Pick<MergerSpec, 'tokens'> {
  const all = strategy === 'full' || strategy === 'cls_patch';
  if (!all && strategy !== 'default' && strategy !== 'patch') throw new UserError(t`The config's choice of tokens for the projector is ${inWords(strategy)}, which is not known. Leave the projector out to run the encoder.`);
  if (!all && !hasClass) throw new UserError(t`The config says that the projector takes all tokens but the first (${strategy}), which in ${title} encoders is a patch. Leave the projector out to run the encoder.`);
  return all ? { tokens: 'all' } : {};
}

const LLAVA_FIELDS: ProjectorSpec['fields'] = {
  vision_feature_layer: { absent: -2, absentIn: { llava_onevision: -1 } },
  vision_feature_select_strategy: { absent: 'default', absentIn: { llava_onevision: 'full' } },
  projector_hidden_act: { absent: 'gelu' },
};

/** LlavaMultiModalProjector of transformers (models/llava, llava_next, llava_onevision). */
export const LLAVA: ProjectorSpec = {
  title: 'LLaVA',
  anchor: 'multi_modal_projector.linear_1.weight',
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT, ...stateCount('vision_feature_layer'), biasFlag('multimodal_projector_bias')],
  tensors: list => {
    layer(list, 'multi_modal_projector.linear_1', 'output_dim', 'projector_input');
    layer(list, 'multi_modal_projector.linear_2', 'output_dim', 'output_dim');
  },
  fields: LLAVA_FIELDS,
  run: (value, field, encoder) => ({
    merger: twoLayers(value, {
      activation: activationOf(field, encoder),
      ...states('vision_feature_layer', field, value, value('feature_states')), ...tokens(field('vision_feature_select_strategy'), encoder),
    }),
    places: modules({ 'merger.fc1': 'multi_modal_projector.linear_1', 'merger.fc2': 'multi_modal_projector.linear_2' }),
  }),
};

/** VipLlavaMultiModalProjector of transformers (models/vipllava): a norm of several hidden states side by side first; the class token is dropped. */
export const VIP_LLAVA: ProjectorSpec = {
  title: 'VipLLaVA',
  anchor: 'multi_modal_projector.projector_layernorm.weight',
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT, ...stateCount('vision_feature_layers')],
  tensors: list => {
    list.norm('multi_modal_projector.projector_layernorm', 'projector_input');
    list.linear('multi_modal_projector.linear_1', 'output_dim', 'projector_input');
    list.linear('multi_modal_projector.linear_2', 'output_dim', 'output_dim');
  },
  fields: { vision_feature_layers: { absent: [-2, -5, -8, -11, 6] }, projector_hidden_act: { absent: 'gelu' }, projector_layernorm_eps: { absent: 1e-5 } },
  run: (value, field, encoder) => ({
    merger: twoLayers(value, {
      activation: activationOf(field, encoder), norm: 'layer', epsilon: epsilonOf(field('projector_layernorm_eps'), encoder.title),
      ...states('vision_feature_layers', field, value, value('feature_states')), ...tokens('default', encoder),
    }),
    places: modules({ 'merger.norm': 'multi_modal_projector.projector_layernorm', 'merger.fc1': 'multi_modal_projector.linear_1', 'merger.fc2': 'multi_modal_projector.linear_2' }),
  }),
};

/** What the original LLaVA's code takes from its tower (haotian-liu/LLaVA, llava/model/multimodal_encoder/clip_encoder.py). */
const ORIGINAL_FIELDS: ProjectorSpec['fields'] = { mm_vision_select_layer: { absent: -2 }, mm_vision_select_feature: { absent: 'patch' } };

function original(field: Field, value: ValueOf, encoder: ProjectedEncoder): Pick<MergerSpec, 'states' | 'tokens'> {
  return { ...states('mm_vision_select_layer', field, value), ...tokens(field('mm_vision_select_feature'), encoder) };
}

/** mlp2x_gelu of the original LLaVA 1.5 and NeXT (llava/model/multimodal_projector/builder.py). */
export const LLAVA_ORIGINAL: ProjectorSpec = {
  title: 'LLaVA (original)',
  anchor: 'mm_projector.2.weight',
  modules: ['mm_projector'],
  sizes: [OUTPUT],
  tensors: list => {
    list.linear('mm_projector.0', 'output_dim', 'width');
    list.linear('mm_projector.2', 'output_dim', 'output_dim');
  },
  fields: ORIGINAL_FIELDS,
  run: (value, field, encoder) => ({
    merger: twoLayers(value, original(field, value, encoder)),
    places: modules({ 'merger.fc1': 'mm_projector.0', 'merger.fc2': 'mm_projector.2' }),
  }),
};

/** The one linear layer of the first LLaVA (the same builder's `linear`). */
export const LLAVA_LINEAR: ProjectorSpec = {
  title: 'LLaVA (first)',
  anchor: 'mm_projector.weight',
  modules: ['mm_projector'],
  sizes: [OUTPUT],
  tensors: list => { list.linear('mm_projector', 'output_dim', 'width'); },
  fields: ORIGINAL_FIELDS,
  run: (value, field, encoder) => ({ merger: twoLayers(value, original(field, value, encoder)), places: modules({ 'merger.fc1': 'mm_projector' }) }),
};

/**
 * The same as LLaVA-NeXT's code and those after it have it after SigLIP (LLaVA-VL/LLaVA-NeXT, multimodal_encoder/siglip_encoder.py):
 * the tower lost its last block before it was saved, and what comes out of the others is taken, whatever the config's select_layer says.
 */
export const LLAVA_ORIGINAL_SIGLIP: ProjectorSpec = {
  ...LLAVA_ORIGINAL,
  fields: {},
  run: value => ({
    merger: twoLayers(value, { states: [value('layers') - 1] }),
    places: modules({ 'merger.fc1': 'mm_projector.0', 'merger.fc2': 'mm_projector.2' }),
  }),
};

/** @throws UserError when the encoder's grid cannot be cut into such blocks */
function blocksOf(value: ValueOf, side: number, { title }: ProjectedEncoder): number {
  const patches = Math.floor(value('image_size') / value('patch_size'));
  if (!Number.isInteger(side) || side < 1 || patches % side !== 0) throw new UserError(t`The projector joins ${side} x ${side} patches, and the ${title} encoder has ${patches} x ${patches}. Leave the projector out to run the encoder.`);
  return side;
}

/** mlp1 of InternVL's own code (modeling_internvl_chat.py, extract_feature): patches side by side by pixel shuffle, a norm, two layers. Its ps_version changes only the tokens' order. */
export const INTERNVL: ProjectorSpec = {
  title: 'InternVL',
  anchor: 'mlp1.3.weight',
  modules: ['mlp1'],
  sizes: [OUTPUT, ...joinedSide('downsample_ratio', 2, true)],
  tensors: list => {
    list.norm('mlp1.0', 'projector_input');
    list.linear('mlp1.1', 'output_dim', 'projector_input');
    list.linear('mlp1.3', 'output_dim', 'output_dim');
  },
  fields: { select_layer: { absent: -1 } },
  run: (value, field, encoder) => ({
    merger: twoLayers(value, { side: blocksOf(value, value('projector_side'), encoder), norm: 'layer', normed: 'block', epsilon: 1e-5, ...states('select_layer', field, value) }),
    places: modules({ 'merger.norm': 'mlp1.0', 'merger.fc1': 'mlp1.1', 'merger.fc2': 'mlp1.3' }),
  }),
};

/** InternVLMultiModalProjector of transformers (models/internvl): the same; -1 is the last hidden state after the encoder's norm, where it has one. */
export const INTERNVL_HF: ProjectorSpec = {
  title: 'InternVL',
  anchor: 'multi_modal_projector.layer_norm.weight',
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT, ...joinedSide('downsample_ratio', 2, true)],
  tensors: list => {
    list.norm('multi_modal_projector.layer_norm', 'projector_input');
    list.linear('multi_modal_projector.linear_1', 'output_dim', 'projector_input');
    list.linear('multi_modal_projector.linear_2', 'output_dim', 'output_dim');
  },
  fields: { vision_feature_layer: { absent: -1 }, vision_feature_select_strategy: { absent: 'default' }, projector_hidden_act: { absent: 'gelu' } },
  run: (value, field, encoder) => {
    if (field('vision_feature_select_strategy') !== 'default') throw new UserError(t('The config wants the class token projected too, which leaves no blocks of patches. Leave the projector out to run the encoder.'));
    return {
      merger: twoLayers(value, {
        side: blocksOf(value, value('projector_side'), encoder), norm: 'layer', normed: 'block', epsilon: 1e-5, activation: activationOf(field, encoder),
        ...(field('vision_feature_layer') !== -1 && states('vision_feature_layer', field, value)),
      }),
      places: modules({ 'merger.norm': 'multi_modal_projector.layer_norm', 'merger.fc1': 'multi_modal_projector.linear_1', 'merger.fc2': 'multi_modal_projector.linear_2' }),
    };
  },
};

/** Mistral3MultiModalProjector of transformers (models/mistral3): a norm, a linear layer that joins patches, two layers. */
export const MISTRAL3: ProjectorSpec = {
  title: 'Mistral Small 3.1',
  anchor: 'multi_modal_projector.patch_merger.merging_layer.weight',
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT, ...joinedSide('spatial_merge_size', 2, false), biasFlag('multimodal_projector_bias')],
  tensors: list => {
    list.norm('multi_modal_projector.norm', 'width', false);
    list.linear('multi_modal_projector.patch_merger.merging_layer', 'width', 'projector_input', false);
    layer(list, 'multi_modal_projector.linear_1', 'output_dim', 'width');
    layer(list, 'multi_modal_projector.linear_2', 'output_dim', 'output_dim');
  },
  fields: { vision_feature_layer: { absent: -1 }, projector_hidden_act: { absent: 'gelu' }, projector_norm_eps: { path: ['text_config', 'rms_norm_eps'], absent: 1e-6 } },
  run: (value, field, encoder) => ({
    merger: twoLayers(value, {
      side: value('projector_side'), join: 'linear', norm: 'rms', epsilon: epsilonOf(field('projector_norm_eps'), encoder.title), activation: activationOf(field, encoder), ...states('vision_feature_layer', field, value),
    }),
    places: modules({ 'merger.norm': 'multi_modal_projector.norm', 'merger.join': 'multi_modal_projector.patch_merger.merging_layer', 'merger.fc1': 'multi_modal_projector.linear_1', 'merger.fc2': 'multi_modal_projector.linear_2' }),
  }),
};

const ADAPTER_OUTPUT: Size = { ...OUTPUT, config: ['output_dim', ['dim']] };
const ADAPTER = { 'merger.fc1': 'vision_language_adapter.w_in', 'merger.fc2': 'vision_language_adapter.w_out' };

function adapter(list: TensorList): void {
  layer(list, 'vision_language_adapter.w_in', 'output_dim', 'width');
  layer(list, 'vision_language_adapter.w_out', 'output_dim', 'output_dim');
}

/** The same as Mistral's own files name it (vllm-project/vllm, model_executor/models/pixtral.py: PatchMerger, VisionLanguageAdapter). */
export const MISTRAL_MERGER: ProjectorSpec = {
  title: 'Mistral Small 3.1',
  anchor: 'patch_merger.merging_layer.weight',
  modules: ['vision_language_adapter', 'patch_merger', 'pre_mm_projector_norm'],
  sizes: [ADAPTER_OUTPUT, ...joinedSide('spatial_merge_size', 2, false), biasFlag('adapter_bias'), flag('projector_norm', t('1 when there is a norm before the projector.'), 'add_pre_mm_projector_layer_norm', 0)],
  tensors: list => {
    list.part('projector_norm', () => { list.norm('pre_mm_projector_norm', 'width', false); });
    list.linear('patch_merger.merging_layer', 'width', 'projector_input', false);
    adapter(list);
  },
  fields: {},
  run: value => ({
    merger: twoLayers(value, { side: value('projector_side'), join: 'linear', norm: 'rms', epsilon: 1e-5 }),
    places: modules({ ...ADAPTER, 'merger.norm': 'pre_mm_projector_norm', 'merger.join': 'patch_merger.merging_layer' }),
  }),
};

/** Pixtral 12B's in its own files: the adapter alone. */
export const MISTRAL_ADAPTER: ProjectorSpec = {
  title: 'Pixtral 12B',
  anchor: 'vision_language_adapter.w_in.weight',
  modules: ['vision_language_adapter'],
  sizes: [ADAPTER_OUTPUT, biasFlag('adapter_bias')],
  tensors: adapter,
  fields: {},
  run: value => ({ merger: twoLayers(value, {}), places: modules(ADAPTER) }),
};

const GEMMA_MATRIX = 'multi_modal_projector.mm_input_projection_weight';

/** Gemma3MultiModalProjector of transformers (models/gemma3): patches are averaged to a fixed number of tokens, normed (the weights count from 1) and projected by a matrix stored in x out. */
export const GEMMA3: ProjectorSpec = {
  title: 'Gemma 3',
  anchor: GEMMA_MATRIX,
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT],
  tensors: list => {
    list.add(GEMMA_MATRIX, 'width', 'output_dim');
    list.norm('multi_modal_projector.mm_soft_emb_norm', 'width', false);
  },
  fields: { mm_tokens_per_image: { absent: 256 } },
  run: (value, field, encoder) => {
    const said = field('mm_tokens_per_image');
    if (typeof said !== 'number' || !(said >= 1)) throw new UserError(t`The config's mm_tokens_per_image is ${inWords(said)}, not a number of tokens. Leave the projector out to run the encoder.`);
    const side = Math.floor(Math.floor(value('image_size') / value('patch_size')) / Math.floor(Math.sqrt(said)));
    return {
      merger: { kind: 'mlp', side: blocksOf(value, side, encoder), width: value('output_dim'), inner: value('output_dim'), join: 'mean', norm: 'rms-from-one', normed: 'block', epsilon: epsilonOf(field('layer_norm_eps'), encoder.title), transposed: true },
      places: { ...modules({ 'merger.norm': 'multi_modal_projector.mm_soft_emb_norm' }), ...tensor('merger.fc1.weight', GEMMA_MATRIX) },
    };
  },
};

/** PaliGemmaMultiModalProjector of transformers (models/paligemma), before the division by the root of the width, which Gemma's own embedding scale takes back. */
export const PALIGEMMA: ProjectorSpec = {
  title: 'PaliGemma',
  anchor: 'multi_modal_projector.linear.weight',
  modules: ['multi_modal_projector'],
  sizes: [{ ...OUTPUT, config: [...WHERE.slice(0, 1), 'projection_dim', ['projection_dim'], ...WHERE.slice(1)] }],
  tensors: list => { list.linear('multi_modal_projector.linear', 'output_dim', 'width'); },
  fields: {},
  run: value => ({ merger: twoLayers(value, {}), places: modules({ 'merger.fc1': 'multi_modal_projector.linear' }) }),
};

/** Idefics3Connector of transformers (models/idefics3, smolvlm): patches side by side by pixel shuffle, one linear layer without a bias. */
export const IDEFICS3: ProjectorSpec = {
  title: 'Idefics3',
  anchor: 'connector.modality_projection.proj.weight',
  modules: ['connector'],
  sizes: [OUTPUT, ...joinedSide('scale_factor', 2, false)],
  tensors: list => { list.linear('connector.modality_projection.proj', 'output_dim', 'projector_input', false); },
  fields: {},
  run: (value, _, encoder) => ({ merger: twoLayers(value, { side: blocksOf(value, value('projector_side'), encoder) }), places: modules({ 'merger.fc1': 'connector.modality_projection.proj' }) }),
};

/** multi_modal_projector of MllamaForConditionalGeneration (transformers, models/mllama): one layer over all tokens of the features; the encoder's own graph runs it. */
export const MLLAMA: ProjectorSpec = {
  title: 'Llama 3.2 Vision',
  anchor: 'multi_modal_projector.weight',
  modules: ['multi_modal_projector'],
  sizes: [
    OUTPUT,
    // Its features are the last hidden state and the earlier ones that the encoder's config names.
    ownSize('feature_states', STATES, {
      config: [['vision_config', 'intermediate_layers_indices'], ['intermediate_layers_indices']], counts: t('hidden states'), fromConfig: earlier => earlier + 1, default: 6, guess: () => 6, max: 1024,
    }),
    STATES_INPUT,
  ],
  tensors: list => { list.linear('multi_modal_projector', 'output_dim', 'projector_input'); },
  fields: {},
};

/** Llama4MultiModalProjector of transformers (models/llama4): one layer without a bias over what the adapter gives. */
export const LLAMA4: ProjectorSpec = {
  title: 'Llama 4',
  anchor: 'multi_modal_projector.linear_1.weight',
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT],
  tensors: list => { list.linear('multi_modal_projector.linear_1', 'output_dim', 'adapter_output', false); },
  fields: {},
};

/** Patches that Kimi-VL's code joins along each side, of which its projector makes a token. */
export const MOONVIT_MERGE = 2;
const MOONVIT_INPUT = { of: 'width', times: MOONVIT_MERGE ** 2 };

/** KimiVLMultiModalProjector (moonshotai/Kimi-VL-A3B, modeling_kimi_vl.py). */
export const KIMI: ProjectorSpec = {
  title: 'Kimi-VL',
  anchor: 'multi_modal_projector.pre_norm.weight',
  modules: ['multi_modal_projector'],
  sizes: [OUTPUT],
  tensors: list => {
    list.norm('multi_modal_projector.pre_norm', 'width');
    list.linear('multi_modal_projector.linear_1', MOONVIT_INPUT, MOONVIT_INPUT);
    list.linear('multi_modal_projector.linear_2', 'output_dim', MOONVIT_INPUT);
  },
  fields: {},
  run: value => ({
    merger: { kind: 'mlp', side: MOONVIT_MERGE, width: value('output_dim'), inner: MOONVIT_MERGE ** 2 * value('width'), norm: 'layer', epsilon: 1e-5 },
    places: modules({ 'merger.norm': 'multi_modal_projector.pre_norm', 'merger.fc1': 'multi_modal_projector.linear_1', 'merger.fc2': 'multi_modal_projector.linear_2' }),
  }),
};
