import './language';
import { forwardGraph } from '../architecture/forwardGraphs';
import { isAbort, UserError } from '../errors';
import { decodeImage } from '../image/decode';
import { preprocess } from '../image/preprocess';
import { loadEncoder, type LoadedModel } from './devices';
import type { EncoderSlot } from '../protocol';
import type { Array32, StageHooks } from './encoder';
import { Gallery, isQuick, type Running } from './gallery';
import { peakMemory } from './memory';
import { requestSchema, type Reply, type Request } from './protocol';

/**
 * The entry of the encoder's process: holds ONNX Runtime and one loaded encoder (or two, when they are compared), and
 * works off requests one by one. ONNX Runtime blocks this process's event loop while it runs; messages are read between
 * stages, and questions about pictures that are encoded already are answered there.
 */
type Job = Exclude<Request, { type: 'cancel' }>;

const loaded = new Map<EncoderSlot, Running & Pick<LoadedModel, 'warningFor' | 'fit'>>();
const gallery = new Gallery();
let queue: Promise<void> = Promise.resolve();
const cancelled = new Set<number>();

process.on('message', message => {
  const request = requestSchema.parse(message);
  if (request.type === 'cancel') cancelled.add(request.id);
  else if (request.type === 'ask' && isQuick(request.question)) void answer(request);
  else queue = queue.then(() => answer(request));
});
process.on('disconnect', () => process.exit(0));
// A terminal's Ctrl+C reaches the whole process group; the parent decides what it means.
process.on('SIGINT', () => undefined);

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
      await unload(job.encoder);
      const { report, ...rest } = await loadEncoder(job.model, job, hooks);
      loaded.set(job.encoder, { ...rest, spec: job.model.graph, graph: forwardGraph(job.model.graph) });
      return { type: 'loaded', id, report };
    }
    case 'fit': {
      gallery.keepLayers(job.encoder, job.layers);
      return { type: 'loaded', id, report: await needed(job.encoder).fit(job.extent, hooks) };
    }
    case 'unload':
      await unload(job.encoder);
      break;
    case 'run':
      await needed('main').encoder.run(job.pixels, job.outputs, { ...hooks, onOutput });
      break;
    case 'attention':
      await onOutput('attention', await needed('main').encoder.attention(job.layer, job.head, job.hidden, job.grid));
      break;
    case 'preprocess': {
      const started = performance.now();
      const image = await decodeImage(job.bytes, { name: job.name });
      const decoded = performance.now();
      const { pixels, geometry: { width, height } } = preprocess(image, job.spec);
      const resizeMs = performance.now() - decoded;
      await onOutput('pixel_values', { shape: [1, 3, height, width], data: pixels });
      return { type: 'preprocessed', id, decodeMs: decoded - started, resizeMs };
    }
    case 'openPicture': {
      const running = needed(job.encoder);
      const picture = await gallery.open(job.picture, job.name, job.bytes, job.encoder, running, job.spec);
      const warning = await running.warningFor(picture.grid);
      return { type: 'picture', id, picture, ...(warning !== undefined && { warning }) };
    }
    case 'encodePicture':
      return { type: 'encoded', id, runMs: await gallery.encode(job.picture, job.encoder, needed(job.encoder), job.layers, hooks) };
    case 'closePicture':
      gallery.close(job.picture);
      break;
    case 'pictureValues': {
      const values = gallery.values(job.picture);
      for (const name of job.names) {
        const value = values.get(name);
        if (value !== undefined) await onOutput(name, value);
      }
      break;
    }
    case 'ask':
      return { type: 'answer', id, answer: await gallery.answer(job.question, loaded) };
    case 'memory':
      return { type: 'memory', id, residentBytes: process.memoryUsage.rss(), peakBytes: await peakMemory() };
  }
  return { type: 'done', id };
}

function needed(slot: EncoderSlot): Running & Pick<LoadedModel, 'warningFor' | 'fit'> {
  const running = loaded.get(slot);
  if (running === undefined) throw new Error('No encoder is loaded.');
  return running;
}

async function unload(slot: EncoderSlot): Promise<void> {
  const running = loaded.get(slot);
  loaded.delete(slot);
  gallery.forget(slot);
  await running?.encoder.close();
}

/** Resolves when the message is on its way: a stage would block the loop and hold it back. */
function send(reply: Reply): Promise<void> {
  return new Promise((resolve, reject) => {
    if (process.send === undefined) throw new Error('The encoder runs only as a child process.');
    process.send(reply, undefined, {}, error => { if (error === null) resolve(); else reject(error); });
  });
}
