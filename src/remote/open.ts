import { posix } from 'node:path';
import { t } from '@vscode/l10n';
import type { FileStore } from '../checkpoint/byteSource';
import { findInStore } from '../checkpoint/candidates';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { findCheckpoints, obviousCandidate, openCheckpoint, openFromStore, type Candidate } from '../checkpoint/open';
import { localStore } from '../checkpoint/localStore';
import { someOf } from '../checkpoint/wording';
import { systemErrorCode, UserError } from '../errors';
import type { RunOptions } from '../progress';
import { ConnectionError } from './errors';
import { HttpClient } from './http';
import { httpStore } from './httpStore';
import { Hub } from './hub';
import { cachedCheckpoint, cachedCommit, isCommit } from './hubCache';
import { hubCacheFolder, hubEndpoint, isOffline, type HubOptions } from './hubOptions';
import { hubStore } from './hubStore';
import { decoded, hubAddress, parseLocation, type HubLocation } from './location';

export interface OpenOptions extends RunOptions {
  readonly hub?: HubOptions;
}

/** A place where checkpoints are, wherever it is, and what was found there. */
export interface FoundCheckpoints {
  readonly store: FileStore;
  readonly candidates: readonly Candidate[];
}

const WEIGHTS_OR_INDEX = /\.(?:safetensors|bin|pt|pth|ckpt|json)$/i;

/**
 * Opens a checkpoint by whatever a person gives: a local path, `hf://owner/model@revision`, a Hub page's address, or
 * another address of a file or of a folder with an index. A Hub model that the Hub client's cache has whole is opened
 * from there. Only headers are read; a revision is resolved to its commit once and every file is of that commit.
 * @throws UserError as openCheckpoint does; ConnectionError (a UserError) when the network failed again and again.
 */
export async function openLocation(text: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const place = parseLocation(text, hubEndpoint(options.hub));
  if (place.kind === 'local') return openLocalPath(place.path, options);
  const found = await findAt(text, options);
  const chosen = obviousCandidate(found.candidates);
  if (chosen === undefined) {
    const { location } = found.store;
    throw new UserError(t`${location} holds ${found.candidates.length} checkpoints: ${someOf(found.candidates.map(({ name }) => name), 12)}. Open one of these files, such as ${location}/${found.candidates[0]?.name ?? ''}.`);
  }
  return openFound(found, chosen, options);
}

/** The checkpoints at a place, for somebody to choose from. */
export async function findAt(text: string, options: OpenOptions = {}): Promise<FoundCheckpoints> {
  const { signal, hub: hubOptions = {} } = options;
  const location = parseLocation(text, hubEndpoint(hubOptions));
  switch (location.kind) {
    case 'local': return findLocally(location.path, signal);
    case 'http': return findOverHttp(location.url, options);
    case 'hub': return findOnHub(location, hubOptions, signal);
  }
}

/** Opens one of those that `findAt` found. */
export async function openFound({ store }: FoundCheckpoints, candidate: Candidate, options: RunOptions = {}): Promise<Checkpoint> {
  return openFromStore(store, candidate, options);
}

async function findLocally(path: string, signal: AbortSignal | undefined): Promise<FoundCheckpoints> {
  const candidates = await findCheckpoints(path, signal);
  return { store: localStore(candidates[0]?.folder ?? path), candidates };
}

async function findOverHttp(url: URL, { hub, signal }: OpenOptions): Promise<FoundCheckpoints> {
  const client = new HttpClient(hub);
  const name = decoded(posix.basename(url.pathname), url.pathname);
  if (!url.pathname.endsWith('/') && WEIGHTS_OR_INDEX.test(name)) {
    const store = httpStore(client, new URL('./', url), { name, url });
    const { size } = await store.open(name, signal);
    return { store, candidates: [fileCandidate(store, name, size)] };
  }
  const folder = new URL(url);
  if (!folder.pathname.endsWith('/')) folder.pathname += '/';
  const store = httpStore(client, folder);
  return withSomething({ store, candidates: await findInStore(store, signal) }, t('Give the address of the weights file or of its index (.index.json).'));
}

async function findOnHub(location: HubLocation, options: HubOptions, signal: AbortSignal | undefined): Promise<FoundCheckpoints> {
  const hub = await Hub.connect(options);
  const cache = hubCacheFolder(options);
  const commit = await resolveCommit(hub, cache, location, signal);
  const { repo, path } = location;
  const cached = cache === undefined ? undefined : await cachedCheckpoint(cache, repo, commit, path, signal);
  if (cached !== undefined) {
    hub.client.notice(t`${repo} is on this disk already; it is read from ${cached}.`);
    return findLocally(cached, signal);
  }
  if (isOffline()) throw new UserError(t`${hubAddress({ ...location, revision: commit })} is not whole in the Hub's cache, and HF_HUB_OFFLINE forbids fetching it. Unset HF_HUB_OFFLINE.`);
  if (WEIGHTS_OR_INDEX.test(path)) {
    const parent = posix.dirname(path);
    const store = hubStore(hub, repo, commit, parent === '.' ? '' : parent);
    const name = posix.basename(path);
    const { size } = await store.open(name, signal);
    return { store, candidates: [fileCandidate(store, name, size)] };
  }
  const store = hubStore(hub, repo, commit, path);
  return withSomething({ store, candidates: await findInStore(store, signal) }, t('Open the folder that directly holds the weights, as hf://owner/model@revision/folder.'));
}

/** Without a network the cache's own knowledge of the revision serves, which may be old. */
async function resolveCommit(hub: Hub, cache: string | undefined, location: HubLocation, signal: AbortSignal | undefined): Promise<string> {
  const { repo, revision } = location;
  if (isCommit(revision)) return revision;
  const known = (): Promise<string | undefined> => cache === undefined ? Promise.resolve(undefined) : cachedCommit(cache, location);
  if (isOffline()) {
    const commit = await known();
    if (commit === undefined) throw new UserError(t`${repo} is not in the Hub's cache, and HF_HUB_OFFLINE forbids fetching it. Unset HF_HUB_OFFLINE.`);
    return commit;
  }
  try {
    return await hub.commitOf(repo, revision, signal);
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    const commit = await known();
    if (cache === undefined || commit === undefined || await cachedCheckpoint(cache, repo, commit, location.path, signal) === undefined) throw error;
    hub.client.notice(t`${error.message} ${repo} is taken as it was when it was last downloaded.`);
    return commit;
  }
}

function fileCandidate(store: FileStore, name: string, bytes: number): Candidate {
  return { kind: name.toLowerCase().endsWith('.json') ? 'index' : 'file', folder: store.location, name, shards: [], bytes };
}

function withSomething(found: FoundCheckpoints, advice: string): FoundCheckpoints {
  if (found.candidates.length > 0) return found;
  throw new UserError(t`${found.store.location} holds no checkpoint: looked for *.index.json, *.safetensors, *.bin, *.pt, *.pth and *.ckpt. ${advice}`);
}

async function openLocalPath(path: string, options: RunOptions): Promise<Checkpoint> {
  try {
    return await openCheckpoint(path, options);
  } catch (error) {
    if (error instanceof UserError && ['ENOENT', 'ENOTDIR'].includes(systemErrorCode(error.cause) ?? '') && /^[A-Za-z0-9][\w.-]*\/[\w.-]+$/.test(path)) {
      throw new UserError(t`${error.message} For the model on the Hugging Face Hub write hf://${path}.`, { cause: error });
    }
    throw error;
  }
}
