import * as vscode from 'vscode';
import * as z from 'zod';
import { pictureSizes } from '../architecture/forwardGraphs';
import { encoderModel, type EncoderModel } from '../encoder/model';
import type { Preparation } from '../encoder/preview';
import { UserError } from '../errors';
import { PICTURE_EXTENSIONS } from '../image/format';
import { validated, type Job } from '../job';
import { preprocessingOrFamilys, withGeometry, withMostPixels } from '../preprocessing';
import type { Plan } from '../recipe/plan';
import { panelStateSchema, type ModelInfo } from '../protocol';
import { picturesIn, PictureStore, readPicture } from '../views/preview/pictureStore';
import { PreviewPanel, PREVIEW_TYPE, type PanelOptions, type Remembered } from '../views/preview/previewPanel';
import { command, report, type App } from './app';
import { openLocation } from './open';
import { planOnThisMachine, storedPlan } from './storedEncoders';

const MEMORY = 'preview';
const rememberedSchema = z.object({ checkpoint: z.string(), state: panelStateSchema.optional(), pictures: z.array(z.string()) });

/** A folder of pictures is flipped through, not loaded whole. */
const FOLDER_LIMIT = 24;

/** Opens the preview of the open checkpoint, and again after a reload of the window. */
export function previewCommands(app: App, context: vscode.ExtensionContext): vscode.Disposable[] {
  const previews = new Previews(app, context);
  return [
    new vscode.Disposable(() => { previews.dispose(); }),
    command(app, 'preview', () => previews.open()),
    command(app, 'previewPicture', async (uri?: vscode.Uri, selected?: vscode.Uri[]) => {
      const uris = selected ?? (uri === undefined ? [] : [uri]);
      await previews.open(await Promise.all(uris.map(each => readPicture(each))));
    }),
    vscode.window.registerWebviewPanelSerializer(PREVIEW_TYPE, {
      deserializeWebviewPanel: panel => previews.restore(panel),
    }),
  ];
}

class Previews {
  private current: { readonly panel: PreviewPanel; readonly job: Job } | undefined;
  private readonly store: PictureStore;

  constructor(private readonly app: App, private readonly context: vscode.ExtensionContext) {
    this.store = new PictureStore(vscode.Uri.joinPath(context.storageUri ?? context.globalStorageUri, 'pictures'), context.workspaceState);
  }

  async open(files: readonly { readonly name: string; readonly bytes: Uint8Array }[] = []): Promise<void> {
    const { job } = this.app.session;
    if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first; the preview runs its vision encoder.'));
    if (this.current?.job === job) {
      this.current.panel.reveal();
      this.current.panel.add(files);
      return;
    }
    const remembered = this.remembered();
    const model = await modelOf(this.app, job, planOnThisMachine);
    if (model === undefined) return;
    const preparation = await preparationOf(job, model);
    this.current?.panel.dispose();
    const panel = vscode.window.createWebviewPanel(PREVIEW_TYPE, '', vscode.ViewColumn.Active);
    const pictures = files.length > 0 || remembered?.checkpoint !== job.checkpoint.location ? files : await this.store.load(remembered.pictures);
    this.show(panel, job, { model, preparation }, remembered).add(pictures);
  }

  /** Fills a panel that VS Code kept over a reload of the window. */
  async restore(panel: vscode.WebviewPanel): Promise<void> {
    const remembered = this.remembered();
    try {
      if (remembered === undefined) throw new UserError(vscode.l10n.t('The preview cannot be restored. Open the checkpoint and preview it again.'));
      if (this.app.session.job?.checkpoint.location !== remembered.checkpoint) await openLocation(this.app, remembered.checkpoint);
      const { job } = this.app.session;
      if (job === undefined) throw new UserError(vscode.l10n.t('The preview cannot be restored. Open the checkpoint and preview it again.'));
      // A window that opens again asks nothing.
      const model = await modelOf(this.app, job, storedPlan);
      if (model === undefined) panel.dispose();
      else this.show(panel, job, { model, preparation: await preparationOf(job, model) }, remembered).add(await this.store.load(remembered.pictures));
    } catch (error) {
      panel.dispose();
      report(this.app.log, error);
    }
  }

  dispose(): void {
    this.current?.panel.dispose();
  }

