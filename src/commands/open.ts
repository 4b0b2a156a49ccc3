import * as vscode from 'vscode';
import { join } from 'node:path';
import type { Candidate } from '../checkpoint/open';
import { UserError } from '../errors';
import { formatBytes, formatCount } from '../format';
import { openJob, type Job } from '../job';
import { isRemote, shownAddress } from '../remote/location';
import { findAt, openFound } from '../remote/open';
import { KEYS_VIEW } from '../views/keyTree';
import { unlinked, visible } from '../views/markdown';
import { command, type App } from './app';
import { withProgress } from './progress';

/** A small checkpoint that comes with the extension, below its folder. */
const SAMPLE = 'media/sample';

export function openCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'openFolder', async (uri?: vscode.Uri) => {
      const chosen = uri ?? await pick({ canSelectFolders: true, canSelectFiles: false, openLabel: vscode.l10n.t('Open Checkpoint'), title: vscode.l10n.t('Open the folder that holds the checkpoint') });
      if (chosen !== undefined) await openLocation(app, chosen);
    }),
    command(app, 'openFile', async (uri?: vscode.Uri) => {
      const chosen = uri ?? await pick({
        canSelectFiles: true, openLabel: vscode.l10n.t('Open Checkpoint'), title: vscode.l10n.t('Open a weights file or a shard index'),
        filters: { [vscode.l10n.t('Checkpoints')]: ['safetensors', 'bin', 'pt', 'pth', 'ckpt', 'json'], [vscode.l10n.t('All files')]: ['*'] },
      });
      if (chosen !== undefined) await openLocation(app, chosen);
    }),
    command(app, 'openSample', () => openLocation(app, vscode.Uri.file(join(app.extensionFolder, SAMPLE)))),
    command(app, 'openResource', async (uri: vscode.Uri) => { await openLocation(app, uri); }),
    command(app, 'close', () => app.session.close()),
  ];
}

/** Opens what was dropped onto the view. */
export async function openDropped(app: App, uris: readonly vscode.Uri[]): Promise<void> {
  const [first] = uris;
  if (first === undefined) return;
  if (uris.length > 1) throw new UserError(vscode.l10n.t('{0} were dropped. Drop the folder that holds them, or one file.', formatCount(uris.length, 'file')));
  await openLocation(app, first);
}

/**
 * Opens a checkpoint and shows it: a folder, a weights file or an index on this machine, or what an address names, on the
 * Hub or elsewhere. While the Hub refuses, another token can be given.
 */
export async function openLocation(app: App, place: vscode.Uri | string): Promise<void> {
  const location = typeof place === 'string' ? place : pathOf(place);
  const opening = app.session.startOpening();
  // The view comes up, with its bar, while the headers are read.
  const [, job] = await Promise.all([vscode.commands.executeCommand(`${KEYS_VIEW}.focus`), app.hub.retrying(() => readJob(app, location))]);
  if (job === undefined) return;
  if (!(await app.session.open(job, opening))) return;
  app.log.info(`Opened ${job.checkpoint.location}: ${job.checkpoint.tensors.length} tensors in ${job.checkpoint.files.length} files. ${job.detection?.reason ?? 'No family recognised.'}`);
  await app.recent.add(job.checkpoint);
  void announce(job);
}

/** Reads the headers of a checkpoint that is then the caller's to close; undefined when the person does not choose one of several. */
export async function readJob(app: App, location: string): Promise<Job | undefined> {
  const name = isRemote(location) ? visible(shownAddress(location), 80) : vscode.workspace.asRelativePath(location);
  const hub = await app.hub.options();
  const found = await withProgress(vscode.l10n.t('Looking into {0}', name), ({ signal }) => findAt(location, { signal, hub }), KEYS_VIEW);
  const candidate = await choose(found.candidates);
  if (candidate === undefined) return undefined;
  return withProgress(vscode.l10n.t('Reading the headers of {0}', name), async options => {
    const checkpoint = await openFound(found, candidate, options);
    try {
      return await openJob(checkpoint, options);
    } catch (error) {
      await checkpoint.close();
      throw error;
    }
  }, KEYS_VIEW, ({ done, total }) => vscode.l10n.t('{0} of {1}', done, formatCount(total, 'file')));
}

function pathOf(uri: vscode.Uri): string {
  if (uri.scheme === 'file') return uri.fsPath;
  throw new UserError(vscode.l10n.t('{0} is not on a disk that this extension can read. Open a local folder, or one of the machine that this window is connected to.', uri.toString(true)));
}

/** Says which preset was picked and why; what a person does next is one click away. */
async function announce(job: Job): Promise<void> {
  const { family, detection, plan } = job;
  if (family === undefined || detection === undefined) {
    const presets = vscode.l10n.t('Choose Preset…');
    const choice = await vscode.window.showWarningMessage(unlinked(job.elsewhere ?? vscode.l10n.t('No vision encoder was recognised in {0}. Choose a preset, or mark the tensors to keep.', job.checkpoint.name)), presets);
    if (choice === presets) await vscode.commands.executeCommand('visionEncoder.choosePreset');
    return;
  }
  const extract = vscode.l10n.t('Extract…');
  const message = vscode.l10n.t('{0} recognised: {1} {2} of {3} go into the encoder.', family.title, sentence(detection.reason), plan.kept.length.toLocaleString('en-US'), formatCount(plan.tensors.length, 'tensor'));
  const choice = await vscode.window.showInformationMessage(unlinked(message), ...(job.validation?.valid === true ? [extract] : []));
  if (choice === extract) await vscode.commands.executeCommand('visionEncoder.extract');
}

function sentence(text: string): string {
  return /[.!?。]$/.test(text) ? text : `${text}.`;
}

async function choose(candidates: readonly Candidate[]): Promise<Candidate | undefined> {
  if (candidates.length < 2) return candidates[0];
  const kinds: Readonly<Record<Candidate['kind'], string>> = { index: vscode.l10n.t('sharded, with index'), shards: vscode.l10n.t('sharded, without index'), file: vscode.l10n.t('one file') };
  const items = candidates.map(candidate => ({ label: candidate.name, description: `${kinds[candidate.kind]} · ${formatBytes(candidate.bytes)}`, candidate }));
  const choice = await vscode.window.showQuickPick(items, { title: vscode.l10n.t('Several checkpoints are here'), placeHolder: vscode.l10n.t('Which one?') });
  return choice?.candidate;
}

export async function pick(options: vscode.OpenDialogOptions): Promise<vscode.Uri | undefined> {
  return (await vscode.window.showOpenDialog(options))?.[0];
}
