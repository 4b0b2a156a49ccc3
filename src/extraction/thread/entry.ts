/** A thread that copies and checks tensors: the entry of `dist/copyThread.js`. */
import { parentPort, workerData } from 'node:worker_threads';
import { systemErrorCode } from '../../errors';
import { CONTROL, PULL } from './messages';
import type { Failure, Job, Message } from './messages';
import { DamagedPart, RunCopy, TensorCheck } from './work';
import type { ThreadHost } from './work';

class Stopped extends Error {}
class PullFailed extends Error {}

const { control } = workerData as { readonly control: Int32Array };
const send = (message: Message): void => { parentPort?.postMessage(message); };

const host: ThreadHost = {
  pull(pull) {
    Atomics.store(control, CONTROL.pull, PULL.pending);
    send({ kind: 'pull', pull });
    Atomics.wait(control, CONTROL.pull, PULL.pending);
    if (Atomics.load(control, CONTROL.pull) === PULL.failed) throw new PullFailed();
  },
  advance: advance => { send({ kind: 'advance', advance }); },
  throwIfStopped() {
    if (Atomics.load(control, CONTROL.stop) !== 0) throw new Stopped();
  },
};

const copy = new RunCopy(host);
const check = new TensorCheck(host);

parentPort?.on('message', (job: Job) => {
  try {
    send({ kind: 'done', result: job.kind === 'copy' ? copy.run(job) : check.run(job) });
  } catch (error) {
    send({ kind: 'failed', failure: failureOf(error) });
  }
});

function failureOf(error: unknown): Failure {
  if (error instanceof Stopped) return { kind: 'stopped' };
  if (error instanceof PullFailed) return { kind: 'pull' };
  if (error instanceof DamagedPart) return { kind: 'damaged' };
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { kind: 'error', message, code: systemErrorCode(error), stack };
}
