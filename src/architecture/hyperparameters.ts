import { t } from '@vscode/l10n';
import type { Settings } from '../recipe/recipe';
import { ConfigError, configName, configValue, type ConfigDocument, type JsonPath } from './config';
import type { Hyperparameter, HyperparameterSpec, Hyperparameters } from './family';
import { inWords } from '../checkpoint/wording';

/** A hyperparameter that a family reads as a whole number between bounds. */
export interface IntegerSpec extends HyperparameterSpec {
  /** Upper bound. A hostile config must not make millions of expected tensors. */
  readonly max: number;
  /** Lower bound; 1 unless told. */
  readonly min?: number;
  /** For a choice that configs write as a word: the number of each. */
  readonly fromWord?: Readonly<Record<string, number>>;
  /** For a count that configs give by a list of what is counted, or by the one thing itself. */
  readonly listOrOne?: true;
}

/** A value as a config gives it: `raw` stands at `path`; the hyperparameter is `raw` unless `value` derives it. */
export interface Source {
  readonly path: JsonPath;
  readonly value?: (raw: number) => number;
}

/** What a config may hold in the place of a number: true or false or a word for a flag, a list for a count of its items. */
function asNumber(raw: unknown, spec: IntegerSpec): unknown {
  if (spec.listOrOne === true) return Array.isArray(raw) ? raw.length : 1;
  if (typeof raw === 'boolean' && spec.max === 1) return Number(raw);
  if (typeof raw === 'string' && spec.fromWord !== undefined && Object.hasOwn(spec.fromWord, raw)) return spec.fromWord[raw];
  return Array.isArray(raw) && spec.counts !== undefined ? raw.length : raw;
}

/** A hyperparameter's number with the words for a fault in it. */
export function faultOf(spec: IntegerSpec, value: number): string | undefined {
  if (Number.isInteger(value) && value >= (spec.min ?? 1) && value <= spec.max) return undefined;
  return t`must be a whole number from ${spec.min ?? 1} to ${spec.max}`;
}

/** @throws ConfigError when a setting's name is none of `specs`'. */
export function checkSettingNames(specs: readonly HyperparameterSpec[], settings: Settings): void {
  const unknown = Object.keys(settings).find(name => !specs.some(spec => spec.name === name));
  if (unknown === undefined) return;
  throw new ConfigError(t`The setting "${unknown}" is not known. Known are: ${specs.map(spec => spec.name).join(', ')}.`);
}

/**
 * A hyperparameter from settings, else from the config where `source` points, else from the spec's default.
 * Undefined when none of them has it.
 * @throws ConfigError when the value is impossible
 */
export function resolveInteger(spec: IntegerSpec, settings: Settings, config: ConfigDocument | undefined, source: Source | undefined): Hyperparameter | undefined {
  return givenInteger(spec, settings, config, source)
    ?? (spec.default === undefined ? undefined : { name: spec.name, value: spec.default, origin: { kind: 'default' } });
}

/** As `resolveInteger`, without the default. */
export function givenInteger(spec: IntegerSpec, settings: Settings, config: ConfigDocument | undefined, source: Source | undefined): Hyperparameter | undefined {
  const { name } = spec;
  const setting = Object.hasOwn(settings, name) ? settings[name] : undefined;
  if (setting !== undefined) {
    const fault = faultOf(spec, setting);
    if (fault !== undefined) throw new ConfigError(t`The setting ${name} is ${setting}, but it ${fault}.`);
    return { name, value: setting, origin: { kind: 'setting' } };
  }
  const raw = config !== undefined && source !== undefined ? configValue(config, source.path) : undefined;
  if (config === undefined || source === undefined || raw === undefined || raw === null) return undefined;
  const number = asNumber(raw, spec);
  const value = typeof number === 'number' && source.value !== undefined ? source.value(number) : number;
  const fault = typeof value === 'number' ? faultOf(spec, value) : t('must be a number');
  if (fault !== undefined || typeof value !== 'number') {
    const gives = source.value !== undefined && typeof value === 'number' ? t`, which gives ${name} ${value}` : '';
    throw new ConfigError(t`${configName(config)} says ${source.path.join('.')} ${inWords(raw)}${gives}, but it ${fault ?? t('is no number')}.`, source.path);
  }
  return { name, value, origin: { kind: 'config', path: source.path } };
}

/** "config.json says visual.width 1664": where a value comes from, in a sentence about it. */
export function sayOrigin(hyperparameter: Hyperparameter, config: ConfigDocument | undefined, family: string): string {
  const { name, value, origin } = hyperparameter;
  switch (origin.kind) {
    case 'setting': return t`the setting ${name} says ${value}`;
    case 'checkpoint': return t`the tensors that are kept tell ${name} ${value}`;
    case 'default': return t`no config or setting gives ${name}, and the default of ${family} is ${value}`;
    case 'config': {
      const raw = config === undefined ? value : configValue(config, origin.path);
      const file = config === undefined ? t('the config') : configName(config);
      return t`${file} says ${origin.path.join('.')} ${inWords(raw)}${raw === value ? '' : t`, which gives ${name} ${value}`}`;
    }
  }
}

export function valueOf(hyperparameters: Hyperparameters, name: string): number {
  const hyperparameter = hyperparameters.get(name);
  if (hyperparameter === undefined) throw new Error(`The hyperparameter ${name} was not resolved.`);
  return hyperparameter.value;
}

/** The ratio for which int(width * ratio) is `mlp`: the plain quotient can come out one too low. */
export function ratioFor(width: number, mlp: number): number {
  let ratio = mlp / width;
  while (Math.floor(width * ratio) < mlp) ratio *= 1 + Number.EPSILON;
  return ratio;
}
