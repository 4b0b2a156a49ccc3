import * as vscode from 'vscode';
import { basename } from 'node:path';
import type { PictureFile } from '../../encoder/preview';
import { UserError } from '../../errors';
import { MAX_PICTURE_BYTES } from '../../previewLimits';
import { HttpClient, type Answer } from '../../remote/http';
import { hostFetch } from '../../remote/hostFetch';
import { publicAddress } from '../../remote/location';
import { readPicture } from './pictureStore';

export interface Addressed {
  readonly files: readonly PictureFile[];
  /** To flip through, where one of them is a folder. */
  readonly folder?: vscode.Uri;
}

/**
 * The pictures at addresses and paths that a person dropped: of this machine, of the editor's file systems, and of the web.
 * @throws UserError naming the first that cannot be had
 */
export async function readAddressed(addresses: readonly string[]): Promise<Addressed> {
  const client = new HttpClient({ fetch: hostFetch });
  const files: PictureFile[] = [];
  let folder: vscode.Uri | undefined;
  for (const address of addresses) {
    if (/^https?:/i.test(address)) {
      files.push(await download(client, address));
      continue;
    }
    // A scheme has more than the one letter of a Windows drive.
    const uri = /^[a-z][a-z\d+.-]+:/i.test(address) ? vscode.Uri.parse(address, true) : vscode.Uri.file(address);
    const { type, size } = await vscode.workspace.fs.stat(uri).then(found => found, (cause: unknown) => {
      throw new UserError(vscode.l10n.t('{0} cannot be read: there is no such file, or none that the editor can reach.', address), { cause });
    });
    if ((type & vscode.FileType.Directory) !== 0) folder = uri;
    else if (size > MAX_PICTURE_BYTES) throw tooLarge(address);
    else files.push(await readPicture(uri));
  }
  return { files, ...(folder !== undefined && { folder }) };
}

async function download(client: HttpClient, address: string): Promise<PictureFile> {
  if (!URL.canParse(address)) throw new UserError(vscode.l10n.t('{0} is not an address.', address));
  const url = new URL(address);
  const shown = publicAddress(url);
  return client.retrying(url, () => client.exchange({ url }, async (answer: Answer) => {
    if (answer.status !== 200) throw new UserError(vscode.l10n.t('{0} answered {1}, so there is no picture from there. Save it to a file and drop that.', shown, answer.status));
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of answer.chunks()) {
      size += part.length;
      if (size > MAX_PICTURE_BYTES) throw tooLarge(shown);
      parts.push(part);
    }
    return { name: basename(decodeURI(url.pathname)) || url.host, bytes: Uint8Array.from(Buffer.concat(parts)) };
  }));
}

function tooLarge(address: string): UserError {
  return new UserError(vscode.l10n.t('{0} is larger than {1} MB. Make it smaller first.', address, MAX_PICTURE_BYTES / 2 ** 20));
}
