import assert from 'node:assert/strict';
import path from 'node:path';
import * as vscode from 'vscode';

/** The demo checkpoint, which is the workspace of these tests. */
export function demo(...names: string[]): vscode.Uri {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  assert(folder, 'No folder is open.');
  return vscode.Uri.file(path.join(folder.fsPath, ...names));
}

/** The extension's own diagnostics of a file, as soon as `accept` takes them. */
export async function diagnosticsOf(uri: vscode.Uri, accept: (found: readonly vscode.Diagnostic[]) => boolean, source?: string): Promise<readonly vscode.Diagnostic[]> {
  return waitFor(() => {
    const found = vscode.languages.getDiagnostics(uri).filter(diagnostic => source === undefined || diagnostic.source === source);
    return accept(found) ? found : undefined;
  });
}

/** What `check` gives as soon as it gives something. */
export async function waitFor<T>(check: () => T | undefined | Promise<T | undefined>, timeoutMs = 15_000): Promise<T> {
  for (const started = Date.now(); Date.now() - started < timeoutMs;) {
    const result = await check();
    if (result !== undefined) return result;
    await new Promise(resolve => { setTimeout(resolve, 50); });
  }
  throw new assert.AssertionError({ message: `What was waited for did not come within ${timeoutMs / 1000} s.` });
}
