import { lstat, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { systemErrorCode } from '../errors';
import { MANIFEST_NAME } from './manifest';
import { syncFolder } from './syncFolder';

/** In a temporary folder: what moves in, written before anything moves. */
const RECORD_NAME = 'replacing.json';
/** In a temporary folder: the files of an earlier output, while the new ones move in. */
const REPLACED = 'replaced';
/** The files by which programs know that an output is whole, besides the last that moves in. */
const SEALS: readonly string[] = [MANIFEST_NAME, 'index.json'];

const plainName = z.string().min(1).refine(name => name !== '..' && name !== '.' && !/[\\/\0]/.test(name));
const recordSchema = z.object({ names: z.array(plainName).min(1), before: z.array(plainName) });
type Replacement = z.infer<typeof recordSchema>;

/**
 * Puts the staged files `names` in the place of an earlier output's (`before`: those that are there, stale ones
 * included) in the folder around `staging`. A record of it is on the disk first, so that a run that dies in between, by a
 * kill or a power cut, is taken back by `takeBack`: at every moment either the earlier output or the new one is whole, or
 * the next run makes it so. What says that an output is whole leaves first and comes last. Each step is on the disk
 * before the next begins, since file systems need not keep the order of renames.
 * @throws what renaming throws; the caller takes back
 */
export async function replace(staging: string, { names, before }: Replacement): Promise<void> {
  const [out, replaced] = [dirname(staging), join(staging, REPLACED)];
  await mkdir(replaced);
  const record = await open(join(staging, RECORD_NAME), 'w');
  try {
    await record.writeFile(JSON.stringify({ names, before } satisfies Replacement));
    await record.sync();
  } finally {
    await record.close();
  }
  await syncFolder(staging);
  await syncFolder(out);
  const { seals, others } = sealsApart(before, names);
  await moveAll(seals, out, replaced);
  await moveAll(others, out, replaced);
  await moveAll(names.slice(0, -1), staging, out);
  await moveAll(names.slice(-1), staging, out);
}

/**
 * Makes the folder around `staging` as it was before a replacement that did not come to its end; one that did is left.
 * The folder may have moved since. Can itself be interrupted and done again.
 * @returns false when the temporary folder holds no replacement
 */
export async function takeBack(staging: string): Promise<boolean> {
  const [out, replaced] = [dirname(staging), join(staging, REPLACED)];
  const record = await readRecord(staging);
  if (record === undefined) return false;
  const { names, before } = record;
  const waiting = await presentOf(names, staging);
  // When all have moved in, the new output is whole.
  if (waiting.length > 0) {
    for (const name of names) if (!waiting.includes(name) && !before.includes(name)) await rm(join(out, name), { force: true });
    const { seals, others } = sealsApart(await presentOf(before, replaced), names);
    await moveAll(others, replaced, out);
    await moveAll(seals, replaced, out);
    await syncFolder(out);
  }
  await rm(join(staging, RECORD_NAME));
  await syncFolder(staging);
  return true;
}

/** Undefined when the text is no record: one that was cut off was not followed by any move. */
export function parseReplacement(text: string): Replacement | undefined {
  try {
    const parsed = recordSchema.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

async function readRecord(staging: string): Promise<Replacement | undefined> {
  try {
    // Somebody else's link would move files from anywhere.
    if (!(await lstat(join(staging, REPLACED))).isDirectory()) return undefined;
    return parseReplacement(await readFile(join(staging, RECORD_NAME), 'utf8'));
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function sealsApart(files: readonly string[], names: readonly string[]): { seals: string[]; others: string[] } {
  const isSeal = (name: string): boolean => name === names.at(-1) || SEALS.includes(name);
  return { seals: files.filter(isSeal), others: files.filter(name => !isSeal(name)) };
}

/** Moves files from one folder to another; on the disk when it returns. */
async function moveAll(names: readonly string[], from: string, to: string): Promise<void> {
  for (const name of names) await rename(join(from, name), join(to, name));
  if (names.length === 0) return;
  await syncFolder(to);
  await syncFolder(from);
}

async function presentOf(names: readonly string[], folder: string): Promise<string[]> {
  const present: string[] = [];
  for (const name of names) if (await exists(join(folder, name))) present.push(name);
  return present;
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
