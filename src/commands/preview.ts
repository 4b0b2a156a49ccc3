import * as vscode from 'vscode';
import * as z from 'zod';
import type { PictureFile, PreviewModel } from '../encoder/preview';
import { UserError } from '../errors';
import { PICTURE_EXTENSIONS } from '../image/format';
import type { Job } from '../job';
import { previewModel } from '../previewModel';
import { panelStateSchema, precisionSchema, runChoicesSchema } from '../protocol';
import { PictureStore, readPicture } from '../views/preview/pictureStore';
import { PreviewPanel, PREVIEW_TYPE, type OtherEncoder, type Remembered } from '../views/preview/previewPanel';
import { command, report, type App } from './app';
import { openLocation, pick, readJob } from './open';
import { onThisMachine, planOnThisMachine, storedPlan } from './storedEncoders';

const MEMORY = 'preview';
const rememberedSchema = z.object({
  checkpoint: z.string(),
  // A state of an earlier version is worth less than the pictures.
  state: panelStateSchema.optional().catch(undefined),
  pictures: z.array(z.string()),
  folder: z.object({ location: z.string(), position: z.number() }).optional(),
  choices: runChoicesSchema.optional().catch(undefined),
  other: z.object({ location: z.string(), precision: precisionSchema }).optional(),
});

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
      deserializeWebviewPanel: (panel, state: unknown) => previews.restore(panel, state),
    }),
  ];
}

