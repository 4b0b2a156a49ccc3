import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { readFileSync } from 'node:fs';
import { Attempts, LIMITS } from './attempt';
import { Random } from './random';
import { TARGETS, targetNamed } from './targets';
import { FOUND, NUMBER, READ, REFUSED, saveFinding, type Assignment, type Ended } from './worker';

/**
 * `npm run fuzz -- [--count N] [--target X] [--seed S] [--workers W] [--input FILE --target X]`
 * N inputs for each target. Findings go to test-results/fuzz; the exit code is 1 when there are any.
 */
const { values: options } = parseArgs({
  options: {
    count: { type: 'string', default: '20000' },
    target: { type: 'string', multiple: true },
    seed: { type: 'string', default: '1' },
    workers: { type: 'string', default: String(availableParallelism()) },
    /** Reads this one file, as a finding left it. */
    input: { type: 'string' },
  },
});
const FINDINGS = resolve('test-results/fuzz');
/** A thread that leaves the heap of a gigabyte behind is stopped by Node: a finding too. */
const HEAP_MB = 1024;

interface Share extends Omit<Assignment, 'state' | 'findings' | 'target'> {
  readonly target: string;
}

interface Tally extends Ended {
  readonly read: number;
  readonly refused: number;
  readonly found: number;
}

/** One worker's share of a target. A worker that hangs or dies is replaced by one that goes on behind the input. */
async function runShare(share: Share): Promise<Tally> {
  const state = new Int32Array(new SharedArrayBuffer(16));
  let { first } = share;
  let most: Ended = { mostBytes: 0, mostMilliseconds: 0 };
  while (first < share.end) {
    Atomics.store(state, NUMBER, first);
    const ended = await runWorker({ ...share, first, findings: FINDINGS, state });
    if (typeof ended !== 'string') {
      most = ended;
      break;
    }
    const index = Atomics.load(state, NUMBER);
    if (await isRepeated(share, index)) {
      Atomics.add(state, FOUND, 1);
      saveFinding(FINDINGS, share.target, share.seed, index, ended, targetNamed(share.target).make(new Random(share.seed, share.target, index)));
    }
    first = index + share.step;
  }
  return { ...most, read: Atomics.load(state, READ), refused: Atomics.load(state, REFUSED), found: Atomics.load(state, FOUND) };
}

/** @returns what went wrong, or the worker's last words */
function runWorker(assignment: Assignment): Promise<Ended | string> {
  return new Promise(settle => {
    const worker = new Worker(join(__dirname, 'worker.js'), { workerData: assignment, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
    let [number, since] = [-1, performance.now()];
    const watchdog = setInterval(() => {
      const now = Atomics.load(assignment.state, NUMBER);
      if (now !== number) [number, since] = [now, performance.now()];
      // A machine that is busy elsewhere is given time; a finding is repeated before it counts.
      else if (performance.now() - since > 5 * LIMITS.milliseconds) {
        clearInterval(watchdog);
        void worker.terminate().then(() => { settle(`it did not end within ${5 * LIMITS.milliseconds} ms`); });
      }
    }, 100);
    let result: Ended | undefined;
    worker.on('message', (message: Ended) => { result = message; });
    worker.on('error', error => { clearInterval(watchdog); settle(`the thread died: ${error.stack ?? error.message}`); });
    worker.on('exit', () => { clearInterval(watchdog); settle(result ?? 'the thread ended'); });
  });
}

/** Whether the input fails when it is read alone. */
async function isRepeated(share: Share, index: number): Promise<boolean> {
  const state = new Int32Array(new SharedArrayBuffer(16));
  const ended = await runWorker({ ...share, first: index, step: 1, end: index + 1, findings: FINDINGS, state });
  return typeof ended === 'string';
}

async function fuzz(): Promise<number> {
  const [count, seed, workers] = [Number(options.count), Number(options.seed), Number(options.workers)];
  const targets = options.target === undefined ? TARGETS : options.target.map(targetNamed);
  console.log(`Seed ${seed}; ${count} inputs for each of ${targets.length} targets; ${workers} workers. Findings go to ${FINDINGS}.`);
  let [found, total] = [0, 0];
  for (const { name } of targets) {
    const started = performance.now();
    const tallies = await Promise.all(Array.from({ length: workers }, (_, first) => runShare({ target: name, seed, first, step: workers, end: count })));
    const sum = (of: (tally: Tally) => number): number => tallies.reduce((all, tally) => all + of(tally), 0);
    const most = (of: (tally: Tally) => number): number => Math.max(...tallies.map(of));
    const inputs = sum(tally => tally.read + tally.refused + tally.found);
    const seconds = (performance.now() - started) / 1000;
    console.log(`${name.padEnd(13)} ${inputs} inputs, ${sum(tally => tally.read)} read, ${sum(tally => tally.refused)} refused, ${sum(tally => tally.found)} findings; slowest ${most(tally => tally.mostMilliseconds).toFixed(0)} ms, most buffers ${(most(tally => tally.mostBytes) / 2 ** 20).toFixed(1)} MiB; ${Math.round(inputs / seconds)} a second`);
    found += sum(tally => tally.found);
    total += inputs;
  }
  console.log(`${total} inputs, ${found} findings`);
  return found === 0 ? 0 : 1;
}

async function readAgain(path: string): Promise<number> {
  const [target] = (options.target ?? []).map(targetNamed);
  if (target === undefined) throw new Error('--input needs --target.');
  const attempts = new Attempts();
  const outcome = await attempts.read(target, readFileSync(path));
  attempts.close();
  console.log(outcome.kind === 'finding' ? outcome.what : outcome.kind);
  return outcome.kind === 'finding' ? 1 : 0;
}

(options.input === undefined ? fuzz() : readAgain(options.input)).then(code => { process.exitCode = code; }, (error: unknown) => {
  console.error(error);
  process.exitCode = 2;
});
