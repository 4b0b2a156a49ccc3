import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import type { Recipe, Settings } from '../recipe/recipe';
import { ConfigError, configName, configValue, isObject, type ConfigDocument, type JsonPath } from './config';
import type { Detection, Dimension, ExpectedTensor, Family, Hyperparameter, Hyperparameters } from './family';
import { sizesOf } from './forwardGraph';
import { checkSettingNames, faultOf, ratioFor, resolveInteger, sayOrigin, valueOf, type IntegerSpec, type Source } from './hyperparameters';
import { keyIndex } from './keyIndex';

/**
 * The visual encoder of Qwen-VL and Qwen-VL-Chat (arXiv 2308.12966): a ViT-bigG whose patches are gathered by
 * an attention pool. Names and shapes are those of DeepSpeed-VisualChat's VisionTransformer (microsoft/DeepSpeedExamples,
 * applications/DeepSpeed-VisualChat/utils/model/third_party_model/qwen_clip/qwen_clip.py), which loads it strictly.
 */
const ID = 'qwen-vl';
const TITLE = 'Qwen-VL';

const SPECS = [
  { name: 'width', description: t('Width of the hidden states.'), max: 65_536 },
  { name: 'layers', description: t('Number of transformer blocks.'), counts: t('blocks'), max: 1024 },
  { name: 'heads', description: t('Attention heads per block; width must be a multiple of it.'), max: 1024 },
  { name: 'patch_size', description: t('Side of a patch, in pixels.'), max: 1024 },
  { name: 'mlp_size', description: t('Width inside a block\'s MLP.'), max: 1_048_576 },
  { name: 'output_dim', description: t('Width of the features that the encoder hands on.'), default: 4096, max: 65_536 },
  { name: 'image_size', description: t('Side of the square picture, in pixels.'), default: 448, max: 65_536 },
  { name: 'n_queries', description: t('Number of features per picture; a square number.'), default: 256, max: 65_536 },
] as const satisfies readonly IntegerSpec[];
type Name = (typeof SPECS)[number]['name'];

/** Rows of positional_embedding: fixed in the module, a 16 x 16 grid that is resized to the patch grid. */
const POSITIONS = 256;

export const qwenVl: Family = {
  id: ID,
  title: TITLE,
  models: 'Qwen-VL, Qwen-VL-Chat',
  support: 'preview',
  hyperparameters: SPECS,
  recipe,
  detect,
  acceptsConfig: config => layoutOf(config) !== undefined,
  resolve,
  expectedTensors,
  suggest,
  graph: hyperparameters => ({ kind: 'qwen-vl', sizes: sizesOf(hyperparameters) }),
  encoderConfig,
  preprocessorConfig,
};

function recipe(prefix: string): Recipe {
  const proj = prefix === '' ? 'proj' : `${prefix}.proj`;
  return {
    version: 1,
    name: t('Qwen-VL vision encoder'),
    family: ID,
    rules: [
      { mark: 'exclude', key: proj, why: t('Qwen-VL\'s own output projection; DeepSpeed-VisualChat\'s VisionTransformer has no such tensor.') },
      prefix === ''
        ? { mark: 'keep', pattern: '**', why: t('The checkpoint is the encoder alone.') }
        : { mark: 'strip', module: prefix, why: t('The vision encoder.') },
    ],
    overrides: [],
    settings: {},
  };
}

/** Together they occur in no other family: OpenCLIP writes in_proj_weight with an underscore, and its pools have no pos_embed. */
const ANCHORS = ['attn_pool.query', 'attn_pool.pos_embed', 'transformer.resblocks.0.attn.in_proj.weight', 'conv1.weight'] as const;

function detect(tensors: readonly Tensor[], config: ConfigDocument | undefined): Detection | undefined {
  const { byKey, prefixesOf } = keyIndex(tensors);
  const [first, ...others] = ANCHORS;
  const before = prefixesOf(first).filter(prefix => others.every(anchor => byKey.has(prefix + anchor))).sort((a, b) => a.length - b.length)[0];
  const own = config !== undefined && layoutOf(config) === 'visual';
  if (before === undefined) {
    if (!own || configValue(config, ['model_type']) !== 'qwen') return undefined;
    return { prefix: 'transformer.visual', confidence: 0.3, reason: t`${configName(config)} describes ${TITLE}, but the checkpoint has no keys of its vision encoder.` };
  }
  const prefix = before.slice(0, -1);
  const keys = prefix === '' ? t('The keys are those of a Qwen-VL vision encoder on its own') : t`The keys under ${prefix} are those of Qwen-VL's vision encoder`;
  return {
    prefix,
    confidence: own ? 0.99 : 0.9,
    reason: own ? t`${keys}, and ${configName(config)} has its "visual" object.` : t`${keys}.`,
  };
}

