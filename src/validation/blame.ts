import { t } from '@vscode/l10n';
import type { ConfigDocument } from '../architecture/config';
import type { Family, Hyperparameter, Hyperparameters, Observed } from '../architecture/family';
import { sayOrigin } from '../architecture/hyperparameters';
import type { Settings } from '../recipe/recipe';
import { UserError } from '../errors';
import { blockTemplate, compare, type Comparison, type KeptByKey, type Pair } from './compare';
import type { Blame, Fix } from './validation';

/** Why one or more findings are there, and what would undo them all. */
export interface Explanation {
  readonly blame: Blame;
  readonly fixes: readonly Fix[];
}

/** By the key in the encoder. */
export type Explanations = ReadonlyMap<string, Explanation>;

/** What hyperparameters are resolved from, apart from settings. */
export interface Grounds {
  readonly family: Family;
  readonly config: ConfigDocument | undefined;
  readonly observed: Observed | undefined;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

interface Step {
  readonly comparison: Comparison;
  readonly hyperparameters: Hyperparameters;
  readonly settings: Settings;
}

/**
 * Explains findings by the fewest hyperparameters: gives the one that most tensors speak against the value that they
 * have, compares again, and blames it for every finding that is gone; then goes on with what is left.
 * So a width that is wrong, and makes a derived MLP size wrong too, is the only one blamed.
 */
export function explain(first: Comparison, kept: KeptByKey, grounds: Grounds, hyperparameters: Hyperparameters, settings: Settings): Explanations {
  const { family, config } = grounds;
  const explanations = new Map<string, Explanation>();
  const blamed = new Set<string>();
  let now: Step = { comparison: first, hyperparameters, settings };
  for (;;) {
    const step = now;
    const next = votes(step.comparison, kept).filter(({ name }) => !blamed.has(name)).flatMap(({ name, found }) => {
      const hyperparameter = step.hyperparameters.get(name);
      if (hyperparameter === undefined) return [];
      const fix = family.suggest === undefined ? { [name]: found } : family.suggest(name, found, step.hyperparameters);
      const after = fix && tryStep(step, fix, kept, grounds);
      // An explanation must leave less to explain, or it is none.
      return after !== undefined && doubts(after.comparison) >= doubts(step.comparison) ? [] : [{ hyperparameter, found, fix, after }];
    })[0];
    if (next === undefined) return explanations;
    const { hyperparameter, found, fix, after } = next;
    blamed.add(hyperparameter.name);
    const explanation: Explanation = {
      blame: makeBlame(hyperparameter, found, family, config),
      fixes: fix === undefined || after === undefined ? [] : [{ kind: 'setting', title: t`Use ${hyperparameter.name} ${found}, as the checkpoint has it`, settings: fix }],
    };
    const left = after === undefined ? undefined : findingKeys(after.comparison);
    const explained = left === undefined ? keysAbout(hyperparameter.name, step.comparison) : [...findingKeys(step.comparison)].filter(key => !left.has(key));
    for (const key of explained) if (!explanations.has(key)) explanations.set(key, explanation);
    now = after ?? step;
  }
}

function tryStep(step: Step, fix: Settings, kept: KeptByKey, { family, config, observed, shapes }: Grounds): Step | undefined {
  const settings = { ...step.settings, ...fix };
  try {
    const hyperparameters = family.resolve(config, settings, observed);
    return { settings, hyperparameters, comparison: compare(family.expectedTensors(hyperparameters, shapes), kept) };
  } catch (error) {
    // The value found does not go with the others: it can be blamed, but not offered.
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** What the tensors say that hyperparameters are, where they disagree; the best supported first. */
function votes(comparison: Comparison, kept: KeptByKey): { readonly name: string; readonly found: number; readonly count: number }[] {
  const counts = new Map<string, Map<number, number>>();
  const vote = (name: string, found: number, weight = 1): void => {
    const values = counts.get(name) ?? new Map<number, number>();
    counts.set(name, values.set(found, (values.get(found) ?? 0) + weight));
  };
  for (const pair of comparison.mismatched) for (const { name, found } of wrongDimensions(pair)) vote(name, found);
  for (const { name, found, weight } of stackDepths(comparison, kept)) vote(name, found, weight);
  return [...counts].map(([name, values]) => {
    const [found = 0, count = 0] = [...values].sort((a, b) => b[1] - a[1])[0] ?? [];
    return { name, found, count };
  }).sort((a, b) => b.count - a.count);
}

/** The hyperparameters behind a mismatched pair's wrong dimensions, with the values that would make them right. */
function wrongDimensions({ expected, found }: Pair): { readonly name: string; readonly found: number }[] {
  const shape = found.tensor.shape;
  if (shape.length !== expected.shape.length) return [];
  return expected.dimensions.flatMap((dimension, index) => {
    const size = shape[index] ?? 0;
    if (typeof dimension === 'number' || size === expected.shape[index] || size === 0 || size % dimension.times !== 0) return [];
    return [{ name: dimension.of, found: size / dimension.times }];
  });
}

/** How many blocks the kept tensors have, for each hyperparameter that decides whether numbered keys exist. */
function stackDepths(comparison: Comparison, kept: KeptByKey): { readonly name: string; readonly found: number; readonly weight: number }[] {
  const stacks = new Map<string, string>();
  const expectedDepths = new Map<string, number>();
  for (const tensor of [...comparison.missing, ...comparison.mismatched.map(pair => pair.expected), ...comparison.matched.map(pair => pair.expected)]) {
    const stacked = tensor.existsBy === undefined ? undefined : blockTemplate(tensor.key);
    if (stacked === undefined || tensor.existsBy === undefined) continue;
    stacks.set(stacked.template, tensor.existsBy);
    expectedDepths.set(tensor.existsBy, Math.max(expectedDepths.get(tensor.existsBy) ?? 0, stacked.block + 1));
  }
  const depths = new Map<string, number>();
  for (const key of kept.keys()) {
    const stacked = blockTemplate(key);
    const name = stacked && stacks.get(stacked.template);
    if (stacked !== undefined && name !== undefined) depths.set(name, Math.max(depths.get(name) ?? 0, stacked.block + 1));
  }
  return [...depths].flatMap(([name, found]) => {
    const weight = Math.abs(found - (expectedDepths.get(name) ?? 0));
    return weight === 0 ? [] : [{ name, found, weight }];
  });
}

/** How much is wrong: absent and extra tensors, and every wrong dimension. */
function doubts({ missing, unexpected, mismatched }: Comparison): number {
  const dimensions = mismatched.map(({ expected, found }) => expected.shape.filter((dim, index) => dim !== found.tensor.shape[index]).length);
  return missing.length + unexpected.length + dimensions.reduce((sum, count) => sum + Math.max(1, count), 0);
}

function findingKeys({ missing, unexpected, mismatched }: Comparison): Set<string> {
  return new Set([...missing.map(tensor => tensor.key), ...unexpected.flatMap(tensor => tensor.outputKey ?? []), ...mismatched.map(pair => pair.expected.key)]);
}

function keysAbout(name: string, comparison: Comparison): string[] {
  return comparison.mismatched.filter(pair => wrongDimensions(pair).some(wrong => wrong.name === name)).map(pair => pair.expected.key);
}

function makeBlame(hyperparameter: Hyperparameter, found: number, family: Family, config: ConfigDocument | undefined): Blame {
  const counts = family.hyperparameters.find(spec => spec.name === hyperparameter.name)?.counts;
  const has = counts === undefined ? t`The checkpoint's ${hyperparameter.name} is ${found}` : t`The checkpoint has ${found} ${counts}`;
  const { origin } = hyperparameter;
  return {
    hyperparameter: hyperparameter.name,
    message: t`${has}; ${sayOrigin(hyperparameter, config, family.title)}.`,
    ...(origin.kind === 'config' && config !== undefined && { place: { location: config.location, range: config.rangeOf(origin.path) } }),
  };
}
