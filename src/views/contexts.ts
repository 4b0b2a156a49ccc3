import * as vscode from 'vscode';
import { optionalParts } from '../parts';
import type { Session } from './session';

/** Keeps the `when` clauses of package.json in step with the session. */
export class Contexts implements vscode.Disposable {
  private readonly subscription: vscode.Disposable;

  constructor(session: Session) {
    this.subscription = session.onDidChange(({ after }) => {
      set('open', after !== undefined);
      set('validated', after?.validation !== undefined);
      set('edited', after !== undefined && (after.recipe.overrides.length > 0 || Object.keys(after.recipe.settings).length > 0));
      set('hasConfig', after?.config !== undefined);
      set('hasParts', after !== undefined && optionalParts(after).length > 0);
      set('canUndo', session.canUndo);
      set('canRedo', session.canRedo);
    });
  }

  dispose(): void {
    this.subscription.dispose();
  }
}

function set(name: string, value: boolean): void {
  void vscode.commands.executeCommand('setContext', `visionEncoder.${name}`, value);
}
