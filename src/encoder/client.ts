import { fork, type ChildProcess } from 'node:child_process';
import { t } from '@vscode/l10n';
import type { Grid } from '../architecture/positions';
import { UserError } from '../errors';
import type { RunOptions } from '../progress';
import type { LoadOptions, LoadReport } from './devices';
import type { Array32 } from './encoder';
import type { PreprocessSpec } from '../image/preprocess';
import type { Answers, EncoderSlot, Question } from '../protocol';
import type { OpenedPicture } from './gallery';
import type { EncoderModel } from './model';
import type { RunExtent } from './memory';
import { replySchema, type Reply, type Request } from './protocol';

export interface ClientOptions {
  /** The encoder process's entry, `dist/encoder.js`. */
  readonly entry: string;
  /** Milliseconds without a request after which the process ends and its memory is free; the next request starts it anew. */
  readonly idleMs?: number;
  /** The path of the translation that the process speaks; English without. */
  readonly words?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export interface RunRequest extends RunOptions {
  /** Told of every output as soon as it is there, before the run is over. With `keep` false it is the only one told. */
  readonly onOutput?: (name: string, value: Array32) => void;
  readonly keep?: boolean;
}

export interface MemoryFigures {
  readonly residentBytes: number;
  readonly peakBytes: number;
}

type Ask = Request extends infer One ? One extends { type: 'cancel' } ? never : One extends Request ? Omit<One, 'id'> : never : never;

interface Pending {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
  readonly options: RunRequest;
}

/** How long a cancelled request may go on to its next stage before its process is ended. */
const CANCEL_GRACE_MS = 2000;
/** The process's last words that are kept for an error's detail. */
const STDERR_CHARACTERS = 4000;

/**
 * The encoder in a process of its own. A crash, a kill or a cancelled run that would not stop ends that process only:
 * the request under way is rejected with what happened, and the next request starts it again with the same model.
 */
export class EncoderClient {
  private child: ChildProcess | undefined;
  private stderr = '';
  private nextId = 0;
  private readonly pending = new Map<number, Pending>();
  private idle: NodeJS.Timeout | undefined;
  private readonly wanted = new Map<EncoderSlot, { readonly model: EncoderModel; readonly options: LoadOptions }>();
  /** Resolve when the running process holds the wanted model. */
  private readonly loaded = new Map<EncoderSlot, Promise<LoadReport>>();
  private closed = false;

  constructor(private readonly options: ClientOptions) {}

  /** The process that runs now. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /**
   * Loads a model, in place of the one before; a second one goes into the slot `other`, to be asked about beside it.
   * Progress counts blocks.
   * @throws UserError when it cannot be loaded on any device; AbortError when cancelled
   */
  async load(model: EncoderModel, options: LoadOptions & RunOptions, slot: EncoderSlot = 'main'): Promise<LoadReport> {
    const { device, precision, batch, extent } = options;
    this.wanted.set(slot, { model, options: { device, precision, ...(batch !== undefined && { batch }), ...(extent !== undefined && { extent }) } });
    this.loaded.delete(slot);
    return this.ensureLoaded(options, slot);
  }

  /**
   * Makes a loaded model ready for runs of another extent, with the weights that are there. Of pictures that are encoded, what is beyond `layers`
   * is forgotten. A process that has ended loads anew.
   * @throws UserError when what is missing cannot be loaded on any device; AbortError when cancelled
   */
  async fit(extent: RunExtent, layers: readonly number[], options: RunOptions = {}, slot: EncoderSlot = 'main'): Promise<LoadReport> {
    const wanted = this.wanted.get(slot);
    if (wanted === undefined) throw new Error('The encoder is used before a model is loaded.');
    this.wanted.set(slot, { ...wanted, options: { ...wanted.options, extent } });
    if (this.child === undefined || !this.loaded.has(slot)) return this.ensureLoaded(options, slot);
    const reply = await this.ask({ type: 'fit', encoder: slot, extent, layers }, options);
    if (reply.type !== 'loaded') throw new Error(`The encoder answered a fit with ${reply.type}.`);
    this.loaded.set(slot, Promise.resolve(reply.report));
    return reply.report;
  }

  /** Forgets the model of a slot and what it made of pictures. */
  async unload(slot: EncoderSlot): Promise<void> {
    this.wanted.delete(slot);
    this.loaded.delete(slot);
    if (this.child !== undefined) await this.ask({ type: 'unload', encoder: slot }, {});
  }

  /**
   * Runs the loaded model; starts and loads it again first when its process has ended. Progress counts stages.
   * @param pixels (batch, 3, height, width)
   * @param outputs names as `wantedOutputs` knows them
   * @returns the outputs by name, float32
   * @throws UserError when the process ended; AbortError when cancelled
   */
  async run(pixels: Array32, outputs: readonly string[], options: RunRequest = {}): Promise<Map<string, Array32>> {
    const results = new Map<string, Array32>();
    await this.ensureLoaded(options);
    await this.ask({ type: 'run', pixels: pixels, outputs }, {
      ...options,
      onOutput: (name, value) => {
        if (options.signal?.aborted === true) return;
        if (options.keep !== false) results.set(name, value);
        options.onOutput?.(name, value);
      },
    });
    // A small encoder may have ended before it heard of the cancellation.
    options.signal?.throwIfAborted();
    return results;
  }

