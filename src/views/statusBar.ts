import * as vscode from 'vscode';
import { isRemote } from '../remote/location';
import { visible } from './markdown';
import type { Session } from './session';
import { KEYS_VIEW } from './keyTree';

/** The open checkpoint and whether its encoder loads strictly; hidden when none is open. */
export class StatusBar implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('visionEncoder.status', vscode.StatusBarAlignment.Left, 10);
  private readonly subscription: vscode.Disposable;

  constructor(session: Session) {
    this.item.name = 'Vision Encoder';
    this.item.command = `${KEYS_VIEW}.focus`;
    this.subscription = session.onDidChange(({ after }) => {
      if (after === undefined) {
        this.item.hide();
        return;
      }
      const name = visible(after.checkpoint.name, 40);
      const [icon, words] = after.validation === undefined ? ['question', vscode.l10n.t('not validated')]
        : after.validation.valid ? ['pass', vscode.l10n.t('loads strictly')] : ['error', vscode.l10n.t('does not load strictly')];
      this.item.text = `$(${icon}) ${isRemote(after.checkpoint.location) ? '$(cloud) ' : ''}${name.replaceAll('$(', '$ (')}`;
      this.item.tooltip = vscode.l10n.t('{0}: the encoder {1}', visible(after.checkpoint.location), words);
      this.item.accessibilityInformation = { label: `${name}, ${words}` };
      this.item.show();
    });
  }

  dispose(): void {
    this.subscription.dispose();
    this.item.dispose();
  }
}
