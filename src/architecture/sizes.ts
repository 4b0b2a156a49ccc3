import { t } from '@vscode/l10n';
import type { Settings } from '../recipe/recipe';
import { ConfigError, configName, type ConfigDocument, type JsonPath } from './config';
import { fieldPath, type Located } from './encoderConfig';
import type { Hyperparameter, Hyperparameters, Observed } from './family';
import { checkSettingNames, faultOf, givenInteger, ratioFor, sayOrigin, valueOf, type IntegerSpec } from './hyperparameters';

export type ValueOf = (name: string) => number;

/** A hyperparameter of an encoder, with where and how configs name it. Those that `from` and `back` use must come before it. */
export interface Size extends IntegerSpec {
  /** Fields of the encoder's config (`depths.0` for a list's item), or paths from the config's root; the first that is there counts. */
  readonly config?: readonly (string | JsonPath)[];
  /** What the config's number gives, when it is not the value itself. */
  readonly fromConfig?: (raw: number, value: ValueOf) => number;
  /** What an encoder's config says for the value; the value itself unless told. */
  readonly toConfig?: (value: number, valueOf: ValueOf) => unknown;
  /** An optional part: whether its tensors are kept decides, not the config. */
  readonly part?: true;
  /** Follows from another one, through which alone it can be set. */
  readonly derived?: { readonly basis: string; readonly from: (value: ValueOf) => number; readonly back: (found: number, value: ValueOf) => number | undefined };
  /** The class's default where that follows from other sizes. */
  readonly usual?: (value: ValueOf) => number;
  /** For when no config says it and no shape shows it: what published models of these sizes have. */
  readonly guess?: (value: ValueOf) => number | undefined;
}

/** What must hold between hyperparameters for the module to be built at all. */
export interface Relation {
  readonly names: readonly string[];
  readonly fault: (value: ValueOf) => string | undefined;
}

export interface SizeGrounds {
  readonly title: string;
  readonly sizes: readonly Size[];
  readonly relations: readonly Relation[];
}

/** @throws ConfigError naming the field when a value is absent or impossible, or a setting unknown. */
export function resolveSizes({ title, sizes, relations }: SizeGrounds, config: ConfigDocument | undefined, located: Located | undefined, settings: Settings, observed: Observed): Hyperparameters {
  checkSettingNames(sizes.filter(size => size.derived === undefined), settings);
  const resolved = new Map<string, Hyperparameter>();
  const value: ValueOf = name => valueOf(resolved, name);
  for (const size of sizes) {
    const hyperparameter = size.derived === undefined
      ? resolveSize(size, config, located, settings, observed, value)
      : deriveSize(size, size.derived, resolved, value);
    if (hyperparameter === undefined) throw absent(size, title, config);
    resolved.set(size.name, hyperparameter);
  }
  for (const { names, fault } of relations) {
    const message = fault(value);
    if (message === undefined) continue;
    const involved = names.flatMap(name => resolved.get(name) ?? []);
    const path = involved.flatMap(({ origin }): JsonPath[] => (origin.kind === 'config' ? [origin.path] : []))[0];
    throw new ConfigError(t`Such an encoder cannot be built: ${message} (${involved.map(one => sayOrigin(one, config, title)).join(t('; '))}).`, path);
  }
  return resolved;
}

function resolveSize(size: Size, config: ConfigDocument | undefined, located: Located | undefined, settings: Settings, observed: Observed, value: ValueOf): Hyperparameter | undefined {
  const { name, default: fallback, fromConfig } = size;
  const found = observed[name];
  const seen: Hyperparameter | undefined = found === undefined || faultOf(size, found) !== undefined ? undefined : { name, value: found, origin: { kind: 'checkpoint' } };
  const isSet = Object.hasOwn(settings, name);
  if (size.part === true && seen !== undefined && !isSet) return seen;
  const path = config === undefined || located === undefined || size.config === undefined ? undefined : fieldPath(config, located, size.config);
  const source = path === undefined ? undefined : { path, ...(fromConfig !== undefined && { value: (raw: number) => fromConfig(raw, value) }) };
  const said = givenInteger(size, settings, config, source);
  if (said !== undefined) return said;
  const standard = located === undefined ? undefined : located.defaults[name] ?? size.usual?.(value) ?? fallback;
  if (standard !== undefined) return { name, value: standard, origin: { kind: 'default' } };
  // The config is silent: what the tensors show, else what published models have; a part or flag that nothing shows is at its default.
  return seen ?? toDefault(name, size.guess?.(value) ?? size.usual?.(value) ?? (size.min === 0 ? fallback : undefined));
}

function toDefault(name: string, value: number | undefined): Hyperparameter | undefined {
  return value === undefined ? undefined : { name, value, origin: { kind: 'default' } };
}

function deriveSize(size: Size, { basis, from }: NonNullable<Size['derived']>, resolved: Hyperparameters, value: ValueOf): Hyperparameter | undefined {
  const origin = resolved.get(basis)?.origin;
  const derived = from(value);
  return origin === undefined || !Number.isFinite(derived) ? undefined : { name: size.name, value: derived, origin };
}

