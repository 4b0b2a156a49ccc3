import * as vscode from 'vscode';
import { isRemote } from '../remote/location';
import type { Session } from './session';

const SCHEME = 'vision-encoder-remote';

/** Where the editor shows a config or a weights file: the file itself, or a read-only document when it is not on this machine. */
export function documentUri(location: string): vscode.Uri {
  if (!isRemote(location)) return vscode.Uri.file(location);
  return vscode.Uri.from({ scheme: SCHEME, path: `/${location.split('/').at(-1) ?? ''}`, query: location });
}

/** The address that a read-only document is of; undefined for another document. */
export function remoteLocation({ scheme, query }: vscode.Uri): string | undefined {
  return scheme === SCHEME ? query : undefined;
}

/** Serves the texts of configs that came from a Hub or another server. */
export class RemoteDocuments implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly texts = new Map<string, string>();
  private readonly subscriptions: readonly vscode.Disposable[];

  constructor(session: Session) {
    this.subscriptions = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      session.onDidChange(({ after }) => {
        if (after?.config !== undefined && isRemote(after.config.location)) this.texts.set(after.config.location, after.config.text);
      }),
    ];
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.query) ?? vscode.l10n.t('This file is not at hand any more. Open its checkpoint again.');
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
  }
}
