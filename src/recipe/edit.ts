import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import type { Mark, Recipe, Rule } from './recipe';
import { compileRecipe, stripPrefix } from './rules';
import { relate, sameOutcome, uniformOutcome, type Outcome } from './scope';

/** What an edit is about: one tensor, or all tensors of a module. */
export type Target = { readonly key: string } | { readonly module: string };

/**
 * Marks the targets. Each edit becomes an override in front of the others; overrides that it covers are dropped,
 * and an edit that says what the recipe would decide anyway leaves none.
 * @param prefix what `strip` removes; without it, what is stripped now, else the prefix of the first strip rule that fits, else a module's own path
 * @throws UserError when `strip` has no prefix, or one that the target does not start with
 */
export function applyMark(recipe: Recipe, targets: readonly Target[], mark: Mark, prefix?: string): Recipe {
  const decide = compileRecipe(recipe);
  return replaceOverrides(recipe, outermost(targets).map(target => {
    if (mark !== 'strip') return { target, rule: ruleFor(target, { mark }) };
    const now = 'key' in target ? outcomeOf(decide(target.key)?.rule) : uniformOutcome([...recipe.overrides, ...recipe.rules], target.module);
    return { target, rule: ruleFor(target, { mark, prefix: choosePrefix(recipe, target, prefix ?? now?.prefix) }) };
  }));
}

/**
 * Takes the edits of the targets back, so that the rules alone decide about them.
 * @throws UserError for a module inside an edited one whose tensors the rules mark in different ways
 */
export function resetMark(recipe: Recipe, targets: readonly Target[]): Recipe {
  const decide = compileRecipe({ overrides: [], rules: recipe.rules });
  const edits = outermost(targets).map(target => {
    if ('key' in target) return { target, rule: ruleFor(target, outcomeOf(decide(target.key)?.rule)) };
    const outcome = uniformOutcome(recipe.rules, target.module);
    return { target, rule: outcome && ruleFor(target, outcome) };
  });
  return replaceOverrides(recipe, edits);
}

/** Gives a hyperparameter by hand, or with undefined no longer. */
export function setSetting(recipe: Recipe, name: string, value: number | undefined): Recipe {
  const settings = Object.entries(recipe.settings).filter(([other]) => other !== name);
  if (value !== undefined) settings.push([name, value]);
  return { ...recipe, settings: Object.fromEntries(settings) };
}

interface Edit {
  readonly target: Target;
  /** Undefined for a module that no single rule describes: taking its overrides away must suffice. */
  readonly rule: Rule | undefined;
}

function replaceOverrides(recipe: Recipe, edits: readonly Edit[]): Recipe {
  const covered = coveredBy(edits.map(edit => edit.target));
  const remaining = recipe.overrides.filter(rule => 'pattern' in rule || !covered(rule));
  const decide = compileRecipe({ overrides: remaining, rules: recipe.rules });
  const added = edits.flatMap(({ target, rule }) => {
    if ('key' in target) return rule === undefined || sameOutcome(outcomeOf(decide(target.key)?.rule), outcomeOf(rule)) ? [] : [rule];
    if (rule !== undefined) {
      const outcome = uniformOutcome([...remaining, ...recipe.rules], target.module);
      return outcome !== undefined && sameOutcome(outcome, outcomeOf(rule)) ? [] : [rule];
    }
    const above = remaining.find(other => relate(other, target.module) !== 'apart');
    if (above === undefined) return [];
    const name = 'module' in above ? t`the module ${above.module}` : 'pattern' in above ? t`the pattern ${above.pattern}` : above.key;
    throw new UserError(t`${target.module} was edited as part of ${name}, and the rules mark its tensors in different ways. Reset ${name} as a whole.`);
  });
  return { ...recipe, overrides: [...added, ...remaining] };
}

/** Undefined for a module without a fitting strip rule: its own path. */
function choosePrefix(recipe: Recipe, target: Target, wanted: string | undefined): string | undefined {
  const name = 'key' in target ? target.key : target.module;
  const fits = (prefix: string): boolean => ('key' in target ? name.length > prefix.length && name.startsWith(prefix) : `${name}.`.startsWith(prefix));
  if (wanted !== undefined && !fits(wanted)) {
    throw new UserError(t`The prefix "${wanted}" cannot be stripped from ${name}, which ${name === wanted ? t('would have no name left') : t('does not start with it')}.`);
  }
  const prefix = wanted ?? [...recipe.rules, ...recipe.overrides].map(stripPrefix).find(one => one !== undefined && fits(one));
  if (prefix === undefined && 'key' in target) throw new UserError(t`No strip rule of the recipe fits ${name}. Say which prefix to remove from it.`);
  return prefix;
}

function ruleFor(target: Target, { mark, prefix }: Outcome): Rule {
  if ('key' in target) return { mark, key: target.key, ...(prefix !== undefined && { prefix }) };
  return { mark, module: target.module, ...(prefix !== undefined && prefix !== `${target.module}.` && { prefix }) };
}

function outcomeOf(rule: Rule | undefined): Outcome {
  return rule === undefined ? { mark: 'exclude' } : { mark: rule.mark, prefix: stripPrefix(rule) };
}

/** The targets that lie in no other one, each once. */
function outermost(targets: readonly Target[]): Target[] {
  const modules = new Set(targets.flatMap(target => ('module' in target ? [target.module] : [])));
  const keys = new Set(targets.flatMap(target => ('key' in target ? [target.key] : [])));
  return [
    ...[...modules].filter(path => !ancestors(path).some(above => modules.has(above))).map(module => ({ module })),
    ...[...keys].filter(key => !modules.has(key) && !ancestors(key).some(above => modules.has(above))).map(key => ({ key })),
  ];
}

function coveredBy(targets: readonly Target[]): (rule: Target) => boolean {
  const modules = new Set(targets.flatMap(target => ('module' in target ? [target.module] : [])));
  const keys = new Set(targets.flatMap(target => ('key' in target ? [target.key] : [])));
  return rule => {
    const path = 'key' in rule ? rule.key : rule.module;
    return ('key' in rule && keys.has(path)) || modules.has(path) || ancestors(path).some(above => modules.has(above));
  };
}

/** `a.b.c` -> `a.b`, `a`. */
function ancestors(path: string): string[] {
  const above: string[] = [];
  for (let dot = path.lastIndexOf('.'); dot >= 0; dot = dot === 0 ? -1 : path.lastIndexOf('.', dot - 1)) above.push(path.slice(0, dot));
  return above;
}
