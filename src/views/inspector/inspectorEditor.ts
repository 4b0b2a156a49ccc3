import * as vscode from 'vscode';
import { basename } from 'node:path';
import type { Checkpoint } from '../../checkpoint/checkpoint';
import { elementCount } from '../../checkpoint/dtype';
import { openCheckpoint } from '../../checkpoint/open';
import { isAbort, UserError } from '../../errors';
import { heatMap } from '../../inspection/heatMap';
import { tensorStatistics } from '../../inspection/tensorStatistics';
import { HeldTensor } from '../../inspection/heldTensor';
import { fromInspectorSchema, type FromInspector, type InspectedFile, type InspectorAnswers, type InspectorQuestion, type ToInspector } from '../../inspectorProtocol';
import type { RunOptions } from '../../progress';
import { shownAddress } from '../../remote/location';
import { FileWatcher } from '../fileWatcher';
import { pageHtml } from '../preview/page';
import { documentUri, remoteLocation } from '../remoteDocuments';
import { Readers } from '../readers';

/** Of one kind for files that open in it, of the other for files that open in it when asked. */
export const INSPECTOR_TYPES = ['visionEncoder.inspector', 'visionEncoder.inspectorOnDemand'] as const;

/** A weights file as a read-only document. Nothing but its headers is held. */
class WeightsDocument implements vscode.CustomDocument {
  private readonly readers = new Readers();
  private readonly changed = new vscode.EventEmitter<void>();
  readonly onDidChange = this.changed.event;
  private readonly watcher: FileWatcher;
  private opened: Promise<Checkpoint> | undefined;
  /** Of a file at an address, the tensor that is looked at. */
  readonly held = new HeldTensor();

  /** @param address what a document that is not on this machine is read from */
  constructor(readonly uri: vscode.Uri, readonly address: string | undefined, private readonly options: Pick<InspectorOptions, 'openRemote' | 'report'>) {
    this.watcher = new FileWatcher(() => { this.changed.fire(); return Promise.resolve(); }, options.report);
    if (uri.scheme === 'file') this.watcher.watch(uri.fsPath);
  }

  /** @throws UserError when the file cannot be read as a checkpoint */
  checkpoint(): Promise<Checkpoint> {
    if (this.address !== undefined) {
      const opening = this.opened ??= this.options.openRemote(this.address);
      // What failed for want of a network or a token is tried anew with the next reading.
      opening.catch(() => { if (this.opened === opening) this.opened = undefined; });
      return opening;
    }
    if (this.uri.scheme !== 'file') return Promise.reject(new UserError(vscode.l10n.t('{0} is not on a disk that this extension can read.', this.uri.toString(true))));
    return this.opened ??= openCheckpoint(this.uri.fsPath);
  }

  /** Reads with a checkpoint that stays open until the end of the reading. */
  async read<T>(task: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
    const checkpoint = await this.checkpoint();
    return this.readers.read(checkpoint, () => task(checkpoint));
  }

  /** The next reading opens the file anew. */
  async reload(): Promise<void> {
    const before = this.opened;
    this.opened = undefined;
    const checkpoint = await before?.catch(() => undefined); // one that could not be opened needs no closing
    if (checkpoint !== undefined) await this.readers.close(checkpoint);
  }

  dispose(): void {
    this.watcher.dispose();
    this.changed.dispose();
    void this.reload();
  }
}

export interface InspectorOptions {
  readonly extension: vscode.Uri;
  readonly log: vscode.LogOutputChannel;
  readonly report: (error: unknown) => void;
  /** Opens the file in the views: one on this machine, or what an address names. */
  readonly openInViews: (place: vscode.Uri | string) => Thenable<unknown>;
  /** Reads the headers of what an address names. */
  readonly openRemote: (address: string) => Promise<Checkpoint>;
}

/** Looks inside weights files: a read-only editor with every tensor, where the bytes are, and what the values are like. */
export class InspectorEditors implements vscode.CustomReadonlyEditorProvider<WeightsDocument> {
  private readonly pages = new Map<string, Set<InspectorPage>>();
  /** Keys to show in files whose pages are not there yet. */
  private readonly wanted = new Map<string, string>();
  /** Addresses with what is secret in them, by the documents that go without. */
  private readonly addresses = new Map<string, string>();

  constructor(private readonly options: InspectorOptions) {}

  openCustomDocument(uri: vscode.Uri): WeightsDocument {
    return new WeightsDocument(uri, this.addresses.get(uri.toString()) ?? remoteLocation(uri), this.options);
  }

  resolveCustomEditor(document: WeightsDocument, panel: vscode.WebviewPanel): void {
    const id = document.uri.toString();
    const page = new InspectorPage(document, panel, this.options);
    const pages = this.pages.get(id) ?? new Set();
    this.pages.set(id, pages.add(page));
    panel.onDidDispose(() => {
      page.dispose();
      pages.delete(page);
      if (pages.size === 0) this.pages.delete(id);
    });
    const key = this.wanted.get(id);
    this.wanted.delete(id);
    if (key !== undefined) page.select(key);
  }

