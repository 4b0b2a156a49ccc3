import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';

const SENTENCES: Readonly<Record<string, (path: string) => string>> = {
  ENOSPC: path => t`The disk is full: ${path} could not be written. Free some space, or extract to another disk.`,
  EDQUOT: path => t`Your disk quota is used up: ${path} could not be written. Free some space, or extract to another disk.`,
  EFBIG: path => t`${path} would be larger than this file system or your limits allow. Extract with a smaller maximum shard size, or to another disk.`,
  EACCES: path => t`There is no permission to write ${path}. Choose another folder, or change the permissions.`,
  EPERM: path => t`There is no permission to write ${path}. Choose another folder, or change the permissions.`,
  EROFS: path => t`${path} is on a read-only file system. Choose another folder.`,
  EIO: path => t`The disk failed while ${path} was being written (input/output error). Check the disk, or extract to another one.`,
  ENOENT: path => t`${path} could not be written: somebody removed its folder during the extraction. Extract again.`,
  ENOTDIR: path => t`${path} cannot be made: a part of its path is a file, not a folder. Choose another folder.`,
  EEXIST: path => t`${path} was made by somebody else during the extraction. Extract again, or choose another folder.`,
  ENOTEMPTY: path => t`${path} was made by somebody else during the extraction. Extract again, or choose another folder.`,
  ENAMETOOLONG: path => t`The path ${path} is too long. Choose a shorter one.`,
};

/** What failed to be written, as a sentence; errors that are not the file system's pass through. */
export function describeWriteError(error: unknown, path: string): unknown {
  const sentence = SENTENCES[systemErrorCode(error) ?? ''];
  return sentence === undefined || error instanceof UserError ? error : new UserError(sentence(path), { cause: error });
}

/** Runs `write` and puts what the file system refuses into a sentence about `path`. */
export async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    throw describeWriteError(error, path);
  }
}
