import * as vscode from 'vscode';
import { basename, dirname, join, resolve as resolvePath } from 'node:path';

export interface FolderQuestion {
  readonly title: string;
  /** What comes into it. */
  readonly prompt: string;
  /** Title of the dialog that chooses the folder around it. */
  readonly browse: string;
}

/** Asks for the path of a folder to write, which need not exist; undefined when the person turns back. */
export async function askFolder(suggestion: string, { title, prompt, browse: browseTitle }: FolderQuestion): Promise<string | undefined> {
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
      input.onDidAccept(() => { if (input.value.trim() !== '') resolve(resolvePath(dirname(suggestion), input.value.trim())); });
      let browsing = false;
      input.onDidHide(() => { if (!browsing) resolve(undefined); });
      input.onDidTriggerButton(() => {
        // Where the dialog is drawn inside the window, it takes this input's place.
        browsing = true;
        vscode.window.showOpenDialog({ canSelectFolders: true, canSelectFiles: false, title: browseTitle, openLabel: vscode.l10n.t('Choose'), defaultUri: vscode.Uri.file(dirname(suggestion)) }).then(chosen => {
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
