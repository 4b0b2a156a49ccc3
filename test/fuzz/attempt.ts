import { getHeapStatistics } from 'node:v8';
import { UserError } from '../../src/errors';
import { layTripwires } from './tripwires';
import { WrongResult, type Target } from './targets';

/** The promises that every input is held to. */
export const LIMITS = {
  /** Milliseconds for one input of at most 128 KB. */
  milliseconds: 1000,
  /** Bytes of buffers that one input may have allocated when it has been read, whatever it claims, and so many more for each of its own. */
  bufferBytes: 32 << 20,
  bufferBytesPerByte: 1100,
} as const;

export type Outcome = { readonly kind: 'read' } | { readonly kind: 'refused' } | Finding;

/** A promise that was broken. */
export interface Finding {
  readonly kind: 'finding';
  readonly what: string;
}

/** Reads inputs and holds what happens against the promises. One per thread; `close` when done. */
export class Attempts {
  private readonly tripwires = layTripwires();
  private readonly rejections: unknown[] = [];
  private readonly onRejection = (reason: unknown): void => { this.rejections.push(reason); };
  /** Most bytes that one input allocated, and the longest time that one took. */
  mostBytes = 0;
  mostMilliseconds = 0;

  constructor() {
    process.on('unhandledRejection', this.onRejection);
  }

  async read(target: Target, bytes: Buffer): Promise<Outcome> {
    const before = getHeapStatistics().external_memory;
    const started = performance.now();
    const outcome = await this.outcomeOf(target, bytes);
    const milliseconds = performance.now() - started;
    const allocated = getHeapStatistics().external_memory - before;
    this.mostBytes = Math.max(this.mostBytes, allocated);
    this.mostMilliseconds = Math.max(this.mostMilliseconds, milliseconds);
    if (outcome.kind === 'finding') return outcome;
    if (this.tripwires.tripped.length > 0) return { kind: 'finding', what: `it called ${this.tripwires.tripped.splice(0).join(', ')}` };
    if (this.rejections.length > 0) return { kind: 'finding', what: `a rejection that nobody handles: ${describe(this.rejections.splice(0)[0])}` };
    if (Object.keys(Object.prototype).length > 0) return { kind: 'finding', what: `it put ${Object.keys(Object.prototype).join(', ')} on every object` };
    if (allocated > LIMITS.bufferBytes + LIMITS.bufferBytesPerByte * bytes.length) return { kind: 'finding', what: `it allocated ${allocated} bytes for an input of ${bytes.length}` };
    if (milliseconds > LIMITS.milliseconds) return { kind: 'finding', what: `it took ${Math.round(milliseconds)} ms` };
    return outcome;
  }

  close(): void {
    process.off('unhandledRejection', this.onRejection);
    this.tripwires.remove();
  }

  private async outcomeOf(target: Target, bytes: Buffer): Promise<Outcome> {
    try {
      await target.read(bytes);
      return { kind: 'read' };
    } catch (error) {
      if (!(error instanceof UserError)) return { kind: 'finding', what: describe(error) };
      if (!isSentence(error.message)) return { kind: 'finding', what: `no sentence: ${JSON.stringify(error.message)}` };
      return { kind: 'refused' };
    }
  }
}

/** What a person can read: it ends, it is not endless, and a terminal would not obey it. */
function isSentence(message: string): boolean {
  // eslint-disable-next-line no-control-regex -- what is looked for
  return message.length > 15 && message.length < 4000 && /[.?!)"…]$/.test(message.trimEnd()) && !/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/.test(message);
}

function describe(error: unknown): string {
  if (error instanceof WrongResult) return `wrong: ${error.message}`;
  return error instanceof Error ? error.stack ?? error.message : String(error);
}
