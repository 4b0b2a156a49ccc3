import * as vscode from 'vscode';
import { basename } from 'node:path';
import { parseRecipe, recipeToJson } from '../recipe/recipe';
import { FileWatcher, textOnDisk } from './fileWatcher';
import { unlinked } from './markdown';
import type { Session } from './session';

/** Loads the recipe file that is in force again when it changes on disk; edits made by hand since are not dropped unasked. */
export class RecipeWatcher implements vscode.Disposable {
  private readonly file: FileWatcher;
  private readonly subscription: vscode.Disposable;

  constructor(private readonly session: Session, report: (error: unknown) => void) {
    this.file = new FileWatcher(location => this.read(location), report);
    this.subscription = session.onDidChange(() => { this.file.watch(session.origin.kind === 'file' ? session.origin.path : undefined); });
  }

  private async read(location: string): Promise<void> {
    const recipe = parseRecipe(await textOnDisk(location, vscode.l10n.t('The recipe that was read from it stays in force.')), location);
    const { origin, job } = this.session;
    if (origin.kind !== 'file' || origin.path !== location || job === undefined) return;
    const text = recipeToJson(recipe);
    const current = recipeToJson(job.recipe);
    if (text === origin.text || text === current) return;
    if (current !== origin.text && !(await mayReload(location))) return;
    // The question can stand for long: by now another checkpoint or recipe may be open.
    if (!this.session.isOpen(job.checkpoint) || this.file.watched !== location) return;
    this.session.setRecipe(recipe, { kind: 'file', path: location, text });
  }

  dispose(): void {
    this.file.dispose();
    this.subscription.dispose();
  }
}

async function mayReload(location: string): Promise<boolean> {
  const load = vscode.l10n.t('Load Again');
  return await vscode.window.showInformationMessage(vscode.l10n.t('{0} has changed on disk, and you have made edits since it was loaded. Undo brings them back after loading it again.', unlinked(basename(location))), load) === load;
}
