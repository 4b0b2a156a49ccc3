import { readFile } from 'node:fs/promises';
import { freemem, totalmem } from 'node:os';
import { posix } from 'node:path';

/** Reads a file of /proc or /sys whole; undefined when there is none. */
export type ReadSystemFile = (path: string) => Promise<string | undefined>;

/** The two forms that Linux gives control groups: their mount, and the files that say how much they may take and do take. */
const CGROUPS = [
  { line: /^0::(.*)$/m, mount: '/sys/fs/cgroup', limit: 'memory.max', usage: 'memory.current', inactive: 'inactive_file' },
  { line: /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m, mount: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', usage: 'memory.usage_in_bytes', inactive: 'total_inactive_file' },
] as const;

/**
 * Bytes that this process may still take: of the machine's memory, and of every control group's that it is in (a container's).
 * What a group's usage counts of files that were read and are not in use (`inactive_file`) is given back when it is needed, so it
 * counts as free, as Kubernetes counts it; Linux's MemAvailable does so for the machine.
 * (kernel.org, admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.) macOS counts only pages that hold nothing at
 * all (libuv, src/unix/darwin.c), of which it keeps few: there half of all memory is taken as free.
 */
export async function freeMemory(read: ReadSystemFile = readSystemFile, platform: NodeJS.Platform = process.platform): Promise<number> {
  if (platform !== 'linux') return platform === 'darwin' ? Math.max(freemem(), totalmem() / 2) : freemem();
  const available = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(await read('/proc/meminfo') ?? '')?.[1]) * 1024;
  return Math.min(Number.isNaN(available) ? freemem() : available, await freeInCgroups(read));
}

async function freeInCgroups(read: ReadSystemFile): Promise<number> {
  const own = await read('/proc/self/cgroup') ?? '';
  let free = Infinity;
  for (const { line, mount, limit, usage, inactive } of CGROUPS) {
    const [, path] = line.exec(own) ?? [];
    if (path === undefined) continue;
    // A group's parents bound it too. In a container the path may be the host's, of which only the root is mounted.
    for (let group = path; ; group = posix.dirname(group)) {
      const folder = posix.join(mount, group);
      const [most, used, statistics] = await Promise.all([limit, usage, 'memory.stat'].map(file => read(posix.join(folder, file))));
      const cached = Number(new RegExp(`^${inactive} (\\d+)$`, 'm').exec(statistics ?? '')?.[1] ?? 0);
      // "max" is no number, and no limit.
      const left = Number(most) - Math.max(0, Number(used) - cached);
      if (most !== undefined && used !== undefined && !Number.isNaN(left)) free = Math.min(free, Math.max(0, left));
      if (group === '/' || group === '.') break;
    }
  }
  return free;
}

function readSystemFile(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
