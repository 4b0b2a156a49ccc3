import { randomBytes } from 'node:crypto';
import { lstat, readdir, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import { writing } from './ioErrors';
import { Journal, writtenBytes, type Unfinished } from './journal';
import { makeFolders } from './makeFolders';
import { processIdentity, stillRuns } from './processIdentity';
import { replace, takeBack } from './replacement';
import { syncFolder } from './syncFolder';

const HOST = hostname().replace(/[^A-Za-z0-9]/g, '_').slice(0, 60);
/** Clocks are set while a machine starts. */
const CLOCK_SLACK_MS = 60_000;
/** Host, number and identity of the process that writes it, and what makes the name its own. */
const PARTIAL = /^\.vision-encoder-partial-(\w*)-(\d+)-(?:([0-9a-f]{16})-)?[0-9a-f]{12}$/;

/**
 * A temporary folder on the disk of the final place, in which an output grows until it is whole. Beside `out` when
 * there is no such folder yet: committing is then one rename. Inside it when there is (it keeps its permissions and
 * other people's files): the files then move in one by one, the last named last.
 */
export class OutputFolder {
  /** Where the files are written until `commit`. */
  readonly staging: string;
  /** What a run that died had written there; undefined when the folder is new. */
  readonly unfinished: Unfinished | undefined;
  readonly #out: string;
  readonly #exists: boolean;
  /** The topmost folder made on the way to `out`. */
  readonly #made: string | undefined;
  /** Whether `staging` holds files of an earlier output that could not be put back. */
  #holdsOthers = false;

  private constructor(out: string, exists: boolean, staging: string, made: string | undefined, unfinished: Unfinished | undefined) {
    this.unfinished = unfinished;
    this.#out = out;
    this.#exists = exists;
    this.staging = staging;
    this.#made = made;
  }

  /**
   * Makes the temporary folder, after removing those that killed runs of this machine left in the same place; or takes
   * over one of these, when its journal says that it was to become the same.
   * @param fingerprint of what will be written; undefined when nothing can be taken over.
   * @throws UserError when the folder cannot be made.
   */
  static async prepare(out: string, fingerprint?: string): Promise<OutputFolder> {
    const path = resolve(out);
    return writing(path, async () => {
      const exists = (await namesIn(path)) !== undefined;
      const parent = exists ? path : dirname(path);
      const made = await makeFolders(parent);
      const staging = join(parent, `.vision-encoder-partial-${[HOST, process.pid, processIdentity(process.pid) ?? [], randomBytes(6).toString('hex')].flat().join('-')}`);
      const unfinished = await takeOver(parent, staging, path, fingerprint);
      if (unfinished === undefined) await makeFolders(staging);
      inUse.add(staging);
      return new OutputFolder(path, exists, staging, made, unfinished);
    });
  }

  /**
   * Puts the staged files in place, in this order, and removes `stale` files of an earlier output. When that fails,
   * the folder is as it was before.
   */
  async commit(names: readonly string[], stale: readonly string[]): Promise<void> {
    await writing(this.#out, async () => {
      if (this.#exists) await this.#moveIn(names, stale);
      else {
        await syncFolder(this.staging);
        await rename(this.staging, this.#out);
      }
      // Of folders that were made on the way, the names must last too.
      for (const folder of this.#madeFolders()) await syncFolder(dirname(folder));
      await syncFolder(dirname(this.#out));
      inUse.delete(this.staging);
    });
  }

  /** Leaves what was written for a later run to take over. */
  keep(): void {
    inUse.delete(this.staging);
  }

  /** Removes everything that was written. */
  async discard(): Promise<void> {
    inUse.delete(this.staging);
    if (this.#holdsOthers) return;
    await rm(this.staging, { recursive: true, force: true });
    for (const folder of this.#madeFolders()) {
      // A folder that somebody else uses by now is not empty and stays.
      const removed = await rmdir(folder).then(() => true, () => false);
      if (!removed) return;
    }
  }

  /** The folders made on the way to `out`, innermost first. */
  #madeFolders(): string[] {
    const folders: string[] = [];
    if (this.#made === undefined) return folders;
    for (let folder = dirname(this.#out); ; folder = dirname(folder)) {
      folders.push(folder);
      if (folder === this.#made || folder === dirname(folder)) return folders;
    }
  }

  async #moveIn(names: readonly string[], stale: readonly string[]): Promise<void> {
    const there = new Set(await readdir(this.#out));
    try {
      await replace(this.staging, { names: [...names], before: [...stale, ...names].filter(name => there.has(name)) });
    } catch (error) {
      await this.#takeBack();
      throw error;
    }
    await rm(this.staging, { recursive: true, force: true });
  }

  async #takeBack(): Promise<void> {
    try {
      await takeBack(this.staging);
    } catch (cause) {
      this.#holdsOthers = true;
      throw new UserError(t`${this.#out} could be neither replaced nor put back as it was. The files that were there before lie in ${this.staging}; the next extraction into this folder puts them back.`, { cause });
    }
  }
}

/**
 * Puts back what a run that died while it replaced an earlier output had moved away, so that `out` holds that output
 * again. To be called before anything looks at the folder.
 * @throws UserError when the files cannot be moved
 */
export async function recover(out: string): Promise<void> {
  await writing(out, async () => {
    if ((await namesIn(out)) === undefined) return;
    for (const folder of await abandonedIn(out)) if (await takeBack(folder)) await rm(folder, { recursive: true, force: true });
  });
}

/** The names in a folder; undefined when there is none. */
export async function namesIn(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') {
      // Renaming onto a link that leads nowhere would fail, at the very end.
      if (await isLink(path)) throw new UserError(t`${path} is a symbolic link to a folder that does not exist. Make that folder, or choose another for the output.`);
      return undefined;
    }
    if (systemErrorCode(error) === 'ENOTDIR') throw new UserError(t`${path} is a file, or lies below one. Choose a folder for the output.`);
    throw error;
  }
}

async function isLink(path: string): Promise<boolean> {
  return lstat(path).then(stats => stats.isSymbolicLink(), () => false);
}

/** Whether the two paths name one place, links resolved; false when one of them does not exist. */
export async function samePlace(a: string, b: string): Promise<boolean> {
  const places = await Promise.all([a, b].map(path => realpath(path).catch(() => undefined)));
  return places[0] !== undefined && places[0] === places[1];
}

/** What a run that ended early has left to be continued. */
export interface Leftover {
  /** The temporary folder. */
  readonly folder: string;
  /** Bytes of weight files in it. */
  readonly bytes: number;
}

/** The leftover that `prepare` would take over for this output folder and fingerprint. Nothing is changed. */
export async function leftoverFor(out: string, fingerprint: string | undefined): Promise<Leftover | undefined> {
  if (fingerprint === undefined) return undefined;
  const parent = (await namesIn(out)) === undefined ? dirname(out) : out;
  for (const folder of await abandonedIn(parent)) {
    const unfinished = await Journal.read(folder);
    const bytes = writtenBytes(unfinished);
    if (unfinished?.out === out && unfinished.fingerprint === fingerprint && bytes > 0) return { folder, bytes };
  }
  return undefined;
}

/** Removes what a run has left, unless another run has taken it over by now. */
export async function discardLeftover(folder: string): Promise<void> {
  if ((await abandonedIn(dirname(folder))).includes(folder)) await rm(folder, { recursive: true, force: true });
}

/** The temporary folders directly inside `parent` that nobody of this machine writes any more. */
export async function abandonedIn(parent: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await namesIn(parent) ?? []) {
    const [, host, pid, identity] = PARTIAL.exec(name) ?? [];
    if (host === HOST && pid !== undefined && await isAbandoned(join(parent, name), Number(pid), identity)) found.push(join(parent, name));
  }
  return found;
}

/** The temporary folders that this process is writing. */
const inUse = new Set<string>();

/**
 * Clears `parent` of what dead runs left there. One that would have become the same is renamed to `staging` instead;
 * those that would have become other folders, and can still be continued, stay.
 */
async function takeOver(parent: string, staging: string, out: string, fingerprint: string | undefined): Promise<Unfinished | undefined> {
  let taken: Unfinished | undefined;
  for (const folder of await abandonedIn(parent)) {
    await takeBack(folder);
    const unfinished = await Journal.read(folder);
    if (unfinished !== undefined && unfinished.out !== out) continue;
    if (taken === undefined && unfinished !== undefined && unfinished.fingerprint === fingerprint && await hasFilesOnly(folder)) {
      await rename(folder, staging);
      taken = unfinished;
    } else {
      await rm(folder, { recursive: true, force: true });
    }
  }
  return taken;
}

/** No links, through which other files would be written. */
async function hasFilesOnly(folder: string): Promise<boolean> {
  return (await readdir(folder, { withFileTypes: true })).every(entry => entry.isFile());
}

/** Whether nobody writes a temporary folder any more: its process has ended, or the machine was started since. */
async function isAbandoned(folder: string, pid: number, identity: string | undefined): Promise<boolean> {
  if (inUse.has(folder)) return false;
  const stats = await lstat(folder).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  // A link that somebody made would lead to files that are anywhere.
  if (stats?.isDirectory() !== true) return false;
  if (pid === process.pid) return true;
  const { birthtimeMs } = stats;
  return !await stillRuns(pid, identity, () => birthtimeMs <= 0 || birthtimeMs >= Date.now() - uptime() * 1000 - CLOCK_SLACK_MS);
}
