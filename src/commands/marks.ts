import * as vscode from 'vscode';
import { UserError } from '../errors';
import { applyMark, resetMark } from '../recipe/edit';
import type { Mark } from '../recipe/recipe';
import { unlinked } from '../views/markdown';
import type { KeyNode } from '../views/treeModel';
import { command, type App } from './app';

export function markCommands(app: App): vscode.Disposable[] {
  const marking = (mark: Mark) => command(app, `mark.${mark}`, (node?: KeyNode, selected?: KeyNode[]) => setMark(app, mark, node, selected));
  return [
    marking('keep'), marking('strip'), marking('exclude'),
    command(app, 'mark.reset', (node?: KeyNode, selected?: KeyNode[]) => {
      const targets = app.keys.targets(node, selected);
      if (app.session.job !== undefined && targets.length > 0) app.session.setRecipe(resetMark(app.session.job.recipe, targets));
    }),
    command(app, 'resetAll', () => {
      const recipe = app.session.job?.recipe;
      if (recipe !== undefined) app.session.setRecipe({ ...recipe, overrides: [], settings: {} });
    }),
    command(app, 'undo', () => { app.session.undo(); }),
    command(app, 'redo', () => { app.session.redo(); }),
  ];
}

async function setMark(app: App, mark: Mark, node: KeyNode | undefined, selected: KeyNode[] | undefined): Promise<void> {
  const { job } = app.session;
  const targets = app.keys.targets(node, selected);
  if (job === undefined || targets.length === 0) return;
  try {
    app.session.setRecipe(applyMark(job.recipe, targets, mark));
  } catch (error) {
    // The recipe has no prefix that fits what is to be stripped: only the person can say it.
    if (!(error instanceof UserError) || mark !== 'strip') throw error;
    const first = targets[0];
    const name = first === undefined ? '' : 'key' in first ? first.key : `${first.module}.`;
    const prefix = await vscode.window.showInputBox({
      title: vscode.l10n.t('Prefix to remove'), prompt: unlinked(error.message), value: name.slice(0, name.lastIndexOf('.') + 1),
      validateInput: text => (text === '' ? vscode.l10n.t('Type what the names lose at the front, the dot included.') : undefined),
    });
    if (prefix !== undefined && app.session.isOpen(job.checkpoint)) app.session.setRecipe(applyMark(job.recipe, targets, mark, prefix));
  }
}