/** Qwen's own config with its `visual` object, or CLIP style: `vision_config`, or its fields at the root. */
type Layout = 'visual' | 'vision_config' | 'clip_vision_model';

function layoutOf(config: ConfigDocument): Layout | undefined {
  const { visual, vision_config: clip, model_type: type } = config.value;
  if (isObject(visual) && 'width' in visual && 'layers' in visual) return 'visual';
  if (isObject(clip) && 'hidden_size' in clip && (clip.model_type ?? 'clip_vision_model') === 'clip_vision_model') return 'vision_config';
  return type === 'clip_vision_model' ? 'clip_vision_model' : undefined;
}

const CLIP_FIELDS: Partial<Record<Name, string>> = {
  width: 'hidden_size',
  layers: 'num_hidden_layers',
  heads: 'num_attention_heads',
  patch_size: 'patch_size',
  mlp_size: 'intermediate_size',
};

/** Where a layout holds a hyperparameter. A CLIP config's image_size and projection_dim are the CLIP head's: they are not read. */
function sourceOf(name: Name, layout: Layout | undefined, width: number | undefined): Source | undefined {
  if (layout === undefined) return undefined;
  if (layout !== 'visual') {
    const field = CLIP_FIELDS[name];
    if (field === undefined) return undefined;
    return { path: layout === 'vision_config' ? [layout, field] : [field] };
  }
  if (name !== 'mlp_size') return { path: ['visual', name] };
  // As Qwen's module computes it: int(width * mlp_ratio), the same double arithmetic.
  return { path: ['visual', 'mlp_ratio'], value: ratio => Math.floor((width ?? 0) * ratio) };
}

function resolve(config: ConfigDocument | undefined, settings: Settings): Hyperparameters {
  checkSettingNames(SPECS, settings);
  const layout = config && layoutOf(config);
  const resolved = new Map<string, Hyperparameter>();
  for (const spec of SPECS) {
    const source = sourceOf(spec.name, layout, resolved.get('width')?.value);
    const hyperparameter = resolveInteger(spec, settings, config, source);
    if (hyperparameter === undefined) throw absent(spec, config, source);
    resolved.set(spec.name, hyperparameter);
  }
  for (const { names, fault } of RELATIONS) {
    const message = fault(name => valueOf(resolved, name));
    if (message !== undefined) throw impossible(names, message, resolved, config);
  }
  return resolved;
}

function absent(spec: IntegerSpec, config: ConfigDocument | undefined, source: Source | undefined): ConfigError {
  const wayOut = t`Choose the model's config.json, or give the setting ${spec.name}.`;
  if (config === undefined) return new ConfigError(t`There is no config.json to say the encoder's ${spec.name}. ${wayOut}`);
  if (source === undefined) {
    return new ConfigError(t`${configName(config)} describes no ${TITLE} encoder: it has neither a "visual" object with width and layers nor a CLIP style "vision_config". ${wayOut}`, []);
  }
  return new ConfigError(t`${configName(config)} lacks ${source.path.join('.')}, the encoder's ${spec.name}. ${wayOut}`, source.path);
}

/** What must hold between hyperparameters for the module to be built at all. */
const RELATIONS: readonly { readonly names: readonly Name[]; readonly fault: (value: (name: Name) => number) => string | undefined }[] = [
  {
    names: ['heads', 'width'],
    fault: value => (value('width') % value('heads') === 0 ? undefined : t`width ${value('width')} is not a multiple of heads ${value('heads')}`),
  },
  {
    names: ['output_dim'],
    fault: value => {
      const poolHeads = attentionPoolHeads(value('output_dim'));
      return value('output_dim') % poolHeads === 0 ? undefined : t`output_dim ${value('output_dim')} cannot be shared out among the attention pool's ${poolHeads} heads (output_dim / 128)`;
    },
  },
  {
    names: ['n_queries'],
    fault: value => (Number.isInteger(Math.sqrt(value('n_queries'))) ? undefined : t`n_queries ${value('n_queries')} is not a square number`),
  },
  {
    names: ['image_size', 'patch_size'],
    fault: value => (value('image_size') >= value('patch_size') ? undefined : t`image_size ${value('image_size')} is less than one patch of ${value('patch_size')}`),
  },
];

function impossible(names: readonly Name[], message: string, resolved: Hyperparameters, config: ConfigDocument | undefined): ConfigError {
  const involved = names.flatMap(name => resolved.get(name) ?? []);
  const path = involved.flatMap(({ origin }): JsonPath[] => (origin.kind === 'config' ? [origin.path] : []))[0];
  return new ConfigError(t`Such an encoder cannot be built: ${message} (${involved.map(one => sayOrigin(one, config, TITLE)).join(t('; '))}).`, path);
}

