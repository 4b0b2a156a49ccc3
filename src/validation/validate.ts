import { t } from '@vscode/l10n';
import { ConfigError, configName, type ConfigDocument } from '../architecture/config';
import type { ExpectedTensor, Family, Hyperparameters } from '../architecture/family';
import { storageOfKept } from '../architecture/storage';
import type { Plan, PlannedTensor } from '../recipe/plan';
import { stripPrefix } from '../recipe/rules';
import { explain, type Explanation } from './blame';
import { compare, type Comparison } from './compare';
import { groupBy } from './groupBy';
import { findNearest, type Candidate } from './nearest';
import type { DuplicateKey, Fix, MissingKey, UnexpectedKey, Validation, ValidationWarning } from './validation';
import { findWarnings } from './warnings';

/**
 * Says what torch.nn.Module.load_state_dict(strict=True) would say of the plan's result, all at once,
 * and why: settings come from the plan's recipe, other hyperparameters from `config` and the family's defaults.
 * A config that is absent or impossible is reported as the validation's `problem`, not thrown.
 */
export function validate(plan: Plan, family: Family, config: ConfigDocument | undefined): Validation {
  const common = { family: family.id, config: config?.location, warnings: findWarnings(plan, config) };
  const kept = new Map<string, PlannedTensor>();
  const shapes = new Map<string, readonly number[]>();
  const repeated = new Set<string>();
  for (const planned of plan.kept) {
    const key = planned.outputKey ?? '';
    if (kept.has(key)) {
      repeated.add(key);
      continue;
    }
    kept.set(key, planned);
    shapes.set(key, planned.tensor.shape);
  }
  const observed = family.observe?.(shapes);
  const nothing: Omit<Validation, 'problem'> = { ...common, valid: false, hyperparameters: new Map(), expectedCount: 0, matchedCount: 0, missing: [], unexpected: [], mismatched: [], duplicates: [] };
  const storage = storageOfKept(plan);
  if (storage !== undefined) return { ...nothing, problem: { message: STORED[storage.kind](storage.name) } };
  let hyperparameters: Hyperparameters;
  try {
    hyperparameters = family.resolve(config, plan.recipe.settings, observed);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const place = config === undefined || error.path === undefined ? {} : { place: { location: config.location, range: config.rangeOf(error.path) } };
    return { ...nothing, problem: { message: error.message, ...place } };
  }
  const expected = family.expectedTensors(hyperparameters, shapes);
  const comparison = compare(expected, kept);
  const explanations = plan.kept.length === 0 ? new Map<string, Explanation>() : explain(comparison, kept, { family, config, observed, shapes }, hyperparameters, plan.recipe.settings);

  const unexplained = comparison.missing.filter(({ key }) => !explanations.has(key));
  const nearest = nearestKeys(unexplained, comparison, plan);
  const missing = comparison.missing.map(({ key, shape }): MissingKey => {
    const candidate = nearest.get(key);
    return {
      key,
      shape,
      ...explanation(explanations.get(key), candidate === undefined ? [] : include(key, candidate.planned)),
      ...(candidate !== undefined && { nearest: candidate.planned.tensor.key }),
    };
  });
  const meant = new Map([...nearest].map(([key, { planned }]) => [planned, key]));
  const unexpected = comparison.unexpected.map((planned): UnexpectedKey => {
    const { tensor, outputKey } = planned;
    const key = meant.get(planned);
    return {
      key: outputKey ?? '',
      sourceKey: tensor.key,
      shape: tensor.shape,
      ...explanation(explanations.get(outputKey ?? ''), [...(key === undefined ? [] : include(key, planned)), exclude(tensor.key)]),
      ...(key !== undefined && { nearest: key }),
    };
  });
  const mismatched = comparison.mismatched.map(({ expected: { key, shape }, found: { tensor } }) => ({
    key, sourceKey: tensor.key, expected: shape, found: tensor.shape, ...explanation(explanations.get(key), []),
  }));
  const same = repeated.size === 0 ? [] : groupBy(plan.kept.filter(({ outputKey }) => repeated.has(outputKey ?? '')), ({ outputKey }) => outputKey ?? '');
  const duplicates = [...same].map(([key, group]): DuplicateKey => ({
    key, sourceKeys: group.map(({ tensor }) => tensor.key), fixes: group.map(({ tensor }) => exclude(tensor.key)),
  }));
  return {
    ...common,
    warnings: [...common.warnings, ...sizesOfTensors(hyperparameters, config)],
    valid: missing.length + unexpected.length + mismatched.length + duplicates.length === 0 && plan.kept.length > 0,
    hyperparameters,
    expectedCount: expected.length,
    matchedCount: comparison.matched.length,
    missing, unexpected, mismatched, duplicates,
  };
}

