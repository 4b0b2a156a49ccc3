import * as vscode from 'vscode';
import { EncoderClient } from '../../encoder/client';
import { isSameModel, modelInfo, type PictureFile, pictureId, Preview, type PreviewModel } from '../../encoder/preview';
import type { Precision } from '../../encoder/deviceEncoder';
import { deviceChoiceSchema, fromWebviewSchema, type DeviceChoice, type FromWebview, type PanelState, type RunChoices, type ToWebview } from '../../protocol';
import { saveFeatures, savePng } from './save';
import { readAddressed } from './addressedPictures';
import { pageHtml } from './page';
import { PictureFolder } from './pictureFolder';
import type { PictureStore } from './pictureStore';

export const PREVIEW_TYPE = 'visionEncoder.preview';

/** What of a panel outlives its window. */
export interface Remembered {
  /** The checkpoint's location. */
  readonly checkpoint: string;
  readonly state?: PanelState | undefined;
  /** Names of the pictures in the picture store. */
  readonly pictures: readonly string[];
  /** The folder that is flipped through: its address and the place in it. */
  readonly folder?: { readonly location: string; readonly position: number } | undefined;
  /** How the encoder is run. */
  readonly choices?: RunChoices | undefined;
  /** The encoder that it is compared with. */
  readonly other?: Pick<OtherEncoder, 'location' | 'precision'> | undefined;
}

export interface OtherEncoder {
  readonly location: string;
  readonly model: PreviewModel;
  readonly precision: Precision;
}

export interface PanelOptions {
  readonly extension: vscode.Uri;
  readonly log: vscode.LogOutputChannel;
  readonly model: PreviewModel;
  readonly state: PanelState | undefined;
  /** How the encoder was run before; by the settings unless told. */
  readonly choices: RunChoices | undefined;
  readonly store: PictureStore;
  /** Asks the person for pictures. */
  pickPictures(): Promise<PictureFile[]>;
  pickFolder(): Promise<vscode.Uri | undefined>;
  /** The extension's own pictures. */
  samples(): Promise<readonly PictureFile[]>;
  /** Asks the person for the encoder to compare with. `device` is what runs now. */
  pickOther(): Promise<OtherEncoder | undefined>;
  /** Called with what changed of the panel, whenever it changes. */
  remember(changes: Partial<Omit<Remembered, 'checkpoint'>>): void;
  report(error: unknown): void;
}

const MINUTE_MS = 60_000;
const DEVICE_SETTING = 'visionEncoder.preview.device';

/** The preview's page: hands messages between the webview and the Preview, and files between both and the disk. */
export class PreviewPanel implements vscode.Disposable {
  private readonly preview: Preview;
  private readonly closed = new vscode.EventEmitter<void>();
  readonly onDidClose = this.closed.event;
  private model: PreviewModel;
  private state: PanelState | undefined;
  private folder: PictureFolder | undefined;
  private disposed = false;
  private readonly listening: vscode.Disposable;

