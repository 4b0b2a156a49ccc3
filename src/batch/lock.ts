import { mkdir, open, readFile, rm, rmdir } from 'node:fs/promises';
import { hostname, uptime } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import * as z from 'zod';
import { t } from '@vscode/l10n';
import { systemErrorCode, UserError } from '../errors';
import { writing } from '../extraction/ioErrors';

const NAME = '.vision-encoder-lock';
const holderSchema = z.object({ host: z.string(), pid: z.int().positive(), booted: z.number() });
type Holder = z.infer<typeof holderSchema>;
/** Clocks are set while a machine starts. */
const CLOCK_SLACK_MS = 60_000;

/**
 * Makes a folder and keeps other runs out of it until the function that this returns is called. The lock of a run that died
 * on this machine is taken over.
 * @throws UserError when another run holds it, or nothing can be written there
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const made = await writing(folder, () => mkdir(folder, { recursive: true }));
  const path = join(folder, NAME);
  const us: Holder = { host: hostname(), pid: process.pid, booted: bootTime() };
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
      const holder = await readHolder(path);
      if (attempt === 2 || holder === undefined || isAlive(holder)) {
        throw new UserError(t`Another run is writing into ${folder}. Wait until it ends, or choose another folder; if you are sure that there is none, delete ${path}.`);
      }
      await rm(path, { force: true });
    }
  }
  return async () => {
    await rm(path, { force: true });
    // A folder that was made for nothing is taken away again.
    if (made !== undefined) await rmdir(folder).catch(() => undefined);
  };
}

class Held extends Error {}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    return holderSchema.safeParse(JSON.parse(await readFile(path, 'utf8'))).data;
  } catch (error) {
    // Gone meanwhile, or its process died before it wrote into it.
    if (systemErrorCode(error) === 'ENOENT' || error instanceof SyntaxError) return { host: hostname(), pid: process.pid, booted: 0 };
    throw error;
  }
}

/** Whether the run may be going on: one on another machine cannot be asked. */
function isAlive({ host, pid, booted }: Holder): boolean {
  if (host !== hostname()) return true;
  // The number of a process from before a restart says nothing.
  if (Math.abs(booted - bootTime()) > CLOCK_SLACK_MS) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemErrorCode(error) !== 'ESRCH';
  }
}

function bootTime(): number {
  return Math.round(Date.now() - uptime() * 1000);
}