  /**
   * The attention map (batch, tokens, tokens) of one head, from the hidden state that goes into the block:
   * `embeddings` for block 0, else `hidden_states.(layer - 1)`, and the patches that it came of.
   */
  async attention(layer: number, head: number, hidden: Array32, grid: Grid, options: RunOptions = {}): Promise<Array32> {
    let map: Array32 | undefined;
    await this.ensureLoaded(options);
    await this.ask({ type: 'attention', layer, head, hidden, grid }, { ...options, onOutput: (_, value) => { map = value; } });
    if (map === undefined) throw new Error('The encoder gave no attention map.');
    return map;
  }

  /**
   * Makes the encoder's input of a picture, in the encoder's process: bytes from strangers are decoded there. No model is needed.
   * @throws UserError when it is no picture that can be decoded, or when decoding it ended the process
   */
  async preprocess(name: string, bytes: Uint8Array, spec: PreprocessSpec, options: RunOptions = {}): Promise<{ readonly pixels: Array32; readonly decodeMs: number; readonly resizeMs: number }> {
    let pixels: Array32 | undefined;
    const reply = await this.ask({ type: 'preprocess', name, bytes, spec }, { ...options, onOutput: (_, value) => { pixels = value; } });
    if (reply.type !== 'preprocessed' || pixels === undefined) throw new Error(`The encoder answered a picture with ${reply.type}.`);
    return { pixels, decodeMs: reply.decodeMs, resizeMs: reply.resizeMs };
  }

  /**
   * Decodes a picture in the encoder's process and makes an encoder's input of it; nothing runs yet. Warns when memory is short for it.
   * @throws UserError when it is no picture that can be decoded
   */
  async openPicture(picture: { readonly id: string; readonly name: string; readonly bytes: Uint8Array }, spec: PreprocessSpec, options: RunOptions = {}, slot: EncoderSlot = 'main'): Promise<OpenedPicture & { readonly warning?: string }> {
    await this.ensureLoaded(options, slot);
    const reply = await this.ask({ type: 'openPicture', picture: picture.id, name: picture.name, bytes: picture.bytes, encoder: slot, spec }, options);
    if (reply.type !== 'picture') throw new Error(`The encoder answered a picture with ${reply.type}.`);
    return { ...reply.picture, ...(reply.warning !== undefined && { warning: reply.warning }) };
  }

  /**
   * Runs the encoder on an opened picture. Its outputs and the hidden states of `layers` stay in the process for questions.
   * Progress counts stages.
   * @throws UserError when the process ended, also before this call: it took the opened picture with it
   */
  async encodePicture(picture: string, layers: readonly number[], options: RunOptions = {}, slot: EncoderSlot = 'main'): Promise<{ readonly runMs: number }> {
    const reply = await this.askHolder({ type: 'encodePicture', picture, encoder: slot, layers }, options);
    if (reply.type !== 'encoded') throw new Error(`The encoder answered a run with ${reply.type}.`);
    return { runMs: reply.runMs };
  }

  async closePicture(picture: string): Promise<void> {
    if (this.child !== undefined) await this.ask({ type: 'closePicture', picture }, {});
  }

  /**
   * What is kept of an encoded picture: `pixel_values`, `embeddings`, `hidden_states.N`, `features`, `attn_pool.weights`.
   * @throws UserError when the process that held it ended
   */
  async pictureValues(picture: string, names: readonly string[]): Promise<Map<string, Array32>> {
    const values = new Map<string, Array32>();
    await this.askHolder({ type: 'pictureValues', picture, names }, { onOutput: (name, value) => { values.set(name, value); } });
    return values;
  }

  /**
   * Asks about encoded pictures.
   * @throws UserError when the process that held them ended
   */
  async askAbout<Type extends Question['type']>(question: Extract<Question, { type: Type }>): Promise<Answers[Type]> {
    const reply = await this.askHolder({ type: 'ask', question }, {});
    if (reply.type !== 'answer') throw new Error(`The encoder answered a question with ${reply.type}.`);
    // The process answers each question in its own type; both ends come from the same build.
    return reply.answer as Answers[Type];
  }

  /** What the process takes; undefined when none runs. */
  async memory(): Promise<MemoryFigures | undefined> {
    if (this.child === undefined) return undefined;
    const reply = await this.ask({ type: 'memory' }, {});
    return reply.type === 'memory' ? { residentBytes: reply.residentBytes, peakBytes: reply.peakBytes } : undefined;
  }

  /** Ends the process and frees its memory; requests under way are rejected. The client can be used again. */
  async stop(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    const ended = new Promise<void>(resolve => { child.once('exit', () => { resolve(); }); });
    this.release(child, new UserError(t('The encoder was stopped.')));
    child.kill('SIGKILL');
    await ended;
  }

