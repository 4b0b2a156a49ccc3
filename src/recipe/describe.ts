import { t } from '@vscode/l10n';
import type { PlannedTensor } from './plan';
import type { Rule } from './recipe';

/** What a rule names, as people read it: `module transformer.visual`. */
export function describeTarget(rule: Rule): string {
  if ('key' in rule) return `key ${rule.key}`;
  if ('module' in rule) return `module ${rule.module}`;
  return `pattern ${rule.pattern}`;
}

/** The rule in one line: `strip module transformer.visual`. */
export function describeRule(rule: Rule): string {
  return `${rule.mark} ${describeTarget(rule)}`;
}

/** What decided a tensor's mark, in one line. */
export function describeDecision({ decision }: Pick<PlannedTensor, 'decision'>): string {
  if (decision === undefined) return t('no rule wants it');
  return decision.source === 'override' ? t`${describeRule(decision.rule)} (edited by hand)` : describeRule(decision.rule);
}
