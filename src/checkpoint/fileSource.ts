import { lstat, open, readlink, stat } from 'node:fs/promises';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import type { ByteSource } from './byteSource';

/** One read call's most bytes: few enough that cancelling is prompt, and within what Node passes to the system. */
const MAX_READ = 1 << 26;

/**
 * Opens a local file for reading.
 * @param name what to call it in messages; the path when absent.
 * @throws UserError when there is no such file, it may not be read, or it is not a regular file.
 */
export async function openFile(path: string, name = path): Promise<ByteSource> {
  try {
    // Looked at before it is opened: opening a named pipe would wait for a writer for ever.
    const stats = await stat(path);
    if (stats.isDirectory()) throw new UserError(t`${name} is a folder, not a file.`);
    if (!stats.isFile()) throw new UserError(t`${name} is not a regular file, so it cannot hold weights.`);
    const handle = await open(path, 'r');
    let size: number;
    try {
      ({ size } = await handle.stat());
    } catch (error) {
      await handle.close();
      throw error;
    }
    return {
      name,
      size,
      path,
      fd: handle.fd,
      async readInto(target, position, signal) {
        if (position < 0 || position + target.length > size) {
          throw new UserError(t`Bytes ${position} to ${position + target.length} lie outside ${name}, which is ${size} bytes long.`);
        }
        let done = 0;
        while (done < target.length) {
          signal?.throwIfAborted();
          const { bytesRead } = await handle.read(target, done, Math.min(target.length - done, MAX_READ), position + done)
            .catch((error: unknown) => { throw readFailure(error, name); });
          if (bytesRead === 0) {
            throw new UserError(t`${name} ended at byte ${position + done} although it was ${size} bytes long when it was opened: another program has shortened it. Open it again.`);
          }
          done += bytesRead;
        }
      },
      close: () => handle.close(),
    };
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw await pathFailure(error, path, name);
  }
}

/** The UserError for a system error about `path`; anything else is a defect and stays as it is. */
export async function pathFailure(error: unknown, path: string, name = path): Promise<unknown> {
  switch (systemErrorCode(error)) {
    case 'ENOENT': {
      const target = await danglingLink(path);
      return new UserError(target === undefined
        ? t`${name} does not exist.`
        : t`${name} is a symbolic link to ${target}, which does not exist. Download the file again.`, { cause: error });
    }
    case 'ENOTDIR': return new UserError(t`${name} does not exist: a part of its path is a file, not a folder.`, { cause: error });
    case 'EACCES':
    case 'EPERM': return new UserError(t`${name} may not be read: your user has no permission for it.`, { cause: error });
    case 'ELOOP': return new UserError(t`${name} is a symbolic link that leads back to itself.`, { cause: error });
    case 'EMFILE':
    case 'ENFILE': return new UserError(t`${name} cannot be opened: too many files are open. Close other programs and try again.`, { cause: error });
    default: return readFailure(error, name);
  }
}

async function danglingLink(path: string): Promise<string | undefined> {
  try {
    return (await lstat(path)).isSymbolicLink() ? await readlink(path) : undefined;
  } catch {
    // Nothing at all is there, which is what the caller reports then.
    return undefined;
  }
}

/** System errors become sentences; anything else is a defect and stays as it is. */
function readFailure(error: unknown, name: string): unknown {
  const code = systemErrorCode(error);
  return code === undefined || !(error instanceof Error)
    ? error
    : new UserError(t`${name} cannot be read (${code}).`, { detail: error.message, cause: error });
}
