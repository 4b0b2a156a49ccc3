import { isAbort, UserError } from '../errors';
import type { Answers, DeviceChoice, EncoderStatus, PictureInfo, Question, ResizeMode } from '../protocol';
import type { EncoderClient } from './client';
import { DEVICE_NAMES, type LoadReport } from './devices';
import type { Array32 } from './encoder';
import type { PreprocessSpec } from '../image/preprocess';
import type { EncoderModel } from './model';

/** A picture as it came: its bytes are kept, so that it can be encoded again by another device or after a crash. */
export interface PictureFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface PreviewEvents {
  onStatus(status: EncoderStatus): void;
  onPictures(pictures: readonly PictureInfo[]): void;
  /** What to draw for a picture. */
  onPixels(id: string, mime: string, bytes: Uint8Array): void;
  /** What went wrong beyond the sentence in the status, for the log. */
  onError(error: unknown): void;
}

/** How pictures become the encoder's input, by what a person may choose. */
export interface Preparation {
  readonly specs: Readonly<Record<ResizeMode, PreprocessSpec>>;
  /** Whose rule `model` is, and what to know of it. */
  readonly from: string;
}

interface Entry {
  info: PictureInfo;
  readonly file: PictureFile;
  display: Uint8Array | undefined;
}

/**
 * A preview's state: pictures are encoded one after the other by the client's process, and questions about them are
 * answered there. When that process ends (a crash, a kill, a rest), the pictures wait and are encoded again: after a
 * rest with the next question, after a crash when the person starts the encoder again.
 */
export class Preview {
  private readonly entries = new Map<string, Entry>();
  private status: EncoderStatus;
  private nextId = 1;
  private pumping: Promise<void> | undefined;
  private controller = new AbortController();
  /** The process that holds the encoded pictures. */
  private holder: number | undefined;
  private report: LoadReport | undefined;

  constructor(
    private readonly client: EncoderClient,
    private readonly model: EncoderModel,
    private readonly preparation: Preparation,
    private readonly events: PreviewEvents,
    device: DeviceChoice,
  ) {
    this.status = { state: 'off', choice: device, resize: 'model', rule: preparation.from };
  }

  get pictures(): readonly PictureInfo[] {
    return [...this.entries.values()].map(({ info }) => info);
  }

  get files(): readonly PictureFile[] {
    return [...this.entries.values()].map(({ file }) => file);
  }

  /** Tells everything again, to a page that was loaded anew. */
  repeat(): void {
    this.events.onStatus(this.status);
    this.events.onPictures(this.pictures);
    for (const [id, { display }] of this.entries) if (display !== undefined) this.events.onPixels(id, 'image/png', display);
  }

  add(files: readonly PictureFile[]): void {
    for (const file of files) {
      const id = `p${this.nextId++}`;
      this.entries.set(id, { info: { id, name: file.name, status: 'waiting' }, file, display: undefined });
    }
    this.tell();
    this.pump();
  }

  async remove(id: string): Promise<void> {
    this.entries.delete(id);
    this.tell();
    await this.client.closePicture(id);
  }

  setDevice(choice: DeviceChoice): void {
    if (choice === this.status.choice) return;
    this.setStatus({ choice });
    this.start();
  }

  setResize(resize: ResizeMode): void {
    if (resize === this.status.resize) return;
    this.setStatus({ resize });
    this.encodeAnew();
  }

  cancel(): void {
    this.controller.abort();
  }

  /** Loads the encoder (again) and encodes every picture (again). */
  start(): void {
    this.report = undefined;
    this.encodeAnew();
  }

  /** @throws UserError when the picture cannot be asked about */
  async ask<Type extends Question['type']>(question: Extract<Question, { type: Type }>): Promise<Answers[Type]> {
    await this.holdPictures();
    return this.client.askAbout(question);
  }

  /** The picture's `pixel_values`, hidden states, `features` and `attn_pool.weights`. */
  async values(id: string, names: readonly string[]): Promise<Map<string, Array32>> {
    await this.holdPictures();
    return this.client.pictureValues(id, names);
  }

  async close(): Promise<void> {
    this.controller.abort();
    await this.client.close();
  }

  /** After a rest the process is a new one that knows no picture. */
  private async holdPictures(): Promise<void> {
    if (this.status.state !== 'failed' && this.client.pid !== this.holder && this.entries.size > 0) this.encodeAnew();
    await this.pumping;
  }

  private encodeAnew(): void {
    this.controller.abort();
    this.update(() => true, ({ id, name }) => ({ id, name, status: 'waiting' }));
    this.pump();
  }

