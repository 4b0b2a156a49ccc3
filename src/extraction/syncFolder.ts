import { open, type FileHandle } from 'node:fs/promises';
import { systemErrorCode } from '../errors';

/** Makes the names in a folder survive a power cut; Windows has no such call and refuses to open folders. */
export async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    await handle.sync();
  } catch (error) {
    // Some network file systems cannot sync a folder, and some folders may be written in but not opened.
    if (!['EINVAL', 'ENOTSUP', 'EBADF', 'EACCES', 'EPERM'].includes(systemErrorCode(error) ?? '')) throw error;
  } finally {
    await handle?.close();
  }
}