/** Heads of the attention pool: 128 channels each. */
export function attentionPoolHeads(outputDim: number): number {
  return Math.max(1, Math.floor(outputDim / 128));
}

function suggest(name: string, found: number, current: Hyperparameters): Settings | undefined {
  const spec = SPECS.find(one => one.name === name);
  if (spec === undefined || faultOf(spec, found) !== undefined) return undefined;
  const value = (other: Name): number => (other === name ? found : valueOf(current, other));
  return RELATIONS.some(({ names, fault }) => names.includes(spec.name) && fault(value) !== undefined) ? undefined : { [name]: found };
}

function expectedTensors(hyperparameters: Hyperparameters): ExpectedTensor[] {
  const tensors: ExpectedTensor[] = [];
  const add = (key: string, dimensions: readonly Dimension[], existsBy?: Name): void => {
    const shape = dimensions.map(dimension => (typeof dimension === 'number' ? dimension : dimension.times * valueOf(hyperparameters, dimension.of)));
    tensors.push({ key, shape, dimensions, ...(existsBy !== undefined && { existsBy }) });
  };
  const size = (of: Name, times = 1): Dimension => ({ of, times });
  const addPair = (path: string, weight: readonly Dimension[], existsBy?: Name): void => {
    add(`${path}.weight`, weight, existsBy);
    add(`${path}.bias`, weight.slice(0, 1), existsBy);
  };
  const [width, patch, mlp, output, queries] = [size('width'), size('patch_size'), size('mlp_size'), size('output_dim'), size('n_queries')];

  add('positional_embedding', [POSITIONS, width]);
  add('conv1.weight', [width, 3, patch, patch]);
  addPair('ln_pre', [width]);
  for (let block = 0; block < valueOf(hyperparameters, 'layers'); block++) {
    const path = `transformer.resblocks.${block}`;
    addPair(`${path}.ln_1`, [width], 'layers');
    addPair(`${path}.ln_2`, [width], 'layers');
    addPair(`${path}.attn.in_proj`, [size('width', 3), width], 'layers');
    addPair(`${path}.attn.out_proj`, [width, width], 'layers');
    addPair(`${path}.mlp.c_fc`, [mlp, width], 'layers');
    addPair(`${path}.mlp.c_proj`, [width, mlp], 'layers');
  }
  add('attn_pool.pos_embed', [queries, output]);
  add('attn_pool.query', [queries, output]);
  if (valueOf(hyperparameters, 'width') !== valueOf(hyperparameters, 'output_dim')) add('attn_pool.kv_proj.weight', [output, width], 'output_dim');
  add('attn_pool.attn.in_proj_weight', [size('output_dim', 3), output]);
  add('attn_pool.attn.in_proj_bias', [size('output_dim', 3)]);
  addPair('attn_pool.attn.out_proj', [output, output]);
  addPair('attn_pool.ln_q', [output]);
  addPair('attn_pool.ln_kv', [output]);
  addPair('ln_post', [output]);
  return tensors;
}

/**
 * Both forms in one: CLIP style, of which DeepSpeed-VisualChat reads `vision_config`, and Qwen's `visual` object,
 * which alone holds the output width and the number of queries.
 */
function encoderConfig(hyperparameters: Hyperparameters): Record<string, unknown> {
  const value = (name: Name): number => valueOf(hyperparameters, name);
  return {
    model_type: 'clip',
    vision_config: {
      model_type: 'clip_vision_model',
      hidden_size: value('width'),
      intermediate_size: value('mlp_size'),
      num_hidden_layers: value('layers'),
      num_attention_heads: value('heads'),
      num_channels: 3,
      patch_size: value('patch_size'),
      image_size: value('image_size'),
      hidden_act: 'gelu',
      layer_norm_eps: 1e-6,
    },
    visual: {
      width: value('width'),
      layers: value('layers'),
      heads: value('heads'),
      patch_size: value('patch_size'),
      mlp_ratio: ratioFor(value('width'), value('mlp_size')),
      output_dim: value('output_dim'),
      image_size: value('image_size'),
      n_queries: value('n_queries'),
    },
  };
}

/** CLIP's preprocessing at the encoder's size, in the form that DeepSpeed-VisualChat ships and every CLIPImageProcessor reads. */
function preprocessorConfig(hyperparameters: Hyperparameters): Record<string, unknown> {
  const size = valueOf(hyperparameters, 'image_size');
  return {
    crop_size: size,
    do_center_crop: true,
    do_normalize: true,
    do_resize: true,
    feature_extractor_type: 'CLIPFeatureExtractor',
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
    resample: 3,
    size,
  };
}
