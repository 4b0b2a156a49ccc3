import * as vscode from 'vscode';
import { UserError } from '../errors';

/** @throws UserError when the file cannot be read or is not text. */
export async function readText(uri: vscode.Uri): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await vscode.workspace.fs.readFile(uri);
  } catch (cause) {
    throw new UserError(vscode.l10n.t('{0} cannot be read. Check that it is there and that you may read it.', uri.fsPath), { cause });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UserError(vscode.l10n.t('{0} is not UTF-8 text. Check that it is the right file.', uri.fsPath), { cause });
  }
}
