import * as vscode from 'vscode';
import { basename, dirname, join } from 'node:path';
import { forwardGraph, takesAnyGrid } from '../architecture/forwardGraphs';
import { outputShape } from '../architecture/outputs';
import { CancelledRun, earlierRun, encodeFolder, OtherFeatures, type EarlierRun, type EncodedFolder, type FolderRequest } from '../batch/encodeFolder';
import { INDEX_NAME } from '../batch/indexFile';
import { picturesBelow } from '../batch/pictures';
import { elementCount } from '../checkpoint/dtype';
import { EncoderClient } from '../encoder/client';
import { DEVICE_NAMES } from '../encoder/devices';
import type { EncoderModel } from '../encoder/model';
import { isAbort, UserError } from '../errors';
import { formatBytes, formatCount, formatDuration, formatShape } from '../format';
import { withMostPixels } from '../image/preprocess';
import type { Preprocessing } from '../preprocessing';
import { MOST_PIXELS, runnableEncoder, type RunnableEncoder } from '../previewModel';
import type { Progress } from '../progress';
import { deviceChoiceSchema } from '../protocol';
import { unlinked, visible } from '../views/markdown';
import { command, report, type App } from './app';
import { reveal } from './find';
import type { Meter } from './meter';
import { pick } from './open';
import { askFolder } from './outputFolder';
import { withProgress } from './progress';
import { onThisMachine, planOnThisMachine } from './storedEncoders';

/** What a person has chosen; the rest follows from the checkpoint and the settings. */
type Choices = Pick<FolderRequest, 'folder' | 'out' | 'outputs' | 'preprocessing'> & { readonly startOver: boolean };

/** Runs the open checkpoint's encoder on all pictures of a folder while the person goes on working. */
export function folderFeatureCommands(app: App, extension: vscode.Uri): vscode.Disposable[] {
  const runs = new FolderRuns(app, extension);
  return [
    new vscode.Disposable(() => { runs.dispose(); }),
    command(app, 'folderFeatures', (uri?: vscode.Uri) => runs.start(uri)),
  ];
}

class FolderRuns {
  /** Encoders fill the memory: one folder at a time. */
  private running: string | undefined;
  /** Stops the run when the window closes. */
  private readonly closing = new AbortController();

  constructor(private readonly app: App, private readonly extension: vscode.Uri) {}

  dispose(): void {
    this.closing.abort();
  }

  /** Asks what it has to, and runs it. */
  async start(uri: vscode.Uri | undefined): Promise<void> {
    const { app } = this;
    this.refuseSecond();
    const { job } = app.session;
    if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first; its vision encoder runs on the pictures.'));
    const encoder = await onThisMachine(app, job, runnableEncoder, () => planOnThisMachine(app, job, vscode.l10n.t('The encoder runs on this machine.')));
    if (encoder === undefined) return;
    const folder = (uri ?? await pick({ canSelectFolders: true, canSelectFiles: false, openLabel: vscode.l10n.t('Extract Features'), title: vscode.l10n.t('A folder of pictures; those in folders below it are taken too') }))?.fsPath;
    if (folder === undefined) return;
    const choices = await choose(encoder, folder);
    if (choices !== undefined) await this.run(encoder.model, choices);
  }

  private refuseSecond(): void {
    if (this.running !== undefined) throw new UserError(vscode.l10n.t('The features of {0} are being extracted. Wait until they are done, or cancel that in its notification.', basename(this.running)));
  }

  private async run(model: EncoderModel, choices: Choices): Promise<void> {
    this.refuseSecond();
    const { log } = this.app;
    const started = Date.now();
    this.running = choices.folder;
    try {
      const result = await this.encode(model, choices);
      for (const { reason } of result.skipped) log.warn(`Left out: ${reason}`);
      if (result.newlyRemoved.length > 0) log.warn(`Not in ${choices.folder} any more, and taken out of the index: ${result.newlyRemoved.join(', ')}`);
      log.info(`Features of ${result.pictures} pictures (${result.encoded} new) in ${result.shards.length} shards: ${result.out}`);
      // Not awaited: it stays until the person is done with it.
      void this.announce(result, (Date.now() - started) / 1000);
    } catch (error) {
      if (this.closing.signal.aborted) return;
      if (error instanceof CancelledRun) void this.offerToResume(model, choices, error);
      else if (isAbort(error)) void vscode.window.showInformationMessage(vscode.l10n.t('Cancelled.'));
      else if (error instanceof OtherFeatures) void this.offerToStartOver(model, choices, error.message);
      else throw error;
    } finally {
      this.running = undefined;
    }
  }

