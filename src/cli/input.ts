import { createReadStream } from 'node:fs';
import { resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { parseConfig } from '../architecture/config';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { printable } from '../checkpoint/wording';
import { systemErrorCode, UserError } from '../errors';
import { formatBytes, parseBytes } from '../format';
import { openJob, updateJob, type Job } from '../job';
import { decodeUtf8, MAX_TEXT_BYTES } from '../json';
import { switchParts } from '../parts';
import { setSetting } from '../recipe/edit';
import { parseRecipe, type Settings } from '../recipe/recipe';
import { openLocation } from '../remote/open';
import type { Terminal } from './terminal';

/** The options that say what is taken out of a checkpoint, shared by keys, validate and extract. */
export interface InputOptions {
  readonly config?: string;
  readonly recipe?: string;
  readonly family?: string;
  readonly set?: Settings;
  /** Optional parts to take in or leave behind. */
  readonly with?: readonly string[];
  readonly without?: readonly string[];
}

/** Runs `use` on the checkpoint with the recipe, config and settings of the command line, and closes it. */
export async function withInput<T>(location: string, options: InputOptions, terminal: Terminal, signal: AbortSignal, use: (job: Job) => Promise<T> | T): Promise<T> {
  const config = options.config === undefined ? undefined : parseConfig(await readText(options.config), resolve(options.config));
  const recipe = options.recipe === undefined ? undefined : parseRecipe(await readText(options.recipe), resolve(options.recipe));
  const checkpoint = await openAnywhere(location, terminal, signal);
  try {
    const job = await openJob(checkpoint, {
      signal,
      ...(config === undefined ? {} : { config }),
      ...(recipe === undefined ? {} : { recipe }),
      ...(options.family === undefined ? {} : { family: options.family }),
    });
    return await use(withParts(withSettings(job, options.set ?? {}), options));
  } finally {
    await checkpoint.close();
  }
}

/** Opens a checkpoint on this machine, on the Hub or at an address; what takes long is told. */
export function openAnywhere(location: string, terminal: Terminal, signal: AbortSignal): Promise<Checkpoint> {
  return openLocation(location, { signal, hub: { onNotice: message => { terminal.note(printable(message)); } } });
}

/** commander's parser for paths. An empty one, which an unset shell variable makes, would mean the working folder. */
export function parsePath(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty where a path is expected.');
  return text;
}

/** commander's parser for `--set name=value`, which may be given again and again. */
export function parseSetting(text: string, previous: Settings = {}): Settings {
  const match = /^([A-Za-z_]\w*)=(\S+)$/.exec(text);
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

function withParts(job: Job, { with: taken = [], without: left = [] }: InputOptions): Job {
  const both = taken.find(part => left.includes(part));
  if (both !== undefined) throw new UserError(`--with ${both} and --without ${both} contradict each other. Give one of them.`);
  return switchParts(job, Object.fromEntries([...taken.map(part => [part, true] as const), ...left.map(part => [part, false] as const)]));
}

/** commander's parser for an option that may be given again. */
export function parsePart(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

/** Reads a config or recipe from a file, or from a pipe (`--config <(jq ...)`). */
export async function readText(path: string): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    // One byte more than allowed tells that there is more.
    for await (const chunk of createReadStream(path, { end: MAX_TEXT_BYTES }) as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === undefined) throw error;
    const why = { ENOENT: 'does not exist. Check the path.', EACCES: 'may not be read. Check its permissions.', EPERM: 'may not be read. Check its permissions.', EISDIR: 'is a folder; a file is wanted here.' }[code];
    throw new UserError(`${path} ${why ?? `cannot be read (${code}).`}`, { cause: error });
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length > MAX_TEXT_BYTES) throw new UserError(`${path} is larger than ${formatBytes(MAX_TEXT_BYTES)}, far too large for a config or a recipe. Check that it is the right file.`);
  return decodeUtf8(bytes, path);
}
