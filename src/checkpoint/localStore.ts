import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import type { FileStore, StoredFile } from './byteSource';
import { openFile } from './fileSource';
import { quoted } from './wording';
import { isStoredName } from './storedName';

/**
 * A folder on this machine. Symbolic links in it are followed (Hugging Face's cache is made of them);
 * names are not: none leads out of the folder.
 */
export function localStore(folder: string): FileStore {
  const location = resolve(folder);
  return {
    location,
    async list(signal) {
      signal?.throwIfAborted();
      const entries = await readdir(location, { withFileTypes: true }).catch((error: unknown) => { throw listFailure(error, location); });
      const files = await Promise.all(entries.map(async (entry): Promise<StoredFile | undefined> => {
        if (!entry.isFile() && !entry.isSymbolicLink()) return undefined;
        try {
          const stats = await stat(join(location, entry.name));
          return stats.isFile() ? { name: entry.name, size: stats.size } : undefined;
        } catch (error) {
          // Links to nothing, and files that went away since: as good as not there.
          if (systemErrorCode(error) === undefined) throw error;
          return undefined;
        }
      }));
      signal?.throwIfAborted();
      return files.filter(file => file !== undefined).sort((a, b) => (a.name < b.name ? -1 : 1));
    },
    async open(name, signal) {
      signal?.throwIfAborted();
      if (!isStoredName(name)) throw new UserError(t`The file name ${quoted(name)} is refused: it does not lie inside ${location}.`);
      return openFile(join(location, name), name);
    },
  };
}

function listFailure(error: unknown, location: string): unknown {
  switch (systemErrorCode(error)) {
    case undefined: return error;
    case 'ENOENT': return new UserError(t`${location} does not exist.`, { cause: error });
    case 'ENOTDIR': return new UserError(t`${location} is a file, not a folder.`, { cause: error });
    case 'EACCES':
    case 'EPERM': return new UserError(t`${location} may not be read: your user has no permission for this folder.`, { cause: error });
    default: return new UserError(t`${location} cannot be listed (${systemErrorCode(error) ?? ''}).`, { cause: error });
  }
}
