import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import type { Recipe, Rule } from '../recipe/recipe';
import { configName, type ConfigDocument } from './config';
import { describedFields, locate, wholeModelName, type ConfigSpec } from './encoderConfig';
import type { GraphSpec } from './graphSpec';
import type { Detection, Family, Hyperparameters, Observed, Switch } from './family';
import { valueOf } from './hyperparameters';
import { keyIndex, type KeyIndex } from './keyIndex';
import { HEADS_DIVIDE_WIDTH, observedBases, resolveSizes, suggestSize, type Relation, type Size, type ValueOf } from './sizes';
import { expand, observe, type Describe } from './tensorList';
import { vitSpec, type ChooseVit } from './vitSpec';

/** A group of tensors inside the encoder's class, or (`beside`) next to it, that is taken in or left behind as a whole. */
export interface PartSpec {
  /** The hyperparameter that says whether it is there. */
  readonly id: string;
  readonly title: string;
  /** Modules or keys, from the encoder's own top. */
  readonly modules: readonly string[];
  /** Whether the preset takes it in. */
  readonly kept: boolean;
  readonly why: string;
  /** Beside the optional level, as CLIP's visual_projection is beside vision_model, or beside the encoder's own module, as Kimi-VL's projector. */
  readonly beside?: 'level' | 'encoder';
}

/** What makes a family: one of these per file, nearly all of it data. */
export interface EncoderSpec {
  readonly id: string;
  readonly title: string;
  readonly models: string;
  readonly support: Family['support'];
  /** Each after those that it follows from. */
  readonly sizes: readonly Size[];
  readonly tensors: Describe;
  /** Values that the shapes tell together, where none tells them alone. */
  readonly alsoObserve?: (kept: ReadonlyMap<string, readonly number[]>) => Observed;
  /** Unless told: heads divide the width, where a family has both. */
  readonly relations?: readonly Relation[];
  /** Keys that no other family has all of, from the encoder's own top; blocks are told by block 0. */
  readonly anchors: {
    readonly all: readonly string[];
    readonly none?: readonly string[];
    /** For encoders that only a shape tells apart; not asked of a tensor whose shape is not known. */
    readonly rank?: readonly [key: string, rank: number];
  };
  /** A level that most files have above the encoder's own modules, and that strict loading then wants: vision_model. */
  readonly level?: string;
  readonly parts?: readonly PartSpec[];
  /** Keys from the encoder's own top that are buffers or otherwise no parameters of its class. */
  readonly buffers?: readonly string[];
  /** Other modules under the encoder's own top that are not the encoder's. */
  readonly excluded?: readonly { readonly modules: readonly string[]; readonly why: string }[];
  readonly config: ConfigSpec;
  /** The encoder's class and its model_type, as its config.json names them; absent where configs name no class. */
  readonly class?: { readonly model_type: string; readonly architecture: string };
  /** Fields of the encoder's config that are no sizes, with the class's defaults. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** For configs that wrap the encoder's fields or name it differently for different sizes. */
  readonly wrapConfig?: (fields: Readonly<Record<string, unknown>>, value: ValueOf, config: ConfigDocument | undefined) => Record<string, unknown>;
  readonly preprocessor: (value: ValueOf) => Record<string, unknown>;
  /** For families that can be run: a vision transformer's parts, or a forward pass of its own kind. */
  readonly graph?: ChooseVit | ((...given: Parameters<ChooseVit>) => GraphSpec);
}

/** The family that `spec` describes. */
export function encoderFamily(spec: EncoderSpec): Family {
  const { id, title, models, support, sizes } = spec;
  const hasHeads = ['heads', 'width'].every(name => sizes.some(size => size.name === name));
  const grounds = { title, sizes, relations: spec.relations ?? (hasHeads ? [HEADS_DIVIDE_WIDTH] : []) };
  const standard: ValueOf = name => sizes.find(size => size.name === name)?.default ?? 1;
  const { graph } = spec;
  return {
    id, title, models, support,
    hyperparameters: sizes.filter(size => size.derived === undefined),
    ...(spec.parts !== undefined && { switches: spec.parts.map(part => makeSwitch(spec, part)) }),
    recipe: (prefix, tensors) => recipe(spec, prefix, tensors),
    detect: (tensors, config) => detect(spec, tensors, config),
    acceptsConfig: config => locate(config, spec.config) !== undefined,
    observe: kept => observedBases(sizes, { ...observe(spec.tensors, kept, standard), ...spec.alsoObserve?.(kept) }),
    resolve: (config, settings, observed = {}) => resolveSizes(grounds, config, config && locate(config, spec.config), settings, observed),
    expectedTensors: hyperparameters => expand(spec.tensors, name => valueOf(hyperparameters, name)),
    suggest: (name, found, current) => suggestSize(grounds, name, found, current),
    ...(graph !== undefined && { graph: (hyperparameters, config) => makeGraph(spec, graph, hyperparameters, config) }),
    encoderConfig: (hyperparameters, config) => encoderConfig(spec, hyperparameters, config),
    preprocessorConfig: hyperparameters => spec.preprocessor(name => valueOf(hyperparameters, name)),
  };
}

