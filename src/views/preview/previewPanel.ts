import * as vscode from 'vscode';
import { EncoderClient } from '../../encoder/client';
import type { EncoderModel } from '../../encoder/model';
import { Preview, type Preparation } from '../../encoder/preview';
import { deviceChoiceSchema, fromWebviewSchema, type FromWebview, type ModelInfo, type PanelState, type ToWebview } from '../../protocol';
import { saveFeatures, savePng } from './save';
import { pageHtml } from './page';

export const PREVIEW_TYPE = 'visionEncoder.preview';

/** What of a panel outlives its window. */
export interface Remembered {
  /** The checkpoint's location. */
  readonly checkpoint: string;
  readonly state: PanelState | undefined;
  /** Names of the pictures in the picture store. */
  readonly pictures: readonly string[];
}

export interface PanelOptions {
  readonly extension: vscode.Uri;
  readonly log: vscode.LogOutputChannel;
  readonly model: EncoderModel;
  readonly preparation: Preparation;
  readonly info: ModelInfo;
  readonly state: PanelState | undefined;
  pickPictures(): Promise<{ name: string; bytes: Uint8Array }[]>;
  samplePicture(): Promise<{ name: string; bytes: Uint8Array }>;
  /** Called with the panel's state whenever it changes. */
  remember(changes: Partial<Remembered>): void;
  /** Called when the set of pictures changes. */
  keepPictures(files: readonly { readonly name: string; readonly bytes: Uint8Array }[]): void;
  report(error: unknown): void;
}

const MINUTE_MS = 60_000;

/** The preview's page: hands messages between the webview and the Preview, and files between both and the disk. */
export class PreviewPanel implements vscode.Disposable {
  private readonly preview: Preview;
  private readonly closed = new vscode.EventEmitter<void>();
  readonly onDidClose = this.closed.event;
  private state: PanelState | undefined;
  private disposed = false;

  constructor(private readonly panel: vscode.WebviewPanel, private readonly options: PanelOptions) {
    const { extension, log, model, preparation, info } = options;
    this.state = options.state;
    const settings = vscode.workspace.getConfiguration('visionEncoder.preview');
    const client = new EncoderClient({
      entry: vscode.Uri.joinPath(extension, 'dist', 'encoder.js').fsPath,
      idleMs: settings.get('releaseAfterMinutes', 10) * MINUTE_MS,
    });
    this.preview = new Preview(client, model, preparation, {
      onStatus: status => { this.post({ type: 'encoder', status }); },
      onPictures: pictures => { this.post({ type: 'pictures', pictures }); },
      onPixels: (picture, mime, bytes) => { this.post({ type: 'pixels', picture, mime, bytes }); },
      onError: error => { log.error(error instanceof Error ? error.stack ?? error.message : String(error)); },
    }, deviceChoiceSchema.catch('auto').parse(settings.get('device')));

    panel.title = vscode.l10n.t('Preview: {0}', info.name);
    panel.iconPath = vscode.Uri.joinPath(extension, 'media', 'icon.svg');
    panel.webview.options = { enableScripts: true, localResourceRoots: [vscode.Uri.joinPath(extension, 'dist', 'webview')] };
    panel.webview.onDidReceiveMessage(async (message: unknown) => {
      const parsed = fromWebviewSchema.safeParse(message);
      if (!parsed.success) {
        log.error(`The preview sent a message that is none: ${parsed.error.message}`);
        return;
      }
      try {
        await this.receive(parsed.data);
      } catch (error) {
        options.report(error);
      }
    });
    panel.onDidDispose(() => { this.dispose(); });
    panel.webview.html = pageHtml(panel.webview, extension, 'main');
  }

  reveal(): void {
    this.panel.reveal();
  }

  add(files: readonly { readonly name: string; readonly bytes: Uint8Array }[]): void {
    if (files.length === 0) return;
    this.preview.add(files);
    this.options.keepPictures(this.preview.files);
  }

  /** Closes the page too, when it is not the page that was closed. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.preview.close().catch((error: unknown) => { this.options.report(error); });
    this.closed.fire();
    this.closed.dispose();
    this.panel.dispose();
  }

  private async receive(message: FromWebview): Promise<void> {
    const { preview } = this;
    switch (message.type) {
      case 'ready':
        this.post({ type: 'model', model: this.options.info, state: this.state });
        preview.repeat();
        break;
      case 'pick': this.add(await this.options.pickPictures()); break;
      case 'sample': this.add([await this.options.samplePicture()]); break;
      case 'add': this.add(message.files); break;
      case 'remove':
        await preview.remove(message.picture);
        this.options.keepPictures(preview.files);
        break;
      case 'device': preview.setDevice(message.device); break;
      case 'resize': preview.setResize(message.mode); break;
      case 'cancel': preview.cancel(); break;
      case 'restart':
        if (message.device === undefined) preview.start();
        else preview.setDevice(message.device);
        break;
      case 'ask':
        this.post({ type: 'reply', request: message.request, reply: await this.answer(message) });
        break;
      case 'savePng': await savePng(message.name, message.bytes); break;
      case 'saveFeatures': {
        const picture = preview.pictures.find(({ id }) => id === message.picture);
        if (picture !== undefined) await saveFeatures(picture.name, message.format, names => preview.values(picture.id, names), this.options.info.layers);
        break;
      }
      case 'state':
        this.state = message.state;
        this.options.remember({ state: message.state });
        break;
    }
  }

  private async answer({ question }: Extract<FromWebview, { type: 'ask' }>): Promise<Extract<ToWebview, { type: 'reply' }>['reply']> {
    try {
      return { answer: await this.preview.ask(question) };
    } catch (error) {
      return { failure: error instanceof Error ? error.message : String(error) };
    }
  }

  private post(message: ToWebview): void {
    // A run that ends with its panel still tells how it went; a closed page's webview throws.
    if (!this.disposed) void this.panel.webview.postMessage(message);
  }
}
