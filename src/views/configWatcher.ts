import * as vscode from 'vscode';
import { parseConfig } from '../architecture/config';
import { UserError } from '../errors';
import { isRemote } from '../remote/location';
import { FileWatcher, textOnDisk } from './fileWatcher';
import type { Session } from './session';

/** Validates again when the chosen config changes, on disk or in an editor that has not been saved yet. */
export class ConfigWatcher implements vscode.Disposable {
  private readonly file: FileWatcher;
  private readonly subscriptions: readonly { dispose(): void }[];

  constructor(private readonly session: Session, report: (error: unknown) => void) {
    this.file = new FileWatcher(location => this.read(location), report);
    this.subscriptions = [
      this.file,
      session.onDidChange(({ after }) => { this.file.watch(watchable(after?.config?.location)); }),
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (contentChanges.length > 0 && document.uri.scheme === 'file' && document.uri.fsPath === this.file.watched) this.file.soon();
      }),
    ];
  }

  private async read(location: string): Promise<void> {
    try {
      const text = await textOf(location);
      if (location !== this.file.watched || (text === this.session.job?.config?.text && this.session.job.configProblem === undefined)) return;
      this.session.refreshConfig(parseConfig(text, location));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      if (location === this.file.watched) this.session.failConfig(error);
    }
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
  }
}

/** What is elsewhere is of one version and does not change. */
function watchable(location: string | undefined): string | undefined {
  return location === undefined || isRemote(location) ? undefined : location;
}

/** What an open editor shows wins over what is on disk. */
async function textOf(location: string): Promise<string> {
  const open = vscode.workspace.textDocuments.find(document => document.uri.scheme === 'file' && document.uri.fsPath === location && !document.isClosed);
  return open?.isDirty === true ? open.getText() : textOnDisk(location, vscode.l10n.t('Choose another config, or put it back.'));
}
