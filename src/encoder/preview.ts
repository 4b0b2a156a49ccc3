import { createHash } from 'node:crypto';
import { t } from '@vscode/l10n';
import { stateAt } from '../architecture/forwardGraph';
import { forwardGraph, gridOf, pictureSizes } from '../architecture/forwardGraphs';
import { sameGrid } from '../architecture/positions';
import { mergedNames } from '../architecture/outputs';
import { isAbort, UserError } from '../errors';
import { inputSize, withMostPixels, type PreprocessSpec } from '../image/preprocess';
import { keptLayers } from '../previewLimits';
import type { Answers, DeviceChoice, EncoderSlot, EncoderStatus, Encoding, KeptLayers, ModelInfo, PictureInfo, Question, ResizeMode, RunChoices } from '../protocol';
import type { EncoderClient } from './client';
import { DEVICE_NAMES, type LoadReport } from './devices';
import type { Precision } from './deviceEncoder';
import type { Array32 } from './encoder';
import type { Preprocessing } from './gallery';
import type { EncoderModel } from './model';

/** An encoder with the ways to prepare pictures for it. */
export interface PreviewModel {
  readonly model: EncoderModel;
  readonly family: string;
  readonly preprocessing: Preprocessing;
  /** Pixels that a picture may have at most, to choose from, the least first and the model's own last; empty where it leaves no choice. */
  readonly pixelLimits: readonly number[];
  /** Whose rule `preprocessing.model` is, and what to know of it. */
  readonly rule: string;
  /** The model's own softmax temperature, where its checkpoint has a `logit_scale`. */
  readonly temperature: number | undefined;
}

/** A picture as it came: its bytes are kept, so that it can be encoded again by another device or after a crash. */
export interface PictureFile {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Where it stands in the folder that is flipped through. */
  readonly folder?: NonNullable<PictureInfo['folder']>;
}

export interface PreviewEvents {
  onStatus(status: EncoderStatus): void;
  /** @param show the picture that the person has just asked for */
  onPictures(pictures: readonly PictureInfo[], show: string | undefined): void;
  /** What to draw for a picture. */
  onPixels(id: string, mime: string, bytes: Uint8Array): void;
  /** A picture was decoded for the first time; the thumbnail is a PNG. */
  onDecoded(file: PictureFile, thumbnail: Uint8Array): void;
  /** What went wrong beyond the sentence in the status, for the log. */
  onError(error: unknown): void;
}

interface Entry {
  info: PictureInfo;
  file: PictureFile;
  display: Uint8Array | undefined;
  /** Kept for when the person flips back to it, and told to nobody until then. */
  hidden: boolean;
}

interface Loaded {
  readonly model: PreviewModel;
  readonly precision: Precision;
  report: LoadReport | undefined;
  /** What it was made ready for. */
  fitted?: KeptLayers;
}

const SLOTS: readonly EncoderSlot[] = ['main', 'other'];
/** Pictures of a folder that stay encoded after they were flipped over. */
const KEPT_OF_FOLDER = 4;
const CANCELLED = t('Cancelled.');

/** The facts of an encoder that the panel's controls need. */
export function modelInfo({ model, family, temperature, pixelLimits }: PreviewModel): ModelInfo {
  const graph = forwardGraph(model.graph);
  const { layers, heads, width, stages, queries, prefixTokens, idleTokens, poolShapes, tokens } = graph;
  const [, mergedWidth] = poolShapes.get('merged') ?? [];
  const { patch } = pictureSizes(model.graph);
  return { name: model.name, family, layers, heads, width, ...(stages && { stages: Array.from({ length: layers + 1 }, (_, index) => { const state = stateAt(graph, index - 1); return { heads: state.heads, width: state.width }; }) }), queries, prefixTokens: prefixTokens - idleTokens, outputPerPatch: poolShapes.get('features')?.[0] === tokens - idleTokens, resolutions: pixelLimits.map(pixels => ({ pixels, patches: Math.floor(pixels / patch ** 2) })), ...(mergedWidth !== undefined && { merged: { names: mergedNames(graph), width: mergedWidth } }), ...(temperature !== undefined && { temperature }) };
}

