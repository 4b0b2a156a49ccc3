import * as vscode from 'vscode';
import { createHash } from 'node:crypto';
import { basename, extname } from 'node:path';
import * as z from 'zod';
import { PICTURE_EXTENSIONS } from '../../image/format';

interface PictureFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** More pictures than this are not kept; the oldest go first. */
const KEPT = 32;
const storedNames = z.record(z.string(), z.string());

/**
 * The pictures of previews, kept in the extension's storage so that a panel shows them again after a reload,
 * wherever they came from. Files are named by their content; an index remembers what people call them.
 */
export class PictureStore {
  private readonly known = new WeakMap<Uint8Array, string>();

  constructor(private readonly folder: vscode.Uri, private readonly memento: vscode.Memento) {}

  /** @returns the pictures' names in the store, in the same order */
  async keep(files: readonly PictureFile[]): Promise<string[]> {
    await vscode.workspace.fs.createDirectory(this.folder);
    const names = this.names();
    const stored: string[] = [];
    for (const file of files) {
      let id = this.known.get(file.bytes);
      if (id === undefined) {
        id = createHash('sha256').update(file.bytes).digest('hex').slice(0, 32);
        await vscode.workspace.fs.writeFile(vscode.Uri.joinPath(this.folder, id), file.bytes);
        this.known.set(file.bytes, id);
      }
      // Last in the record is newest.
      names.delete(id);
      names.set(id, file.name);
      stored.push(id);
    }
    for (const id of [...names.keys()].slice(0, Math.max(0, names.size - KEPT))) {
      names.delete(id);
      await vscode.workspace.fs.delete(vscode.Uri.joinPath(this.folder, id)).then(undefined, () => { /* gone already */ });
    }
    await this.memento.update('pictures', Object.fromEntries(names));
    return stored;
  }

  /** The stored pictures that are still there. */
  async load(ids: readonly string[]): Promise<PictureFile[]> {
    const names = this.names();
    const files = await Promise.all(ids.map(async id => {
      const name = names.get(id);
      if (name === undefined) return undefined;
      return readPicture(vscode.Uri.joinPath(this.folder, id), name).then(file => file, () => undefined);
    }));
    return files.filter(file => file !== undefined);
  }

  private names(): Map<string, string> {
    return new Map(Object.entries(storedNames.catch({}).parse(this.memento.get('pictures'))));
  }
}

export async function readPicture(uri: vscode.Uri, name = basename(uri.path)): Promise<PictureFile> {
  return { name, bytes: await vscode.workspace.fs.readFile(uri) };
}

/** The pictures directly inside a folder, by name. */
export async function picturesIn(folder: vscode.Uri): Promise<vscode.Uri[]> {
  const entries = await vscode.workspace.fs.readDirectory(folder);
  return entries
    .filter(([name, type]) => (type & vscode.FileType.File) !== 0 && PICTURE_EXTENSIONS.includes(extname(name).slice(1).toLowerCase()))
    .map(([name]) => name)
    .sort((a, b) => a.localeCompare(b, undefined, { numeric: true }))
    .map(name => vscode.Uri.joinPath(folder, name));
}
