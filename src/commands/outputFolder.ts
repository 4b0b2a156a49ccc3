import * as vscode from 'vscode';
import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve as resolvePath, sep } from 'node:path';
import { isAbort, systemErrorCode, UserError } from '../errors';
import type { Job } from '../job';
import { isRemote } from '../remote/location';
import { unlinked } from '../views/markdown';

/** Undefined when the person cancelled the task. */
export async function cancellable<T>(task: Promise<T>): Promise<T | undefined> {
  try {
    return await task;
  } catch (error) {
    if (isAbort(error)) return undefined;
    throw error;
  }
}

/** Beside the checkpoint's folder, or beside its file; the extension's own folder is no place to write to. */
export function defaultFolder({ checkpoint }: Job, extensionFolder: string): string {
  const folder = checkpoint.store.location;
  if (isRemote(folder) || folder.startsWith(extensionFolder + sep)) {
    const name = (checkpoint.store.title ?? basename(folder)).replace(/[\\/:*?"<>|]/g, '_');
    return join(vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? homedir(), `${name}-vision-encoder`);
  }
  const isFile = checkpoint.location !== folder && !checkpoint.location.endsWith('.index.json');
  return isFile
    ? join(folder, `${basename(checkpoint.location).replace(/\.[^.]+$/, '')}-vision-encoder`)
    : join(dirname(folder), `${basename(folder)}-vision-encoder`);
}

export interface FolderQuestion {
  readonly title: string;
  /** What goes into it. */
  readonly prompt: string;
  /** The title of the dialog that chooses the folder around it; about an encoder's unless told. */
  readonly around?: string;
  /** What is wrong with a folder, in a sentence. */
  readonly fault?: (folder: string) => string | undefined;
}

/** Asks for the folder to write, and whether what is in it may be replaced; undefined when the person turns back. */
export async function chooseOutputFolder(suggestion: string, question: FolderQuestion): Promise<{ readonly out: string; readonly overwrite: boolean } | undefined> {
  const out = await askFolder(suggestion, question);
  if (out === undefined) return undefined;
  const overwrite = await filesIn(out) > 0;
  return overwrite && !(await mayReplace(out)) ? undefined : { out, overwrite };
}

/** Asks for the path of a folder to write, which need not exist; undefined when the person turns back. */
export async function askFolder(suggestion: string, { title, prompt, around, fault }: FolderQuestion): Promise<string | undefined> {
  const pathOf = (text: string): string => resolvePath(dirname(suggestion), text.trim());
  const browse: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('folder-opened'), tooltip: vscode.l10n.t('Browse…') };
  const input = vscode.window.createInputBox();
  input.title = title;
  input.prompt = prompt;
  input.value = suggestion;
  // The name is what a person may want to change.
  input.valueSelection = [dirname(suggestion).length + 1, suggestion.length];
  input.buttons = [browse];
  input.ignoreFocusOut = true;
  try {
    return await new Promise<string | undefined>((resolve, reject) => {
      input.onDidChangeValue(() => { input.validationMessage = undefined; });
      input.onDidAccept(() => {
        if (input.value.trim() === '') return;
        input.validationMessage = fault?.(pathOf(input.value));
        if (input.validationMessage === undefined) resolve(pathOf(input.value));
      });
      let browsing = false;
      input.onDidHide(() => { if (!browsing) resolve(undefined); });
      input.onDidTriggerButton(() => {
        // Where the dialog is drawn inside the window, it takes this input's place.
        browsing = true;
        vscode.window.showOpenDialog({ canSelectFolders: true, canSelectFiles: false, title: around ?? vscode.l10n.t('The folder to put the encoder\'s folder in'), openLabel: vscode.l10n.t('Choose'), defaultUri: vscode.Uri.file(dirname(suggestion)) }).then(chosen => {
          browsing = false;
          if (chosen?.[0] !== undefined) input.value = join(chosen[0].fsPath, basename(input.value));
          input.show();
        }, reject);
      });
      input.show();
    });
  } finally {
    input.dispose();
  }
}

async function filesIn(folder: string): Promise<number> {
  try {
    return (await readdir(folder)).length;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT') return 0;
    if (code === 'ENOTDIR') throw new UserError(vscode.l10n.t('{0} is a file. Choose a folder.', folder), { cause: error });
    throw new UserError(vscode.l10n.t('{0} cannot be looked into. Choose another folder, or check its permissions.', folder), { cause: error });
  }
}

async function mayReplace(folder: string): Promise<boolean> {
  const replace = vscode.l10n.t('Replace');
  const detail = vscode.l10n.t('An encoder in it is replaced, with all files that its manifest.json names, and so are files with the names of new ones. Other files stay. Until the new one is whole, the old one stays too.');
  return await vscode.window.showWarningMessage(unlinked(vscode.l10n.t('{0} is not empty.', basename(folder))), { modal: true, detail }, replace) === replace;
}
