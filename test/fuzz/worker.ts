import { writeFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { Attempts } from './attempt';
import { Random } from './random';
import { targetNamed } from './targets';

/** What the main thread gives a worker. */
export interface Assignment {
  readonly target: string;
  readonly seed: number;
  /** Inputs first, first + step, ... below `end`. */
  readonly first: number;
  readonly step: number;
  readonly end: number;
  /** Where findings are written. */
  readonly findings: string;
  /** Shared with the watchdog: the number of the input under way, and how many were read and refused. */
  readonly state: Int32Array;
}

export const [NUMBER, READ, REFUSED, FOUND] = [0, 1, 2, 3];

export interface Ended {
  readonly mostBytes: number;
  readonly mostMilliseconds: number;
}

async function work({ target: name, seed, first, step, end, findings, state }: Assignment): Promise<Ended> {
  Error.stackTraceLimit = 0; // stacks cost more than parsing; `--input` shows one
  const target = targetNamed(name);
  const attempts = new Attempts();
  for (let index = first; index < end; index += step) {
    Atomics.store(state, NUMBER, index);
    const bytes = target.make(new Random(seed, name, index));
    const outcome = await attempts.read(target, bytes);
    if (outcome.kind === 'read') Atomics.add(state, READ, 1);
    else if (outcome.kind === 'refused') Atomics.add(state, REFUSED, 1);
    else {
      // The same fault comes thousands of times; the first few are kept.
      if (Atomics.add(state, FOUND, 1) < 20) saveFinding(findings, name, seed, index, outcome.what, bytes);
    }
    // Rejections are told of between two turns of the loop, and messages get through.
    if (index % 64 < step) await new Promise(resolve => { setImmediate(resolve); });
  }
  return { mostBytes: attempts.mostBytes, mostMilliseconds: attempts.mostMilliseconds };
}

export function saveFinding(folder: string, target: string, seed: number, index: number, what: string, bytes: Uint8Array): void {
  mkdirSync(folder, { recursive: true });
  const name = `${target}-${seed}-${index}`;
  writeFileSync(join(folder, `${name}.bin`), bytes);
  writeFileSync(join(folder, `${name}.txt`), `${what}\n`);
}

if (parentPort !== null) {
  const port = parentPort;
  work(workerData as Assignment).then(ended => { port.postMessage(ended); }, (error: unknown) => { throw error; });
}
