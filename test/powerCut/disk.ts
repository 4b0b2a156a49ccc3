import { dirname, basename, relative, sep } from 'node:path';

/** What a program did to a folder of files, as far as it decides what a power cut leaves. Paths are absolute. */
export type Operation =
  | { readonly do: 'mkdir' | 'create' | 'remove'; readonly path: string }
  | { readonly do: 'rename'; readonly from: string; readonly to: string }
  /** `bytes`: what a file held then; absent for folders. */
  | { readonly do: 'sync'; readonly path: string; readonly bytes?: Buffer };

/** A folder's files by their paths in it, with `/`; of one whose bytes are lost only the name is there. */
export type Left = ReadonlyMap<string, Buffer | 'lost' | 'folder'>;

interface Node {
  readonly kind: 'file' | 'folder';
  /** Since when the disk has which bytes; initial files from the start. */
  readonly synced: { readonly at: number; readonly bytes: Buffer | undefined }[];
}

interface Change {
  readonly at: number;
  readonly moved: Node;
  readonly entries: readonly { readonly folder: Node; readonly name: string; readonly node: Node | undefined }[];
}

/** All choices among so many pending changes are tried; of more, a spread. */
const ALL_OF = 9;
const RANDOM = 200;

/**
 * A disk that keeps no more than POSIX promises: the bytes of a file as they were when it was last flushed, and nothing of
 * one that never was; of the changes to names, those that a later flush of a folder they concern has made last, and of the
 * others any choice. A rename happens whole or not at all, and changes to one file happen in order.
 * The abstract model is that of Pillai et al., All File Systems Are Not Created Equal, OSDI 2014, section 3.
 */
export class Disk {
  readonly #root: string;
  readonly #top: Node;
  readonly #initial = new Map<Node, Map<string, Node>>();
  readonly #now = new Map<Node, Map<string, Node>>();
  readonly #changes: Change[] = [];
  readonly #length: number;