  private pump(): void {
    // A run that was just aborted ends first; the waiting pictures are its successor's.
    const before = this.pumping ?? Promise.resolve();
    const controller = new AbortController();
    this.controller = controller;
    const pumping = before.then(() => this.encodeWaiting(controller.signal)).catch((error: unknown) => { this.fail(error, controller.signal); }).finally(() => {
      if (this.pumping === pumping) this.pumping = undefined;
    });
    this.pumping = pumping;
  }

  private async encodeWaiting(signal: AbortSignal): Promise<void> {
    for (;;) {
      const entry = [...this.entries.values()].find(({ info }) => info.status === 'waiting');
      if (entry === undefined || signal.aborted) break;
      await this.load(signal);
      await this.encode(entry, signal);
    }
    if (this.status.state !== 'failed') this.setStatus({ state: this.report === undefined ? 'off' : 'ready', progress: undefined });
  }

  private async load(signal: AbortSignal): Promise<void> {
    if (this.report !== undefined && this.client.pid === this.holder) return;
    this.setStatus({ state: 'loading', progress: 0, message: undefined, device: undefined });
    const report = await this.client.load(this.model, {
      device: this.status.choice,
      precision: 'float32',
      signal,
      onProgress: ({ done, total }) => { this.setStatus({ progress: total === 0 ? 0 : done / total }); },
    });
    this.report = report;
    this.holder = this.client.pid;
    this.setStatus({
      state: 'ready', progress: undefined,
      device: DEVICE_NAMES[report.device],
      rejected: report.rejected.map(({ device, reason }) => ({ device: DEVICE_NAMES[device], reason })),
      message: report.warning,
    });
  }

  private async encode(entry: Entry, signal: AbortSignal): Promise<void> {
    const { id, name } = entry.info;
    this.update(info => info.id === id, info => ({ ...info, status: 'running' }));
    this.setStatus({ state: 'running', progress: 0 });
    try {
      const opened = await this.client.openPicture({ id, ...entry.file }, this.preparation.specs[this.status.resize], { signal });
      entry.display = opened.display;
      const { width, height, seen, grid, decodeMs, resizeMs } = opened;
      this.update(info => info.id === id, info => ({ ...info, width, height, seen, grid }));
      this.events.onPixels(id, 'image/png', opened.display);
      const { runMs } = await this.client.encodePicture(id, { signal, onProgress: ({ done, total }) => { this.setStatus({ progress: done / total }); } });
      this.update(info => info.id === id, info => ({ ...info, status: 'ready', timings: { decode: decodeMs, resize: resizeMs, run: runMs } }));
      const memory = await this.client.memory();
      this.setStatus({ memoryBytes: memory?.residentBytes });
    } catch (error) {
      if (isAbort(error)) {
        // A picture whose turn was taken back by encodeAnew waits again already.
        this.update(info => info.id === id && info.status === 'running', () => ({ id, name, status: 'failed', message: 'Cancelled.' }));
        return;
      }
      if (this.client.pid !== this.holder || !(error instanceof UserError)) throw error;
      // The picture is at fault, not the encoder.
      this.update(info => info.id === id, () => ({ id, name, status: 'failed', message: error.message }));
    }
  }

  private fail(error: unknown, signal: AbortSignal): void {
    if (isAbort(error)) {
      // Aborted for the sake of a run that follows: the waiting pictures are that one's.
      if (signal !== this.controller.signal) return;
      this.update(({ status }) => status === 'waiting', ({ id, name }) => ({ id, name, status: 'failed', message: 'Cancelled.' }));
      this.setStatus({ state: 'off', progress: undefined });
      return;
    }
    this.events.onError(error);
    this.report = undefined;
    const message = error instanceof UserError ? error.message : 'The encoder failed. The output channel has the details.';
    this.update(() => true, ({ id, name }) => ({ id, name, status: 'failed', message }));
    this.setStatus({ state: 'failed', message, progress: undefined, device: undefined });
  }

  private update(which: (info: PictureInfo) => boolean, change: (info: PictureInfo) => PictureInfo): void {
    for (const entry of this.entries.values()) if (which(entry.info)) entry.info = change(entry.info);
    this.tell();
  }

  private tell(): void {
    this.events.onPictures(this.pictures);
  }

  private setStatus(changes: Partial<EncoderStatus>): void {
    this.status = { ...this.status, ...changes };
    this.events.onStatus(this.status);
  }
}
