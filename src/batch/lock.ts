import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, rmdir, stat } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import { writing } from '../extraction/ioErrors';
import { makeFolders } from '../extraction/makeFolders';
import { processIdentity, stillRuns } from '../extraction/processIdentity';

const NAME = '.vision-encoder-lock';
const holderSchema = z.object({ host: z.string(), pid: z.int().positive(), booted: z.number(), process: z.string().optional() });
type Holder = z.infer<typeof holderSchema>;
/** Clocks are set while a machine starts. */
const CLOCK_SLACK_MS = 60_000;

/**
 * Makes a folder and keeps other runs out of it until the function that this returns is called. The lock of a run that died
 * on this machine is taken over.
 * @throws UserError when another run holds it, or nothing can be written there
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const made = await writing(folder, () => makeFolders(folder));
  const path = join(folder, NAME);
  const identity = processIdentity(process.pid);
  const us: Holder = { host: hostname(), pid: process.pid, booted: bootTime(), ...(identity !== undefined && { process: identity }) };
  for (let attempt = 0; ; attempt++) {
    try {
      await writing(folder, async () => {
        const handle = await open(path, 'wx').catch((error: unknown) => {
          if (systemErrorCode(error) === 'EEXIST') throw new Held();
          throw error;
        });
        await handle.writeFile(JSON.stringify(us)).finally(() => handle.close());
      });
      break;
    } catch (error) {
      if (!(error instanceof Held)) throw error;
      // Who has just made it writes into it next.
      await setTimeout(100);
      const found = await read(path);
      if (attempt === 2 || await isAlive(found?.text)) throw busy(folder, path);
      if (found !== undefined) await takeAway(path, found);
    }
  }
  return async () => {
    await rm(path, { force: true });
    // A folder that was made for nothing is taken away again.
    if (made !== undefined) await rmdir(folder).catch(() => undefined);
  };
}

class Held extends Error {}

interface Found {
  readonly text: string;
  readonly modified: number;
}

/** Undefined when it is gone. */
async function read(path: string): Promise<Found | undefined> {
  try {
    const { mtimeMs } = await stat(path);
    return { text: await readFile(path, 'utf8'), modified: mtimeMs };
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Deletes the lock of a run that died, as long as it is still that one: another run may have found it too, and made its own meanwhile. */
async function takeAway(path: string, found: Found): Promise<void> {
  const aside = `${path}-${randomUUID()}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return;
    throw error;
  }
  if (isDeepStrictEqual(await read(aside), found)) await rm(aside, { force: true });
  else await rename(aside, path);
}

function busy(folder: string, path: string): UserError {
  return new UserError(t`Another run is writing into ${folder}. Wait until it ends, or choose another folder; if you are sure that there is none, delete ${path}.`);
}

/** Whether the run whose lock says so may be going on: one on another machine cannot be asked. */
async function isAlive(text: string | undefined): Promise<boolean> {
  // Gone meanwhile, or its process died before it wrote into it.
  if (text === undefined || text === '') return false;
  const holder = holderOf(text);
  if (holder?.host !== hostname()) return true;
  return stillRuns(holder.pid, holder.process, () => Math.abs(holder.booted - bootTime()) <= CLOCK_SLACK_MS);
}

/** Undefined when it is no lock that a run has written. */
export function holderOf(text: string): Holder | undefined {
  try {
    return holderSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function bootTime(): number {
  return Math.round(Date.now() - uptime() * 1000);
}