function absent(size: Size, title: string, config: ConfigDocument | undefined): ConfigError {
  const wayOut = t`Choose the model's config.json, or give the setting ${size.name}.`;
  if (config === undefined) return new ConfigError(t`There is no config.json, and no tensor that is kept shows the encoder's ${size.name}. ${wayOut}`);
  return new ConfigError(t`${configName(config)} describes no ${title} encoder, and no tensor that is kept shows the encoder's ${size.name}. ${wayOut}`, []);
}

/** What was seen of derived sizes, told as the sizes that they follow from. */
export function observedBases(sizes: readonly Size[], observed: Observed): Observed {
  const all: Record<string, number> = { ...observed };
  const value: ValueOf = name => all[name] ?? sizes.find(size => size.name === name)?.default ?? Number.NaN;
  for (const { name, derived } of sizes) {
    const found = all[name];
    if (derived === undefined || found === undefined || all[derived.basis] !== undefined) continue;
    const basis = derived.back(found, value);
    if (basis !== undefined) all[derived.basis] = basis;
  }
  return all;
}

/** The setting that makes `name` become `found`, when the module can be built with it. */
export function suggestSize({ sizes, relations }: SizeGrounds, name: string, found: number, current: Hyperparameters): Settings | undefined {
  const size = sizes.find(one => one.name === name);
  if (size === undefined) return undefined;
  const now: ValueOf = other => valueOf(current, other);
  const target = size.derived === undefined ? { name, found } : { name: size.derived.basis, found: size.derived.back(found, now) };
  const spec = sizes.find(one => one.name === target.name);
  if (spec === undefined || target.found === undefined || faultOf(spec, target.found) !== undefined) return undefined;
  const changed = target.found;
  const value: ValueOf = other => (other === target.name ? changed : now(other));
  return relations.some(({ names, fault }) => names.includes(target.name) && fault(value) !== undefined) ? undefined : { [target.name]: changed };
}

/** The sizes that nearly every vision transformer has, with their words; families add where configs hold them. */
const COMMON = {
  width: { description: t('Width of the hidden states.'), max: 65_536 },
  layers: { description: t('Number of transformer blocks.'), counts: t('blocks'), max: 1024 },
  heads: { description: t('Attention heads per block.'), max: 1024 },
  mlp_size: { description: t('Width inside a block\'s MLP.'), max: 1_048_576 },
  patch_size: { description: t('Side of a patch, in pixels.'), max: 1024 },
  image_size: { description: t('Side of the square picture for which the encoder has positions, in pixels.'), max: 65_536 },
} as const;

type SizeFields = Omit<Partial<Size>, 'name' | 'config'>;

export function size(name: keyof typeof COMMON, config: string | readonly (string | JsonPath)[], standard: number | undefined, more: SizeFields = {}): Size {
  return { name, ...COMMON[name], config: typeof config === 'string' ? [config] : config, ...(standard !== undefined && { default: standard }), ...more };
}

/** A size that only this family has. */
export function ownSize(name: string, description: string, more: Omit<Partial<Size>, 'name' | 'description'> = {}): Size {
  return { name, description, max: 1_048_576, ...more };
}

/** Yes (1) or no (0), as the config says. */
export function flag(name: string, description: string, config: string, standard: 0 | 1): Size {
  return { name, description, config: [config], default: standard, min: 0, max: 1, toConfig: value => value === 1 };
}

/** An optional part: 1 when its tensors are kept, 0 when not. */
export function part(name: string, description: string, standard: 0 | 1, more: SizeFields & { readonly config?: readonly string[] } = {}): Size {
  return { name, description, default: standard, min: 0, max: 1, part: true, ...more };
}

/** Numbers in a patch that is given flattened to a linear layer. */
export function patchValues(channels: number): Size {
  return ownSize('patch_values', t('Numbers in a flattened patch.'), {
    derived: {
      basis: 'patch_size',
      from: value => channels * value('patch_size') ** 2,
      back: found => (Number.isInteger(Math.sqrt(found / channels)) ? Math.sqrt(found / channels) : undefined),
    },
  });
}

/** Rows of the position table: one for each patch of the square picture, and `extra` for class tokens. */
export function positions(extra: number): Size {
  return {
    name: 'positions',
    description: t('Rows of the position table.'),
    max: 4_194_304,
    derived: {
      basis: 'image_size',
      from: value => Math.floor(value('image_size') / value('patch_size')) ** 2 + extra,
      back: (found, value) => {
        const side = Math.sqrt(found - extra);
        return Number.isInteger(side) && side > 0 ? side * value('patch_size') : undefined;
      },
    },
  };
}

/** An MLP whose width the config gives as a ratio: int(width * ratio), in double arithmetic as Python computes it. */
export function mlpByRatio(field: string, standard: number): Size {
  return {
    name: 'mlp_size',
    ...COMMON.mlp_size,
    config: [field],
    fromConfig: (ratio, value) => Math.floor(value('width') * ratio),
    toConfig: (mlp, value) => ratioFor(value('width'), mlp),
    usual: value => Math.floor(value('width') * standard),
  };
}

/** Heads when only the width is known: those of the published models of that width. */
export function headsOf(published: Readonly<Record<number, number>>): NonNullable<Size['guess']> {
  return value => published[value('width')];
}

export const HEADS_DIVIDE_WIDTH: Relation = {
  names: ['heads', 'width'],
  fault: value => (value('width') % value('heads') === 0 ? undefined : t`width ${value('width')} is not a multiple of heads ${value('heads')}`),
};
