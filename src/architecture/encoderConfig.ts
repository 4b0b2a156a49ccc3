import { configValue, isObject, type ConfigDocument, type JsonPath } from './config';

/** Values that stand for absent ones, by hyperparameter. */
export type Defaults = Readonly<Record<string, number>>;

/** Where the configs of whole models and of encoders alone describe a family's encoder. */
export interface ConfigSpec {
  /** By the encoder's own model_type: what its class has for absent fields where that differs from the sizes' defaults. */
  readonly own: Readonly<Record<string, Defaults>>;
  /**
   * By the model_type of a whole model: which encoder its vision config is when that has no model_type of its own,
   * and what the model takes when it has no vision config at all.
   */
  readonly within?: Readonly<Record<string, { readonly type: string; readonly absent?: Defaults }>>;
  /** Where a whole model's config holds the encoder's. */
  readonly places?: readonly JsonPath[];
  /** Recognises an encoder's object that has no model_type, by its fields. */
  readonly looksOwn?: (object: Readonly<Record<string, unknown>>) => boolean;
}

/** The encoder's description found in a config. */
export interface Located {
  /** Where its fields stand; later ones win. Empty when the model's defaults stand for all of them. */
  readonly paths: readonly JsonPath[];
  readonly defaults: Defaults;
}

const VISION_CONFIG: readonly JsonPath[] = [['vision_config'], ['thinker_config', 'vision_config']];

/** Undefined when the config says nothing about an encoder of this kind. */
export function locate(config: ConfigDocument, spec: ConfigSpec): Located | undefined {
  const whole = config.value.model_type;
  const within = typeof whole === 'string' && spec.within !== undefined && Object.hasOwn(spec.within, whole) ? spec.within[whole] : undefined;
  let described = false;
  for (const path of spec.places ?? VISION_CONFIG) {
    const object = configValue(config, path);
    if (!isObject(object)) continue;
    described = true;
    const type = object.model_type ?? within?.type;
    const defaults = typeof type === 'string' && Object.hasOwn(spec.own, type) ? spec.own[type] : undefined;
    if (defaults !== undefined) return { paths: withOverlay(config, path), defaults };
    if (spec.looksOwn?.(object) === true) return { paths: [path], defaults: {} };
  }
  if (typeof whole === 'string' && !described && Object.hasOwn(spec.own, whole)) return { paths: [[]], defaults: spec.own[whole] ?? {} };
  return within?.absent === undefined || described ? undefined : { paths: [], defaults: within.absent };
}

/** Old CLIP configs repeat fields in `vision_config_dict`, which wins, as transformers reads them. */
function withOverlay(config: ConfigDocument, path: JsonPath): JsonPath[] {
  const overlay = path.map((step, index) => (index === path.length - 1 ? `${step}_dict` : step));
  return isObject(configValue(config, overlay)) ? [path, overlay] : [path];
}

/** The path of the first of `fields` that the encoder's description has. */
export function fieldPath(config: ConfigDocument, located: Located, fields: readonly (string | JsonPath)[]): JsonPath | undefined {
  for (const field of fields) {
    const candidates = typeof field === 'string' ? [...located.paths].reverse().map(path => [...path, ...stepsOf(field)]) : [field];
    for (const path of candidates) {
      const value = configValue(config, path);
      if (value === undefined || value === null) continue;
      // A pair of equal sides, [448, 448], stands for one side.
      return isSquarePair(value) ? [...path, 0] : path;
    }
  }
  return undefined;
}

/** `depths.0` -> depths, 0. */
function stepsOf(field: string): JsonPath {
  return field.split('.').map(step => (/^\d+$/.test(step) ? Number(step) : step));
}

function isSquarePair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === 'number' && value[0] === value[1];
}

/** All fields of the encoder's description, as one object. */
export function describedFields(config: ConfigDocument, located: Located): Record<string, unknown> {
  return Object.assign({}, ...located.paths.map(path => configValue(config, path))) as Record<string, unknown>;
}

/** The whole model's name, for sentences: `LlavaNextForConditionalGeneration` -> LlavaNext. Undefined for an encoder's own config. */
export function wholeModelName(config: ConfigDocument, located: Located | undefined): string | undefined {
  if (located?.paths.some(path => path.length === 0) === true) return undefined;
  const { architectures, model_type: type } = config.value;
  const [architecture] = Array.isArray(architectures) ? architectures as readonly unknown[] : [];
  if (typeof architecture === 'string') return architecture.replace(/(For(ConditionalGeneration|CausalLM)|Model)$/, '');
  return typeof type === 'string' ? type : undefined;
}
