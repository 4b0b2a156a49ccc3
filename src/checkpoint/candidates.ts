import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { AccessError, UserError } from '../errors';
import { formatCount } from '../format';
import type { FileStore, StoredFile } from './byteSource';
import { pathFailure } from './fileSource';
import { localStore } from './localStore';
import { readShardIndex, type ShardIndex } from './shardIndex';
import { quoted } from './wording';

/** A checkpoint that could be opened. */
export interface Candidate {
  /**
   * - index: a shard index and the files it names;
   * - shards: a numbered set of shards without an index;
   * - file: one file.
   */
  readonly kind: 'index' | 'shards' | 'file';
  /** The folder that holds it: an absolute path or an address. */
  readonly folder: string;
  /** The index's or the file's name; for a set of shards the name they share, `model-*-of-00004.safetensors`. */
  readonly name: string;
  /** The shards, for a set without an index: all its numbers, those that are not there included. */
  readonly shards: readonly string[];
  /** The index as it was read to find it; absent where it was not read or is faulty. Opening does not read it again. */
  readonly index?: ShardIndex;
  /** Bytes of its files that are there, as far as they are known. */
  readonly bytes: number;
}

/** A shard's name, taken apart. */
export interface ShardName {
  readonly number: number;
  readonly total: number;
  /** The name all shards of the set share. */
  readonly set: string;
  readonly nameOf: (number: number) => string;
}

const WEIGHTS = /\.(?:safetensors|bin|pt|pth|ckpt)$/i;
const INDEX = /\.index\.json$/i;
/** A whole model's usual file names. */
const STANDARD = /^(?:(?:diffusion_)?(?:pytorch_)?model\.(?:safetensors|bin)|open_clip_(?:pytorch_)?model\.(?:safetensors|bin)|consolidated\.(?:safetensors|pth)|consolidated\.\d+\.pth)$/;
/** What trainers leave beside the weights: opened only when nothing better is there. */
const TRAINING_STATE = /^(?:training_args\.bin|optimizer.*\.(?:pt|bin|pth)|scheduler.*\.(?:pt|bin)|scaler\.pt|rng_state.*\.pth|random_states.*|.*_optim_states\.pt|trainer_state.*|tokenizer.*\.bin|sampler.*\.bin)$/i;

/** Takes `model-00002-of-00004.safetensors` apart, as Hugging Face's libraries write it (5 or 6 digits). */
export function shardName(name: string): ShardName | undefined {
  const match = /^(.*[_-])(\d{5,6})(-of-(\d{5,6})\..+)$/.exec(name);
  if (match === null) return undefined;
  const [, before = '', number = '', after = '', total = ''] = match;
  if (Number(number) < 1 || Number(number) > Number(total)) return undefined;
  return {
    number: Number(number),
    total: Number(total),
    set: `${before}*${after}`,
    nameOf: other => `${before}${String(other).padStart(number.length, '0')}${after}`,
  };
}

/**
 * The checkpoints at a local path: in a folder all of them, else the weights file or index that it is.
 * @throws UserError when nothing is there.
 */
export async function findCheckpoints(location: string, signal?: AbortSignal): Promise<Candidate[]> {
  const path = resolve(location);
  signal?.throwIfAborted();
  const stats = await stat(path).catch(async (error: unknown) => { throw await pathFailure(error, path); });
  if (stats.isDirectory()) {
    const store = localStore(path);
    const found = await findInStore(store, signal);
    if (found.length === 0) throw nothingFound(path, await store.list(signal), await weightsBelow(path, signal));
    return found;
  }
  const name = basename(path);
  return [{ kind: name.toLowerCase().endsWith('.json') ? 'index' : 'file', folder: dirname(path), name, shards: [], bytes: stats.size }];
}

/**
 * The one to open without asking: the only candidate, or the only one that has the name under which Hugging Face's
 * libraries save a model, when the others are named by hand. Undefined when a person must choose.
 */
