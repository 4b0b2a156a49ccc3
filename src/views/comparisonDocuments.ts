import * as vscode from 'vscode';

const SCHEME = 'vision-encoder-comparison';

/** Shows the results of comparisons as read-only documents; each is kept as long as its document is open. */
export class ComparisonDocuments implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly texts = new Map<string, string>();
  private readonly subscriptions: readonly vscode.Disposable[];
  private count = 0;

  constructor() {
    this.subscriptions = [
      vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
      vscode.workspace.onDidCloseTextDocument(({ uri }) => { this.texts.delete(uri.toString()); }),
    ];
  }

  async show(title: string, text: string): Promise<void> {
    const uri = vscode.Uri.from({ scheme: SCHEME, path: `/${title.replaceAll('/', '-')}.txt`, query: String(++this.count) });
    this.texts.set(uri.toString(), text);
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(uri), { preview: false });
  }

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? vscode.l10n.t('This comparison is not at hand any more. Compare again.');
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
  }
}
