import * as vscode from 'vscode';
import { stat } from 'node:fs/promises';
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
import { updateJob, type Job } from '../job';
import { withMostPixels } from '../image/preprocess';
import type { Preprocessing } from '../preprocessing';
import { MOST_PIXELS, runnableEncoder, type RunnableEncoder } from '../previewModel';
import type { Progress } from '../progress';
import { deviceChoiceSchema } from '../protocol';
import type { Recipe } from '../recipe/recipe';
import { label, unlinked, visible } from '../views/markdown';
import { command, report, type App } from './app';
import { reveal } from './find';
import type { Meter } from './meter';
import { openLocation, pick } from './open';
import { askFolder } from './outputFolder';
import { withProgress } from './progress';
import { onThisMachine, planOnThisMachine } from './storedEncoders';
import { UnfinishedFeatures, type UnfinishedRun } from './unfinishedFeatures';

/** What a person has chosen; the rest follows from the checkpoint and the settings. */
type Choices = Pick<FolderRequest, 'folder' | 'out' | 'outputs' | 'preprocessing'> & {
  readonly startOver: boolean;
  /** Whether pictures are held to the preview's size. */
  readonly limited: boolean;
};

/** An encoder, and what opens it again. */
interface Opened {
  readonly model: EncoderModel;
  readonly checkpoint: string;
  readonly recipe: Recipe;
}

