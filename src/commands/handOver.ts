import * as vscode from 'vscode';
import { basename, dirname, join } from 'node:path';
import { encoderModel } from '../encoder/model';
import { UserError } from '../errors';
import { handOver, readyFor, whyNot, type HandedOver } from '../handOver';
import { decoderFromConfig, DECODERS, type Decoder } from '../handover/decoders';
import { SNIPPET } from '../handover/snippet';
import type { Target } from '../handover/target';
import { TARGETS } from '../handover/targets';
import { validated, type Job } from '../job';
import { decodeUtf8 } from '../json';
import { label, unlinked } from '../views/markdown';
import { command, report, type App } from './app';
import { demandValid, withDownload } from './extract';
import { reveal } from './find';
import { pick } from './open';
import { cancellable, chooseOutputFolder, defaultFolder } from './outputFolder';
import { withProgress } from './progress';
import { planOnThisMachine } from './storedEncoders';

export function handOverCommands(app: App): vscode.Disposable[] {
  return [command(app, 'handOver', async () => {
    const { job } = app.session;
    if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first.'));
    await app.session.reading(job.checkpoint, () => runHandOver(app, job));
  })];
}

async function runHandOver(app: App, job: Job): Promise<void> {
  await demandValid(app, job);
  const target = await pickTarget(job);
  if (target === undefined) return;
  const ready = readyFor(job, target);
  const { family, validation } = validated(ready);
  const decoder = await pickDecoder(target);
  if (decoder === undefined) return;
  const suggestion = defaultFolder(job, app.extensionFolder);
  const folder = await chooseOutputFolder(join(dirname(suggestion), target.folderName(basename(suggestion), family)), {
    title: vscode.l10n.t('Hand Over to {0}', target.title),
    prompt: withDownload(ready.plan, vscode.l10n.t('Writes {0}.', [target.writes(), ...(decoder === 'none' ? [] : [vscode.l10n.t('a projection to {0}', label(decoder.title, 60))])].join('; '))),
    fault: path => target.folderFault(path, family),
  });
  if (folder === undefined) return;
  const plan = target.format === 'onnx' ? await planOnThisMachine(app, ready, vscode.l10n.t('An ONNX model is made from weights on this machine.')) : ready.plan;
  if (plan === undefined) return;
  const result = await cancellable(withProgress(vscode.l10n.t('Handing over to {0}', target.title), options => handOver(ready, target, {
    ...options, ...folder, asked: job, dtype: 'keep',
    model: () => encoderModel(plan, family, validation.hyperparameters, ready.config),
    onResume: bytes => { app.log.info(`Going on from ${bytes} bytes that an interrupted run left.`); },
    ...(decoder !== 'none' && { projection: { form: 'baseline', decoder, seed: 0 } }),
  })));
  if (result === undefined) void vscode.window.showInformationMessage(folder.overwrite ? unlinked(vscode.l10n.t('Cancelled. {0} is as it was.', basename(folder.out))) : vscode.l10n.t('Cancelled. Nothing was left behind.'));
  // Not awaited: it stays until the person is done with it.
  else announce(app, target, result).catch((error: unknown) => { report(app.log, error); });
}

interface TargetRow extends vscode.QuickPickItem {
  readonly target?: Target;
}

/** Asks who loads the encoder next; undefined when the person turns back. Those that cannot are there too, with why. */
async function pickTarget(job: Job): Promise<Target | undefined> {
  const reasons = TARGETS.map(target => ({ target, reason: whyNot(job, target) }));
  const rowOf = ({ target, reason }: (typeof reasons)[number]): TargetRow => ({ target, label: target.title, detail: reason ?? target.writes(), iconPath: new vscode.ThemeIcon(reason === undefined ? 'package' : 'circle-slash') });
  const others = reasons.filter(({ reason }) => reason !== undefined);
  const rows: TargetRow[] = [
    ...reasons.filter(({ reason }) => reason === undefined).map(rowOf),
    ...(others.length === 0 ? [] : [{ label: vscode.l10n.t('Cannot load this encoder'), kind: vscode.QuickPickItemKind.Separator }]),
    ...others.map(rowOf),
  ];
  return (await vscode.window.showQuickPick(rows, { title: vscode.l10n.t('Hand Over to…'), placeHolder: vscode.l10n.t('Who loads the encoder next?'), matchOnDetail: true }))?.target;
}

interface DecoderRow extends vscode.QuickPickItem {
  readonly choose: () => Decoder | 'none' | Promise<Decoder | undefined>;
}

/** Asks for the language decoder to make a projection to; undefined when the person turns back. */
async function pickDecoder(target: Target): Promise<Decoder | 'none' | undefined> {
  const rows: DecoderRow[] = [
    { label: vscode.l10n.t('No Projection'), detail: vscode.l10n.t('The encoder alone'), choose: () => 'none' },
    { label: vscode.l10n.t('From a Decoder\'s config.json…'), detail: vscode.l10n.t('Its width decides'), choose: readDecoder },
    { label: vscode.l10n.t('Known decoders'), kind: vscode.QuickPickItemKind.Separator, choose: () => 'none' },
    ...Object.values<Decoder>(DECODERS).map((decoder): DecoderRow => ({ label: decoder.title, description: String(decoder.width), choose: () => decoder })),
  ];
  const row = await vscode.window.showQuickPick(rows, {
    title: vscode.l10n.t('Hand Over to {0}', target.title),
    placeHolder: vscode.l10n.t('A projection to a language decoder, initialised for training?'),
  });
  return row?.choose();
}

async function readDecoder(): Promise<Decoder | undefined> {
  const uri = await pick({ canSelectFiles: true, openLabel: vscode.l10n.t('Choose'), title: vscode.l10n.t('The config.json of a language decoder'), filters: { JSON: ['json'] } });
  return uri && decoderFromConfig(decodeUtf8(await vscode.workspace.fs.readFile(uri), uri.fsPath), uri.fsPath);
}

async function announce(app: App, target: Target, { out, notes, snippet }: HandedOver): Promise<void> {
  app.log.info(`Handed over to ${target.title}: ${out}.`);
  const message = unlinked([vscode.l10n.t('{0} is ready for {1}.', basename(out), target.title), ...notes].join(' '));
  const [showing, revealing] = [vscode.l10n.t('Show Snippet'), vscode.l10n.t('Reveal')];
  const show = notes.length === 0 ? vscode.window.showInformationMessage : vscode.window.showWarningMessage;
  const choice = await show(message, showing, revealing);
  if (choice === showing) await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ language: 'python', content: snippet }));
  if (choice === revealing) await reveal(vscode.Uri.file(join(out, SNIPPET))).catch((error: unknown) => { app.log.error(String(error)); });
}