  /** @param before what was in the folder `root`, all of it on the disk */
  constructor(root: string, before: Left, operations: readonly Operation[]) {
    this.#root = root;
    this.#length = operations.length;
    this.#top = { kind: 'folder', synced: [] };
    this.#now.set(this.#top, new Map());
    for (const [path, bytes] of before) {
      const folder = this.#at(dirname(path) === '.' ? '' : dirname(path));
      const node: Node = { kind: bytes === 'folder' ? 'folder' : 'file', synced: bytes instanceof Buffer ? [{ at: -1, bytes }] : [] };
      if (bytes === 'folder') this.#now.set(node, new Map());
      this.#namesOf(folder).set(basename(path), node);
    }
    for (const [folder, names] of this.#now) this.#initial.set(folder, new Map(names));
    operations.forEach((operation, at) => { this.#perform(operation, at); });
  }

  /** Every different thing that a power cut before operation `at` (and after the last) can leave. */
  * states(): Generator<{ readonly at: number; readonly left: Left }> {
    const seen = new Set<string>();
    for (let at = 0; at <= this.#length; at++) {
      for (const left of this.statesAt(at)) {
        const id = JSON.stringify([...left].map(([path, bytes]) => [path, bytes instanceof Buffer ? bytes.toString('latin1') : bytes]).sort());
        if (seen.has(id)) continue;
        seen.add(id);
        yield { at, left };
      }
    }
  }

  * statesAt(at: number): Generator<Left> {
    const done = this.#changes.filter(change => change.at < at);
    const pending = done.filter(change => !change.entries.some(({ folder }) => folder.synced.some(sync => sync.at > change.at && sync.at < at)));
    for (const choice of choices(pending)) yield this.#left(done.filter(change => !pending.includes(change) || choice.has(change)), at);
  }

  #perform(operation: Operation, at: number): void {
    const place = (path: string): { folder: Node; name: string } => ({ folder: this.#at(this.#inside(dirname(path))), name: basename(path) });
    const change = (moved: Node, ...entries: Change['entries']): void => {
      this.#changes.push({ at, moved, entries });
      for (const { folder, name, node } of entries) {
        if (node === undefined) this.#namesOf(folder).delete(name);
        else this.#namesOf(folder).set(name, node);
      }
    };
    switch (operation.do) {
      case 'mkdir':
      case 'create': {
        const { folder, name } = place(operation.path);
        if (this.#namesOf(folder).has(name)) return;
        const node: Node = { kind: operation.do === 'mkdir' ? 'folder' : 'file', synced: [] };
        if (node.kind === 'folder') this.#now.set(node, new Map());
        change(node, { folder, name, node });
        break;
      }
      case 'remove': {
        const { folder, name } = place(operation.path);
        const node = this.#namesOf(folder).get(name);
        if (node !== undefined) change(node, { folder, name, node: undefined });
        break;
      }
      case 'rename': {
        const [from, to] = [place(operation.from), place(operation.to)];
        const node = this.#namesOf(from.folder).get(from.name);
        if (node === undefined) throw new Error(`${operation.from} was not there.`);
        change(node, { ...from, node: undefined }, { ...to, node });
        break;
      }
      case 'sync':
        this.#at(this.#inside(operation.path)).synced.push({ at, bytes: operation.bytes });
        break;
    }
  }

  #inside(path: string): string {
    return relative(this.#root, path).split(sep).join('/');
  }

  #at(path: string): Node {
    let node = this.#top;
    for (const name of path.split('/').filter(part => part !== '')) {
      const below = this.#namesOf(node).get(name);
      if (below === undefined) throw new Error(`${path} is not there.`);
      node = below;
    }
    return node;
  }

  #namesOf(folder: Node): Map<string, Node> {
    const names = this.#now.get(folder);
    if (names === undefined) throw new Error('A file has no names in it.');
    return names;
  }

  #left(changes: readonly Change[], at: number): Left {
    const folders = new Map([...this.#now.keys()].map(folder => [folder, new Map(this.#initial.get(folder))]));
    for (const { entries } of changes) {
      for (const { folder, name, node } of entries) {
        if (node === undefined) folders.get(folder)?.delete(name);
        else folders.get(folder)?.set(name, node);
      }
    }
    const left = new Map<string, Buffer | 'lost' | 'folder'>();
    const walk = (folder: Node, path: string): void => {
      for (const [name, node] of folders.get(folder) ?? []) {
        if (node.kind === 'folder') {
          left.set(path + name, 'folder');
          walk(node, `${path}${name}/`);
        } else {
          left.set(path + name, node.synced.filter(sync => sync.at < at).at(-1)?.bytes ?? 'lost');
        }
      }
    };
    walk(this.#top, '');
    return left;
  }
}

/** Choices of changes that may have happened: with a change to a file those to it before. */
function* choices(pending: readonly Change[]): Generator<ReadonlySet<Change>> {
  const isOrdered = (choice: ReadonlySet<Change>): boolean => pending.every((change, index) => !choice.has(change) || pending.slice(0, index).every(other => other.moved !== change.moved || choice.has(other)));
  const chosen = function* (isIn: (index: number) => boolean): Generator<ReadonlySet<Change>> {
    const choice = new Set(pending.filter((_, index) => isIn(index)));
    if (isOrdered(choice)) yield choice;
  };
  if (pending.length <= ALL_OF) {
    for (let bits = 0; bits < 1 << pending.length; bits++) yield* chosen(index => (bits >> index & 1) === 1);
    return;
  }
  for (let count = 0; count <= pending.length; count++) yield* chosen(index => index < count);
  for (let one = 0; one < pending.length; one++) {
    yield* chosen(index => index === one);
    yield* chosen(index => index !== one);
  }
  let state = 1;
  for (let tries = 0; tries < RANDOM; tries++) {
    yield* chosen(() => {
      state = Math.imul(state, 1664525) + 1013904223 | 0;
      return (state >>> 16 & 1) === 1;
    });
  }
}