/** Runs the open checkpoint's encoder on all pictures of a folder while the person goes on working. */
export function folderFeatureCommands(app: App, { extensionUri, workspaceState }: vscode.ExtensionContext): vscode.Disposable[] {
  const runs = new FolderRuns(app, extensionUri, new UnfinishedFeatures(workspaceState));
  runs.offerCutOff().catch((error: unknown) => { report(app.log, error); });
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

  constructor(private readonly app: App, private readonly extension: vscode.Uri, private readonly unfinished: UnfinishedFeatures) {}

  dispose(): void {
    this.closing.abort();
  }

  /** Asks what it has to, and runs it. */
  async start(uri: vscode.Uri | undefined): Promise<void> {
    const { app } = this;
    this.refuseSecond();
    const cutOff = uri === undefined ? this.unfinished.get() : undefined;
    if (cutOff !== undefined) {
      const resume = await this.pickResume(cutOff);
      if (resume === undefined) return;
      if (resume) {
        await this.resume(cutOff);
        return;
      }
    }
    const { job } = app.session;
    if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first; its vision encoder runs on the pictures.'));
    const encoder = await this.encoderOf(job);
    if (encoder === undefined) return;
    const folder = (uri ?? await pick({ canSelectFolders: true, canSelectFiles: false, openLabel: vscode.l10n.t('Extract Features'), title: vscode.l10n.t('A folder of pictures; those in folders below it are taken too') }))?.fsPath;
    if (folder === undefined) return;
    const choices = await choose(encoder, folder);
    if (choices !== undefined) await this.run({ model: encoder.model, checkpoint: job.checkpoint.location, recipe: job.recipe }, choices);
  }

  /** After a reload: says once, quietly, that a run was cut off, and offers to go on. */
  async offerCutOff(): Promise<void> {
    const run = this.unfinished.get();
    if (run === undefined || run.known) return;
    await this.unfinished.save({ ...run, known: true });
    const [resume, discard] = [vscode.l10n.t('Resume'), vscode.l10n.t('Discard')];
    const message = vscode.l10n.t('Extracting the features of {0} was cut off when its window closed: {1}.', basename(run.folder), await howFar(run));
    const choice = await vscode.window.showInformationMessage(unlinked(message), resume, discard);
    if (choice === resume) await this.resume(run);
    if (choice === discard) await this.unfinished.save(undefined);
  }

  /** Whether the unfinished run is gone on with, or another folder taken; undefined when the person turns back. */
  private async pickResume(run: UnfinishedRun): Promise<boolean | undefined> {
    const rows = [
      { label: vscode.l10n.t('Resume {0}', label(basename(run.folder), 60)), detail: await howFar(run), resume: true },
      { label: vscode.l10n.t('Another Folder…'), resume: false },
    ];
    return (await vscode.window.showQuickPick(rows, { title: vscode.l10n.t('Extract Features of a Folder') }))?.resume;
  }

  /** Opens the run's checkpoint, unless it is open, and goes on where the run was cut off. */
  private async resume(run: UnfinishedRun): Promise<void> {
    const { app } = this;
    const { folder, out, outputs, limited, checkpoint, recipe } = run;
    this.refuseSecond();
    if (app.session.job?.checkpoint.location !== checkpoint) {
      await openLocation(app, checkpoint);
      // The person has turned back, or opened another meanwhile.
      if (app.session.job?.checkpoint.location !== checkpoint) return;
      app.session.setRecipe(recipe);
    }
    const job = updateJob(app.session.job, { recipe });
    const encoder = await this.encoderOf(job);
    if (encoder === undefined) return;
    const { spec } = encoder.preprocessing;
    await this.run({ model: encoder.model, checkpoint, recipe }, { folder, out, outputs, limited, preprocessing: limited ? withMostPixels(spec, MOST_PIXELS) : spec, startOver: run.startedOver !== undefined && await doneBy(run) === 0 });
  }

  private encoderOf(job: Job): Promise<RunnableEncoder | undefined> {
    const { app } = this;
    return onThisMachine(app, job, runnableEncoder, () => planOnThisMachine(app, job, vscode.l10n.t('The encoder runs on this machine.')));
  }

  private refuseSecond(): void {
    if (this.running !== undefined) throw new UserError(vscode.l10n.t('The features of {0} are being extracted. Wait until they are done, or cancel that in its notification.', basename(this.running)));
  }

  private async run(opened: Opened, choices: Choices): Promise<void> {
    this.refuseSecond();
    const { log } = this.app;
    const started = Date.now();
    this.running = choices.folder;
    const { folder, out, outputs, limited } = choices;
    const { checkpoint, recipe } = opened;
    const unfinished: UnfinishedRun = { folder, out, outputs: [...outputs], limited, checkpoint, recipe, pictures: 0, known: false, ...(choices.startOver && { startedOver: started }) };
    try {
      const result = await this.encode(opened.model, choices, pictures => this.unfinished.save({ ...unfinished, pictures }));
      await this.unfinished.save(undefined);
      for (const { reason } of result.skipped) log.warn(`Left out: ${reason}`);
      if (result.newlyRemoved.length > 0) log.warn(`Not in ${choices.folder} any more, and taken out of the index: ${result.newlyRemoved.join(', ')}`);
      log.info(`Features of ${result.pictures} pictures (${result.encoded} new) in ${result.shards.length} shards: ${result.out}`);
      // Not awaited: it stays until the person is done with it.
      void this.announce(result, (Date.now() - started) / 1000);
    } catch (error) {
      if (this.closing.signal.aborted) return;
      await this.unfinished.save(error instanceof CancelledRun ? { ...unfinished, pictures: error.total, known: true } : undefined);
      if (error instanceof CancelledRun) void this.offerToResume(opened, choices, error);
      else if (isAbort(error)) void vscode.window.showInformationMessage(vscode.l10n.t('Cancelled.'));
      else if (error instanceof OtherFeatures) void this.offerToStartOver(opened, choices, error.message);
      else throw error;
    } finally {
      this.running = undefined;
    }
  }

  /** @param remember told, before anything runs, how many pictures there are: from here on there is something to resume */
  private async encode(model: EncoderModel, choices: Choices, remember: (pictures: number) => Promise<void>): Promise<EncodedFolder> {
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
        onPlan: plan => {
          kept = plan.kept;
          remember(plan.kept + plan.pending).catch((error: unknown) => { log.error(String(error)); });
        },
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

  private async offerToResume(opened: Opened, choices: Choices, { done, total }: CancelledRun): Promise<void> {
    const [resume, showing] = [vscode.l10n.t('Resume'), vscode.l10n.t('Show in Folder')];
    const message = vscode.l10n.t('Cancelled. The features of {0} of {1} are kept in {2}.', done.toLocaleString('en-US'), formatCount(total, 'picture'), basename(choices.out));
    const choice = await vscode.window.showInformationMessage(unlinked(message), resume, showing);
    if (choice === resume) await this.again(opened, { ...choices, startOver: false });
    if (choice === showing) await this.show(choices.out);
  }

  private async offerToStartOver(opened: Opened, choices: Choices, message: string): Promise<void> {
    const startOver = vscode.l10n.t('Start Over');
    if (await vscode.window.showWarningMessage(unlinked(message), { modal: true, detail: vscode.l10n.t('What is there stays until the first new features are there.') }, startOver) === startOver) await this.again(opened, { ...choices, startOver: true });
  }

  /** Errors of what a notification's button began have nobody else to go to. */
  private async again(opened: Opened, choices: Choices): Promise<void> {
    await this.run(opened, choices).catch((error: unknown) => { report(this.app.log, error); });
  }

  private async show(out: string): Promise<void> {
    await reveal(vscode.Uri.file(join(out, INDEX_NAME))).catch((error: unknown) => { this.app.log.error(String(error)); });
  }
}

/** How many pictures a run has done. What is damaged there is told when it is gone on with. */
async function doneBy({ out, startedOver }: UnfinishedRun): Promise<number> {
  const earlier = await earlierRun(out).catch(() => undefined);
  const [first] = earlier?.shards ?? [];
  if (earlier === undefined || first === undefined) return 0;
  // A run that starts over replaces all that was there with its first shard.
  const isOlder = startedOver !== undefined && (await stat(join(out, first.name))).mtimeMs < startedOver;
  return isOlder ? 0 : earlier.places.size;
}

async function howFar(run: UnfinishedRun): Promise<string> {
  return vscode.l10n.t('{0} of {1} are done and stay in {2}', (await doneBy(run)).toLocaleString('en-US'), formatCount(run.pictures, 'picture'), visible(basename(run.out), 60));
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
  const pixels = await pickPixels(model, preprocessing);
  return pixels && { folder, out, outputs, preprocessing: pixels.spec, limited: pixels.limited, startOver: earlier !== undefined && !resume };
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
async function pickPixels({ graph }: EncoderModel, { spec }: Preprocessing): Promise<{ readonly spec: FolderRequest['preprocessing']; readonly limited: boolean } | undefined> {
  const fewer = withMostPixels(spec, MOST_PIXELS);
  if (!takesAnyGrid(graph) || fewer === spec) return { spec, limited: false };
  const rows = [
    { label: vscode.l10n.t('As the Model’s Own Rule'), detail: vscode.l10n.t('What the model was trained for; large pictures take long'), spec, limited: false },
    { label: vscode.l10n.t('At Most {0} Pixels', MOST_PIXELS.toLocaleString('en-US')), detail: vscode.l10n.t('As in the preview; larger pictures are made smaller'), spec: fewer, limited: true },
  ];
  return vscode.window.showQuickPick(rows, { title: vscode.l10n.t('How Large May Pictures Be?'), ignoreFocusOut: true });
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
