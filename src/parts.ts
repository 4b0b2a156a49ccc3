import { t } from '@vscode/l10n';
import type { Switch } from './architecture/family';
import type { Tensor } from './checkpoint/checkpoint';
import { PROJECTOR } from './architecture/projector';
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
    const modules = modulesOf(part, prefix, job.checkpoint.tensors);
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
    if (part === undefined || !known.some(one => one.id === id)) throw new UserError(t`${job.checkpoint.name} has no optional part "${id}". ${whatItHas(job)}`);
    for (const rule of part.rules(prefix, kept, job.checkpoint.tensors)) if ('module' in rule) recipe = applyMark(recipe, [{ module: rule.module }], rule.mark, stripPrefix(rule));
  }
  return recipe === job.recipe ? job : updateJob(job, { recipe });
}

/** What a checkpoint's encoder has instead, what such encoders can have, and what stands beside it that is not known: a sentence each. */
export function whatItHas(job: Job): string {
  const { family, checkpoint } = job;
  if (family === undefined) return t('No vision encoder is recognised in it.');
  const known = optionalParts(job).map(({ id }) => id);
  const possible = (family.switches ?? []).map(({ id }) => id);
  const has = known.length === 0 ? t('none') : known.join(', ');
  const sentence = possible.length === 0 ? t`${family.title} encoders have no optional parts.` : t`${family.title} encoders can have: ${possible.join(', ')}. This one has: ${has}.`;
  const strange = known.includes(PROJECTOR) ? [] : family.connectors?.(prefixOf(job) ?? '', checkpoint.tensors) ?? [];
  return strange.length === 0 ? sentence : t`${sentence} What joins it to its language model (${strange.join(', ')}) is of no kind that is known here.`;
}

function modulesOf(part: Switch, prefix: string, tensors: readonly Tensor[]): string[] {
  return part.rules(prefix, true, tensors).flatMap(rule => ('module' in rule ? [rule.module] : []));
}

function prefixOf({ family, checkpoint, config }: Job): string | undefined {
  return family?.detect(checkpoint.tensors, config)?.prefix;
}
