import * as vscode from 'vscode';
import { KEY_SCHEME } from './keyItem';

/** Colours the keys' labels: what stays behind steps back, what has a problem stands out. */
export class KeyDecorations implements vscode.FileDecorationProvider {
  provideFileDecoration(uri: vscode.Uri): vscode.FileDecoration | undefined {
    if (uri.scheme !== KEY_SCHEME) return undefined;
    if (uri.query === 'own') return new vscode.FileDecoration('!', vscode.l10n.t('Does not load strictly'), new vscode.ThemeColor('list.errorForeground'));
    if (uri.query === 'inside') return new vscode.FileDecoration('!', vscode.l10n.t('Holds tensors that do not load strictly'));
    if (uri.path === '/exclude' || uri.path === '/unwanted') return new vscode.FileDecoration(undefined, undefined, new vscode.ThemeColor('visionEncoder.leftBehind'));
    return undefined;
  }
}