/** Why an encoder that is not stored in plain weights cannot be compared, and the way out. */
const STORED = {
  quantised: (name: string) => t`The vision encoder's weights are quantised (${name}): each layer is packed beside its scales, and no strict load of the plain encoder can take them. Extract from the unquantised checkpoint of this model.`,
  adapter: (name: string) => t`The vision encoder holds ${name} adapters beside its weights. Merge them first (merge_and_unload in PEFT), and extract from the merged checkpoint.`,
};

/** Said where no config describes the encoder: the tensors are then compared with what they themselves tell. */
function sizesOfTensors(hyperparameters: Hyperparameters, config: ConfigDocument | undefined): ValidationWarning[] {
  if (hyperparameters.get('width')?.origin.kind !== 'checkpoint') return [];
  const heads = hyperparameters.get('heads');
  const guessed = heads?.origin.kind === 'default' ? t` Heads cannot be seen in tensors: ${heads.value}, as in published models of this width, unless the setting heads says otherwise.` : '';
  return [{ message: (config === undefined
    ? t('No config.json describes this encoder: its sizes were read off the tensors, so only their agreement with each other was checked.')
    : t`${configName(config)} does not describe this encoder: its sizes were read off the tensors, so only their agreement with each other was checked.`) + guessed }];
}

function explanation(found: Explanation | undefined, others: readonly Fix[]): { fixes: readonly Fix[]; blame?: Explanation['blame'] } {
  return found === undefined ? { fixes: others } : { blame: found.blame, fixes: [...found.fixes, ...others] };
}

function exclude(key: string): Fix {
  return { kind: 'mark', title: EXCLUDE.replace('{0}', () => key), key, mark: 'exclude' };
}

/** Looked up once: a group marked by mistake makes a hundred thousand unexpected keys. */
const EXCLUDE = t('Exclude {0}');

/** Takes a tensor in under the missing key, when its own key is that or ends with it. */
function include(missing: string, { tensor: { key } }: PlannedTensor): Fix[] {
  if (!(key === missing || key.endsWith(`.${missing}`))) return [];
  const title = t`Take in ${key} as ${missing}`;
  const prefix = key.slice(0, key.length - missing.length);
  return [prefix === '' ? { kind: 'mark', title, key, mark: 'keep' } : { kind: 'mark', title, key, mark: 'strip', prefix }];
}

/** The most similar key for each miss: among the kept tensors that nobody expects, and among those left behind when one fits exactly or no kept one does. */
function nearestKeys(missing: readonly ExpectedTensor[], comparison: Comparison, plan: Plan): Map<string, Candidate> {
  if (missing.length === 0 || plan.kept.length === 0) return new Map();
  const kept = findNearest(missing, comparison.unexpected.map(planned => ({ planned, name: planned.outputKey ?? '' })));
  const prefixes = [...new Set([...plan.recipe.rules, ...plan.recipe.overrides].flatMap(rule => stripPrefix(rule) ?? []))];
  const left = findNearest(missing, plan.tensors.filter(({ outputKey }) => outputKey === undefined).map(planned => {
    const { key } = planned.tensor;
    return { planned, name: key.slice(prefixes.find(prefix => key.startsWith(prefix))?.length ?? 0) };
  }));
  const fits = (key: string, { name }: Candidate): boolean => name === key || name.endsWith(`.${key}`);
  return new Map([...left, ...[...kept].filter(([key]) => {
    const other = left.get(key);
    return other === undefined || !fits(key, other);
  })]);
}
