import { stat } from 'node:fs/promises';
import { t } from '@vscode/l10n';
import type { CheckpointFile } from '../checkpoint/checkpoint';
import { systemErrorCode, UserError } from '../errors';

/** A source file's size and modification time (milliseconds since 1970; null for sources that are not local files). */
export interface FileState {
  readonly size: number;
  readonly mtime: number | null;
}

/**
 * @throws UserError when the file is gone or no longer has the size it had when it was opened.
 */
export async function stateOf({ source }: CheckpointFile): Promise<FileState> {
  if (source.path === undefined) return { size: source.size, mtime: null };
  let found;
  try {
    found = await stat(source.path);
  } catch (error) {
    throw new UserError(t`${source.path} can no longer be read (${systemErrorCode(error) ?? t('unknown error')}). Open the checkpoint again.`, { cause: error });
  }
  if (found.size !== source.size) throw changed(source.path);
  return { size: found.size, mtime: found.mtimeMs };
}

/** @throws UserError when a file changed since `before` was taken. */
export async function assertUnchanged(file: CheckpointFile, before: FileState): Promise<void> {
  const now = await stateOf(file);
  if (now.mtime !== before.mtime) throw changed(file.source.path ?? file.source.name);
}

function changed(path: string): UserError {
  return new UserError(t`${path} changed while it was in use, so nothing was extracted from it. Wait until it is complete, open the checkpoint again and extract again.`);
}
