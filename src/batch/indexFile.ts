import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import { writing } from '../extraction/ioErrors';
import { OutputFolder } from '../extraction/outputFolder';
import { syncFolder } from '../extraction/syncFolder';
import { TOOL } from '../version';
import type { Unreadable } from './pictures';
import { keyPrefix, type Shard, type ShardPicture } from './shard';
import type { RunSettings } from './settings';

export const INDEX_NAME = 'index.json';
/** What the last field of an index begins with. */
const REMOVED = ',\n"removed": ';
const MOST_REMOVED_BYTES = 1 << 20;
/** What every index begins with, and no other program's file. */
const BEGINNING = '{\n"metadata": {"format":"vision encoder features",';

/** Where the features of a picture are. */
export interface Place {
  readonly shard: Shard;
  /** Of the shard's pictures. */
  readonly position: number;
}

export function pictureAt({ shard, position }: Place): ShardPicture {
  const picture = shard.pictures[position];
  if (picture === undefined) throw new Error(`${shard.name} has no picture ${position}.`);
  return picture;
}

export interface FolderIndex {
  readonly settings: RunSettings;
  /** Absolute path of the folder of pictures. */
  readonly source: string;
  /** Whether every picture that can be read has its features. */
  readonly complete: boolean;
  readonly shards: readonly Shard[];
  /** By the picture's name. */
  readonly places: ReadonlyMap<string, Place>;
  readonly skipped: readonly Unreadable[];
  readonly removed: readonly string[];
}

/**
 * Writes `index.json`: `metadata`, and for every picture the shard, what stands before the keys there (nothing where
 * pictures are stacked) and the row in their arrays. It says nothing that the shards' headers do not; it is what a reader
 * looks a picture up in.
 */
export async function writeIndex(out: string, index: FolderIndex): Promise<void> {
  const folder = await OutputFolder.prepare(out);
  try {
    const path = join(folder.staging, INDEX_NAME);
    await writing(path, async () => {
      const handle = await open(path, 'wx');
      try {
        for (const chunk of chunks(index)) await handle.writeFile(chunk);
        await handle.sync();
      } finally {
        await handle.close();
      }
      // Over the one before, so that who reads has one at every moment.
      await rename(path, join(out, INDEX_NAME));
      await syncFolder(out);
    });
  } finally {
    await folder.discard();
  }
}

/**
 * Many programs call a file `index.json`: another's is never replaced.
 * @throws UserError when `out` has one that is no index of features, or it cannot be read
 */
export async function refuseOthersIndex(out: string): Promise<void> {
  const path = join(out, INDEX_NAME);
  const handle = await open(path, 'r').catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw new UserError(t`${path} cannot be read (${systemErrorCode(error) ?? String(error)}). Check its permissions, or choose another folder for the features.`, { cause: error });
  });
  if (handle === undefined) return;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(BEGINNING.length));
    if (buffer.toString('latin1', 0, bytesRead) === BEGINNING) return;
  } catch (error) {
    if (systemErrorCode(error) !== 'EISDIR') throw error;
  } finally {
    await handle.close();
  }
  throw new UserError(t`${path} is not an index of features and would be replaced. Choose another folder for the features, or move it away.`);
}

/**
 * The pictures that an index names as removed, so that they are told once; none when it does not say. They stand at its
 * end, of which so much is read: a longer list is told again.
 */
export async function removedBefore(out: string): Promise<string[]> {
  const handle = await open(join(out, INDEX_NAME), 'r').catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (handle === undefined) return [];
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(Math.min(size, MOST_REMOVED_BYTES)), 0, Math.min(size, MOST_REMOVED_BYTES), Math.max(0, size - MOST_REMOVED_BYTES));
    return parseRemoved(buffer.toString('utf8', 0, bytesRead));
  } finally {
    await handle.close();
  }
}

/** @param end the last part of an index */
export function parseRemoved(end: string): string[] {
  const at = end.lastIndexOf(REMOVED);
  try {
    return at < 0 ? [] : z.array(z.string()).parse(JSON.parse(end.slice(at + REMOVED.length).replace(/\}\s*$/, '')));
  } catch {
    return [];
  }
}

/** One line per picture; whole files of them never stand in memory. */
function* chunks({ settings, source, complete, shards, places, skipped, removed }: FolderIndex): Generator<string> {
  const { version, ...chosen } = settings;
  const metadata = {
    version, tool: TOOL, ...chosen, source, complete,
    pictures: places.size, shards: shards.map(({ name }) => name), total_size: shards.reduce((sum, { bytes }) => sum + bytes, 0),
  };
  yield `${BEGINNING}${JSON.stringify(metadata).slice(1)},\n"pictures": {`;
  let lines: string[] = [];
  let separator = '\n';
  for (const [name, place] of places) {
    const { size, modified, grid } = pictureAt(place);
    const { layout, name: shard } = place.shard;
    const prefix = keyPrefix(layout, place.position);
    lines.push(`${separator}${JSON.stringify(name)}: ${JSON.stringify({ shard, ...(prefix !== '' && { prefix }), row: layout === 'apart' ? 0 : place.position, grid, size, modified })}`);
    separator = ',\n';
    if (lines.length === 1000) {
      yield lines.join('');
      lines = [];
    }
  }
  yield lines.join('');
  yield `\n},\n"skipped": ${JSON.stringify(Object.fromEntries(skipped.map(({ name, reason }) => [name, reason])))}${REMOVED}${JSON.stringify(removed)}\n}\n`;
}
