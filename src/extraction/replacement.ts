import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { systemErrorCode } from '../errors';

/** In a temporary folder: what moves in, written before anything moves. */
const RECORD_NAME = 'replacing.json';
/** In a temporary folder: the files of an earlier output, while the new ones move in. */
const REPLACED = 'replaced';

const plainName = z.string().min(1).refine(name => name !== '..' && name !== '.' && !/[\\/]/.test(name));
const recordSchema = z.object({ out: z.string(), names: z.array(plainName), before: z.array(plainName) });
type Replacement = z.infer<typeof recordSchema>;

/**
 * Puts the staged files `names` in the place of an earlier output's (`before`: those that are there, stale ones
 * included) in `out`. A record of it is on the disk first, so that a run that dies in between is taken back by
 * `takeBack`: at every moment either the earlier output or the new one is whole, or the next run makes it so.
 * @throws what renaming throws; the caller takes back
 */
export async function replace(staging: string, { out, names, before }: Replacement): Promise<void> {
  await mkdir(join(staging, REPLACED));
  const record = await open(join(staging, RECORD_NAME), 'w');
  try {
    await record.writeFile(JSON.stringify({ out, names, before } satisfies Replacement));
    await record.sync();
  } finally {
    await record.close();
  }
  for (const name of before) await rename(join(out, name), join(staging, REPLACED, name));
  for (const name of names) await rename(join(staging, name), join(out, name));
}

/**
 * Makes `out` as it was before a replacement that did not come to its end; one that did is left. Can itself be
 * interrupted and done again.
 * @returns false when the temporary folder holds no replacement
 */
export async function takeBack(staging: string): Promise<boolean> {
  const record = await readRecord(staging);
  if (record === undefined) return false;
  const { out, names, before } = record;
  const waiting: string[] = [];
  for (const name of names) if (await exists(join(staging, name))) waiting.push(name);
  // All have moved in: the new output is whole.
  if (waiting.length > 0) {
    for (const name of names) if (!waiting.includes(name)) await rename(join(out, name), join(staging, name));
    for (const name of before) if (await exists(join(staging, REPLACED, name))) await rename(join(staging, REPLACED, name), join(out, name));
  }
  await rm(join(staging, RECORD_NAME));
  return true;
}

async function readRecord(staging: string): Promise<Replacement | undefined> {
  try {
    const parsed = recordSchema.safeParse(JSON.parse(await readFile(join(staging, RECORD_NAME), 'utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    // A record that was cut off was not followed by any move.
    if (error instanceof SyntaxError || systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