function detect(spec: EncoderSpec, tensors: readonly Tensor[], config: ConfigDocument | undefined): Detection | undefined {
  const found = findPrefix(spec, keyIndex(tensors));
  if (found === undefined) return undefined;
  const prefix = found.slice(0, -1);
  const located = config && locate(config, spec.config);
  const whole = config && wholeModelName(config, located);
  const keys = prefix === '' ? t`the keys are those of a ${spec.title} encoder on its own` : t`the keys under ${prefix} are a ${spec.title} encoder's`;
  const described = config !== undefined && located !== undefined ? t`, and ${configName(config)} describes it` : '';
  return {
    prefix,
    confidence: described === '' ? 0.9 : 0.99,
    reason: whole === undefined ? t`${`${keys.charAt(0).toUpperCase()}${keys.slice(1)}`}${described}.` : t`${whole} with a ${spec.title} encoder: ${keys}${described}.`,
  };
}

/** What stands before the encoder's own keys, with its final dot. Of several encoders, a teacher before a student, then the least nested. */
function findPrefix({ anchors }: EncoderSpec, { byKey, prefixesOf }: KeyIndex): string | undefined {
  const [first = '', ...others] = anchors.all;
  const fits = (prefix: string): boolean => {
    if (!others.every(anchor => byKey.has(prefix + anchor))) return false;
    if (anchors.none?.some(anchor => byKey.has(prefix + anchor)) === true) return false;
    const shape = anchors.rank === undefined ? undefined : byKey.get(prefix + anchors.rank[0])?.shape;
    return shape === undefined || shape.length <= 1 || shape.length === anchors.rank?.[1];
  };
  const isStudent = (prefix: string): number => Number(/(^|\.)student\./.test(prefix));
  return prefixesOf(first).filter(fits).sort((a, b) => isStudent(a) - isStudent(b) || a.split('.').length - b.split('.').length)[0];
}

function recipe(spec: EncoderSpec, prefix: string, tensors: readonly Tensor[] | undefined): Recipe {
  const buffers = (spec.buffers ?? []).map((key): Rule => ({ mark: 'exclude', key: joined(prefix, key), why: t('A buffer that the encoder computes itself; newer files do not have it.') }));
  const parts = (spec.parts ?? []).flatMap(part => (part.kept && part.beside === undefined ? [] : partRules(spec, part, prefix, part.kept)));
  const others = (spec.excluded ?? []).flatMap(({ modules, why }) => modules.map((path): Rule => ({ mark: 'exclude', module: joined(prefix, path), why })));
  const rules = [...buffers, ...parts, ...others, ...connectors(prefix, tensors)];
  const needed = tensors === undefined ? rules : rules.filter(rule => keyIndex(tensors).has('key' in rule ? rule.key : 'module' in rule ? rule.module : rule.pattern));
  return { version: 1, name: t`${spec.title} encoder`, family: spec.id, rules: [...needed, mainRule(spec, prefix)], overrides: [], settings: {} };
}

function mainRule(spec: EncoderSpec, prefix: string): Rule {
  if (prefix === '') return { mark: 'keep', pattern: '**', why: t('The checkpoint is the encoder alone.') };
  const why = t('The vision encoder.');
  const outer = outerPrefix(spec, prefix);
  if (outer === prefix) return { mark: 'strip', module: prefix, why };
  return outer === '' ? { mark: 'keep', module: prefix, why } : { mark: 'strip', module: prefix, prefix: `${outer}.`, why };
}

