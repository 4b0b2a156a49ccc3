import * as vscode from 'vscode';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { FAMILIES } from '../architecture/registry';
import { UserError } from '../errors';
import { openJob, type Job } from '../job';
import { optionalParts, switchParts, whatItHas } from '../parts';
import { parseRecipe, recipeToJson } from '../recipe/recipe';
import { isRemote } from '../remote/location';
import { unlinked } from '../views/markdown';
import { command, type App } from './app';
import { readText } from './files';

export function recipeCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'choosePreset', () => choosePreset(app)),
    command(app, 'chooseParts', () => chooseParts(app)),
    command(app, 'saveRecipe', () => saveRecipe(app)),
    command(app, 'loadRecipe', async (uri?: vscode.Uri) => {
      if (app.session.job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first; the recipe is then applied to it.'));
      const chosen = uri ?? (await vscode.window.showOpenDialog({ title: vscode.l10n.t('Load a recipe'), filters: { [vscode.l10n.t('Recipes')]: ['json'] } }))?.[0];
      if (chosen === undefined) return;
      const recipe = parseRecipe(await readText(chosen), chosen.fsPath);
      app.session.setRecipe(recipe, { kind: 'file', path: chosen.fsPath, text: recipeToJson(recipe) });
    }),
  ];
}

async function choosePreset(app: App): Promise<void> {
  const { job } = app.session;
  if (job === undefined) return;
  const items = FAMILIES.map(family => {
    const detection = family.detect(job.checkpoint.tensors, job.config);
    return { label: family.title, description: family.id === job.recipe.family ? vscode.l10n.t('in use') : '', detail: detection?.reason ?? '', family, detection };
  });
  const separator = (label: string) => ({ label, kind: vscode.QuickPickItemKind.Separator, family: undefined, detection: undefined });
  const recognised = items.filter(({ detection }) => detection !== undefined);
  const choice = await vscode.window.showQuickPick([
    separator(vscode.l10n.t('recognised in this checkpoint')), ...recognised,
    separator(vscode.l10n.t('not recognised')), ...items.filter(item => !recognised.includes(item)),
  ], { title: vscode.l10n.t('Choose Preset'), placeHolder: vscode.l10n.t('The preset marks the tensors of its encoder. Undo brings your marks back.'), matchOnDetail: true });
  if (choice?.family === undefined) return;
  if (choice.detection === undefined) throw new UserError(vscode.l10n.t('{0} has no tensors of a {1} encoder. Choose a preset that is recognised, or mark the tensors by hand.', job.checkpoint.name, choice.label));
  const fresh = await openJob(job.checkpoint, { ...(job.config === undefined ? {} : { config: job.config }), family: choice.family.id });
  if (app.session.isOpen(job.checkpoint)) app.session.setRecipe(fresh.recipe, { kind: 'preset', reason: choice.detection.reason });
}

async function chooseParts(app: App): Promise<void> {
  const { job } = app.session;
  if (job === undefined) return;
  const parts = optionalParts(job);
  if (parts.length === 0) throw new UserError(whatItHas(job));
  const items = parts.map(({ id, title, kept, tensors }) => ({ label: title, description: vscode.l10n.t('{0} · {1} tensors', id, tensors), picked: kept, id }));
  const chosen = await vscode.window.showQuickPick(items, { title: vscode.l10n.t('Optional Parts'), placeHolder: vscode.l10n.t('Checked parts go into the encoder, the others stay behind'), canPickMany: true });
  if (chosen === undefined || !app.session.isOpen(job.checkpoint)) return;
  const ids = new Set(chosen.map(({ id }) => id));
  app.session.setRecipe(switchParts(job, Object.fromEntries(parts.filter(({ id, kept }) => ids.has(id) !== kept).map(({ id }) => [id, ids.has(id)]))).recipe);
}

async function saveRecipe(app: App): Promise<void> {
  const { job } = app.session;
  if (job === undefined) return;
  const uri = await vscode.window.showSaveDialog({ title: vscode.l10n.t('Save the recipe'), defaultUri: vscode.Uri.file(defaultPath(job)), filters: { [vscode.l10n.t('Recipes')]: ['json'] }, saveLabel: vscode.l10n.t('Save Recipe') });
  if (uri === undefined) return;
  await vscode.workspace.fs.writeFile(uri, new TextEncoder().encode(recipeToJson(job.recipe)));
  app.session.setSaved(uri.fsPath);
  const open = vscode.l10n.t('Open');
  const choice = await vscode.window.showInformationMessage(unlinked(vscode.l10n.t('Recipe saved. The command line takes it too: --recipe {0}', vscode.workspace.asRelativePath(uri))), open);
  if (choice === open) await vscode.window.showTextDocument(uri);
}

function defaultPath({ checkpoint }: Job): string {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri.fsPath ?? (isRemote(checkpoint.location) ? homedir() : dirname(checkpoint.location));
  return join(folder, `${checkpoint.name.replace(/\.[^.]*$/, '')}.recipe.json`);
}
