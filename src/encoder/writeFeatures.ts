import { open, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { forwardGraph } from '../architecture/forwardGraphs';
import { outputShape, wantedOutputs } from '../architecture/outputs';
import { readBytes } from '../checkpoint/byteSource';
import { openFile } from '../checkpoint/fileSource';
import { isAbort, UserError } from '../errors';
import { writing } from '../extraction/ioErrors';
import { OutputFolder } from '../extraction/outputFolder';
import type { PreprocessSpec } from '../image/preprocess';
import type { RunOptions } from '../progress';
import type { EncoderClient, MemoryFigures } from './client';
import type { DeviceChoice, LoadReport } from './devices';
import type { Precision } from './deviceEncoder';
import type { Array32 } from './encoder';
import { FeatureFile, type FeatureFormat } from './featureFile';
import type { EncoderModel } from './model';

export interface FeaturesRequest extends RunOptions {
  /** Paths of picture files. */
  readonly pictures: readonly string[];
  readonly out: string;
  readonly format: Exclude<FeatureFormat, 'raw'>;
  readonly overwrite: boolean;
  /** Names as `wantedOutputs` knows them. */
  readonly outputs: readonly string[];
  readonly preprocessing: PreprocessSpec;
  readonly device: DeviceChoice;
  readonly precision: Precision;
  /** Pictures that run together. */
  readonly batchSize: number;
  /** Told what will run, and of short memory, before it does. */
  readonly onLoaded?: (report: LoadReport) => void;
  /** Told of a picture that cannot be read, which is then left out; absent, such a picture ends it all. */
  readonly onBroken?: (picture: string, error: UserError) => void;
}

export interface WrittenFeatures {
  readonly out: string;
  /** In the order of the file's first dimension. */
  readonly pictures: readonly string[];
  /** By key. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly device: LoadReport;
  readonly milliseconds: { readonly decode: number; readonly resize: number; readonly load: number; readonly run: number };
  /** Of the encoder's process. */
  readonly memory: MemoryFigures | undefined;
}

/** Larger files are no pictures that anybody wants to send through an encoder; decodeImage has the same limit. */
const MOST_BYTES = 256 * 2 ** 20;

/**
 * Runs an encoder on pictures and writes a file of float32 arrays, batch first: `pixel_values` and `outputs` as
 * safetensors, `features` alone as .npy. All pictures are decoded first, so a broken one is found before the encoder
 * runs, and the number of good ones is known; their pixels wait on the disk. Memory holds one batch. Nothing is left
 * behind when it fails. Progress counts pictures while "decoding", blocks while "loading", and pictures again while "running".
 * @throws UserError when `out` exists, a picture is broken, or the encoder fails; AbortError when cancelled
 */
export async function writeFeatures(client: EncoderClient, model: EncoderModel, request: FeaturesRequest): Promise<WrittenFeatures> {
  const graph = forwardGraph(model.graph);
  wantedOutputs(graph, request.outputs);
  const out = resolve(request.out);
  if (!request.overwrite && await stat(out).then(() => true, () => false)) throw new UserError(`${out} exists already. Choose another name, or replace it with --overwrite.`);
  const folder = await OutputFolder.prepare(dirname(out));
  try {
    return await writing(out, async () => {
      const scratch = join(folder.staging, 'pixels');
      const decoded = await decodePictures(client, graph.imageSize, request, scratch);
      const count = decoded.pictures.length;
      const arrays = [...(request.format === 'npy' ? [] : [{ key: 'pixel_values', shape: [count, 3, graph.imageSize, graph.imageSize] }]),
        ...request.outputs.map(key => ({ key, shape: outputShape(graph, key, count) }))];
      const file = await FeatureFile.create(join(folder.staging, basename(out)), request.format, arrays, { format: 'pt', encoder: model.name, pictures: JSON.stringify(decoded.pictures) });
      let encoded: Pick<WrittenFeatures, 'device' | 'memory'> & { readonly loadMs: number; readonly runMs: number };
      try {
        encoded = await encodePictures(client, model, graph.imageSize, request, count, scratch, file);
        await file.sync();
      } finally {
        await file.close();
      }
      await rm(scratch);
      await folder.commit([basename(out)], []);
      return {
        out, pictures: decoded.pictures,
        shapes: Object.fromEntries(arrays.map(({ key, shape }) => [key, shape])),
        device: encoded.device,
        milliseconds: { decode: decoded.decodeMs, resize: decoded.resizeMs, load: encoded.loadMs, run: encoded.runMs },
        memory: encoded.memory,
      };
    });
  } catch (error) {
    await folder.discard();
    throw error;
  }
}

/** Decodes all pictures into the scratch file, float32, one after the other. */
async function decodePictures(client: EncoderClient, side: number, request: FeaturesRequest, scratch: string): Promise<{ pictures: string[]; decodeMs: number; resizeMs: number }> {
  const pictures: string[] = [];
  let [decodeMs, resizeMs] = [0, 0];
  const pixels = await FeatureFile.create(scratch, 'raw', [{ key: 'pixel_values', shape: [request.pictures.length, 3, side, side] }], {});
  try {
    for (const [index, picture] of request.pictures.entries()) {
      request.signal?.throwIfAborted();
      try {
        const one = await decodePicture(client, picture, request);
        const [, , height, width] = one.pixels.shape;
        if (height !== side || width !== side) throw new UserError(`${picture} becomes ${width ?? 0} x ${height ?? 0} pixels by the checkpoint's preprocessor_config.json, but the encoder takes ${side} x ${side}. Say --resize square or --resize crop.`);
        await pixels.put('pixel_values', pictures.length, one.pixels);
        pictures.push(picture);
        decodeMs += one.decodeMs;
        resizeMs += one.resizeMs;
      } catch (error) {
        if (request.onBroken === undefined || isAbort(error) || !(error instanceof UserError)) throw error;
        request.onBroken(picture, error);
      }
      request.onProgress?.({ done: index + 1, total: request.pictures.length, label: 'decoding' });
    }
  } finally {
    await pixels.close();
  }
  if (pictures.length === 0) throw new UserError('None of the pictures can be read, so nothing was written.');
  return { pictures, decodeMs, resizeMs };
}

async function decodePicture(client: EncoderClient, picture: string, { preprocessing, signal }: FeaturesRequest) {
  const options = { ...(signal && { signal }) };
  const source = await openFile(picture);
  let bytes: Uint8Array;
  try {
    if (source.size > MOST_BYTES) throw new UserError(`${picture} is too large for a picture. Make it smaller first.`);
    bytes = await readBytes(source, 0, source.size, signal);
  } finally {
    await source.close();
  }
  try {
    return await client.preprocess(picture, bytes, preprocessing, options);
  } catch (error) {
    if (isAbort(error) || !(error instanceof UserError) || client.pid !== undefined) throw error;
    throw new UserError(`${picture} cannot be decoded: it made the decoder crash. Convert it to PNG or JPEG with another program.`, { detail: error.message, cause: error });
  }
}

/** Runs the decoded pictures batch by batch and puts everything into the file. */
async function encodePictures(client: EncoderClient, model: EncoderModel, side: number, request: FeaturesRequest, count: number, scratch: string, file: FeatureFile) {
  const { signal, onProgress, outputs, batchSize } = request;
  const started = performance.now();
  const device = await client.load(model, {
    device: request.device, precision: request.precision, batch: Math.min(batchSize, count), ...(signal && { signal }),
    onProgress: ({ done, total }) => { onProgress?.({ done, total, label: 'loading' }); },
  });
  request.onLoaded?.(device);
  const loaded = performance.now();
  const pixels = await open(scratch, 'r');
  try {
    for (let first = 0; first < count; first += batchSize) {
      const batch = Math.min(batchSize, count - first);
      const data = new Float32Array(batch * 3 * side * side);
      await readAll(pixels, new Uint8Array(data.buffer), first * 3 * side * side * 4);
      const input = { shape: [batch, 3, side, side], data };
      let written: Promise<unknown> = Promise.resolve();
      const put = (name: string, value: Array32): void => {
        written = Promise.all([written, file.put(name, first, value)]);
        // Awaited below; until then a failure must not count as unhandled.
        written.catch(() => undefined);
      };
      put('pixel_values', input);
      try {
        await client.run(input, outputs, {
          ...(signal && { signal }),
          keep: false,
          onOutput: put,
          onProgress: ({ done, total }) => { onProgress?.({ done: first + batch * done / total, total: count, label: 'running' }); },
        });
      } finally {
        await Promise.allSettled([written]);
      }
      await written;
      onProgress?.({ done: first + batch, total: count, label: 'running' });
    }
  } finally {
    await pixels.close();
  }
  const runMs = performance.now() - loaded;
  return { device, loadMs: loaded - started, runMs, memory: await client.memory() };
}

async function readAll(handle: Awaited<ReturnType<typeof open>>, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length;) {
    const { bytesRead } = await handle.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) throw new UserError('A temporary file beside the output ended early. Was it changed? Try again.');
    done += bytesRead;
  }
}