/** What is stripped: the prefix, less the level that strict loading wants. */
function outerPrefix({ level }: EncoderSpec, prefix: string): string {
  if (level === undefined || !(prefix === level || prefix.endsWith(`.${level}`))) return prefix;
  return prefix.slice(0, Math.max(0, prefix.length - level.length - 1));
}

function makeSwitch(spec: EncoderSpec, part: PartSpec): Switch {
  return { id: part.id, title: part.title, kept: part.kept, rules: (prefix, kept) => partRules(spec, part, prefix, kept) };
}

function partRules(spec: EncoderSpec, part: PartSpec, prefix: string, kept: boolean): Rule[] {
  const outer = part.beside === 'encoder' ? prefix.slice(0, Math.max(0, prefix.lastIndexOf('.'))) : outerPrefix(spec, prefix);
  const top = part.beside === undefined ? prefix : outer;
  return part.modules.map((path): Rule => {
    const module = joined(top, path);
    if (!kept) return { mark: 'exclude', module, why: part.why };
    return outer === '' ? { mark: 'keep', module, why: part.title } : { mark: 'strip', module, prefix: `${outer}.`, why: part.title };
  });
}

/** Modules that join encoders to language models, wherever they stand above the encoder; they are left behind and named. */
const CONNECTORS = ['multi_modal_projector', 'mm_projector', 'connector', 'mlp1', 'resampler', 'aligner', 'projector', 'image_newline', 'language_projection', 'query_tokens', 'qformer', 'vision_language_adapter', 'patch_merger', 'pre_mm_projector_norm'];

function connectors(prefix: string, tensors: readonly Tensor[] | undefined): Rule[] {
  if (tensors === undefined || prefix === '') return [];
  const segments = prefix.split('.').slice(0, -1);
  const above = segments.map((_, index) => segments.slice(0, index + 1).join('.'));
  return ['', ...above].flatMap(path => CONNECTORS.map((name): Rule => ({ mark: 'exclude', module: joined(path, name), why: t('Joins the encoder to the language model.') })))
    .filter(rule => !('module' in rule && `${prefix}.`.startsWith(`${rule.module}.`)));
}

function joined(prefix: string, path: string): string {
  return prefix === '' ? path : `${prefix}.${path}`;
}

function makeGraph(spec: EncoderSpec, choose: NonNullable<EncoderSpec['graph']>, hyperparameters: Hyperparameters, config: ConfigDocument | undefined): GraphSpec {
  const value: ValueOf = name => valueOf(hyperparameters, name);
  const fields = encoderFields(spec, hyperparameters, config);
  const choice = choose(value, name => fields[name]);
  return 'kind' in choice ? choice : vitSpec(spec.title, choice, value, new Set(expand(spec.tensors, value).map(({ key }) => key)));
}

function encoderConfig(spec: EncoderSpec, hyperparameters: Hyperparameters, config: ConfigDocument | undefined): Record<string, unknown> {
  const fields = encoderFields(spec, hyperparameters, config);
  return spec.wrapConfig?.(fields, name => valueOf(hyperparameters, name), config) ?? fields;
}

/** The encoder's fields as the config has them, completed with the class's defaults and with what was resolved. */
function encoderFields(spec: EncoderSpec, hyperparameters: Hyperparameters, config: ConfigDocument | undefined): Record<string, unknown> {
  const value: ValueOf = name => valueOf(hyperparameters, name);
  const located = config && locate(config, spec.config);
  const described = config === undefined || located === undefined ? {} : describedFields(config, located);
  const resolved = spec.sizes.flatMap(({ name, config: fields, toConfig }) => {
    const field = fields?.find(one => typeof one === 'string' && !one.includes('.'));
    const hyperparameter = hyperparameters.get(name);
    if (typeof field !== 'string' || hyperparameter === undefined) return [];
    // What the config says is copied as it says it: a ratio stays a ratio, a pair of sides a pair.
    if (hyperparameter.origin.kind === 'config' && Object.hasOwn(described, field)) return [];
    return [[field, toConfig === undefined ? hyperparameter.value : toConfig(hyperparameter.value, value)] as const];
  });
  return { ...spec.fields, ...described, ...Object.fromEntries(resolved), ...classOf(spec) };
}

function classOf({ class: named }: EncoderSpec): Record<string, unknown> {
  return named === undefined ? {} : { model_type: named.model_type, architectures: [named.architecture] };
}