  constructor(private readonly panel: vscode.WebviewPanel, private readonly options: PanelOptions) {
    const { extension, log, model } = options;
    this.model = model;
    this.state = options.state;
    const settings = vscode.workspace.getConfiguration('visionEncoder.preview');
    const client = new EncoderClient({
      entry: vscode.Uri.joinPath(extension, 'dist', 'encoder.js').fsPath,
      idleMs: settings.get('releaseAfterMinutes', 10) * MINUTE_MS,
      ...(vscode.l10n.uri !== undefined && { words: vscode.l10n.uri.fsPath }),
    });
    this.preview = new Preview(client, model, {
      onStatus: status => { this.post({ type: 'encoder', status }); },
      onPictures: (pictures, show) => { this.post({ type: 'pictures', pictures, show }); },
      onPixels: (picture, mime, bytes) => { this.post({ type: 'pixels', picture, mime, bytes }); },
      onDecoded: (file, thumbnail) => { this.keep(file, thumbnail).catch((error: unknown) => { options.report(error); }); },
      onError: error => { log.error(error instanceof Error ? error.stack ?? error.message : String(error)); },
    }, options.choices ?? { device: deviceSetting(), precision: 'float32', resize: 'model', kept: 'all' });

    // The setting is asked again when it is changed; until then the panel's own choice stands.
    this.listening = vscode.workspace.onDidChangeConfiguration(event => { if (event.affectsConfiguration(DEVICE_SETTING)) this.chooseDevice(deviceSetting()); });
    this.setTitle();
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

  /** @param show whether the last of them is to be shown; otherwise what the person had in view stays */
  add(files: readonly PictureFile[], show = true): void {
    if (files.length === 0) return;
    this.preview.add(files, show);
    this.rememberPictures();
  }

  /** Flips through a folder from now on. */
  async openFolder(location: vscode.Uri, position = 0, show = true): Promise<void> {
    this.folder = await PictureFolder.open(location, position);
    await this.flip(0, show);
  }

  /** Runs another encoder on the same pictures; the same one only if it had failed, since its files may be there again. */
  setModel(model: PreviewModel): void {
    if (!isSameModel(model, this.model)) {
      this.model = model;
      this.setTitle();
      this.post({ type: 'model', model: modelInfo(model), state: this.state });
    }
    this.preview.setModel(model);
  }

  async setOther(other: OtherEncoder | undefined): Promise<void> {
    await this.preview.setOther(other);
    this.options.remember({ other: other && { location: other.location, precision: other.precision } });
  }

  /** Closes the page too, when it is not the page that was closed. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.listening.dispose();
    this.preview.close().catch((error: unknown) => { this.options.report(error); });
    this.closed.fire();
    this.closed.dispose();
    this.panel.dispose();
  }

  private async receive(message: FromWebview): Promise<void> {
    const { preview, options } = this;
    switch (message.type) {
      case 'ready':
        this.post({ type: 'model', model: modelInfo(this.model), state: this.state });
        preview.repeat();
        this.post({ type: 'samples', samples: (await options.samples()).map(({ name, bytes }) => ({ id: pictureId(bytes), name, thumbnail: Uint8Array.from(bytes) })) });
        await this.tellRecent();
        break;
      case 'pick': this.add(await options.pickPictures()); break;
      case 'pickFolder': {
        const location = await options.pickFolder();
        if (location !== undefined) await this.openFolder(location);
        break;
      }
      case 'flip': await this.flip(message.by); break;
      case 'addSample': this.add((await options.samples()).filter(({ bytes }) => pictureId(bytes) === message.picture)); break;
      case 'add': this.add(message.files); break;
      case 'addAddresses': {
        const { files, folder } = await readAddressed(message.addresses);
        this.add(files);
        if (folder !== undefined) await this.openFolder(folder);
        break;
      }
      case 'addRecent': this.add(await options.store.load([message.picture])); break;
      case 'remove':
        if (preview.pictures.find(({ id }) => id === message.picture)?.folder !== undefined) {
          this.folder = undefined;
          options.remember({ folder: undefined });
        }
        await preview.remove(message.picture);
        this.rememberPictures();
        break;
      case 'encode': preview.encodeAgain(message.picture); break;
      case 'device': this.chooseDevice(message.device); break;
      case 'precision': this.choose(() => { preview.setPrecision(message.precision); }); break;
      case 'keep': this.choose(() => { preview.setKept(message.layers); }); break;
      case 'resize': this.choose(() => { preview.setResize(message.mode); }); break;
      case 'resolution': this.choose(() => { preview.setPixels(message.pixels); }); break;
      case 'chooseOther': {
        const other = await options.pickOther();
        if (other !== undefined) await this.setOther(other);
        break;
      }
      case 'closeOther': await this.setOther(undefined); break;
      case 'cancel': preview.cancel(); break;
      case 'restart':
        if (message.device === undefined) preview.start();
        else this.chooseDevice(message.device);
        break;
      case 'ask':
        this.post({ type: 'reply', request: message.request, reply: await this.answer(message) });
        break;
      case 'copy': await vscode.env.clipboard.writeText(message.text); break;
      case 'savePng': await savePng(message.name, message.bytes); break;
      case 'saveFeatures': {
        const picture = preview.pictures.find(({ id }) => id === message.picture);
        if (picture !== undefined) await saveFeatures(picture.name, message.format, names => preview.values(picture.id, names), modelInfo(this.model));
        break;
      }
      case 'showLog': options.log.show(); break;
      case 'state':
        this.state = message.state;
        options.remember({ state: message.state });
        break;
    }
  }

  private chooseDevice(device: DeviceChoice): void {
    this.choose(() => { this.preview.setDevice(device); });
  }

  private choose(change: () => void): void {
    change();
    this.options.remember({ choices: this.preview.choices });
  }

  private async flip(by: number, show = true): Promise<void> {
    if (this.folder === undefined) return;
    const file = await this.folder.flip(by);
    this.preview.add([file], show);
    this.options.remember({ folder: { location: this.folder.location.toString(), position: this.folder.position } });
  }

  private async answer({ question }: Extract<FromWebview, { type: 'ask' }>): Promise<Extract<ToWebview, { type: 'reply' }>['reply']> {
    try {
      return { answer: await this.preview.ask(question) };
    } catch (error) {
      return { failure: error instanceof Error ? error.message : String(error) };
    }
  }

  /** Keeps what could be decoded; a folder's pictures have their place already. */
  private async keep(file: PictureFile, thumbnail: Uint8Array): Promise<void> {
    if (file.folder !== undefined) return;
    await this.options.store.keep(file, thumbnail);
    this.rememberPictures();
    await this.tellRecent();
  }

  private rememberPictures(): void {
    this.options.remember({ pictures: this.preview.pictures.filter(({ folder }) => folder === undefined).map(({ id }) => id) });
  }

  private async tellRecent(): Promise<void> {
    this.post({ type: 'recent', recent: await this.options.store.recent() });
  }

  private setTitle(): void {
    this.panel.title = vscode.l10n.t('Preview: {0}', this.model.model.name);
  }

  private post(message: ToWebview): void {
    // A run that ends with its panel still tells how it went; a closed page's webview throws.
    if (!this.disposed) void this.panel.webview.postMessage(message);
  }
}

function deviceSetting(): DeviceChoice {
  return deviceChoiceSchema.catch('auto').parse(vscode.workspace.getConfiguration().get(DEVICE_SETTING));
}
