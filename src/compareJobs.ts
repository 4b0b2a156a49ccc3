import { t } from '@vscode/l10n';
import { compareSides, type CompareOptions, type Comparison } from './comparison/compare';
import { encoderSide, wholeSide, type Side } from './comparison/sides';
import { verdict } from './comparison/verdict';
import { UserError } from './errors';
import { notRecognised, type Job } from './job';

/** What of two checkpoints is compared: what their recipes take out, by its keys in the encoder, or everything by its own keys. */
export type Scope = 'encoders' | 'checkpoints';

/**
 * Compares two open checkpoints.
 * @throws UserError when a recipe takes nothing out of its checkpoint, or a tensor cannot be read
 */
export async function compareJobs(left: Job, right: Job, scope: Scope, options: CompareOptions): Promise<{ readonly comparison: Comparison; readonly verdict: string }> {
  const comparison = await compareSides(sideOf(left, scope), sideOf(right, scope), options);
  return { comparison, verdict: verdict(comparison, scope) };
}

function sideOf(job: Job, scope: Scope): Side {
  if (scope === 'checkpoints') return wholeSide(job.checkpoint);
  if (job.plan.kept.length === 0) {
    throw new UserError(job.family === undefined ? notRecognised(job) : t`The recipe takes no tensor out of ${job.checkpoint.name}, so that there is no encoder to compare. Mark its tensors first, or compare all keys.`);
  }
  return encoderSide(job.plan, job.family?.title);
}