export function obviousCandidate(candidates: readonly Candidate[]): Candidate | undefined {
  const standard = candidates.filter(({ kind, name }) => kind !== 'file' || STANDARD.test(name));
  const [first, second] = standard.length > 0 ? standard : candidates;
  return second === undefined ? first : undefined;
}

/** The checkpoints directly inside a store: indexes first, then sets of shards and files that no index names. */
export async function findInStore(store: FileStore, signal?: AbortSignal): Promise<Candidate[]> {
  const files = await store.list(signal);
  const sizes = new Map(files.map(file => [file.name, file.size]));
  const named = new Set<string>();
  const found: Candidate[] = [];
  for (const { name } of files.filter(file => INDEX.test(file.name))) {
    const index = await indexOf(store, name, signal);
    const shards = index?.shards ?? [];
    for (const shard of shards) named.add(shard);
    found.push({ kind: 'index', folder: store.location, name, shards: [], ...(index !== undefined && { index }), bytes: shards.reduce((sum, shard) => sum + (sizes.get(shard) ?? 0), 0) });
  }
  found.push(...looseFiles(store, files.filter(file => WEIGHTS.test(file.name) && !named.has(file.name))));
  const better = found.filter(candidate => !TRAINING_STATE.test(candidate.name));
  return better.length > 0 ? better : found;
}

/** An index that cannot be read is a candidate all the same: opening it says what is wrong. */
async function indexOf(store: FileStore, name: string, signal: AbortSignal | undefined): Promise<ShardIndex | undefined> {
  try {
    const source = await store.open(name, signal);
    try {
      return await readShardIndex(source, signal);
    } finally {
      await source.close();
    }
  } catch (error) {
    if (error instanceof UserError && !(error instanceof AccessError)) return undefined;
    throw error;
  }
}

function looseFiles(store: FileStore, files: readonly StoredFile[]): Candidate[] {
  const candidates = new Map<string, Candidate>();
  for (const { name, size } of files) {
    const shard = shardName(name);
    const id = shard?.set ?? name;
    candidates.set(id, {
      kind: shard === undefined ? 'file' : 'shards',
      folder: store.location,
      name: id,
      shards: shard === undefined ? [] : Array.from({ length: shard.total }, (_, index) => shard.nameOf(index + 1)),
      bytes: (candidates.get(id)?.bytes ?? 0) + size,
    });
  }
  return [...candidates.values()];
}

/** The first folder one or two levels down that holds weights, as `snapshots/<revision>` in Hugging Face's cache. */
async function weightsBelow(path: string, signal: AbortSignal | undefined, levels = 2): Promise<string | undefined> {
  signal?.throwIfAborted();
  // A folder that cannot be looked into is no place to point at.
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  if (entries.some(({ name }) => WEIGHTS.test(name) || INDEX.test(name))) return path;
  if (levels === 0) return undefined;
  for (const folder of entries.filter(entry => entry.isDirectory() && !entry.name.startsWith('.')).slice(0, 50)) {
    const below = await weightsBelow(join(path, folder.name), signal, levels - 1);
    if (below !== undefined) return below;
  }
  return undefined;
}

function nothingFound(folder: string, files: readonly StoredFile[], below: string | undefined): UserError {
  const more = files.length > 5 ? t` and ${formatCount(files.length - 5, 'moreFile')}` : '';
  const there = files.length === 0 ? t('it holds no files') : t`it holds ${files.slice(0, 5).map(file => quoted(file.name)).join(', ')}${more}`;
  const instead = below === undefined ? t('Open the folder that directly holds the weights.') : t`There are weights in ${below}; open that folder instead.`;
  return new UserError(t`${folder} holds no checkpoint: looked for *.index.json, *.safetensors, *.bin, *.pt, *.pth and *.ckpt, but ${there}. ${instead}`);
}

/** The path or address that opens this candidate again. */
export function candidateLocation(candidate: Candidate): string {
  if (candidate.kind === 'shards') return candidate.folder;
  return candidate.folder.includes('://') ? `${candidate.folder}/${candidate.name}` : join(candidate.folder, candidate.name);
}