/** The same picture has the same id wherever it comes from, and over a reload. */
export function pictureId(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

/**
 * A preview's state: pictures are encoded one after the other by the client's process, by one encoder or by two that
 * are compared, and questions about them are answered there. When that process ends (a crash, a kill, a rest), the
 * pictures wait and are encoded again: after a rest with the next question, after a crash when the person starts the
 * encoder again.
 */
export class Preview {
  private readonly entries = new Map<string, Entry>();
  private readonly encoders = new Map<EncoderSlot, Loaded>();
  private status: EncoderStatus;
  private pumping: Promise<void> | undefined;
  private controller = new AbortController();
  /** The process that holds the encoded pictures. */
  private holder: number | undefined;
  /** Called when a picture's state changes. */
  private readonly watchers = new Set<() => void>();

  constructor(private readonly client: EncoderClient, model: PreviewModel, private readonly events: PreviewEvents, choices: RunChoices) {
    this.encoders.set('main', { model, precision: choices.precision, report: undefined });
    this.status = { state: 'off', choice: choices.device, precision: choices.precision, kept: choices.kept, resize: choices.resize, rule: model.rule, pixels: pixelsFor(model, choices.pixels) };
  }

  get pictures(): readonly PictureInfo[] {
    return [...this.entries.values()].filter(({ hidden }) => !hidden).map(({ info }) => info);
  }

  get choices(): RunChoices {
    const { choice, precision, resize, kept, pixels } = this.status;
    return { device: choice, precision, resize, kept, pixels };
  }

  /** The pictures that are no folder's. */
  get files(): readonly PictureFile[] {
    return [...this.entries.values()].map(({ file }) => file).filter(({ folder }) => folder === undefined);
  }

  /** Tells everything again, to a page that was loaded anew. */
  repeat(): void {
    this.events.onStatus(this.status);
    this.tell();
    for (const { info: { id }, display, hidden } of this.entries.values()) if (display !== undefined && !hidden) this.events.onPixels(id, 'image/png', display);
  }

  /** Adds pictures and shows the last; one that is there already is shown. A folder's picture takes the place of the one before. */
  add(files: readonly PictureFile[], show = true): void {
    let last: string | undefined;
    for (const file of files) {
      const id = last = pictureId(file.bytes);
      const { folder } = file;
      if (folder !== undefined) this.turnPage(id);
      const known = this.entries.get(id);
      const entry = known ?? { info: { id, name: file.name, status: 'waiting', encodings: {} }, file, display: undefined, hidden: false };
      if (folder !== undefined) entry.info = { ...entry.info, folder };
      if (entry.hidden && entry.display !== undefined) this.events.onPixels(id, 'image/png', entry.display);
      entry.hidden = false;
      // Of a folder, the page that was shown longest ago is the first to go.
      if (folder !== undefined) this.entries.delete(id);
      this.entries.set(id, entry);
    }
    this.tell(show ? last : undefined);
    this.pump();
  }

  async remove(id: string): Promise<void> {
    this.entries.delete(id);
    this.tell();
    await this.client.closePicture(id);
  }

  /** Encodes a picture whose run was cancelled or failed. */
  encodeAgain(id: string): void {
    this.update(info => info.id === id && info.status === 'failed', waiting);
    this.pump();
  }

  setDevice(choice: DeviceChoice): void {
    if (choice === this.status.choice) return;
    this.setStatus({ choice });
    this.start();
  }

  setPrecision(precision: Precision): void {
    const main = this.encoders.get('main');
    if (main === undefined || precision === main.precision) return;
    this.encoders.set('main', { ...main, precision });
    this.setStatus({ precision });
    this.start();
  }

  /** Which blocks' hidden states are kept of each picture. */
  setKept(kept: KeptLayers): void {
    const before = this.status.kept;
    if (kept === before) return;
    this.setStatus({ kept });
    const lacks = [...this.encoders.values()].some(({ model }) => {
      const there = new Set(this.layersOf(model, before));
      return this.layersOf(model).some(layer => !there.has(layer));
    });
    if (lacks) {
      this.encodeAnew();
      return;
    }
    // What is encoded has all that is asked for; only a run that is under way keeps too much.
    this.controller.abort();
    this.pump();
  }

  setResize(resize: ResizeMode): void {
    if (resize === this.status.resize) return;
    this.setStatus({ resize });
    this.encodeAnew();
  }

  /** How many pixels a picture may have at most, one of the model's `pixelLimits`. */
  setPixels(pixels: number): void {
    if (pixels === this.status.pixels) return;
    this.setStatus({ pixels });
    this.encodeAnew();
  }

  /** Runs another encoder on the same pictures; the same one only if it had failed, since its files may be there again. */
  setModel(model: PreviewModel): void {
    const before = this.encoders.get('main')?.model;
    if (before !== undefined && isSameModel(model, before) && this.status.state !== 'failed') return;
    this.encoders.set('main', { model, precision: this.status.precision, report: undefined });
    this.setStatus({ rule: model.rule, pixels: pixelsFor(model, this.status.pixels) });
    this.start();
  }

  /** Runs a second encoder on the same pictures, to compare with; undefined ends that. */
  async setOther(other: { readonly model: PreviewModel; readonly precision: Precision } | undefined): Promise<void> {
    this.encoders.delete('other');
    if (other !== undefined) this.encoders.set('other', { ...other, report: undefined });
    this.setStatus({ other: other === undefined ? undefined : { name: other.model.model.name } });
    this.controller.abort();
    this.update(() => true, info => ({ ...info, encodings: { ...(info.encodings.main && { main: info.encodings.main }) }, ...(other !== undefined && info.status === 'ready' && { status: 'waiting' as const }) }));
    if (other === undefined) await this.client.unload('other');
    this.pump();
  }

  /** Stops the run under way and those that wait. */
  cancel(): void {
    this.update(({ status }) => status === 'waiting' || status === 'running', info => failed(info, CANCELLED));
    this.controller.abort();
  }

  /** Loads the encoders (again) and encodes every picture (again). */
  start(): void {
    for (const encoder of this.encoders.values()) encoder.report = undefined;
    this.encodeAnew();
  }

  /** @throws UserError when the picture cannot be asked about */
  async ask<Type extends Question['type']>(question: Extract<Question, { type: Type }>): Promise<Answers[Type]> {
    await this.holdPictures(subjectsOf(question));
    return this.client.askAbout(question);
  }

  /** The picture's `pixel_values`, hidden states, `features` and `attn_pool.weights`. */
  async values(id: string, names: readonly string[]): Promise<Map<string, Array32>> {
    await this.holdPictures([{ picture: id, encoder: 'main' }]);
    return this.client.pictureValues(id, names);
  }

  async close(): Promise<void> {
    this.cancel();
    await this.client.close();
  }

  /** Waits until what is asked about is encoded. After a rest the process is a new one that knows no picture. */
  private async holdPictures(subjects: readonly { readonly picture: string; readonly encoder: EncoderSlot }[]): Promise<void> {
    if (this.status.state !== 'failed' && this.pumping === undefined && this.client.pid !== this.holder && this.entries.size > 0) this.encodeAnew();
    const isAwaited = () => subjects.some(({ picture, encoder }) => {
      const info = this.entries.get(picture)?.info;
      return info !== undefined && (info.status === 'waiting' || info.status === 'running') && info.encodings[encoder]?.ready !== true;
    });
    // What was encoded for other layers is not there until the encoder is made ready for these.
    const isUnfit = () => this.pumping !== undefined && [...this.encoders.values()].some(({ report, fitted }) => report !== undefined && fitted !== this.status.kept);
    while (isAwaited() || isUnfit()) await new Promise<void>(resolve => { this.watchers.add(resolve); });
    for (const { picture } of subjects) {
      const info = this.entries.get(picture)?.info;
      if (info?.status === 'failed') throw new UserError(info.message ?? t('The picture could not be encoded.'));
    }
  }

  private encodeAnew(): void {
    this.controller.abort();
    this.update(({ status, message }) => status !== 'failed' || message !== CANCELLED, waiting);
    this.pump();
  }

  private pump(): void {
    // A run that was just aborted ends first; the waiting pictures are its successor's.
    const before = this.pumping ?? Promise.resolve();
    const controller = new AbortController();
    this.controller = controller;
    const pumping = before.then(() => this.encodeWaiting(controller.signal)).catch((error: unknown) => { this.fail(error, controller.signal); }).finally(() => {
      if (this.pumping === pumping) this.pumping = undefined;
      this.wake();
    });
    this.pumping = pumping;
  }

  private async encodeWaiting(signal: AbortSignal): Promise<void> {
    for (const [slot, { report }] of this.encoders) if (report !== undefined && this.client.pid === this.holder) await this.load(slot, signal);
    for (;;) {
      // What is on the screen comes before what was flipped over.
      const waitingEntries = [...this.entries.values()].filter(({ info }) => info.status === 'waiting');
      const entry = waitingEntries.find(({ hidden }) => !hidden) ?? waitingEntries[0];
      if (entry === undefined || signal.aborted) break;
      for (const slot of this.encoders.keys()) await this.load(slot, signal);
      await this.encode(entry, signal);
    }
    if (this.status.state !== 'failed') this.setStatus({ state: this.encoders.get('main')?.report === undefined ? 'off' : 'ready', progress: undefined });
  }

  private async load(slot: EncoderSlot, signal: AbortSignal): Promise<void> {
    const encoder = this.encoders.get(slot);
    if (encoder === undefined) return;
    const isLoaded = encoder.report !== undefined && this.client.pid === this.holder;
    const { kept } = this.status;
    if (isLoaded && encoder.fitted === kept) return;
    const layers = this.layersOf(encoder.model);
    this.setStatus({ state: 'loading', progress: 0, message: undefined, ...(slot === 'main' && !isLoaded && { device: undefined, warning: undefined }) });
    const options = {
      device: this.status.choice,
      precision: encoder.precision,
      extent: { blocks: Math.max(...layers) + 1, held: layers.length + 1 },
      signal,
      onProgress: ({ done, total }: { done: number; total: number }) => { this.setStatus({ progress: total === 0 ? 0 : done / total }); },
    };
    try {
      encoder.report = isLoaded ? await this.client.fit(options.extent, layers, options, slot) : await this.client.load(encoder.model.model, options, slot);
      encoder.fitted = kept;
    } catch (error) {
      if (slot === 'main' || !(error instanceof UserError) || this.client.pid !== this.holder) throw error;
      // The encoder in view goes on without the other.
      this.encoders.delete('other');
      this.setStatus({ other: { name: encoder.model.model.name, failure: error.message } });
      return;
    }
    if (this.client.pid !== this.holder) this.forgetOthers(slot);
    this.holder = this.client.pid;
    this.wake();
    if (isLoaded) this.setStatus({ memoryBytes: (await this.client.memory())?.residentBytes });
    const { device, rejected, warning } = encoder.report;
    const name = deviceName(encoder.report);
    if (slot === 'main') {
      this.setStatus({ progress: undefined, device: name, rejected: rejected.map(one => ({ device: DEVICE_NAMES[one.device], reason: one.reason })), warning });
    } else this.setStatus({ progress: undefined, other: { name: encoder.model.model.name, device: name }, ...(warning !== undefined && device === 'cpu' && { warning }) });
  }

  /** In a new process the encoders that the one before held are to be loaded again. */
  private forgetOthers(loaded: EncoderSlot): void {
    for (const [slot, encoder] of this.encoders) if (slot !== loaded) encoder.report = undefined;
    for (const entry of this.entries.values()) {
      if (entry.info.status === 'ready') entry.info = waiting(entry.info);
      else entry.info = { ...entry.info, encodings: {} };
    }
  }

  private async encode(entry: Entry, signal: AbortSignal): Promise<void> {
    const { id } = entry.info;
    const isThis = (info: PictureInfo): boolean => info.id === id;
    this.update(isThis, info => ({ ...info, status: 'running' }));
    this.setStatus({ state: 'running', progress: 0 });
    try {
      for (const slot of SLOTS) if (entry.info.encodings[slot]?.ready !== true && this.encoders.has(slot)) await this.encodeBy(slot, entry, signal);
      if (this.entries.has(id)) this.update(isThis, info => ({ ...info, status: 'ready' }));
      // It was removed while it ran.
      else await this.client.closePicture(id);
      const memory = await this.client.memory();
      this.setStatus({ memoryBytes: memory?.residentBytes });
    } catch (error) {
      if (isAbort(error)) {
        // Cancelled pictures are marked by then; this one's turn was taken for a run that follows.
        this.update(info => isThis(info) && info.status === 'running', info => ({ ...info, status: 'waiting' }));
        return;
      }
      if (this.client.pid !== this.holder || !(error instanceof UserError)) throw error;
      // The picture is at fault, not the encoder.
      this.update(isThis, info => failed(info, error.message));
    }
  }

  private async encodeBy(slot: EncoderSlot, entry: Entry, signal: AbortSignal): Promise<void> {
    const encoder = this.encoders.get(slot);
    if (encoder === undefined) return;
    const { id } = entry.info;
    const set = (encoding: Encoding, facts: Partial<PictureInfo> = {}): void => {
      this.update(info => info.id === id, info => ({ ...info, ...facts, encodings: { ...info.encodings, [slot]: encoding } }));
    };
    const spec = this.preprocessingFor(encoder.model);
    const { pixels } = this.status;
    const opened = await this.client.openPicture({ id, name: entry.file.name, bytes: entry.file.bytes }, pixels === undefined ? spec : withMostPixels(spec, pixels), { signal }, slot);
    const { width, height, seen, grid, grids, display, decodeMs, resizeMs, warning } = opened;
    if (warning !== undefined) this.setStatus({ warning });
    const own = inputSize({ width, height }, spec);
    const ownGrid = pixels === undefined ? grid : gridOf(encoder.model.model.graph, own.height, own.width);
    const encoding = { seen, grid, ...(grids && { grids }), ...(!sameGrid(grid, ownGrid) && { ownGrid }), timings: { decode: decodeMs, resize: resizeMs } };
    set({ ...encoding, ready: false }, { width, height });
    if (entry.display === undefined) {
      entry.display = display;
      this.events.onDecoded(entry.file, opened.thumbnail);
      if (!entry.hidden) this.events.onPixels(id, 'image/png', display);
    }
    const { runMs } = await this.client.encodePicture(id, this.layersOf(encoder.model), { signal, onProgress: ({ done, total }) => { this.setStatus({ progress: done / total }); } }, slot);
    set({ ...encoding, ready: true, timings: { ...encoding.timings, run: runMs } });
  }

  /** The blocks whose hidden states are kept. */
  private layersOf({ model }: PreviewModel, kept = this.status.kept): number[] {
    return keptLayers(forwardGraph(model.graph).layers, kept);
  }

  /** By the model's own limit. Encoders that are compared see the same pixels, whatever is written beside the other one, as long as it takes them. */
  private preprocessingFor({ model, preprocessing }: PreviewModel): PreprocessSpec {
    const main = this.encoders.get('main')?.model;
    if (main === undefined) return preprocessing[this.status.resize];
    const [one, two] = [pictureSizes(main.model.graph), pictureSizes(model.graph)];
    return (one.side === two.side && one.unit === two.unit ? main.preprocessing : preprocessing)[this.status.resize];
  }

  private fail(error: unknown, signal: AbortSignal): void {
    if (isAbort(error)) {
      // Aborted for the sake of a run that follows: the status is that one's.
      if (signal !== this.controller.signal) return;
      this.setStatus({ state: 'off', progress: undefined });
      return;
    }
    this.events.onError(error);
    for (const encoder of this.encoders.values()) encoder.report = undefined;
    const message = error instanceof UserError ? error.message : t('The encoder failed. The output channel has the details.');
    this.update(() => true, info => failed(info, message));
    this.setStatus({ state: 'failed', message, progress: undefined, device: undefined });
  }

  /** Takes the folder's picture from view and forgets those that were flipped over longest ago. */
  private turnPage(next: string): void {
    for (const entry of this.entries.values()) {
      const { folder, ...info } = entry.info;
      if (folder === undefined) continue;
      entry.info = info;
      entry.hidden = entry.file.folder !== undefined;
    }
    const pages = [...this.entries].filter(([id, { hidden }]) => hidden && id !== next).map(([id]) => id);
    for (const id of pages.slice(0, Math.max(0, pages.length - KEPT_OF_FOLDER))) {
      this.entries.delete(id);
      this.client.closePicture(id).catch((error: unknown) => { this.events.onError(error); });
    }
  }

  private update(which: (info: PictureInfo) => boolean, change: (info: PictureInfo) => PictureInfo): void {
    for (const entry of this.entries.values()) if (which(entry.info)) entry.info = change(entry.info);
    this.tell();
  }

  private tell(show?: string): void {
    this.events.onPictures(this.pictures, show);
    this.wake();
  }

  private wake(): void {
    const watchers = [...this.watchers];
    this.watchers.clear();
    for (const watcher of watchers) watcher();
  }

  private setStatus(changes: Partial<EncoderStatus>): void {
    this.status = { ...this.status, ...changes };
    this.events.onStatus(this.status);
  }
}

/** The limit in force: what is wanted where the model offers it, else the least. */
function pixelsFor({ pixelLimits }: PreviewModel, wanted: number | undefined): number | undefined {
  return pixelLimits.find(limit => limit === wanted) ?? pixelLimits[0];
}

function waiting({ id, name, folder }: PictureInfo): PictureInfo {
  return { id, name, status: 'waiting', encodings: {}, ...(folder && { folder }) };
}

function failed({ id, name, folder }: PictureInfo, message: string): PictureInfo {
  return { id, name, status: 'failed', message, encodings: {}, ...(folder && { folder }) };
}

function deviceName({ device, precision }: LoadReport): string {
  return precision === 'float32' ? DEVICE_NAMES[device] : `${DEVICE_NAMES[device]}, ${precision}`;
}

function subjectsOf(question: Question): { readonly picture: string; readonly encoder: EncoderSlot }[] {
  switch (question.type) {
    case 'compare': return question.pictures.map(picture => ({ picture, encoder: 'main' }));
    case 'errors': return SLOTS.map(encoder => ({ picture: question.picture, encoder }));
    case 'map': {
      const { map, subject } = question;
      if (map.kind === 'pca') return [subject, ...map.among];
      if (map.kind === 'difference') return SLOTS.map(encoder => ({ picture: subject.picture, encoder }));
      return map.kind === 'similarity' && map.from !== undefined ? [subject, map.from] : [subject];
    }
    case 'statistics':
    case 'patch': return [question.subject];
  }
}

/** Whether two models are the same tensors in the same graph, prepared for in the same way. */
export function isSameModel(a: PreviewModel, b: PreviewModel): boolean {
  const plain = ({ model, ...rest }: PreviewModel): string => JSON.stringify([rest, { ...model, weights: [...model.weights] }]);
  return plain(a) === plain(b);
}
