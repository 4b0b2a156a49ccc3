import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { findInStore, obviousCandidate, type Candidate } from '../checkpoint/candidates';
import { localStore } from '../checkpoint/localStore';
import { readShardIndex } from '../checkpoint/shardIndex';
import { systemErrorCode, UserError } from '../errors';
import type { HubLocation } from './location';

/**
 * The cache of the Hub's own client: `models--owner--name/snapshots/<commit>/` has a repository's files as symbolic
 * links to blobs, `models--owner--name/refs/<revision>` the commit that a revision was when it was last looked up.
 * https://huggingface.co/docs/huggingface_hub/guides/manage-cache
 */
const COMMIT = /^[0-9a-f]{40}$/;

/** A model that is on this disk already. */
export interface CachedModel {
  readonly repo: string;
  readonly commit: string;
  readonly folder: string;
}

/** Whether a revision can be nothing but a commit. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/** The commit that the cache last saw for a revision; undefined when it never did. */
export async function cachedCommit(cache: string, { repo, revision }: HubLocation): Promise<string | undefined> {
  const text = await readFile(join(cache, folderOf(repo), 'refs', ...revision.split('/')), 'utf8').catch(ifSystemError(''));
  return isCommit(text.trim()) ? text.trim() : undefined;
}

/**
 * The folder (or file) of a commit in the cache, when all of the checkpoint's weights are there; the Hub's client
 * leaves incomplete ones behind when a download is interrupted, and when only some files were wanted.
 */
export async function cachedCheckpoint(cache: string, repo: string, commit: string, path: string, signal?: AbortSignal): Promise<string | undefined> {
  const place = join(cache, folderOf(repo), 'snapshots', commit, ...path.split('/').filter(part => part !== ''));
  const stats = await stat(place).catch(ifSystemError(undefined));
  if (stats === undefined) return undefined;
  const folder = stats.isDirectory() ? place : join(place, '..');
  const store = localStore(folder);
  const there = new Set((await store.list(signal)).map(({ name }) => name));
  // The config is looked for beside the weights; without it the copy serves less than the original.
  if (!there.has('config.json')) return undefined;
  if (stats.isFile() && !place.endsWith('.index.json')) return place;
  const candidates = await findInStore(store, signal);
  const chosen = stats.isFile() ? candidates.find(({ name }) => place.endsWith(name)) : obviousCandidate(candidates);
  if (chosen === undefined) return undefined;
  const complete = (await filesOf(folder, chosen, signal)).every(name => there.has(name));
  return complete ? place : undefined;
}

/** All models with a complete checkpoint in the cache, by name. */
export async function cachedModels(cache: string, signal?: AbortSignal): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const name of (await readdir(cache).catch(ifSystemError([]))).sort()) {
    const repo = /^models--(.+)$/.exec(name)?.[1]?.replaceAll('--', '/');
    if (repo === undefined) continue;
    for (const commit of await readdir(join(cache, name, 'snapshots')).catch(ifSystemError([]))) {
      signal?.throwIfAborted();
      const folder = await cachedCheckpoint(cache, repo, commit, '', signal);
      if (folder !== undefined) found.push({ repo, commit, folder });
    }
  }
  return found;
}

function folderOf(repo: string): string {
  return `models--${repo.replaceAll('/', '--')}`;
}

async function filesOf(folder: string, candidate: Candidate, signal: AbortSignal | undefined): Promise<readonly string[]> {
  if (candidate.kind === 'file') return [candidate.name];
  if (candidate.kind === 'shards') return candidate.shards;
  const source = await localStore(folder).open(candidate.name, signal);
  try {
    return (await readShardIndex(source, signal)).shards;
  } catch (error) {
    if (error instanceof UserError) return [''];
    throw error;
  } finally {
    await source.close();
  }
}

/** What is not there, or may not be read, is not in the cache. */
function ifSystemError<T>(instead: T): (error: unknown) => T {
  return error => {
    if (systemErrorCode(error) === undefined) throw error;
    return instead;
  };
}
