import { t } from '@vscode/l10n';
import type { Switch } from './architecture/family';
import { UserError } from './errors';
import { updateJob, type Job } from './job';
import { applyMark } from './recipe/edit';
import { stripPrefix } from './recipe/rules';

/** An optional part of the encoder (a merger, projection, head) that the checkpoint has. */
export interface OptionalPart {
  readonly id: string;
  readonly title: string;
  /** Whether the recipe takes it in. */
  readonly kept: boolean;
  readonly tensors: number;
}

/** The optional parts of the job's family that its checkpoint has. */
export function optionalParts(job: Job): OptionalPart[] {
  const prefix = prefixOf(job);
  if (prefix === undefined) return [];
  return (job.family?.switches ?? []).flatMap(part => {
    const modules = modulesOf(part, prefix);
    const tensors = job.plan.tensors.filter(({ tensor: { key } }) => modules.some(module => key === module || key.startsWith(`${module}.`)));
    return tensors.length === 0 ? [] : [{ id: part.id, title: part.title, kept: tensors.some(({ outputKey }) => outputKey !== undefined), tensors: tensors.length }];
  });
}

/**
 * The job with parts taken in (true) or left behind (false), by edits of its recipe.
 * @throws UserError for a part that the checkpoint does not have, saying which it has
 */
export function switchParts(job: Job, choices: Readonly<Record<string, boolean>>): Job {
  const known = optionalParts(job);
  const prefix = prefixOf(job) ?? '';
  let { recipe } = job;
  for (const [id, kept] of Object.entries(choices)) {
    const part = job.family?.switches?.find(one => one.id === id);
    if (part === undefined || !known.some(one => one.id === id)) {
      const have = known.length === 0 ? t('It has none') : t`It has: ${known.map(one => one.id).join(', ')}`;
      throw new UserError(t`${job.checkpoint.name} has no optional part "${id}". ${have}.`);
    }
    for (const rule of part.rules(prefix, kept)) if ('module' in rule) recipe = applyMark(recipe, [{ module: rule.module }], rule.mark, stripPrefix(rule));
  }
  return recipe === job.recipe ? job : updateJob(job, { recipe });
}

function modulesOf(part: Switch, prefix: string): string[] {
  return part.rules(prefix, true).flatMap(rule => ('module' in rule ? [rule.module] : []));
}

function prefixOf({ family, checkpoint, config }: Job): string | undefined {
  return family?.detect(checkpoint.tensors, config)?.prefix;
}