  /** Opens a file on this machine or at an address, and shows one of its tensors. */
  async show(location: string, key?: string): Promise<void> {
    const uri = documentUri(shownAddress(location));
    const id = uri.toString();
    this.addresses.delete(id);
    if (remoteLocation(uri) !== undefined) this.addresses.set(id, location);
    if (!this.pages.has(id) && key !== undefined) this.wanted.set(id, key);
    const [byItself, onDemand] = INSPECTOR_TYPES;
    await vscode.commands.executeCommand('vscode.openWith', uri, uri.path.endsWith('.safetensors') ? byItself : onDemand);
    if (key !== undefined) for (const page of this.pages.get(id) ?? []) page.select(key);
  }
}

/** One page of a document. */
class InspectorPage {
  private readonly running = new Map<number, AbortController>();
  private readonly disposables: vscode.Disposable[] = [];
  private selected: string | undefined;
  private closed = false;

  constructor(private readonly document: WeightsDocument, private readonly panel: vscode.WebviewPanel, private readonly options: InspectorOptions) {
    const { extension, log, report } = options;
    panel.webview.options = { enableScripts: true, localResourceRoots: [vscode.Uri.joinPath(extension, 'dist', 'webview')] };
    this.disposables.push(
      document.onDidChange(() => { this.post({ type: 'changed' }); }),
      panel.webview.onDidReceiveMessage(async (message: unknown) => {
        const parsed = fromInspectorSchema.safeParse(message);
        if (!parsed.success) {
          log.error(`The page of ${document.uri.toString(true)} sent a message that is none: ${parsed.error.message}`);
          return;
        }
        try {
          await this.receive(parsed.data);
        } catch (error) {
          report(error);
        }
      }),
    );
    panel.webview.html = pageHtml(panel.webview, extension, 'inspector');
  }

  select(key: string): void {
    this.selected = key;
    this.post({ type: 'select', key });
  }

  dispose(): void {
    this.closed = true;
    for (const controller of this.running.values()) controller.abort();
    for (const disposable of this.disposables) disposable.dispose();
  }

  private async receive(message: FromInspector): Promise<void> {
    switch (message.type) {
      case 'ready': await this.tell(); break;
      case 'reload':
        await this.document.reload();
        await this.tell();
        break;
      case 'ask': await this.answer(message.request, message.question); break;
      case 'cancel': this.running.get(message.request)?.abort(); break;
      case 'open': await this.options.openInViews(this.document.address ?? this.document.uri); break;
      case 'copy': await vscode.env.clipboard.writeText(message.text); break;
    }
  }

  private async tell(): Promise<void> {
    try {
      const checkpoint = await this.document.checkpoint();
      this.post({ type: 'file', file: listing(checkpoint) });
      if (this.selected !== undefined) this.post({ type: 'select', key: this.selected });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      this.post({ type: 'unreadable', name: basename(this.document.uri.path), message: error.message });
    }
  }

  private async answer(request: number, question: InspectorQuestion): Promise<void> {
    const controller = new AbortController();
    this.running.set(request, controller);
    let told = 0;
    const options: RunOptions = {
      signal: controller.signal,
      onProgress: ({ done, total }) => {
        const share = total === 0 ? 1 : done / total;
        if (share < told + 0.01) return;
        told = share;
        this.post({ type: 'progress', request, share });
      },
    };
    try {
      const answer = await this.document.read(checkpoint => ask(checkpoint, this.document.held, question, options));
      this.post({ type: 'reply', request, reply: { answer } });
    } catch (error) {
      if (!isAbort(error)) this.options.log.error(error instanceof Error ? error.stack ?? error.message : String(error));
      this.post({ type: 'reply', request, reply: { failure: isAbort(error) ? vscode.l10n.t('Cancelled.') : error instanceof Error ? error.message : String(error) } });
    } finally {
      this.running.delete(request);
    }
  }

  private post(message: ToInspector): void {
    if (!this.closed) void this.panel.webview.postMessage(message);
  }
}

async function ask(checkpoint: Checkpoint, held: HeldTensor, question: InspectorQuestion, options: RunOptions): Promise<InspectorAnswers[keyof InspectorAnswers]> {
  const tensor = checkpoint.tensors[question.tensor];
  const file = tensor === undefined ? undefined : checkpoint.files[tensor.file]?.source;
  if (tensor === undefined || file === undefined) throw new UserError(vscode.l10n.t('The file has no such tensor any more. Reload it.'));
  const source = await held.sourceFor(file, tensor, options);
  switch (question.type) {
    case 'statistics': return tensorStatistics(source, tensor, options);
    case 'heatMap': return heatMap(source, tensor, question.matrix, question.region, options);
  }
}

function listing({ name, location, files, tensors, others, warnings }: Checkpoint): InspectedFile {
  return {
    name, location, others, warnings, remote: files.some(({ source }) => source.remote !== undefined),
    files: files.map(({ name: file, format, source, metadata }) => ({ name: file, format, bytes: source.size, metadata: [...metadata] })),
    tensors: tensors.map(({ key, dtype, shape, length, file, offset }) => ({ key, dtype, shape, elements: elementCount(shape), bytes: length, file, offset })),
  };
}
