import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { systemErrorCode } from '../errors';

/**
 * What tells a running process from every other, those of before a restart and those that get its number later included,
 * whatever the clock is set to: made of the machine's boot id and of when the process started, in ticks since then (Linux, proc(5)).
 * 16 hexadecimal digits; undefined when the process does not run, or the system does not tell.
 */
export function processIdentity(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses, which may hold any; the start is the 22nd.
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return started === undefined ? undefined : createHash('sha256').update(`${boot} ${started}`).digest('hex').slice(0, 16);
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error;
    return undefined;
  }
}

/**
 * Whether the process still runs that had this number and this identity (undefined where it could not tell).
 * @param isOfThisBoot what the clocks say, which are set now and then: asked only where identities are not to be had
 */
export async function stillRuns(pid: number, identity: string | undefined, isOfThisBoot: () => boolean | Promise<boolean>): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (systemErrorCode(error) === 'ESRCH') return false;
  }
  const now = identity === undefined ? undefined : processIdentity(pid);
  return now === undefined ? isOfThisBoot() : now === identity;
}
