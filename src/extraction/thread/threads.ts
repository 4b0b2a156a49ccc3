import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { CONTROL, PULL } from './messages';
import type { Advance, Checked, CheckJob, Copied, CopyJob, Failure, Job, Message, Pull } from './messages';

/** More do not help a disk, and each costs some megabytes. */
const MOST_THREADS = 4;
const MEBIBYTES = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 };

export interface JobOptions {
  readonly signal: AbortSignal | undefined;
  /** Fills `target` with the bytes of source `id` from byte `from` on, for what the thread cannot read itself. */
  readonly pull: (id: number, from: number, target: Uint8Array) => Promise<void>;
  readonly onAdvance: (advance: Advance) => void;
}

/**
 * Threads that read, hash, cast and write tensors with plain blocking calls: the caller's event loop stays free, and
 * what was read is hashed and written out of the processor's cache.
 */
export class Threads {
  readonly #idle: CopyThread[] = [];
  readonly #all: CopyThread[] = [];
  readonly #waiting: ((thread: CopyThread) => void)[] = [];
  readonly count: number;

  /** @param most how many there is work for */
  constructor(most = MOST_THREADS) {
    this.count = Math.max(1, Math.min(most, MOST_THREADS, availableParallelism()));
  }

  run(job: CopyJob, options: JobOptions): Promise<Copied>;
  run(job: CheckJob, options: JobOptions): Promise<Checked>;
  async run(job: Job, options: JobOptions): Promise<Copied | Checked> {
    const thread = await this.#take();
    try {
      return await thread.run(job, options);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#idle.push(thread);
      else next(thread);
    }
  }

  /** Ends the threads; jobs must have ended. */
  async close(): Promise<void> {
    await Promise.all(this.#all.map(thread => thread.close()));
  }

  #take(): CopyThread | Promise<CopyThread> {
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#all.length < this.count) {
      const thread = new CopyThread();
      this.#all.push(thread);
      return thread;
    }
    return new Promise(resolve => { this.#waiting.push(resolve); });
  }
}

interface Running extends JobOptions {
  readonly resolve: (result: Copied | Checked) => void;
  readonly reject: (error: unknown) => void;
}

class CopyThread {
  readonly #control = new Int32Array(new SharedArrayBuffer(8));
  readonly #worker = new Worker(join(__dirname, 'copyThread.js'), { workerData: { control: this.#control }, execArgv: [], resourceLimits: MEBIBYTES });
  #running: Running | undefined;
  #pullError: unknown;
  #dead: Error | undefined;

  constructor() {
    this.#worker.on('message', (message: Message) => { this.#receive(message); });
    this.#worker.on('error', error => { this.#die(error); });
    this.#worker.on('exit', code => { this.#die(new Error(`It ended with exit code ${code}.`)); });
  }

  async run(job: Job, options: JobOptions): Promise<Copied | Checked> {
    if (this.#dead !== undefined) throw this.#dead;
    options.signal?.throwIfAborted();
    Atomics.store(this.#control, CONTROL.stop, 0);
    const stop = (): void => { Atomics.store(this.#control, CONTROL.stop, 1); };
    options.signal?.addEventListener('abort', stop);
    try {
      return await new Promise((resolve, reject) => {
        this.#running = { ...options, resolve, reject };
        this.#worker.postMessage(job);
      });
    } finally {
      this.#running = undefined;
      options.signal?.removeEventListener('abort', stop);
    }
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #receive(message: Message): void {
    const running = this.#running;
    if (running === undefined) return;
    switch (message.kind) {
      case 'advance':
        try {
          running.onAdvance(message.advance);
        } catch (error) {
          // The thread still works on the job, which ends before its caller hears of this.
          this.#running = { ...running, resolve: () => { running.reject(error); }, reject: () => { running.reject(error); } };
          Atomics.store(this.#control, CONTROL.stop, 1);
        }
        break;
      case 'pull':
        void this.#pull(message.pull, running);
        break;
      case 'done':
        running.resolve(message.result);
        break;
      case 'failed':
        running.reject(this.#errorOf(message.failure, running));
        break;
    }
  }

  async #pull({ id, from, space, start, length }: Pull, { pull }: Running): Promise<void> {
    let outcome: number = PULL.arrived;
    try {
      await pull(id, from, new Uint8Array(space, start, length));
    } catch (error) {
      this.#pullError = error;
      outcome = PULL.failed;
    }
    Atomics.store(this.#control, CONTROL.pull, outcome);
    Atomics.notify(this.#control, CONTROL.pull);
  }

  #errorOf(failure: Failure, { signal }: Running): unknown {
    switch (failure.kind) {
      case 'stopped': return signal?.reason;
      case 'pull': return this.#pullError;
      case 'damaged': return new UserError(t('What an interrupted extraction had written is damaged, so it was deleted. Extract again.'));
      case 'error': {
        const error = Object.assign(new Error(failure.message), failure.code !== undefined && { code: failure.code });
        error.stack = failure.stack ?? error.stack ?? '';
        return error;
      }
    }
  }

  #die(cause: Error): void {
    this.#dead ??= new UserError(t('A thread that reads and writes the tensors has died, most likely because memory ran out. Close what else needs memory and run it again.'), { detail: cause.stack ?? cause.message, cause });
    this.#running?.reject(this.#dead);
  }
}
