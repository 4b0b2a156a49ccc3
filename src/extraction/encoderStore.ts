import { randomBytes } from 'node:crypto';
import { readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { openCheckpoint } from '../checkpoint/open';
import { systemErrorCode, UserError } from '../errors';
import { formatBytes } from '../format';
import type { RunOptions } from '../progress';
import type { Plan } from '../recipe/plan';
import type { Validation } from '../validation/validation';
import { contentId, extract, type ExtractOptions } from './extract';
import { writing } from './ioErrors';
import { Journal } from './journal';
import { makeFolders } from './makeFolders';
import { MANIFEST_NAME, readManifest, type Manifest } from './manifest';
import { abandonedIn } from './outputFolder';
import { verify } from './verify';

export interface StoreOptions {
  readonly folder: string;
  /** What is kept at most; the encoder that was used longest ago goes first. */
  readonly mostBytes: number;
  /** What a person changes to keep more: a setting's or an option's name. */
  readonly limitName: string;
}

/** An encoder in the store, or what an interrupted download has left of one. */
export interface StoredEncoder {
  readonly folder: string;
  /** The checkpoint's name, or the folder's while the download is not finished. */
  readonly name: string;
  /** Where it was fetched from; undefined while the download is not finished. */
  readonly location: string | undefined;
  readonly bytes: number;
  readonly lastUsed: Date;
}

type FetchOptions = RunOptions & Pick<ExtractOptions, 'onResume' | 'config' | 'preprocessor'>;

const OUTPUT = { format: 'safetensors', dtype: 'keep' } as const;
/** Folders on their way out: a name of their own, so that nobody takes half of one for an encoder. */
const REMOVED = '.removed-';

/**
 * Copies, on this disk, of encoders whose checkpoints are elsewhere: one folder for each version of each checkpoint
 * and each choice of tensors, written by `extract` with all its guarantees and verified once when it is whole.
 * Several processes may use one store.
 */
export class EncoderStore {
  readonly folder: string;
  readonly mostBytes: number;
  readonly #limitName: string;

  constructor({ folder, mostBytes, limitName }: StoreOptions) {
    this.folder = resolve(folder);
    this.mostBytes = mostBytes;
    this.#limitName = limitName;
  }

  /** Whether the plan's encoder is here, whole. */
  async has(plan: Plan): Promise<boolean> {
    const folder = this.#folderOf(plan);
    return folder !== undefined && await wholeManifest(folder) !== undefined;
  }

  /**
   * The same plan with its tensors in the store's files, which are fetched unless they are here. Nothing is held open.
   * A download that ends early is continued by the next. Progress counts bytes: of the download, then of its verification.
   * @throws UserError when it does not fit into the store, or cannot be extracted or verified
   */
  async fetch(plan: Plan, validation: Validation, options: FetchOptions): Promise<Plan> {
    const folder = this.#folderOf(plan);
    if (folder === undefined) throw new UserError(t`The server of ${plan.checkpoint.location} does not say which version of its files it sends, so a copy cannot be kept. Extract the encoder, then open the result.`);
    if (await wholeManifest(folder) === undefined) await this.#download(folder, plan, validation, options);
    const now = new Date();
    await utimes(join(folder, MANIFEST_NAME), now, now);
    const stored = await openCheckpoint(folder, { ...(options.signal && { signal: options.signal }) });
    await stored.close();
    return relocated(plan, stored);
  }

  /** What is in the store, the last used first. */
  async list(): Promise<StoredEncoder[]> {
    const unfinished = new Set(await abandonedIn(this.folder).catch(ifAbsent([])));
    const found = await Promise.all((await readdir(this.folder).catch(ifAbsent([]))).map(async name => {
      const folder = join(this.folder, name);
      return unfinished.has(folder) ? leftover(folder) : name.startsWith('.') ? undefined : this.#entry(folder);
    }));
    return found.filter(entry => entry !== undefined).sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  }

  /** Whether it could be removed: where files that are being read cannot be, another program may hold it. */
  async remove({ folder }: Pick<StoredEncoder, 'folder'>): Promise<boolean> {
    const removed = join(this.folder, `${REMOVED}${randomBytes(6).toString('hex')}`);
    try {
      await rename(folder, removed);
      await rm(removed, { recursive: true, force: true });
      return true;
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error;
      return systemErrorCode(error) === 'ENOENT';
    }
  }

  async #download(folder: string, plan: Plan, validation: Validation, options: FetchOptions): Promise<void> {
    await writing(this.folder, () => makeFolders(this.folder));
    // What is there is not whole: another version of this program wrote it, or somebody changed it.
    await this.remove({ folder });
    await this.#makeRoom(plan.keptBytes, folder);
    try {
      await extract(plan, validation, { ...options, ...OUTPUT, out: folder, onKept: () => undefined });
    } catch (error) {
      // Another process may have put the same there meanwhile.
      if (await wholeManifest(folder) === undefined) throw error;
      return;
    }
    const { ok, differences } = await verify(folder, options);
    if (ok) return;
    await this.remove({ folder });
    throw new UserError(t`The downloaded encoder is not as it was received, so it was deleted: ${differences[0]?.message ?? ''} Check the disk of ${this.folder} and try again.`, { detail: differences.map(({ message }) => message).join('\n') });
  }

  /** Removes what was used longest ago until `bytes` more fit. */
  async #makeRoom(bytes: number, target: string): Promise<void> {
    const { mostBytes } = this;
    if (bytes > mostBytes) throw new UserError(t`The encoder is ${formatBytes(bytes)}, and at most ${formatBytes(mostBytes)} are kept. Raise ${this.#limitName}, or extract the encoder and open the result.`);
    for (const name of await readdir(this.folder)) if (name.startsWith(REMOVED)) await rm(join(this.folder, name), { recursive: true, force: true });
    const others: StoredEncoder[] = [];
    // What is left of this very download takes part of its room.
    for (const entry of await this.list()) if ((await Journal.read(entry.folder))?.out !== target) others.push(entry);
    let total = others.reduce((sum, entry) => sum + entry.bytes, 0);
    for (const entry of others.reverse()) {
      if (total + bytes <= mostBytes) return;
      if (await this.remove(entry)) total -= entry.bytes;
    }
  }

  #folderOf(plan: Plan): string | undefined {
    const id = contentId(plan, OUTPUT);
    return id === undefined ? undefined : join(this.folder, `${plan.checkpoint.name.replace(/[^A-Za-z0-9-]+/g, '_').slice(0, 60)}-${id.slice(0, 32)}`);
  }

  async #entry(folder: string): Promise<StoredEncoder | undefined> {
    const manifest = await wholeManifest(folder);
    if (manifest === undefined) return undefined;
    const { name, location } = manifest.source;
    return { folder, name, location, bytes: manifest.output.files.reduce((sum, { size }) => sum + size, 0), lastUsed: (await stat(join(folder, MANIFEST_NAME))).mtime };
  }
}