/** The preview's one panel: it follows the open checkpoint when it is asked for. */
class Previews {
  private panel: PreviewPanel | undefined;
  private readonly store: PictureStore;
  /** One call at a time: two that found no panel would each make one. */
  private queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly app: App, private readonly context: vscode.ExtensionContext) {
    this.store = new PictureStore(vscode.Uri.joinPath(context.storageUri ?? context.globalStorageUri, 'pictures'), context.workspaceState);
  }

  open(files: readonly PictureFile[] = []): Promise<void> {
    return this.inTurn(async () => {
      const { job } = this.app.session;
      if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first; the preview runs its vision encoder.'));
      const model = await runnableModel(this.app, job);
      if (model === undefined) return;
      if (this.panel !== undefined) {
        this.panel.reveal();
        this.panel.setModel(model);
        this.remember({});
        this.panel.add(files);
        return;
      }
      const remembered = this.remembered();
      const panel = this.show(vscode.window.createWebviewPanel(PREVIEW_TYPE, '', vscode.ViewColumn.Active), model, remembered);
      if (remembered?.checkpoint === job.checkpoint.location) await this.refill(panel, remembered);
      panel.add(files);
    });
  }

  /** Fills a panel that VS Code kept over a reload of the window, with the state that its page left. */
  restore(webview: vscode.WebviewPanel, left: unknown): Promise<void> {
    return this.inTurn(async () => {
      const state = panelStateSchema.safeParse(left);
      const before = this.remembered();
      const remembered = before && { ...before, ...(state.success && { state: state.data }) };
      try {
        if (remembered === undefined) throw new UserError(vscode.l10n.t('The preview cannot be restored. Open the checkpoint and preview it again.'));
        if (this.app.session.job?.checkpoint.location !== remembered.checkpoint) await openLocation(this.app, remembered.checkpoint);
        const { job } = this.app.session;
        if (job === undefined) throw new UserError(vscode.l10n.t('The preview cannot be restored. Open the checkpoint and preview it again.'));
        // A window that opens again asks nothing.
        const model = await runnableModel(this.app, job, storedPlan);
        if (model === undefined) {
          webview.dispose();
          return;
        }
        this.panel?.dispose();
        await this.refill(this.show(webview, model, remembered), remembered);
      } catch (error) {
        webview.dispose();
        report(this.app.log, error);
      }
    });
  }

  dispose(): void {
    this.panel?.dispose();
  }

  private inTurn(task: () => Promise<void>): Promise<void> {
    const turn = this.queue.then(task);
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  private show(webview: vscode.WebviewPanel, model: PreviewModel, remembered: Remembered | undefined): PreviewPanel {
    const panel = new PreviewPanel(webview, {
      extension: this.context.extensionUri,
      log: this.app.log,
      model,
      state: remembered?.state,
      choices: remembered?.choices,
      store: this.store,
      pickPictures,
      pickFolder: () => pick({ canSelectFolders: true, canSelectFiles: false, openLabel: vscode.l10n.t('Flip Through'), title: vscode.l10n.t('A folder of pictures to flip through') }),
      samples: () => samplePictures(this.context.extensionUri),
      pickOther: () => this.pickOther(),
      remember: changes => { this.remember(changes); },
      report: error => { report(this.app.log, error); },
    });
    this.panel = panel;
    panel.onDidClose(() => { if (this.panel === panel) this.panel = undefined; });
    return panel;
  }

  /** Puts back what the panel showed before. What cannot be found any more is reported and left out. */
  private async refill(panel: PreviewPanel, { pictures, folder, other }: Remembered): Promise<void> {
    panel.add(await this.store.load(pictures), false);
    try {
      if (folder !== undefined) await panel.openFolder(vscode.Uri.parse(folder.location, true), folder.position, false);
      if (other !== undefined) await panel.setOther(await otherEncoder(this.app, other.location, other.precision, storedPlan));
    } catch (error) {
      report(this.app.log, error);
    }
  }

  /** Asks which encoder to compare with. */
  private async pickOther(): Promise<OtherEncoder | undefined> {
    const folder = { label: vscode.l10n.t('Another checkpoint or extracted encoder…'), detail: vscode.l10n.t('A folder: before and after an extraction, two fine-tunes, two stored precisions'), from: 'folder' } as const;
    const file = { label: vscode.l10n.t('A weights file or a shard index…'), from: 'file' } as const;
    const half = { label: vscode.l10n.t('The same encoder in half precision'), detail: vscode.l10n.t('float16 on devices that calculate in it; the CPU does not'), from: 'half' } as const;
    const choice = await vscode.window.showQuickPick([folder, file, half], { title: vscode.l10n.t('Compare with Another Encoder'), placeHolder: vscode.l10n.t('Both run on the same picture; differences are shown per patch and per layer') });
    if (choice === undefined) return undefined;
    if (choice.from === 'half') {
      const { job } = this.app.session;
      if (job === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first; the preview runs its vision encoder.'));
      const model = await runnableModel(this.app, job);
      return model && { location: job.checkpoint.location, model, precision: 'float16' };
    }
    const uri = await pick({ canSelectFolders: choice.from === 'folder', canSelectFiles: choice.from === 'file', openLabel: vscode.l10n.t('Compare'), title: vscode.l10n.t('The encoder to compare with') });
    return uri && otherEncoder(this.app, uri.fsPath, 'float32');
  }

  private remembered(): Remembered | undefined {
    const parsed = rememberedSchema.safeParse(this.context.workspaceState.get(MEMORY));
    return parsed.success ? parsed.data : undefined;
  }

  private remember(changes: Partial<Remembered>): void {
    const checkpoint = this.app.session.job?.checkpoint.location;
    const before = this.remembered();
    if (checkpoint === undefined && before === undefined) return;
    void this.context.workspaceState.update(MEMORY, { pictures: [], ...before, ...(checkpoint !== undefined && { checkpoint }), ...changes });
  }
}

/** The encoder at another location, read for its byte ranges only. */
async function otherEncoder(app: App, location: string, precision: OtherEncoder['precision'], planHere = planOnThisMachine): Promise<OtherEncoder | undefined> {
  const job = await app.hub.retrying(() => readJob(app, location));
  if (job === undefined) return undefined;
  try {
    const model = await runnableModel(app, job, planHere);
    return model && { location: job.checkpoint.location, model, precision };
  } finally {
    await job.checkpoint.close();
  }
}

/** As the preview runs it; undefined when it is elsewhere and not wanted here. */
function runnableModel(app: App, job: Job, planHere?: typeof planOnThisMachine): Promise<PreviewModel | undefined> {
  return onThisMachine(app, job, previewModel, planHere);
}

/** The extension's own pictures, small enough to be their own thumbnails. What drew them: test/demo/samplePictures.mjs. */
function samplePictures(extension: vscode.Uri): Promise<readonly PictureFile[]> {
  const media = vscode.Uri.joinPath(extension, 'media');
  return Promise.all([
    readPicture(vscode.Uri.joinPath(media, 'sample', 'picture.png'), 'house.png'),
    ...['night.png', 'page.png', 'balls.jpg'].map(name => readPicture(vscode.Uri.joinPath(media, 'pictures', name))),
  ]);
}

async function pickPictures(): Promise<PictureFile[]> {
  const chosen = await vscode.window.showOpenDialog({
    canSelectMany: true, canSelectFiles: true,
    openLabel: vscode.l10n.t('Add'), title: vscode.l10n.t('Add pictures'),
    filters: { [vscode.l10n.t('Pictures')]: PICTURE_EXTENSIONS },
  });
  return Promise.all((chosen ?? []).map(uri => readPicture(uri)));
}
