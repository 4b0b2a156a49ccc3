import { isAbort, UserError } from '../errors';
import { loadEncoder } from './devices';
import type { Array32, LoadedEncoder, StageHooks } from './encoder';
import { requestSchema, type Reply, type Request } from './protocol';

/**
 * The entry of the encoder's process: holds ONNX Runtime and one loaded encoder, and works off requests one by one.
 * ONNX Runtime blocks this process's event loop while it runs; messages are read between stages.
 */
type Job = Exclude<Request, { type: 'cancel' }>;

let encoder: LoadedEncoder | undefined;
let queue: Promise<void> = Promise.resolve();
const cancelled = new Set<number>();

process.on('message', message => {
  const request = requestSchema.parse(message);
  if (request.type === 'cancel') cancelled.add(request.id);
  else queue = queue.then(() => answer(request));
});
process.on('disconnect', () => process.exit(0));

async function answer(job: Job): Promise<void> {
  const { id } = job;
  try {
    await send(await work(job));
  } catch (error) {
    const detail = error instanceof UserError ? error.detail : error instanceof Error ? error.stack : undefined;
    await send({
      type: 'failed', id,
      kind: isAbort(error) ? 'cancelled' : error instanceof UserError ? 'user' : 'defect',
      message: error instanceof Error ? error.message : String(error),
      ...(detail !== undefined && { detail }),
    });
  } finally {
    cancelled.delete(id);
  }
}

async function work(job: Job): Promise<Reply> {
  const { id } = job;
  const hooks: StageHooks = {
    onProgress: (done, total, label) => { void send({ type: 'progress', id, done, total, label }); },
    check: () => { if (cancelled.has(id)) throw new DOMException('The run was cancelled.', 'AbortError'); },
  };
  hooks.check();
  const onOutput = (name: string, value: Array32): Promise<void> => send({ type: 'output', id, name, value });
  switch (job.type) {
    case 'load': {
      await encoder?.close();
      encoder = undefined;
      const { encoder: loaded, report } = await loadEncoder(job.model, job, hooks);
      encoder = loaded;
      return { type: 'loaded', id, report };
    }
    case 'run':
      await needed().run(job.pixels, job.outputs, { ...hooks, onOutput });
      break;
    case 'attention':
      await onOutput('attention', await needed().attention(job.layer, job.head, job.hidden));
      break;
    case 'memory':
      return { type: 'memory', id, residentBytes: process.memoryUsage.rss(), peakBytes: process.resourceUsage().maxRSS * 1024 };
  }
  return { type: 'done', id };
}

function needed(): LoadedEncoder {
  if (encoder === undefined) throw new Error('No encoder is loaded.');
  return encoder;
}

/** Resolves when the message is on its way: a stage would block the loop and hold it back. */
function send(reply: Reply): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error('The encoder runs only as a child process.');
    process.send(reply, undefined, {}, error => { if (error === null) resolve(); else reject(error); });
  });
}
