import * as vscode from 'vscode';
import { basename, dirname } from 'node:path';
import { parseConfig } from '../architecture/config';
import { UserError } from '../errors';
import type { Session } from './session';

const QUIET_MS = 200;

/** Validates again when the chosen config changes, on disk or in an editor that has not been saved yet. */
export class ConfigWatcher implements vscode.Disposable {
  private watched: string | undefined;
  private watcher: vscode.Disposable | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly subscriptions: vscode.Disposable[];

  constructor(private readonly session: Session, private readonly report: (error: unknown) => void) {
    this.subscriptions = [
      session.onDidChange(({ after }) => { this.watch(after?.config?.location); }),
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (contentChanges.length > 0 && document.uri.scheme === 'file' && document.uri.fsPath === this.watched) this.soon();
      }),
    ];
  }

  private watch(location: string | undefined): void {
    if (location === this.watched) return;
    this.watched = location;
    this.watcher?.dispose();
    this.watcher = undefined;
    clearTimeout(this.timer);
    if (location === undefined) return;
    const watcher = vscode.workspace.createFileSystemWatcher(new vscode.RelativePattern(vscode.Uri.file(dirname(location)), basename(location).replace(/[[\]{}*?]/g, '[$&]')));
    watcher.onDidChange(() => { this.soon(); });
    watcher.onDidCreate(() => { this.soon(); });
    watcher.onDidDelete(() => { this.soon(); });
    this.watcher = watcher;
  }

  private soon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.read().catch(this.report); }, QUIET_MS);
  }

  private async read(): Promise<void> {
    const location = this.watched;
    if (location === undefined) return;
    try {
      const text = await textOf(location);
      if (location !== this.watched || (text === this.session.job?.config?.text && this.session.job.configProblem === undefined)) return;
      this.session.refreshConfig(parseConfig(text, location));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      if (location === this.watched) this.session.failConfig(error);
    }
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.watcher?.dispose();
    for (const subscription of this.subscriptions) subscription.dispose();
  }
}

/** What an open editor shows wins over what is on disk. */
async function textOf(location: string): Promise<string> {
  const open = vscode.workspace.textDocuments.find(document => document.uri.scheme === 'file' && document.uri.fsPath === location && !document.isClosed);
  if (open?.isDirty === true) return open.getText();
  try {
    return new TextDecoder().decode(await vscode.workspace.fs.readFile(vscode.Uri.file(location)));
  } catch (cause) {
    throw new UserError(`${location} cannot be read any more. Choose another config, or put it back.`, { cause });
  }
}
