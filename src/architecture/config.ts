import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { parseJson, type JsonPath, type TextRange } from '../json';

export type { JsonPath, TextRange } from '../json';

/** A parsed config.json that remembers where each value stands in its text. */
export interface ConfigDocument {
  /** An absolute path or an address, for messages and for the Problems panel. */
  readonly location: string;
  readonly text: string;
  readonly value: Readonly<Record<string, unknown>>;
  /** The range of the property (name and value) at `path`, or of the nearest enclosing object that exists. */
  rangeOf(path: JsonPath): TextRange;
}

/**
 * Parses a config.json. A file with anything after the JSON is refused: what follows may be the rest of a bad merge,
 * and no reader of configs would take it.
 * @throws UserError naming `location`, line and column.
 */
export function parseConfig(text: string, location: string): ConfigDocument {
  const document = parseJson(text, location);
  if (!isObject(document.value)) {
    throw new UserError(t`${location} is not a config: it holds ${describe(document.value)} where an object { ... } is expected.`);
  }
  return { location, text: document.text, value: document.value, rangeOf: path => document.rangeOf(path) };
}

/** A config field, or a setting in its place, that is absent or impossible. */
export class ConfigError extends UserError {
  /** Where in the config the fault lies; undefined when it lies in a setting or there is no config. */
  readonly path: JsonPath | undefined;

  constructor(message: string, path?: JsonPath) {
    super(message);
    this.path = path;
  }
}

/** The config's file name, for sentences. */
export function configName(config: ConfigDocument): string {
  return config.location.split(/[\\/]/).at(-1) ?? config.location;
}

/** The value at `path`, or undefined where the path leads nowhere. */
export function configValue(config: ConfigDocument, path: JsonPath): unknown {
  return path.reduce<unknown>((value, step) => {
    if (typeof step === 'number') return Array.isArray(value) ? (value as readonly unknown[])[step] : undefined;
    return isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined;
  }, config.value);
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? t('an array') : t`a ${typeof value}`;
}
