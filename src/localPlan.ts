import type { EncoderStore } from './extraction/encoderStore';
import type { ExtractOptions } from './extraction/extract';
import { companionFiles, validated, type Job } from './job';
import type { RunOptions } from './progress';
import type { Plan } from './recipe/plan';

/** Whether the files of all kept tensors are on this machine. */
export function isLocal({ checkpoint, kept }: Plan): boolean {
  return kept.every(({ tensor }) => checkpoint.files[tensor.file]?.source.path !== undefined);
}

/** The job's plan with its tensors on this machine: its own, or that of the copy in the store, which is made when it is absent. */
export async function localPlan(job: Job, store: EncoderStore, options: RunOptions & Pick<ExtractOptions, 'onResume'>): Promise<Plan> {
  if (isLocal(job.plan)) return job.plan;
  return store.fetch(job.plan, validated(job).validation, { ...options, ...(await companionFiles(job, options.signal)) });
}