  /** Ends the process for good. */
  async close(): Promise<void> {
    this.closed = true;
    await this.stop();
  }

  private async ensureLoaded(options: RunOptions, slot: EncoderSlot = 'main'): Promise<LoadReport> {
    const wanted = this.wanted.get(slot);
    if (wanted === undefined) throw new Error('The encoder is used before a model is loaded.');
    const { model, options: choice } = wanted;
    const loading = this.loaded.get(slot) ?? this.ask({ type: 'load', encoder: slot, model: { ...model, sizes: { ...model.sizes } }, ...choice }, options).then(reply => {
      if (reply.type !== 'loaded') throw new Error(`The encoder answered a load with ${reply.type}.`);
      return reply.report;
    });
    this.loaded.set(slot, loading);
    try {
      return await loading;
    } catch (error) {
      if (this.loaded.get(slot) === loading) this.loaded.delete(slot);
      throw error;
    }
  }

  /** Asks the process that holds pictures: one that was started for the question would know none. */
  private async askHolder(request: Ask, options: RunRequest): Promise<Reply> {
    if (this.child === undefined || this.loaded.size === 0) throw new UserError(t('The encoder\'s process has ended, and what it knew of the pictures with it. Start it again.'));
    return this.ask(request, options);
  }

  private async ask(request: Ask, options: RunRequest): Promise<Reply> {
    options.signal?.throwIfAborted();
    if (this.closed) throw new Error('The encoder is closed.');
    const child = this.child ??= this.start();
    const id = this.nextId++;
    clearTimeout(this.idle);
    let grace: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      child.send({ type: 'cancel', id } satisfies Request);
      grace = setTimeout(() => {
        this.release(child, new DOMException('The run was cancelled.', 'AbortError'));
        child.kill('SIGKILL');
      }, CANCEL_GRACE_MS);
    };
    try {
      return await new Promise<Reply>((resolve, reject) => {
        this.pending.set(id, { resolve, reject, options });
        options.signal?.addEventListener('abort', onAbort, { once: true });
        // A failure to send is a process that has ended; its exit event says why.
        child.send({ ...request, id }, error => { if (error !== null && !this.pending.has(id)) reject(error); });
      });
    } finally {
      clearTimeout(grace);
      options.signal?.removeEventListener('abort', onAbort);
      this.pending.delete(id);
      this.restIfIdle();
    }
  }

  private start(): ChildProcess {
    this.stderr = '';
    const child = fork(this.options.entry, this.options.words === undefined ? [] : [this.options.words], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, ...this.options.env, ELECTRON_RUN_AS_NODE: '1' },
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => { this.stderr = (this.stderr + text).slice(-STDERR_CHARACTERS); });
    child.on('message', message => { this.receive(message); });
    child.on('error', error => { this.release(child, new UserError(t`The encoder's process could not be started (${error.message}).`, { cause: error })); });
    // 'close' comes after stderr is read to its end.
    child.on('close', (code, signal) => { this.release(child, this.deathOf(code, signal)); });
    return child;
  }

  private receive(message: unknown): void {
    const reply = replySchema.parse(message);
    const pending = this.pending.get(reply.id);
    if (pending === undefined) return;
    switch (reply.type) {
      case 'progress': pending.options.onProgress?.({ done: reply.done, total: reply.total, label: reply.label }); break;
      case 'output': pending.options.onOutput?.(reply.name, reply.value); break;
      case 'failed': pending.reject(failure(reply)); break;
      default: pending.resolve(reply);
    }
  }

  /** Forgets a process and rejects what it was asked. */
  private release(child: ChildProcess, error: Error): void {
    if (this.child !== child) return;
    this.child = undefined;
    this.loaded.clear();
    clearTimeout(this.idle);
    const asked = [...this.pending.values()];
    this.pending.clear();
    for (const { reject } of asked) reject(error);
  }

  private deathOf(code: number | null, signal: NodeJS.Signals | null): UserError {
    const how = signal === 'SIGKILL' ? t('was killed, as systems do when memory runs out')
      : signal !== null ? t`crashed (${signal})`
        : t`ended with code ${code ?? 0}`;
    return new UserError(t`The encoder's process ${how}. It starts again with the next run; if it happens again, choose the CPU, fewer layers or half precision.`, { detail: this.stderr.trim() });
  }

  private restIfIdle(): void {
    clearTimeout(this.idle);
    if (this.options.idleMs === undefined || this.pending.size > 0 || this.child === undefined) return;
    this.idle = setTimeout(() => { void this.stop(); }, this.options.idleMs);
    this.idle.unref();
  }
}

function failure(reply: Extract<Reply, { type: 'failed' }>): Error {
  if (reply.kind === 'cancelled') return new DOMException(reply.message, 'AbortError');
  const detail = reply.detail === undefined ? {} : { detail: reply.detail };
  if (reply.kind === 'user') return new UserError(reply.message, detail);
  return new UserError(t`The encoder failed: ${reply.message.split('\n')[0] ?? ''}`, detail);
}
