import * as vscode from 'vscode';
import { basename } from 'node:path';
import type { PictureFile } from '../../encoder/preview';
import { UserError } from '../../errors';
import { picturesIn, readPicture } from './pictureStore';

/** A folder of pictures that is flipped through: each is read when it is looked at. */
export class PictureFolder {
  private constructor(readonly location: vscode.Uri, private readonly files: readonly vscode.Uri[], private at: number) {}

  /** @throws UserError when there is no picture in it */
  static async open(location: vscode.Uri, at = 0): Promise<PictureFolder> {
    const files = await picturesIn(location);
    if (files.length === 0) throw new UserError(vscode.l10n.t('There is no picture in {0}.', basename(location.path)));
    return new PictureFolder(location, files, Math.min(Math.max(0, at), files.length - 1));
  }

  get position(): number {
    return this.at;
  }

  /** The picture that is `by` after this one; past the end it goes on at the beginning. */
  async flip(by: number): Promise<PictureFile> {
    const count = this.files.length;
    this.at = ((this.at + by) % count + count) % count;
    const uri = this.files[this.at] ?? this.location;
    return { ...await readPicture(uri), folder: { name: basename(this.location.path), position: this.at, count } };
  }
}
