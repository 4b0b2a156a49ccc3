import * as vscode from 'vscode';
import { basename, join } from 'node:path';
import { UserError } from '../errors';
import { downloadEstimate } from '../extraction/downloadEstimate';
import { extract, findLeftover, type ExtractOptions } from '../extraction/extract';
import { MANIFEST_NAME } from '../extraction/manifest';
import { discardLeftover, type Leftover } from '../extraction/outputFolder';
import { formatBytes, formatCount, formatDuration } from '../format';
import { companionFiles, validated, type Job } from '../job';
import type { Plan } from '../recipe/plan';
import { unlinked } from '../views/markdown';
import { command, type App } from './app';
import { chooseOutput, configuredOutput, type OutputOptions } from './extractOptions';
import { reveal } from './find';
import { cancellable, chooseOutputFolder, defaultFolder } from './outputFolder';
import { withProgress } from './progress';

export function extractCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'extract', () => extractOpen(app, () => Promise.resolve(configuredOutput()))),
    command(app, 'extractWithOptions', () => extractOpen(app, () => chooseOutput(configuredOutput()))),
  ];
}

async function extractOpen(app: App, choose: () => Promise<OutputOptions | undefined>): Promise<void> {
  const { job } = app.session;
  if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first.'));
  await app.session.reading(job.checkpoint, () => runExtract(app, job, choose));
}

async function runExtract(app: App, job: Job, choose: () => Promise<OutputOptions | undefined>): Promise<void> {
  const { validation } = validated(job);
  await demandValid(app, job);
  const output = await choose();
  if (output === undefined) return;
  const folder = await chooseOutputFolder(defaultFolder(job, app.extensionFolder), { title: vscode.l10n.t('Extract the Vision Encoder'), prompt: whatIsWritten(job, output) });
  if (folder === undefined) return;
  const { out, overwrite } = folder;

  const leftover = await findLeftover(job.plan, { ...output, out });
  const startOver = leftover === undefined ? false : await askStartOver(leftover);
  if (startOver === undefined) return;

  const started = Date.now();
  let kept: Leftover | undefined;
  const result = await cancellable(withProgress(vscode.l10n.t('Extracting the vision encoder'), async options => extract(job.plan, validation, {
    ...(await companionFiles(job, options.signal)), ...output, ...options, out, overwrite, startOver,
    onResume: bytes => { app.log.info(`Going on from ${bytes} bytes that an interrupted extraction left.`); },
    onKept: left => { kept = left; },
  } satisfies ExtractOptions)));
  if (result === undefined) {
    if (kept !== undefined) void offerToDelete(app, kept);
    else void vscode.window.showInformationMessage(overwrite ? unlinked(vscode.l10n.t('Cancelled. {0} is as it was.', basename(out))) : vscode.l10n.t('Cancelled. Nothing was left behind.'));
    return;
  }
  app.log.info(`Extracted ${result.tensors} tensors, ${result.bytes} bytes, to ${result.out}.`);
  const seconds = (Date.now() - started) / 1000;
  const [what, where] = [vscode.l10n.t('{0}, {1}', formatCount(result.tensors, 'tensor'), formatBytes(result.bytes)), basename(result.out)];
  void announce(app, result.out, seconds < 1 ? vscode.l10n.t('{0}, extracted to {1}.', what, where) : vscode.l10n.t('{0}, extracted to {1} in {2}.', what, where, formatDuration(seconds)));
}

/** Shows what is wrong with an encoder that would not load strictly. @throws UserError for such a one */
export async function demandValid(app: App, job: Job): Promise<void> {
  const { validation } = validated(job);
  if (validation.valid) return;
  await app.validation.revealSummary();
  throw new UserError(validation.problem?.message ?? vscode.l10n.t('Nothing was extracted: the encoder would not load strictly. The Validation view lists what is wrong, with a fix where there is one.'));
}

/** How much goes where, and what of it comes over the network. */
function whatIsWritten({ plan }: Job, { format }: OutputOptions): string {
  return withDownload(plan, vscode.l10n.t('{0}, {1}, as {2} into this folder.', formatCount(plan.kept.length, 'tensor'), formatBytes(plan.keptBytes), format === 'torch' ? 'PyTorch' : 'safetensors'));
}

/** A sentence about what is written, and another one about what of it comes over the network. */
export function withDownload(plan: Plan, written: string): string {
  const estimate = downloadEstimate(plan);
  return estimate === undefined ? written : vscode.l10n.t('{0} Downloads {1} of {2}; the other {3} are not needed.', written, formatBytes(estimate.download), formatBytes(estimate.total), formatBytes(estimate.saved));
}

/** Whether what an interrupted extraction left is thrown away; undefined when the person turns back. */
async function askStartOver({ bytes }: Leftover): Promise<boolean | undefined> {
  const [resume, startOver] = [vscode.l10n.t('Resume'), vscode.l10n.t('Start Over')];
  const choice = await vscode.window.showInformationMessage(vscode.l10n.t('An extraction of this encoder was interrupted.'), { modal: true, detail: vscode.l10n.t('{0} of it are on the disk already and need not be downloaded again.', formatBytes(bytes)) }, resume, startOver);
  return choice === undefined ? undefined : choice === startOver;
}

async function offerToDelete(app: App, { folder, bytes }: Leftover): Promise<void> {
  const remove = vscode.l10n.t('Delete');
  const choice = await vscode.window.showInformationMessage(vscode.l10n.t('Cancelled. {0} have arrived and are kept: extracting into the same folder goes on from there.', formatBytes(bytes)), vscode.l10n.t('Keep'), remove);
  if (choice !== remove) return;
  await discardLeftover(folder);
  app.log.info(`Deleted ${folder}.`);
  void vscode.window.showInformationMessage(vscode.l10n.t('Deleted. Nothing was left behind.'));
}

async function announce(app: App, folder: string, message: string): Promise<void> {
  const [verifying, handingOver, revealing, copying] = [vscode.l10n.t('Verify'), vscode.l10n.t('Hand Over to…'), vscode.l10n.t('Reveal'), vscode.l10n.t('Copy Path')];
  const choice = await vscode.window.showInformationMessage(unlinked(message), verifying, handingOver, revealing, copying);
  if (choice === verifying) await vscode.commands.executeCommand('visionEncoder.verify', vscode.Uri.file(folder));
  if (choice === handingOver) await vscode.commands.executeCommand('visionEncoder.handOver');
  if (choice === revealing) await reveal(vscode.Uri.file(join(folder, MANIFEST_NAME))).catch((error: unknown) => { app.log.error(String(error)); });
  if (choice === copying) await vscode.env.clipboard.writeText(folder);
}
