import type { Mark, Rule } from './recipe';
import { stripPrefix } from './rules';

/** What becomes of a tensor. */
export interface Outcome {
  readonly mark: Mark;
  /** What strip removes. */
  readonly prefix?: string | undefined;
}

export function sameOutcome(a: Outcome, b: Outcome): boolean {
  return a.mark === b.mark && (a.mark !== 'strip' || a.prefix === b.prefix);
}

/** Whether `key` (or a module's path) is `module` or lies below it. */
export function isInModule(key: string, module: string): boolean {
  return key.startsWith(module) && (key.length === module.length || key[module.length] === '.');
}

/** Whether `rule` decides about all tensors that `module` could have, about some, or about none. Unclear counts as some. */
export function relate(rule: Rule, module: string): 'all' | 'some' | 'apart' {
  if ('key' in rule) return isInModule(rule.key, module) ? 'some' : 'apart';
  if ('module' in rule) {
    if (isInModule(module, rule.module)) return `${module}.`.startsWith(stripPrefix(rule) ?? '') ? 'all' : 'some';
    return isInModule(rule.module, module) ? 'some' : 'apart';
  }
  const parts = rule.pattern.split('.');
  const segments = module.split('.');
  const clash = parts.findIndex((part, index) => part.includes('*') || part !== segments[index]);
  if (clash < 0 || clash >= segments.length) return 'some';
  return parts[clash]?.includes('*') === true ? 'some' : 'apart';
}

/** What `rules` make of every tensor that `module` could have; undefined when that may differ from one to another. */
export function uniformOutcome(rules: readonly Rule[], module: string): Outcome | undefined {
  let outcome: Outcome | undefined;
  for (const rule of rules) {
    const relation = relate(rule, module);
    if (relation === 'apart') continue;
    const own: Outcome = { mark: rule.mark, prefix: stripPrefix(rule) };
    if (outcome !== undefined && !sameOutcome(outcome, own)) return undefined;
    outcome = own;
    if (relation === 'all') return outcome;
  }
  const left: Outcome = { mark: 'exclude' };
  return outcome === undefined || sameOutcome(outcome, left) ? left : undefined;
}
