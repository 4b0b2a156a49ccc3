import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import type { Recipe, Rule } from '../recipe/recipe';
import { configName, type ConfigDocument } from './config';
import { describedFields, locate, wholeModelName, type ConfigSpec } from './encoderConfig';
import type { GraphSpec } from './graphSpec';
import type { Detection, Family, Hyperparameters, Observed, Switch } from './family';
import { valueOf } from './hyperparameters';
import { keyIndex, type KeyIndex } from './keyIndex';
import { findProjector, joined, placesAbove, PROJECTOR, projectorAmong, projectorFields, projectorSize, type ProjectorSpec } from './projector';
import { HEADS_DIVIDE_WIDTH, observedBases, resolveSizes, suggestSize, type Relation, type Size, type SizeGrounds, type ValueOf } from './sizes';
import { expand, observe, type Describe, type TensorList } from './tensorList';
import { vitSpec, type ChooseVit, type VitChoice } from './vitSpec';

/** A group of tensors inside the encoder's class, or (`besideLevel`) next to it, that is taken in or left behind as a whole. */
export interface PartSpec {
  /** The hyperparameter that says whether it is there. */
  readonly id: string;
  readonly title: string;
  /** Modules or keys, from the encoder's own top. */
  readonly modules: readonly string[];
  /** Whether the preset takes it in. */
  readonly kept: boolean;
  readonly why: string;
  /** Beside the optional level, as CLIP's visual_projection is beside vision_model. */
  readonly besideLevel?: true;
  /** There when a file of the encoder alone may have something else in its place, a classifier: it is the part only beside a config that an extraction wrote. */
  readonly ambiguous?: true;
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
  /** What brings its features into a language model's width in whole models, where it stands outside the class. */
  readonly projectors?: readonly ProjectorSpec[];
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
  const projectors = spec.projectors ?? [];
  const hasHeads = ['heads', 'width'].every(name => sizes.some(size => size.name === name));
  const relations = spec.relations ?? (hasHeads ? [HEADS_DIVIDE_WIDTH] : []);
  const grounds = (kind: number): SizeGrounds => ({ title, sizes: sizesWith(spec, projectors[kind - 1]), relations });
  const all = [...new Map([undefined, ...projectors].flatMap(projector => sizesWith(spec, projector)).map(size => [size.name, size])).values()];
  const { graph } = spec;
  return {
    id, title, models, support,
    hyperparameters: all.filter(size => size.derived === undefined),
    ...((spec.parts !== undefined || projectors.length > 0) && { switches: [...(spec.parts ?? []).map(part => makeSwitch(spec, part)), ...(projectors.length > 0 ? [projectorSwitch(projectors)] : [])] }),
    connectors: (prefix, tensors) => connectors(prefix).filter(module => keyIndex(tensors).has(module)),
    recipe: (prefix, tensors, config) => recipe(spec, prefix, tensors, config),
    detect: (tensors, config) => detect(spec, tensors, config),
    acceptsConfig: config => locate(config, spec.config) !== undefined,
    observe: kept => {
      const kind = projectorAmong(projectors, key => kept.has(key));
      const known = sizesWith(spec, projectors[kind - 1]);
      const standard: ValueOf = name => (name === PROJECTOR ? kind : known.find(size => size.name === name)?.default ?? 1);
      return observedBases(known, { ...observe(tensorsWith(spec, projectors[kind - 1]), kept, standard), ...spec.alsoObserve?.(kept), ...(projectors.length > 0 && { [PROJECTOR]: kind }) });
    },
    resolve: (config, settings, observed = {}) => {
      const kind = settings[PROJECTOR] ?? observed[PROJECTOR] ?? 0;
      const { sizes: known } = grounds(kind);
      // What was set for a projector that is left out waits until it is taken in again.
      const idle = new Set(all.map(({ name }) => name).filter(name => !known.some(size => size.name === name)));
      const set = Object.fromEntries(Object.entries(settings).filter(([name]) => !idle.has(name)));
      return resolveSizes(grounds(kind), config, config && locate(config, spec.config), set, observed);
    },
    expectedTensors: hyperparameters => expand(tensorsWith(spec, projectorOf(spec, hyperparameters)), name => valueOf(hyperparameters, name)),
    suggest: (name, found, current) => suggestSize(grounds(current.get(PROJECTOR)?.value ?? 0), name, found, current),
    ...(graph !== undefined && { graph: (hyperparameters, config) => makeGraph(spec, graph, hyperparameters, config) }),
    encoderConfig: (hyperparameters, config) => encoderConfig(spec, hyperparameters, config),
    preprocessorConfig: hyperparameters => spec.preprocessor(name => valueOf(hyperparameters, name)),
  };
}