/** The manifest of an output whose files are all there, as long as they were; undefined when there is none. */
async function wholeManifest(folder: string): Promise<Manifest | undefined> {
  try {
    const manifest = await readManifest(folder);
    for (const { name, size } of manifest.output.files) if ((await stat(join(folder, name))).size !== size) return undefined;
    return manifest;
  } catch (error) {
    if (error instanceof UserError || systemErrorCode(error) !== undefined) return undefined;
    throw error;
  }
}

async function leftover(folder: string): Promise<StoredEncoder | undefined> {
  try {
    const names = await readdir(folder);
    const stats = await Promise.all(names.map(name => stat(join(folder, name))));
    const out = (await Journal.read(folder))?.out;
    // Sparse while it grows: its length counts.
    return { folder, name: out?.split(/[\\/]/).at(-1) ?? folder, location: undefined, bytes: stats.reduce((sum, { size }) => sum + size, 0), lastUsed: new Date(Math.max(0, ...stats.map(({ mtimeMs }) => mtimeMs))) };
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

/** The plan with its kept tensors where an extraction of it put them. */
function relocated(plan: Plan, stored: Checkpoint): Plan {
  const tensors = new Map(stored.tensors.map(tensor => [tensor.key, tensor]));
  const kept = plan.kept.map(planned => {
    const tensor = tensors.get(planned.outputKey ?? planned.tensor.key);
    if (tensor === undefined) throw new UserError(t`${stored.location} has no tensor ${planned.outputKey ?? ''}. Delete the folder and try again.`);
    return { ...planned, tensor };
  });
  return { ...plan, checkpoint: { ...stored, name: plan.checkpoint.name }, tensors: kept, kept };
}

function ifAbsent<T>(instead: T): (error: unknown) => T {
  return error => {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    return instead;
  };
}
