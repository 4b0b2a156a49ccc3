import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';

/**
 * Makes a folder and those on the way to it. Not by Node's `recursive`, which never ends where a file system takes no
 * folders (mkdir of /proc/x says that /proc/x is not there, and Node 20 goes on making its parent).
 * @returns the topmost folder that was made; undefined when all were there
 * @throws UserError when the file system takes none; else what mkdir throws
 */
export async function makeFolders(path: string): Promise<string | undefined> {
  if (await isFolder(path)) return undefined;
  const parent = dirname(path);
  const made = parent === path ? undefined : await makeFolders(parent);
  try {
    await mkdir(path);
    return made ?? path;
  } catch (error) {
    // Somebody else may have made it meanwhile.
    if (await isFolder(path)) return made;
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    throw new UserError(t`No folder can be made at ${path}: the file system there does not take any. Choose another place.`, { cause: error });
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(stats => stats.isDirectory(), () => false);
}
