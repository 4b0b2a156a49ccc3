import { readFileSync } from 'node:fs';
import fs, { type FileHandle } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join, resolve, sep } from 'node:path';
import type { Left, Operation } from './disk';

/** What `run` does to the folder `root` by way of node:fs/promises. One at a time. */
export async function record(root: string, run: () => Promise<unknown>): Promise<Operation[]> {
  const operations: Operation[] = [];
  const paths = new WeakMap<object, string>();
  const isInside = (path: unknown): path is string => typeof path === 'string' && (resolve(path) + sep).startsWith(root + sep);
  const restore: (() => void)[] = [];
  const exchange = <T extends object>(target: T, name: keyof T & string, wrap: (original: (...args: unknown[]) => Promise<unknown>) => (this: unknown, ...args: never[]) => Promise<unknown>): void => {
    const original = target[name] as (...args: unknown[]) => Promise<unknown>;
    Object.assign(target, { [name]: wrap(original) });
    restore.push(() => { Object.assign(target, { [name]: original }); });
  };
  const handle = await fs.open(__filename);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();

  exchange(fs, 'open', original => async (path: string, ...rest: unknown[]) => {
    const wasThere = isInside(path) && await isThere(path);
    const opened = await original(path, ...rest) as FileHandle;
    if (isInside(path)) {
      if (!wasThere) operations.push({ do: 'create', path });
      paths.set(opened, path);
    }
    return opened;
  });
  exchange(fs, 'writeFile', original => async (path: string, ...rest: unknown[]) => {
    const options = rest[1];
    const result = await original(path, ...rest);
    if (isInside(path)) {
      operations.push({ do: 'create', path });
      if (typeof options === 'object' && options !== null && 'flush' in options && options.flush === true) operations.push({ do: 'sync', path, bytes: readFileSync(path) });
    }
    return result;
  });
  exchange(fs, 'mkdir', original => async (path: string, ...rest: unknown[]) => {
    const made = await original(path, ...rest);
    if (!isInside(path)) return made;
    const first = typeof made === 'string' ? made : rest.length === 0 ? path : undefined;
    // Of folders that were made on the way, the outermost first.
    if (first !== undefined) for (let end = first.length; end !== -1; end = path.indexOf(sep, end + 1)) operations.push({ do: 'mkdir', path: path.slice(0, end) });
    if (first !== undefined && first !== path) operations.push({ do: 'mkdir', path });
    return made;
  });
  exchange(fs, 'rename', original => async (from: string, to: string) => {
    await original(from, to);
    if (isInside(from)) operations.push({ do: 'rename', from, to });
  });
  exchange(fs, 'rm', original => async (path: string, ...rest: unknown[]) => {
    const gone = isInside(path) && await isThere(path) ? [...(await readTree(path).catch(() => new Map<string, never>())).keys()].map(name => join(path, name)).reverse().concat(path) : [];
    await original(path, ...rest);
    operations.push(...gone.map(name => ({ do: 'remove', path: name }) as const));
  });
  exchange(fs, 'rmdir', original => async (path: string) => {
    await original(path);
    if (isInside(path)) operations.push({ do: 'remove', path });
  });
  for (const name of ['sync', 'datasync'] as const) {
    exchange(prototype, name, original => async function (this: unknown) {
      await original.call(this);
      const path = paths.get(this as object);
      if (path !== undefined) operations.push({ do: 'sync', path, ...((await fs.lstat(path)).isFile() && { bytes: readFileSync(path) }) });
    });
  }
  syncBuiltinESMExports();
  try {
    await run();
  } finally {
    for (const undo of restore.reverse()) undo();
    syncBuiltinESMExports();
  }
  return operations;
}

/** Everything in a folder. */
export async function readTree(folder: string): Promise<Left> {
  const found = new Map<string, Buffer | 'folder'>();
  const walk = async (below: string): Promise<void> => {
    for (const entry of await fs.readdir(join(folder, below), { withFileTypes: true })) {
      const name = `${below}${entry.name}`;
      found.set(name, entry.isDirectory() ? 'folder' : await fs.readFile(join(folder, name)));
      if (entry.isDirectory()) await walk(`${name}/`);
    }
  };
  await walk('');
  return found;
}

/** Makes a folder as a power cut left it. Lost bytes are zeros, as long as the file was. */
export async function writeTree(folder: string, left: Left, lengths: ReadonlyMap<string, number> = new Map()): Promise<void> {
  await fs.mkdir(folder, { recursive: true });
  for (const [name, bytes] of left) {
    if (bytes === 'folder') await fs.mkdir(join(folder, name));
    else await fs.writeFile(join(folder, name), bytes === 'lost' ? Buffer.alloc(lengths.get(name) ?? 0) : bytes);
  }
}

async function isThere(path: string): Promise<boolean> {
  return fs.lstat(path).then(() => true, () => false);
}
