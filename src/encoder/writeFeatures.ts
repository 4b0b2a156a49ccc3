import { open, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { forwardGraph } from '../architecture/forwardGraphs';
import { outputShape, wantedOutputs } from '../architecture/outputs';
import { sameGrid, type Grid } from '../architecture/positions';
import { elementCount } from '../checkpoint/dtype';
import { isAbort, UserError } from '../errors';
import { writing } from '../extraction/ioErrors';
import { OutputFolder } from '../extraction/outputFolder';
import type { PreprocessSpec } from '../image/preprocess';
import type { RunOptions } from '../progress';
import type { EncoderClient, MemoryFigures } from './client';
import type { DeviceChoice, LoadReport } from './devices';
import type { Precision } from './deviceEncoder';
import { decodePicture } from './decodePicture';
import type { Array32 } from './encoder';
import { FeatureFile, type FeatureFormat, type Stacked } from './featureFile';
import { extentFor } from './memory';
import type { EncoderModel } from './model';

export interface FeaturesRequest extends RunOptions {
  /** Paths of picture files. */
  readonly pictures: readonly string[];
  readonly out: string;
  readonly format: FeatureFormat;
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
  /** Rows and columns of each picture's patches. */
  readonly grids: readonly (readonly [number, number])[];
  /** By key. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly device: LoadReport;
  readonly milliseconds: { readonly decode: number; readonly resize: number; readonly load: number; readonly run: number };
  /** Of the encoder's process. */
  readonly memory: MemoryFigures | undefined;
}

/**
 * Runs an encoder on pictures and writes a file of float32 arrays, batch first: `pixel_values` and `outputs` as
 * safetensors, `features` alone as .npy. Where pictures have different grids of patches, each has arrays of its own under
 * `pictures.N.` in safetensors. All pictures are decoded first, so a broken one is found before the encoder
 * runs, and the number of good ones is known; their pixels wait on the disk. Memory holds one batch. Nothing is left
 * behind when it fails. Progress counts pictures while "decoding", blocks while "loading", and pictures again while "running".
 * @throws UserError when `out` exists, a picture is broken, or the encoder fails; AbortError when cancelled
 */
export async function writeFeatures(client: EncoderClient, model: EncoderModel, request: FeaturesRequest): Promise<WrittenFeatures> {
  wantedOutputs(forwardGraph(model.graph), request.outputs);
  const out = resolve(request.out);
  if (!request.overwrite && await stat(out).then(() => true, () => false)) throw new UserError(t`${out} exists already. Choose another name.`, { remedy: 'replace' });
  const folder = await OutputFolder.prepare(dirname(out));
  try {
    return await writing(out, async () => {
      const scratch = join(folder.staging, 'pixels');
      const { pictures, decodeMs, resizeMs } = await decodePictures(client, model, request, scratch);
      const plan = planArrays(model, pictures, request);
      const names = pictures.map(({ name }) => name);
      const grids = pictures.map(({ grid: { rows, columns } }) => [rows, columns] as const);
      const file = await FeatureFile.create(join(folder.staging, basename(out)), request.format, plan.arrays, { format: 'pt', encoder: model.name, pictures: JSON.stringify(names), grids: JSON.stringify(grids) });
      let encoded: Pick<WrittenFeatures, 'device' | 'memory'> & { readonly loadMs: number; readonly runMs: number };
      try {
        encoded = await encodePictures(client, model, pictures, request, scratch, (name, first, value) => plan.put(file, name, first, value));
        await file.sync();
      } finally {
        await file.close();
      }
      await rm(scratch);
      await folder.commit([basename(out)], []);
      return {
        out, pictures: names, grids,
        shapes: Object.fromEntries(plan.arrays.map(({ key, shape }) => [key, shape])),
        device: encoded.device,
        milliseconds: { decode: decodeMs, resize: resizeMs, load: encoded.loadMs, run: encoded.runMs },
        memory: encoded.memory,
      };
    });
  } catch (error) {
    await folder.discard();
    throw error;
  }
}

/** A picture's pixels on the disk. */
interface Decoded {
  readonly name: string;
  readonly grid: Grid;
  /** (3, height, width), float32. */
  readonly shape: readonly number[];
  /** Of its first byte in the scratch file. */
  readonly offset: number;
}

interface ArrayPlan {
  readonly arrays: readonly Stacked[];
  /** Puts what the encoder made of pictures `first` and on into the file. */
  readonly put: (file: FeatureFile, name: string, first: number, value: Array32) => Promise<void>;
}

/** Pictures of one grid are stacked; those of different grids have arrays of their own, `pictures.N.features`. */
function planArrays(model: EncoderModel, pictures: readonly Decoded[], { outputs, format }: FeaturesRequest): ArrayPlan {
  const arraysOf = ({ shape, grid }: Decoded, count: number, prefix: string): Stacked[] => [
    ...(format === 'npy' ? [] : [{ key: `${prefix}pixel_values`, shape: [count, ...shape] }]),
    ...outputs.map(name => ({ key: prefix + name, shape: outputShape(forwardGraph(model.graph, grid), name, count) })),
  ];
  const [first, ...others] = pictures;
  if (first === undefined) throw new Error('There are no pictures.');
  if (others.every(({ grid }) => sameGrid(grid, first.grid))) {
    return { arrays: arraysOf(first, pictures.length, ''), put: (file, name, index, value) => file.put(name, index, value) };
  }
  if (format === 'npy') throw new UserError(t('The pictures have different numbers of patches, which one .npy array cannot hold. Write .safetensors.'), { remedy: 'resize to one size' });
  return {
    arrays: pictures.flatMap((picture, index) => arraysOf(picture, 1, `pictures.${index}.`)),
    put: async (file, name, index, { shape: [count = 0, ...shape], data }) => {
      const size = data.length / count;
      for (let each = 0; each < count; each++) await file.put(`pictures.${index + each}.${name}`, 0, { shape: [1, ...shape], data: data.subarray(each * size, (each + 1) * size) });
    },
  };
}

/** Decodes all pictures into the scratch file, float32, one after the other. */
async function decodePictures(client: EncoderClient, model: EncoderModel, request: FeaturesRequest, scratch: string): Promise<{ pictures: Decoded[]; decodeMs: number; resizeMs: number }> {
  const pictures: Decoded[] = [];
  let [decodeMs, resizeMs, offset] = [0, 0, 0];
  const pixels = await open(scratch, 'wx');
  try {
    for (const [index, picture] of request.pictures.entries()) {
      request.signal?.throwIfAborted();
      try {
        const one = await decodePicture(client, model, picture, request.preprocessing, request.signal);
        const { shape: [, ...shape], data } = one.pixels;
        pictures.push({ name: picture, grid: one.grid, shape, offset });
        await pixels.appendFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
        offset += data.byteLength;
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
  if (pictures.length === 0) throw new UserError(t('None of the pictures can be read, so nothing was written.'));
  return { pictures, decodeMs, resizeMs };
}

/** Runs the decoded pictures batch by batch, those of one grid that follow each other together, and hands on everything. */
async function encodePictures(client: EncoderClient, model: EncoderModel, pictures: readonly Decoded[], request: FeaturesRequest, scratch: string, put: (name: string, first: number, value: Array32) => Promise<void>) {
  const { signal, onProgress, outputs, batchSize } = request;
  const started = performance.now();
  const device = await client.load(model, {
    device: request.device, precision: request.precision, batch: Math.min(batchSize, pictures.length), extent: extentFor(model, outputs), ...(signal && { signal }),
    onProgress: ({ done, total }) => { onProgress?.({ done, total, label: 'loading' }); },
  });
  request.onLoaded?.(device);
  const loaded = performance.now();
  const pixels = await open(scratch, 'r');
  try {
    for (const { first, count, shape, offset } of batches(pictures, batchSize)) {
      const data = new Float32Array(count * elementCount(shape));
      await readAll(pixels, new Uint8Array(data.buffer), offset);
      const input = { shape: [count, ...shape], data };
      let written: Promise<unknown> = Promise.resolve();
      const take = (name: string, value: Array32): void => {
        written = Promise.all([written, put(name, first, value)]);
        // Awaited below; until then a failure must not count as unhandled.
        written.catch(() => undefined);
      };
      take('pixel_values', input);
      try {
        await client.run(input, outputs, {
          ...(signal && { signal }),
          keep: false,
          onOutput: take,
          onProgress: ({ done, total }) => { onProgress?.({ done: first + count * done / total, total: pictures.length, label: 'running' }); },
        });
      } finally {
        await Promise.allSettled([written]);
      }
      await written;
      onProgress?.({ done: first + count, total: pictures.length, label: 'running' });
    }
  } finally {
    await pixels.close();
  }
  const runMs = performance.now() - loaded;
  return { device, loadMs: loaded - started, runMs, memory: await client.memory() };
}

/** Runs of pictures of one grid, at most so many; their pixels follow each other in the scratch file. */
function* batches(pictures: readonly Decoded[], most: number): Generator<{ readonly first: number; readonly count: number } & Pick<Decoded, 'shape' | 'offset'>> {
  for (let first = 0; first < pictures.length;) {
    const picture = pictures[first];
    if (picture === undefined) return;
    const following = pictures.slice(first, first + most);
    const other = following.findIndex(({ grid }) => !sameGrid(grid, picture.grid));
    const count = other < 0 ? following.length : other;
    yield { first, count, shape: picture.shape, offset: picture.offset };
    first += count;
  }
}

async function readAll(handle: Awaited<ReturnType<typeof open>>, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length;) {
    const { bytesRead } = await handle.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) throw new UserError(t('A temporary file beside the output ended early. Was it changed? Try again.'));
    done += bytesRead;
  }
}