/** The family's sizes with those of the projector that is kept. */
function sizesWith({ sizes, projectors = [] }: EncoderSpec, projector: ProjectorSpec | undefined): readonly Size[] {
  return projectors.length === 0 ? sizes : [...sizes, projectorSize(projectors), ...projector?.sizes ?? []];
}

function tensorsWith({ tensors }: EncoderSpec, projector: ProjectorSpec | undefined): Describe {
  if (projector === undefined) return tensors;
  return (list: TensorList) => {
    tensors(list);
    list.part(PROJECTOR, () => { projector.tensors(list); });
  };
}

/** The projector that is kept. */
function projectorOf({ projectors }: EncoderSpec, hyperparameters: Hyperparameters): ProjectorSpec | undefined {
  return projectors?.[(hyperparameters.get(PROJECTOR)?.value ?? 0) - 1];
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

function recipe(spec: EncoderSpec, prefix: string, tensors: readonly Tensor[] | undefined, config: ConfigDocument | undefined): Recipe {
  const buffers = (spec.buffers ?? []).map((key): Rule => ({ mark: 'exclude', key: joined(prefix, key), why: t('A buffer that the encoder computes itself; newer files do not have it.') }));
  const alone = tensors !== undefined && isAlone(spec, prefix, tensors);
  const parts = (spec.parts ?? []).flatMap(part => {
    const kept = part.kept || (alone && (part.ambiguous === undefined || (config !== undefined && locate(config, spec.config) !== undefined)));
    return kept && part.besideLevel === undefined ? [] : partRules(spec, part, prefix, kept);
  });
  const projector = tensors !== undefined && alone && prefix !== '' ? projectorSwitch(spec.projectors ?? []).rules(prefix, true, tensors) : [];
  const others = (spec.excluded ?? []).flatMap(({ modules, why }) => modules.map((path): Rule => ({ mark: 'exclude', module: joined(prefix, path), why })));
  const between = tensors === undefined || alone ? [] : connectors(prefix).map((module): Rule => ({ mark: 'exclude', module, why: t('Joins the encoder to the language model.') }));
  const rules = [...buffers, ...parts, ...projector, ...others, ...between];
  const needed = tensors === undefined ? rules : rules.filter(rule => keyIndex(tensors).has('key' in rule ? rule.key : 'module' in rule ? rule.module : rule.pattern));
  return { version: 1, name: t`${spec.title} encoder`, family: spec.id, rules: [...needed, mainRule(spec, prefix)], overrides: [], settings: {} };
}

/**
 * Whether the checkpoint is an encoder that was taken out before: it has nothing but that and its optional parts, which whoever took
 * it out chose.
 */
function isAlone(spec: EncoderSpec, prefix: string, tensors: readonly Tensor[]): boolean {
  if (prefix === '') return true;
  if (outerPrefix(spec, prefix) !== '') return false;
  const parts = [...(spec.parts ?? []).filter(part => part.besideLevel === true).flatMap(({ modules }) => modules), ...findProjector(spec.projectors ?? [], prefix, tensors)?.projector.modules ?? []];
  const own = [prefix, ...parts];
  return tensors.every(({ key }) => own.some(module => key === module || key.startsWith(`${module}.`)));
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
  const outer = outerPrefix(spec, prefix);
  return part.modules.map(path => partRule(joined(part.besideLevel === undefined ? prefix : outer, path), outer, part, kept));
}

/** @param outer what is taken from the front of the part's keys */
function partRule(module: string, outer: string, { title, why }: Pick<PartSpec, 'title' | 'why'>, kept: boolean): Rule {
  if (!kept) return { mark: 'exclude', module, why };
  return outer === '' ? { mark: 'keep', module, why: title } : { mark: 'strip', module, prefix: `${outer}.`, why: title };
}

function projectorSwitch(projectors: readonly ProjectorSpec[]): Switch {
  const part = { title: t('Projector into the language model'), why: t('Joins the encoder to the language model.') };
  return {
    id: PROJECTOR, title: part.title, kept: false,
    rules: (prefix, kept, tensors) => {
      const found = findProjector(projectors, prefix, tensors);
      const there = (found?.projector.modules ?? []).map(path => joined(found?.place ?? '', path)).filter(module => keyIndex(tensors).has(module));
      return there.map(module => partRule(module, found?.place ?? '', part, kept));
    },
  };
}

/** Modules that join encoders to language models, wherever they stand above the encoder; they are left behind and named. */
const CONNECTORS = ['multi_modal_projector', 'mm_projector', 'connector', 'mlp1', 'resampler', 'aligner', 'projector', 'image_newline', 'language_projection', 'query_tokens', 'qformer', 'vision_language_adapter', 'patch_merger', 'pre_mm_projector_norm'];

function connectors(prefix: string): string[] {
  if (prefix === '') return [];
  return placesAbove(prefix).reverse().flatMap(path => CONNECTORS.map(name => joined(path, name))).filter(module => !`${prefix}.`.startsWith(`${module}.`));
}

function makeGraph(spec: EncoderSpec, choose: NonNullable<EncoderSpec['graph']>, hyperparameters: Hyperparameters, config: ConfigDocument | undefined): GraphSpec {
  const value: ValueOf = name => valueOf(hyperparameters, name);
  const fields = encoderFields(spec, hyperparameters, config);
  const field = (name: string): unknown => fields[name];
  const choice = choose(value, field);
  if ('kind' in choice) return choice;
  const projector = projectorOf(spec, hyperparameters);
  const run = projector?.run?.(value, field, { title: spec.title, hasClass: choice.outer.class !== undefined });
  const whole = run === undefined ? choice : { ...choice, outer: { ...choice.outer, ...run.places }, merger: run.merger, ...gridOfBlocks(choice, run.merger.side, value) };
  return vitSpec(spec.title, whole, value, new Set(expand(tensorsWith(spec, projector), value).map(({ key }) => key)));
}

/** Where pictures decide the grid: one that a projector can cut into blocks. */
function gridOfBlocks({ anyGrid }: VitChoice, side: number, value: ValueOf): Pick<VitChoice, 'anyGrid'> {
  if (anyGrid === undefined || anyGrid.multiple % side === 0) return {};
  const multiple = anyGrid.multiple * side;
  const unit = multiple * value('patch_size');
  return { anyGrid: { multiple, usualSide: Math.max(1, Math.floor(anyGrid.usualSide / unit)) * unit } };
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
  const projector = projectorOf(spec, hyperparameters);
  const resolved = sizesWith(spec, projector).flatMap(({ name, config: fields, toConfig }) => {
    const field = fields?.find(one => typeof one === 'string' && !one.includes('.'));
    const hyperparameter = hyperparameters.get(name);
    if (typeof field !== 'string' || hyperparameter === undefined) return [];
    // What the config says is copied as it says it: a ratio stays a ratio, a pair of sides a pair.
    if (hyperparameter.origin.kind === 'config' && Object.hasOwn(described, field)) return [];
    return [[field, toConfig === undefined ? hyperparameter.value : toConfig(hyperparameter.value, value)] as const];
  });
  return { ...spec.fields, ...described, ...(projector && projectorFields(projector, described, config)), ...Object.fromEntries(resolved), ...classOf(spec) };
}

function classOf({ class: named }: EncoderSpec): Record<string, unknown> {
  return named === undefined ? {} : { model_type: named.model_type, architectures: [named.architecture] };
}
