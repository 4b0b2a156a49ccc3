import * as vscode from 'vscode';
import { basename, dirname } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { UserError } from '../errors';
import { MANIFEST_NAME, readManifest } from '../extraction/manifest';
import { sourcePlace } from '../extraction/sourcePlace';
import { verify } from '../extraction/verify';
import { formatBytes, formatCount } from '../format';
import { openLocation } from '../remote/open';
import { unlinked, visible } from '../views/markdown';
import { command, report, type App } from './app';
import { withProgress } from './progress';

export function verifyCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'verify', async (uri?: vscode.Uri) => {
      const chosen = uri ?? (await vscode.window.showOpenDialog({ canSelectFolders: true, canSelectFiles: false, title: vscode.l10n.t('Open the folder of an extracted encoder'), openLabel: vscode.l10n.t('Verify') }))?.[0];
      if (chosen === undefined) return;
      const folder = basename(chosen.fsPath) === MANIFEST_NAME ? dirname(chosen.fsPath) : chosen.fsPath;
      const { source: { location } } = await readManifest(folder);
      const mayOpen = await mayOpenSource(folder, location);
      if (mayOpen !== undefined) await runVerify(app, folder, mayOpen ? { location, mustOpen: false } : undefined);
    }),
  ];
}

/** The checkpoint to compare with. The one that the manifest names may be gone by now; one that the person chose must open. */
interface Source {
  readonly location: string;
  readonly mustOpen: boolean;
}

/** Re-reads the encoder in `folder` and compares it with its manifest and, where it can be opened, its source. */
async function runVerify(app: App, folder: string, source: Source | undefined): Promise<void> {
  const name = basename(folder);
  const verdict = await withProgress(vscode.l10n.t('Verifying {0}', name), options => withSource(app, source, options.signal, checkpoint => verify(folder, { ...options, source: checkpoint })));
  const amount = vscode.l10n.t('{0}, {1}', formatCount(verdict.checkedTensors, 'tensor'), formatBytes(verdict.checkedBytes));
  if (!verdict.ok) {
    const lines = verdict.differences.map(({ key, file, message }) => vscode.l10n.t('{0}: {1}', key ?? file ?? folder, message));
    throw new UserError(vscode.l10n.t('{0} differs: {1}. First: {2} Extract the encoder again.', name, formatCount(lines.length, 'difference'), lines[0] ?? ''), { detail: lines.join('\n') });
  }
  if (verdict.comparedWithSource) void vscode.window.showInformationMessage(vscode.l10n.t('Verified: {0}, equal to the source, tensor for tensor.', amount));
  else offerSource(app, folder, amount).catch((error: unknown) => { report(app.log, error); });
}

/** The source has moved, or is on another machine: the person may know where it is. */
async function offerSource(app: App, folder: string, amount: string): Promise<void> {
  const choose = vscode.l10n.t('Choose Source…');
  const choice = await vscode.window.showInformationMessage(vscode.l10n.t('Verified against its manifest: {0}. The source was not compared.', amount), choose);
  if (choice !== choose) return;
  const file = (await vscode.window.showOpenDialog({
    title: vscode.l10n.t('The weights file or shard index that the encoder was extracted from'), openLabel: vscode.l10n.t('Compare'),
    filters: { [vscode.l10n.t('Checkpoints')]: ['safetensors', 'bin', 'pt', 'pth', 'ckpt', 'json'], [vscode.l10n.t('All files')]: ['*'] },
  }))?.[0];
  if (file !== undefined) await runVerify(app, folder, { location: file.fsPath, mustOpen: true });
}

/** Asks before what a manifest names is opened on another machine; undefined when the person turns back. */
async function mayOpenSource(folder: string, location: string): Promise<boolean | undefined> {
  if (sourcePlace(location) !== 'network') return sourcePlace(location) === 'disk';
  const [open, without] = [vscode.l10n.t('Compare with It'), vscode.l10n.t('Verify Without It')];
  const question = unlinked(vscode.l10n.t('{0} says that it was extracted from {1}, which is not on this disk.', basename(folder), visible(location)));
  const detail = vscode.l10n.t('To compare with it, that place is contacted and the encoder’s tensors are read from there. Without it, the encoder is compared with its manifest alone.');
  const choice = await vscode.window.showWarningMessage(question, { modal: true, detail }, without, open);
  return choice === undefined ? undefined : choice === open;
}

/** Hands over the source: the open checkpoint when it is that; undefined when there is none to compare with. */
async function withSource<T>({ session, log, hub }: App, source: Source | undefined, signal: AbortSignal, use: (checkpoint: Checkpoint | undefined) => Promise<T>): Promise<T> {
  if (source === undefined) return use(undefined);
  const open = session.job?.checkpoint;
  if (open?.location === source.location) return session.reading(open, () => use(open));
  const checkpoint = await openLocation(source.location, { signal, hub: await hub.options() }).catch((error: unknown) => {
    if (source.mustOpen || !(error instanceof UserError)) throw error;
    log.warn(error.message);
    return undefined;
  });
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint?.close();
  }
}
