import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { printable } from '../checkpoint/wording';
import { encoderModel, type EncoderModel } from '../encoder/model';
import { UserError } from '../errors';
import { downloadEstimate } from '../extraction/downloadEstimate';
import { EncoderStore } from '../extraction/encoderStore';
import { formatBytes } from '../format';
import { validated, type Job } from '../job';
import { isLocal, localPlan } from '../localPlan';
import type { Plan } from '../recipe/plan';
import { parsePath, parseSize } from './input';
import type { Terminal } from './terminal';

/** The options of commands that run an encoder, which may be elsewhere. */
export interface CacheOptions {
  readonly cache?: string;
  readonly cacheSize?: number;
}

const CACHE_BYTES = 20e9;

export function cacheOptions(command: Command): Command {
  return command
    .option('--cache <dir>', 'where the encoders of remote checkpoints are kept (default: ~/.cache/vision-encoder)', parsePath)
    .option('--cache-size <size>', `what is kept there at most; the encoder used longest ago goes first (default: ${formatBytes(CACHE_BYTES)})`, parseSize);
}

/**
 * The job's encoder, ready to run; that of a remote checkpoint is downloaded into the cache first, unless it is there.
 * @throws UserError when it would not load strictly, so it cannot run either
 */
export async function runnable(job: Job, options: CacheOptions, terminal: Terminal, signal: AbortSignal): Promise<EncoderModel> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError('The encoder would not load strictly, so it cannot be run. See what is wrong with: vision-encoder validate');
  // What cannot be run is not downloaded.
  const plan = family.graph === undefined ? job.plan : await planHere(job, options, terminal, signal);
  return encoderModel(plan, family, validation.hyperparameters, job.config);
}

async function planHere(job: Job, { cache = defaultCache(), cacheSize = CACHE_BYTES }: CacheOptions, terminal: Terminal, signal: AbortSignal): Promise<Plan> {
  if (isLocal(job.plan)) return job.plan;
  const store = new EncoderStore({ folder: cache, mostBytes: cacheSize, limitName: '--cache-size' });
  const estimate = downloadEstimate(job.plan);
  if (estimate !== undefined && !await store.has(job.plan)) {
    terminal.note(printable(`Downloading ${formatBytes(estimate.download)} of ${formatBytes(estimate.total)} into ${store.folder}, once.`));
  }
  const bar = terminal.progress('Downloading');
  try {
    return await localPlan(job, store, { signal, onProgress: bar.report, onResume: bytes => { terminal.note(`Going on from ${formatBytes(bytes)} that an interrupted run left.`); } });
  } finally {
    bar.stop();
  }
}

/** https://specifications.freedesktop.org/basedir-spec/latest/ */
function defaultCache(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'vision-encoder');
}
