import { open, realpath, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { t } from '@vscode/l10n';
import type { ForwardGraph, WeightPart } from '../architecture/forwardGraph';
import { forwardGraph } from '../architecture/forwardGraphs';
import { wantedOutputs } from '../architecture/outputs';
import type { Grid } from '../architecture/positions';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import { openFile } from '../checkpoint/fileSource';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { UserError } from '../errors';
import { writeExtraFile, type ExtraFile } from '../extraction/extraFiles';
import { writing } from '../extraction/ioErrors';
import { OutputFolder } from '../extraction/outputFolder';
import { segmentModel, type LocateWeight, type StoredPart } from '../onnx/encoderGraph';
import { isElementType, type ElementType } from '../onnx/graphBuilder';
import type { RunOptions } from '../progress';
import { locateWeights } from './locate';
import { storedBytes, type EncoderModel } from './model';
import { Weights } from './weights';

export interface ExportOptions extends RunOptions {
  /** The model's path, ending in `.onnx`. */
  readonly path: string;
  /** Names as `wantedOutputs` knows them; they become the model's outputs. */
  readonly outputs: readonly string[];
  /**
   * `one-file` copies the weights to `<path>.data`; `in-place` points at the checkpoint's own files, which must lie in
   * the model's folder or below: ONNX Runtime refuses others.
   */
  readonly weights: 'one-file' | 'in-place';
  /** The patches of the pictures that the model takes; those of the encoder's usual square unless told. */
  readonly grid?: Grid;
  /** Other files to write into the model's folder. */
  readonly beside?: readonly ExtraFile[];
  /** Files of the model's folder to take away once the new ones are there. */
  readonly stale?: readonly string[];
  readonly overwrite?: boolean;
}

/** So that a runtime can map each tensor instead of reading it: the page size, as ONNX's external data documentation advises. */
const ALIGNMENT = 4096;

/**
 * Writes the encoder as a standalone ONNX model with a dynamic batch: input `pixel_values` (batch, 3, height, width),
 * outputs as asked for, float32; weights in the dtype they are stored in. Progress counts bytes of weights.
 * Nothing is left behind when it fails.
 * @returns the files written
 * @throws UserError when a file exists or the weights cannot be pointed at; AbortError when cancelled
 */
export async function exportOnnx(model: EncoderModel, options: ExportOptions): Promise<string[]> {
  const path = resolve(options.path);
  const data = `${path}.data`;
  const { beside = [], stale = [] } = options;
  const others = beside.map(({ name }) => join(dirname(path), name));
  if (options.overwrite !== true) for (const file of [path, data, ...others]) await refuseExisting(file);
  const graph = forwardGraph(model.graph, options.grid);
  const wanted = wantedOutputs(graph, options.outputs);
  if (options.outputs.length === 0) throw new UserError(t('An ONNX model needs at least one output, for example features.'));
  const weights = new Weights(model, 0);
  const folder = await OutputFolder.prepare(dirname(path));
  try {
    await writing(path, async () => {
      const locate = options.weights === 'one-file'
        ? await writeData(model, graph, weights, join(folder.staging, basename(data)), options)
        : await pointInto(model, graph, weights, dirname(path));
      await writeFile(join(folder.staging, basename(path)), segmentModel(graph, {
        segment: { from: 0, to: graph.layers }, wanted, handOn: false, products: 'F32', locate,
        metadata: new Map([['family', model.family], ['source', model.name]]),
      }), { flush: true });
    });
    for (const file of beside) await writeBeside(folder.staging, file, options.signal);
    // The model last: who finds it finds its weights.
    const files = [...others, ...(options.weights === 'one-file' ? [data] : []), path];
    await folder.commit(files.map(file => basename(file)), stale);
    return files;
  } catch (error) {
    await folder.discard();
    throw error;
  } finally {
    await weights.close();
  }
}

async function refuseExisting(file: string): Promise<void> {
  if (await stat(file).then(() => true, () => false)) throw new UserError(t`${file} exists already. Choose another name, or say that it may be overwritten.`);
}

async function writeBeside(staging: string, file: ExtraFile, signal: AbortSignal | undefined): Promise<void> {
  const handle = await open(join(staging, file.name), 'wx');
  try {
    await writeExtraFile(handle, file, signal);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function pointInto(model: EncoderModel, graph: ForwardGraph, weights: Weights, folder: string): Promise<LocateWeight> {
  const located = await locateWeights(model, graph, weights);
  const down = relative(await realpath(folder).catch(() => folder), located.folder);
  if (isAbsolute(down) || down.split(sep)[0] === '..') {
    throw new UserError(t`The weights lie in ${located.folder}, and ONNX Runtime reads them only from the model's own folder or below. Write the model there, or copy the weights into one file.`);
  }
  const prefix = down === '' ? '' : `${down.split(sep).join('/')}/`;
  return part => {
    const stored = located.locate(part);
    return stored.data instanceof Uint8Array ? stored : { ...stored, data: { ...stored.data, location: prefix + stored.data.location } };
  };
}

interface Placed {
  readonly type: ElementType;
  readonly offset: number;
}

/** Copies all weights, and the tables computed from them, into one file. */
async function writeData(model: EncoderModel, graph: ForwardGraph, weights: Weights, file: string, options: RunOptions): Promise<LocateWeight> {
  const placed = new Map<string, Placed>();
  const handle = await open(file, 'wx');
  const progress = { done: 0, total: storedBytes(model) };
  let end = 0;
  const place = (key: string, type: ElementType): void => {
    end = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    placed.set(key, { type, offset: end });
  };
  try {
    const reader = weights.withTables(graph.derivedTables);
    for (const { key, shape } of graph.derivedTables) {
      place(key, 'F32');
      const values = await reader.float32({ key, shape, firstRow: 0 });
      end = await write(handle, new Uint8Array(values.buffer, values.byteOffset, values.byteLength), end);
    }
    for (const [key, stored] of model.weights) {
      if (!isElementType(stored.dtype)) throw new UserError(t`${stored.key} is ${stored.dtype}, which ONNX does not have, so the encoder cannot be exported.`);
      place(key, stored.dtype);
      const source = await openFile(stored.path);
      try {
        for await (const chunk of tensorBytes(source, stored, { ...(options.signal && { signal: options.signal }) })) {
          options.signal?.throwIfAborted();
          end = await write(handle, chunk, end);
          progress.done += chunk.length;
          options.onProgress?.({ ...progress, label: key });
        }
      } finally {
        await source.close();
      }
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return (part: WeightPart): StoredPart => {
    const found = placed.get(part.key);
    if (found === undefined) throw new Error(`The graph asks for ${part.key}, which the model does not have.`);
    const bytes = dtypeBits(found.type) / 8;
    const offset = found.offset + part.firstRow * elementCount(part.shape.slice(1)) * bytes;
    return { type: found.type, data: { location: basename(file), offset, length: elementCount(part.shape) * bytes } };
  };
}

async function write(handle: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  return position + bytes.length;
}
