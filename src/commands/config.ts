import * as vscode from 'vscode';
import { join } from 'node:path';
import { parseConfig, type ConfigDocument } from '../architecture/config';
import { configBeside, findConfigs } from '../job';
import { applyMark, setSetting } from '../recipe/edit';
import type { Recipe } from '../recipe/recipe';
import { isRemote } from '../remote/location';
import type { Fix } from '../validation/validation';
import { documentUri } from '../views/remoteDocuments';
import { fixesOf, type ValidationNode } from '../views/validationTree';
import { command, type App } from './app';
import { readText } from './files';

export function configCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'chooseConfig', async (uri?: unknown) => {
      const config = uri instanceof vscode.Uri ? await readConfig(uri) : await pickConfig(app);
      if (config !== undefined) app.session.setConfig(config);
    }),
    command(app, 'openConfig', async () => {
      const location = app.session.job?.config?.location;
      if (location !== undefined) await vscode.window.showTextDocument(documentUri(location));
    }),
    command(app, 'editSetting', (node?: ValidationNode) => editSetting(app, node)),
    command(app, 'resetSetting', (node?: ValidationNode) => {
      const recipe = app.session.job?.recipe;
      if (recipe !== undefined && node?.kind === 'setting') app.session.setRecipe(setSetting(recipe, node.parameter.name, undefined));
    }),
    command(app, 'applyFix', async (chosen: Fix | ValidationNode) => {
      if (!('title' in chosen) && chosen.kind === 'section') {
        applyFixes(app, fixesOf(chosen));
        return;
      }
      const fix = 'title' in chosen ? chosen : await chooseFix(fixesOf(chosen));
      if (fix !== undefined) applyFixes(app, [fix]);
    }),
  ];
}

async function readConfig(uri: vscode.Uri): Promise<ConfigDocument> {
  return parseConfig(await readText(uri), uri.fsPath);
}

async function pickConfig(app: App): Promise<ConfigDocument | undefined> {
  const { job } = app.session;
  if (job === undefined) return undefined;
  const folder = job.checkpoint.store.location;
  const placeOf = (name: string): string => (isRemote(folder) ? `${folder}/${name}` : join(folder, name));
  const names = await findConfigs(job);
  const found = names.map(name => ({ label: name, iconPath: new vscode.ThemeIcon('json'), description: placeOf(name) === job.config?.location ? vscode.l10n.t('in use') : '', name }));
  const browse = { label: vscode.l10n.t('Browse…'), iconPath: new vscode.ThemeIcon('folder-opened'), description: vscode.l10n.t('Qwen-VL’s own config.json, or a CLIP style one'), name: undefined };
  const choice = found.length === 0 ? browse : await vscode.window.showQuickPick([...found, browse], { title: vscode.l10n.t('Choose Config'), placeHolder: vscode.l10n.t('The config to validate against') });
  if (choice === undefined) return undefined;
  if (choice.name !== undefined) return configBeside(job, choice.name);
  const defaultUri = isRemote(folder) ? vscode.workspace.workspaceFolders?.[0]?.uri : vscode.Uri.file(folder);
  const [uri] = await vscode.window.showOpenDialog({ title: vscode.l10n.t('Choose the config to validate against'), ...(defaultUri && { defaultUri }), filters: { JSON: ['json'] } }) ?? [];
  return uri === undefined ? undefined : readConfig(uri);
}

async function editSetting(app: App, node: ValidationNode | undefined): Promise<void> {
  const { job } = app.session;
  const parameters = job?.validation?.hyperparameters;
  if (job === undefined || parameters === undefined) return;
  const chosen = node?.kind === 'setting' ? node.parameter : (await vscode.window.showQuickPick(
    [...parameters.values()].map(parameter => ({ label: parameter.name, description: String(parameter.value), parameter })),
    { title: vscode.l10n.t('Change a Setting') },
  ))?.parameter;
  if (chosen === undefined) return;
  const text = await vscode.window.showInputBox({
    title: chosen.name, value: String(chosen.value),
    prompt: job.family?.hyperparameters.find(spec => spec.name === chosen.name)?.description ?? '',
    validateInput: value => (isNumber(value) ? undefined : vscode.l10n.t('A number is wanted here.')),
  });
  if (text !== undefined && app.session.isOpen(job.checkpoint)) app.session.setRecipe(setSetting(job.recipe, chosen.name, Number(text)));
}

function isNumber(text: string): boolean {
  return text.trim() !== '' && Number.isFinite(Number(text));
}

async function chooseFix(fixes: readonly Fix[]): Promise<Fix | undefined> {
  if (fixes.length < 2) return fixes[0];
  return (await vscode.window.showQuickPick(fixes.map(fix => ({ label: fix.title, fix })), { title: vscode.l10n.t('Quick Fix') }))?.fix;
}

/** As one edit, which one undo takes back. */
function applyFixes(app: App, fixes: readonly Fix[]): void {
  const recipe = app.session.job?.recipe;
  if (recipe !== undefined) app.session.setRecipe(fixes.reduce(fixed, recipe));
}

function fixed(recipe: Recipe, fix: Fix): Recipe {
  if (fix.kind === 'mark') return applyMark(recipe, [{ key: fix.key }], fix.mark, fix.prefix);
  return Object.entries(fix.settings).reduce((edited, [name, value]) => setSetting(edited, name, value), recipe);
}
