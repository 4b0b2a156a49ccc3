import * as vscode from 'vscode';
import { basename, extname } from 'node:path';
import * as z from 'zod';
import { pictureId, type PictureFile } from '../../encoder/preview';
import { PICTURE_EXTENSIONS } from '../../image/format';
import type { OfferedPicture } from '../../protocol';

/** More pictures than this are not kept; the oldest go first. */
const KEPT = 32;
const storedNames = z.record(z.string(), z.string());

/**
 * The pictures of previews with thumbnails, kept in the extension's storage so that a panel shows them again after a
 * reload, and offers them again later, wherever they came from. Files are named by their content; an index remembers
 * what people call them.
 */
export class PictureStore {
  /** The index is read and written by one call at a time. */
  private queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly folder: vscode.Uri, private readonly memento: vscode.Memento) {}

  /** Keeps a picture as the newest. */
  keep(file: PictureFile, thumbnail: Uint8Array): Promise<void> {
    const kept = this.queue.then(() => this.write(file, thumbnail));
    this.queue = kept.catch(() => undefined);
    return kept;
  }

  /** The stored pictures that are still there. */
  async load(ids: readonly string[]): Promise<PictureFile[]> {
    await this.queue;
    const names = this.names();
    const files = await Promise.all(ids.map(async id => {
      const name = names.get(id);
      return name === undefined ? undefined : readPicture(this.file(id), name).then(file => file, () => undefined);
    }));
    return files.filter(file => file !== undefined);
  }

  /** Newest first. */
  async recent(): Promise<OfferedPicture[]> {
    await this.queue;
    const found = await Promise.all([...this.names()].reverse().map(async ([id, name]) => {
      const thumbnail = await vscode.workspace.fs.readFile(this.thumbnail(id)).then(bytes => Uint8Array.from(bytes), () => undefined);
      return thumbnail && { id, name, thumbnail };
    }));
    return found.filter(each => each !== undefined);
  }

  private async write(file: PictureFile, thumbnail: Uint8Array): Promise<void> {
    const id = pictureId(file.bytes);
    const names = this.names();
    if (!names.has(id)) {
      await vscode.workspace.fs.createDirectory(this.folder);
      await vscode.workspace.fs.writeFile(this.file(id), file.bytes);
      await vscode.workspace.fs.writeFile(this.thumbnail(id), thumbnail);
    }
    // Last in the record is newest.
    names.delete(id);
    names.set(id, file.name);
    for (const old of [...names.keys()].slice(0, Math.max(0, names.size - KEPT))) {
      names.delete(old);
      for (const uri of [this.file(old), this.thumbnail(old)]) await vscode.workspace.fs.delete(uri).then(undefined, () => { /* gone already */ });
    }
    await this.memento.update('pictures', Object.fromEntries(names));
  }

  private file(id: string): vscode.Uri {
    return vscode.Uri.joinPath(this.folder, id);
  }

  private thumbnail(id: string): vscode.Uri {
    return vscode.Uri.joinPath(this.folder, `${id}.thumbnail`);
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