  private show(webview: vscode.WebviewPanel, job: Job, run: Pick<PanelOptions, 'model' | 'preparation'>, remembered: Remembered | undefined): PreviewPanel {
    const { checkpoint } = job;
    const panel = new PreviewPanel(webview, {
      extension: this.context.extensionUri,
      log: this.app.log,
      ...run,
      info: infoOf(job),
      state: remembered?.state,
      pickPictures: pickPictures,
      samplePicture: () => readPicture(vscode.Uri.joinPath(this.context.extensionUri, 'media', 'sample', 'picture.png'), 'sample.png'),
      remember: changes => { this.remember({ checkpoint: checkpoint.location, ...changes }); },
      keepPictures: files => {
        this.store.keep(files).then(pictures => { this.remember({ checkpoint: checkpoint.location, pictures }); }, (error: unknown) => { report(this.app.log, error); });
      },
      report: error => { report(this.app.log, error); },
    });
    const shown = { panel, job };
    this.current = shown;
    panel.onDidClose(() => { if (this.current === shown) this.current = undefined; });
    return panel;
  }

  private remembered(): Remembered | undefined {
    const parsed = rememberedSchema.safeParse(this.context.workspaceState.get(MEMORY));
    return parsed.success ? { ...parsed.data, state: parsed.data.state } : undefined;
  }

  private remember(changes: Partial<Remembered> & Pick<Remembered, 'checkpoint'>): void {
    const before = this.remembered();
    void this.context.workspaceState.update(MEMORY, { pictures: [], ...(before?.checkpoint === changes.checkpoint ? before : { state: before?.state }), ...changes });
  }
}

/**
 * The job's encoder on this machine; undefined when `planHere` does not have it.
 * @throws UserError when the encoder would not load, so it cannot run either
 */
async function modelOf(app: App, job: Job, planHere: (app: App, job: Job) => Promise<Plan | undefined>): Promise<EncoderModel | undefined> {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError(vscode.l10n.t('The encoder would not load strictly, so it cannot be run. The Validation view lists what is wrong.'));
  // What cannot be run is not downloaded.
  const plan = family.graph === undefined ? job.plan : await planHere(app, job);
  return plan && encoderModel(plan, family, validation.hyperparameters, job.config);
}

/** Encoders of pictures of any size take up to 16 million pixels: minutes, and gigabytes of hidden states. These are 2048 patches of 14 pixels. */
const MOST_PIXELS = 2048 * 14 * 14;

/** As the model prepares its pictures; and the geometries that a person may choose instead. */
async function preparationOf(job: Job, { graph }: EncoderModel): Promise<Preparation> {
  const sizes = pictureSizes(graph);
  const { side } = sizes;
  const own = await preprocessingOrFamilys(job, sizes);
  const spec = withMostPixels(own.spec, MOST_PIXELS);
  const from = spec === own.spec ? own.from : `${own.from}; in the preview with at most ${MOST_PIXELS.toLocaleString('en')} pixels`;
  return { specs: { model: spec, square: withGeometry(spec, side, 'square'), crop: withGeometry(spec, side, 'crop') }, from };
}

function infoOf(job: Job): ModelInfo {
  const { family, validation } = validated(job);
  const size = (name: string): number => validation.hyperparameters.get(name)?.value ?? 0;
  return {
    name: job.checkpoint.name,
    family: family.title,
    layers: size('layers'),
    heads: size('heads'),
    width: size('width'),
    queries: size('n_queries'),
    outputDim: size('output_dim'),
    imageSize: size('image_size'),
    patchSize: size('patch_size'),
  };
}

async function pickPictures(): Promise<{ name: string; bytes: Uint8Array }[]> {
  const chosen = await vscode.window.showOpenDialog({
    canSelectMany: true, canSelectFolders: true, canSelectFiles: true,
    openLabel: vscode.l10n.t('Add'), title: vscode.l10n.t('Add pictures, or a folder of them'),
    filters: { [vscode.l10n.t('Pictures')]: PICTURE_EXTENSIONS },
  });
  const files: vscode.Uri[] = [];
  for (const uri of chosen ?? []) {
    const { type } = await vscode.workspace.fs.stat(uri);
    files.push(...((type & vscode.FileType.Directory) === 0 ? [uri] : (await picturesIn(uri)).slice(0, FOLDER_LIMIT)));
  }
  return Promise.all(files.map(uri => readPicture(uri)));
}