  private async encode(model: EncoderModel, choices: Choices): Promise<EncodedFolder> {
    const { log } = this.app;
    const process = { entry: vscode.Uri.joinPath(this.extension, 'dist', 'encoder.js').fsPath, ...(vscode.l10n.uri !== undefined && { words: vscode.l10n.uri.fsPath }) };
    const [client, decoder] = [new EncoderClient(process), new EncoderClient(process)];
    let kept = 0;
    try {
      return await withProgress(vscode.l10n.t('Features of {0}', visible(basename(choices.folder), 60)), ({ signal, onProgress }) => encodeFolder(client, model, {
        ...choices,
        decoder,
        device: deviceChoiceSchema.catch('auto').parse(vscode.workspace.getConfiguration('visionEncoder.preview').get('device')),
        precision: 'float32',
        signal: AbortSignal.any([signal, this.closing.signal]),
        onPlan: plan => { kept = plan.kept; },
        onLoaded: ({ device, rejected, warning }) => {
          log.info(`The features are extracted on ${DEVICE_NAMES[device]}.`);
          for (const one of rejected) log.info(`${DEVICE_NAMES[one.device]} was not used: ${one.reason}`);
          if (warning !== undefined) log.warn(warning);
        },
        // The bar is that of the pictures; what comes before is said in words.
        onProgress: progress => { onProgress(progress.label === 'running' ? { ...progress, done: kept + progress.done, total: kept + progress.total } : { done: 0, total: 1, label: stepOf(progress) }); },
      }), undefined, inPictures);
    } finally {
      await Promise.all([client.close(), decoder.close()]);
    }
  }

  private async announce({ out, pictures, encoded, skipped }: EncodedFolder, seconds: number): Promise<void> {
    const [showing, details] = [vscode.l10n.t('Show in Folder'), vscode.l10n.t('Show Details')];
    const done = formatCount(pictures, 'picture');
    const what = encoded === pictures ? vscode.l10n.t('Features of {0} in {1}, done in {2}.', done, basename(out), formatDuration(seconds))
      : vscode.l10n.t('Features of {0} in {1}, {2} of them new.', done, basename(out), encoded.toLocaleString('en-US'));
    const message = skipped.length === 0 ? what : vscode.l10n.t('{0} {1} could not be read.', what, formatCount(skipped.length, 'picture'));
    const show = skipped.length === 0 ? vscode.window.showInformationMessage : vscode.window.showWarningMessage;
    const choice = await show(unlinked(message), showing, ...(skipped.length === 0 ? [] : [details]));
    if (choice === showing) await this.show(out);
    if (choice === details) this.app.log.show();
  }

  private async offerToResume(model: EncoderModel, choices: Choices, { done, total }: CancelledRun): Promise<void> {
    const [resume, showing] = [vscode.l10n.t('Resume'), vscode.l10n.t('Show in Folder')];
    const message = vscode.l10n.t('Cancelled. The features of {0} of {1} are kept in {2}.', done.toLocaleString('en-US'), formatCount(total, 'picture'), basename(choices.out));
    const choice = await vscode.window.showInformationMessage(unlinked(message), resume, showing);
    if (choice === resume) await this.again(model, { ...choices, startOver: false });
    if (choice === showing) await this.show(choices.out);
  }

  private async offerToStartOver(model: EncoderModel, choices: Choices, message: string): Promise<void> {
    const startOver = vscode.l10n.t('Start Over');
    if (await vscode.window.showWarningMessage(unlinked(message), { modal: true, detail: vscode.l10n.t('What is there stays until the first new features are there.') }, startOver) === startOver) await this.again(model, { ...choices, startOver: true });
  }

  /** Errors of what a notification's button began have nobody else to go to. */
  private async again(model: EncoderModel, choices: Choices): Promise<void> {
    await this.run(model, choices).catch((error: unknown) => { report(this.app.log, error); });
  }

  private async show(out: string): Promise<void> {
    await reveal(vscode.Uri.file(join(out, INDEX_NAME))).catch((error: unknown) => { this.app.log.error(String(error)); });
  }
}

/** Where the features go and which they are; undefined when the person turns back. */
async function choose({ model, preprocessing }: RunnableEncoder, folder: string): Promise<Choices | undefined> {
  const count = await countPictures(folder);
  const out = await askFolder(join(dirname(folder), `${basename(folder)}-features`), {
    title: vscode.l10n.t('Extract Features of a Folder'),
    prompt: vscode.l10n.t('{0}. Safetensors shards and an index of them come into this folder.', formatCount(count, 'picture')),
    around: vscode.l10n.t('The folder to put the features\' folder in'),
  });
  if (out === undefined) return undefined;
  const earlier = await earlierRun(out);
  const resume = earlier === undefined ? false : await askResume(earlier, out);
  if (resume === undefined) return undefined;
  const outputs = resume && earlier !== undefined ? earlier.settings.outputs : await pickOutputs(model, count);
  if (outputs === undefined) return undefined;
  const spec = await pickPixels(model, preprocessing);
  return spec && { folder, out, outputs, preprocessing: spec, startOver: earlier !== undefined && !resume };
}

