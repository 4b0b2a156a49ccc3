import * as vscode from 'vscode';
import { join } from 'node:path';
import * as z from 'zod';
import { UserError } from '../errors';
import { downloadEstimate } from '../extraction/downloadEstimate';
import { EncoderStore, type StoredEncoder } from '../extraction/encoderStore';
import { MANIFEST_NAME } from '../extraction/manifest';
import { formatBytes, formatCount, parseBytes } from '../format';
import type { Job } from '../job';
import { isLocal, localPlan } from '../localPlan';
import type { Plan } from '../recipe/plan';
import { shortLocation } from '../remote/location';
import { label, unlinked, visible } from '../views/markdown';
import { command, type App } from './app';
import { reveal } from './find';
import { withProgress } from './progress';

const SETTING = 'visionEncoder.preview.storeSize';

export function storedEncoderCommands(app: App): vscode.Disposable[] {
  return [command(app, 'storedEncoders', () => showStored(app))];
}

/** The copies of encoders that the preview has fetched. @throws UserError when the setting of its size is none */
export function encoderStore({ storageFolder }: App): EncoderStore {
  const text = z.string().catch('').parse(vscode.workspace.getConfiguration().get(SETTING));
  const mostBytes = parseBytes(text);
  if (mostBytes === undefined) throw new UserError(vscode.l10n.t('The setting {0} is “{1}”, which is no size. Write for example 20GB.', SETTING, text));
  return new EncoderStore({ folder: join(storageFolder, 'encoders'), mostBytes, limitName: SETTING });
}

/** The job's plan with its tensors on this machine: what is elsewhere is fetched when the person agrees; undefined when not. */
export async function planOnThisMachine(app: App, job: Job, why = vscode.l10n.t('The preview runs the encoder on this machine.')): Promise<Plan | undefined> {
  if (isLocal(job.plan)) return job.plan;
  const store = encoderStore(app);
  if (!await store.has(job.plan) && !await mayDownload(job, why)) return undefined;
  return app.hub.retrying(() => app.session.reading(job.checkpoint, () => withProgress(vscode.l10n.t('Fetching the encoder of {0}', visible(job.checkpoint.name, 60)), options => localPlan(job, store, {
    ...options, onResume: bytes => { app.log.info(`Going on from ${bytes} bytes that an interrupted download left.`); },
  }))));
}

/** The same without asking or downloading: undefined when the encoder is neither on this machine nor stored. */
export async function storedPlan(app: App, job: Job): Promise<Plan | undefined> {
  if (isLocal(job.plan)) return job.plan;
  const store = encoderStore(app);
  return await store.has(job.plan) ? localPlan(job, store, {}) : undefined;
}

/**
 * What `use` makes of the job and its encoder on this machine; undefined when `planHere` does not have that: it is elsewhere and
 * not wanted here.
 * @throws UserError when the encoder would not load, so it cannot run either
 */
export async function onThisMachine<T>(app: App, job: Job, use: (job: Job, plan: Plan) => Promise<T>, planHere = planOnThisMachine): Promise<T | undefined> {
  // What cannot be run is not downloaded.
  const plan = job.family?.graph === undefined || job.validation?.valid !== true ? job.plan : await planHere(app, job);
  return plan && app.session.reading(job.checkpoint, () => use(job, plan));
}

async function mayDownload({ plan }: Job, why: string): Promise<boolean> {
  const estimate = downloadEstimate(plan);
  if (estimate === undefined) return true;
  const download = vscode.l10n.t('Download');
  const detail = vscode.l10n.t('The encoder\'s {0} of {1} are downloaded once and kept in this extension\'s storage, where "Show Stored Encoders" lists them.', formatBytes(estimate.download), formatBytes(estimate.total));
  return await vscode.window.showInformationMessage(why, { modal: true, detail }, download) === download;
}

interface Row extends vscode.QuickPickItem {
  readonly entry?: StoredEncoder;
  readonly action?: 'reveal' | 'clear';
}

async function showStored(app: App): Promise<void> {
  const store = encoderStore(app);
  const remove: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('trash'), tooltip: vscode.l10n.t('Delete') };
  const list = vscode.window.createQuickPick<Row>();
  const fill = async (): Promise<void> => {
    const entries = await store.list();
    const total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
    list.title = vscode.l10n.t('Stored Encoders');
    list.placeholder = entries.length === 0
      ? vscode.l10n.t('Nothing is stored. The preview of a checkpoint on the Hub keeps its encoder here.')
      : vscode.l10n.t('{0}, {1} of at most {2}', formatCount(entries.length, 'encoder'), formatBytes(total), formatBytes(store.mostBytes));
    list.items = [
      ...entries.map(entry => ({
        label: label(entry.name), iconPath: new vscode.ThemeIcon(entry.location === undefined ? 'cloud-download' : 'package'), buttons: [remove], entry,
        description: [formatBytes(entry.bytes), entry.location === undefined ? vscode.l10n.t('interrupted download') : label(shortLocation(entry.location)), entry.lastUsed.toLocaleString()].join(' · '),
      })),
      ...(entries.length === 0 ? [] : [
        { label: vscode.l10n.t('Reveal the Folder'), iconPath: new vscode.ThemeIcon('folder-opened'), description: store.folder, action: 'reveal' as const },
        { label: vscode.l10n.t('Delete All'), iconPath: new vscode.ThemeIcon('trash'), description: vscode.l10n.t('frees {0}', formatBytes(total)), action: 'clear' as const },
      ]),
    ];
  };
  const removeAll = async (entries: readonly StoredEncoder[]): Promise<void> => {
    const failed: string[] = [];
    for (const entry of entries) if (!await store.remove(entry)) failed.push(entry.name);
    await fill();
    if (failed.length > 0) throw new UserError(vscode.l10n.t('{0} cannot be deleted now; close the preview and try again.', failed.map(name => visible(name)).join(', ')));
  };
  await fill();
  const [row] = await new Promise<readonly Row[]>((resolve, reject) => {
    list.onDidTriggerItemButton(({ item: { entry } }) => { if (entry !== undefined) removeAll([entry]).catch(reject); });
    list.onDidAccept(() => { resolve(list.activeItems); });
    list.onDidHide(() => { resolve([]); });
    list.show();
  }).finally(() => { list.dispose(); });
  if (row?.action === 'clear') {
    await removeAll(await store.list());
    void vscode.window.showInformationMessage(vscode.l10n.t('The stored encoders were deleted.'));
  } else if (row?.action === 'reveal' || row?.entry !== undefined) {
    const uri = vscode.Uri.file(row.entry === undefined ? store.folder : row.entry.location === undefined ? row.entry.folder : join(row.entry.folder, MANIFEST_NAME));
    await reveal(uri).catch((error: unknown) => { void vscode.window.showInformationMessage(unlinked(uri.fsPath)); app.log.warn(String(error)); });
  }
}
