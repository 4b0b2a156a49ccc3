import * as l10n from '@vscode/l10n';
import * as vscode from 'vscode';

/*
 * Gives the editor's language to the texts below the editor, which know @vscode/l10n alone. Some are looked up when their module
 * loads, so extension.ts imports this before anything else. VS Code has read the translation by then.
 */
if (vscode.l10n.bundle !== undefined) l10n.config({ contents: vscode.l10n.bundle });