async function countPictures(folder: string): Promise<number> {
  const count = await withProgress(vscode.l10n.t('Looking for pictures in {0}', visible(basename(folder), 60)), async ({ signal }) => {
    let found = 0;
    for await (const picture of picturesBelow(folder, signal)) if (!('reason' in picture)) found += 1;
    return found;
  });
  if (count === 0) throw new UserError(vscode.l10n.t('There is no picture in {0} or in the folders below.', basename(folder)));
  return count;
}

/** Whether what is there is continued, or else replaced; undefined when the person turns back. */
async function askResume({ settings, places }: EarlierRun, out: string): Promise<boolean | undefined> {
  const [resume, startOver] = [vscode.l10n.t('Resume'), vscode.l10n.t('Start Over')];
  const choice = await vscode.window.showInformationMessage(unlinked(vscode.l10n.t('{0} holds the features of {1} already.', basename(out), formatCount(places.size, 'picture'))), {
    modal: true,
    detail: vscode.l10n.t('Of {0}: {1}. Resume does the pictures that are missing or have changed since; Start Over replaces all of it.', visible(settings.encoder.name, 80), visible(settings.outputs.join(', '), 200)),
  }, resume, startOver);
  return choice === undefined ? undefined : choice === resume;
}

async function pickOutputs(model: EncoderModel, pictures: number): Promise<readonly string[] | undefined> {
  const graph = forwardGraph(model.graph);
  const made = [...graph.poolShapes.keys(), ...graph.blockOutputs.map(({ name }) => name)].filter(name => name !== 'attn_pool.head_weights');
  const hidden = Array.from({ length: graph.layers }, (_, index) => graph.layers - 1 - index);
  const row = (output: string, label: string, detail?: string): vscode.QuickPickItem & { readonly output: string } => {
    const shape = outputShape(graph, output, 1).slice(1);
    const bytes = 4 * elementCount(shape);
    const each = vscode.l10n.t('{0} · {1} a picture, {2} in all', formatShape(shape), formatBytes(bytes), formatBytes(bytes * pictures));
    return { label, description: takesAnyGrid(model.graph) ? vscode.l10n.t('{0} at the usual size', each) : each, output, picked: output === 'features', ...(detail !== undefined && { detail }) };
  };
  const details: Readonly<Record<string, string>> = { features: vscode.l10n.t('The encoder\'s output'), 'attn_pool.weights': vscode.l10n.t('Where each query of the attention pool looked') };
  const rows = [
    ...made.map(output => row(output, output, details[output])),
    ...hidden.map(layer => row(`hidden_states.${layer}`, vscode.l10n.t('Hidden state after block {0}', layer), layer === graph.layers - 2 ? vscode.l10n.t('The last block but one, which LLaVA takes') : undefined)),
  ];
  const chosen = await vscode.window.showQuickPick(rows, { title: vscode.l10n.t('Which Features?'), placeHolder: vscode.l10n.t('Written as float32 arrays, one row per picture'), canPickMany: true, ignoreFocusOut: true, matchOnDescription: true });
  if (chosen === undefined || chosen.length === 0) return undefined;
  return chosen.map(({ output }) => output);
}

/** Encoders of pictures of any size may be given fewer pixels than their own rule allows. */
async function pickPixels({ graph }: EncoderModel, { spec }: Preprocessing): Promise<FolderRequest['preprocessing'] | undefined> {
  const fewer = withMostPixels(spec, MOST_PIXELS);
  if (!takesAnyGrid(graph) || fewer === spec) return spec;
  const rows = [
    { label: vscode.l10n.t('As the Model’s Own Rule'), detail: vscode.l10n.t('What the model was trained for; large pictures take long'), spec },
    { label: vscode.l10n.t('At Most {0} Pixels', MOST_PIXELS.toLocaleString('en-US')), detail: vscode.l10n.t('As in the preview; larger pictures are made smaller'), spec: fewer },
  ];
  return (await vscode.window.showQuickPick(rows, { title: vscode.l10n.t('How Large May Pictures Be?'), ignoreFocusOut: true }))?.spec;
}

function stepOf({ label, done, total }: Progress): string {
  if (label === 'hashing') return vscode.l10n.t('Reading the encoder, {0} of {1}', formatBytes(done), formatBytes(total));
  return vscode.l10n.t('Loading the encoder, block {0} of {1}', done, total);
}

/** Slow encoders are told in seconds a picture. */
function inPictures({ done, total, label }: Progress, meter: Meter, now: number): string {
  if (label !== undefined && label !== 'running') return label;
  const amount = vscode.l10n.t('{0} of {1}', Math.floor(done).toLocaleString('en-US'), formatCount(total, 'picture'));
  const { rate, left } = meter.update(done, total, now);
  if (rate === undefined || left === undefined) return amount;
  const speed = rate >= 1 ? vscode.l10n.t('{0} a second', rate.toPrecision(rate >= 100 ? 3 : 2)) : vscode.l10n.t('{0} s each', (1 / rate).toPrecision(2));
  return vscode.l10n.t('{0} · {1} · {2} left', amount, speed, formatDuration(left));
}
