import { t } from '@vscode/l10n';
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { systemErrorCode, UserError } from '../errors';
import { PICTURE_EXTENSIONS } from '../image/format';

const BY_NAME = new Intl.Collator('en', { numeric: true });

/** A picture as a folder has it now. */
export interface PictureStat {
  /** Its path below the folder, with `/` between names. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** When it was last written, to the millisecond, as ISO 8601 has it. */
  readonly modified: string;
}

/** A picture (or a folder below) that cannot be looked at. */
export interface Unreadable {
  readonly name: string;
  readonly reason: string;
  readonly remedy?: UserError['remedy'];
}

/**
 * The pictures in a folder and in those below it, by their extensions, in the order of the names (numbers by value).
 * Names that begin with a dot are passed over, and links to folders are not followed.
 * @throws UserError when the folder itself cannot be looked into; AbortError when cancelled
 */
export async function* picturesBelow(folder: string, signal?: AbortSignal, below = ''): AsyncGenerator<PictureStat | Unreadable> {
  signal?.throwIfAborted();
  let entries: Dirent[];
  try {
    entries = await readdir(join(folder, below), { withFileTypes: true });
  } catch (error) {
    const reason = whyUnreadable(error, join(folder, below));
    if (below === '') throw new UserError(reason, { cause: error });
    yield { name: below, reason };
    return;
  }
  for (const entry of entries.sort((a, b) => BY_NAME.compare(a.name, b.name))) {
    if (entry.name.startsWith('.')) continue;
    const name = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* picturesBelow(folder, signal, name);
    else if (PICTURE_EXTENSIONS.includes(extname(name).slice(1).toLowerCase())) {
      const found = await pictureAt(folder, name);
      if (found !== undefined) yield found;
    }
  }
}

/** Undefined for what only looks like a picture: a link to a folder, a pipe. */
async function pictureAt(folder: string, name: string): Promise<PictureStat | Unreadable | undefined> {
  try {
    const stats = await stat(join(folder, name));
    return stats.isFile() ? { name, size: stats.size, modified: new Date(Math.trunc(stats.mtimeMs)).toISOString() } : undefined;
  } catch (error) {
    return { name, reason: whyUnreadable(error, join(folder, name)) };
  }
}

function whyUnreadable(error: unknown, path: string): string {
  switch (systemErrorCode(error)) {
    case undefined: throw error;
    case 'ENOENT': return t`${path} does not exist. Check the path.`;
    case 'ENOTDIR': return t`${path} is no folder. Name the folder that has the pictures.`;
    case 'EACCES':
    case 'EPERM': return t`${path} may not be read. Check its permissions.`;
    default: return t`${path} cannot be read (${systemErrorCode(error) ?? ''}). Check the disk that it is on.`;
  }
}
