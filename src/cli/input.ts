import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { parseConfig } from '../architecture/config';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { systemErrorCode, UserError } from '../errors';
import { parseBytes } from '../format';
import { openJob, updateJob, type Job } from '../job';
import { setSetting } from '../recipe/edit';
import { parseRecipe, type Settings } from '../recipe/recipe';
import { openLocation } from '../remote/open';
import { printable, type Terminal } from './terminal';

/** The options that say what is taken out of a checkpoint, shared by keys, validate and extract. */
export interface InputOptions {
  readonly config?: string;
  readonly recipe?: string;
  readonly family?: string;
  readonly set: Settings;
}

/** Opens the checkpoint with the recipe, config and settings of the command line. The caller closes it. */
export async function openInput(location: string, options: InputOptions, terminal: Terminal, signal: AbortSignal): Promise<Job> {
  const config = options.config === undefined ? undefined : parseConfig(await readText(options.config), resolve(options.config));
  const given = options.recipe === undefined ? undefined : parseRecipe(await readText(options.recipe), resolve(options.recipe));
  const checkpoint = await openAnywhere(location, terminal, signal);
  try {
    const job = await openJob(checkpoint, {
      signal,
      ...(config === undefined ? {} : { config }),
      ...(given === undefined ? {} : { recipe: given }),
      ...(options.family === undefined ? {} : { family: options.family }),
    });
    return withSettings(job, options.set);
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/** Opens a checkpoint on this machine, on the Hub or at an address; what takes long is told. */
export function openAnywhere(location: string, terminal: Terminal, signal: AbortSignal): Promise<Checkpoint> {
  return openLocation(location, { signal, hub: { onNotice: message => { terminal.note(printable(message)); } } });
}

/** commander's parser for `--set name=value`, which may be given again and again. */
export function parseSetting(text: string, previous: Settings): Settings {
  const match = /^([A-Za-z_]\w*)=(.+)$/.exec(text);
  const [, name, number] = match ?? [];
  const value = Number(number);
  if (name === undefined || !Number.isFinite(value)) {
    throw new InvalidArgumentError('It has the form name=number, for example output_dim=128.');
  }
  return { ...previous, [name]: value };
}

/** commander's parser for sizes: `5GB` (decimal, as Hugging Face counts) or `5GiB`. */
export function parseSize(text: string): number {
  const bytes = parseBytes(text);
  if (bytes === undefined) throw new InvalidArgumentError('It is a size such as 500MB, 5GB or 5GiB.');
  return bytes;
}

function withSettings(job: Job, settings: Settings): Job {
  if (Object.keys(settings).length === 0) return job;
  const recipe = Object.entries(settings).reduce((edited, [name, value]) => setSetting(edited, name, value), job.recipe);
  return updateJob(job, { recipe });
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') throw new UserError(`${path} does not exist. Check the path.`, { cause: error });
    if (code === 'EACCES' || code === 'EPERM') throw new UserError(`${path} may not be read. Check its permissions.`, { cause: error });
    if (code === 'EISDIR') throw new UserError(`${path} is a folder; a file is wanted here.`, { cause: error });
    throw error;
  }
}
