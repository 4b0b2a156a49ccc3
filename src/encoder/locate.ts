import { realpath } from 'node:fs/promises';
import { dirname, relative, sep } from 'node:path';
import { t } from '@vscode/l10n';
import type { ForwardGraph, WeightPart } from '../architecture/forwardGraph';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import { UserError } from '../errors';
import type { LocateWeight, StoredPart } from '../onnx/encoderGraph';
import { isElementType } from '../onnx/graphBuilder';
import type { EncoderModel } from './model';
import type { Weights } from './weights';

/** Most bytes that go into a model itself: protobuf messages end at 2 GiB. */
const MOST_INLINE = 1 << 30;
/** ONNX Runtime looks into initialisers of so few elements (constant_sharing.cc), and cannot where a model in memory has them in a file. */
const FEW_ELEMENTS = 8;
/** Queries, keys and values lie in one tensor, of which each is an initialiser. */
const MOST_PARTS = 3;

/** Where a model's weights lie, for models whose initialisers point there. */
export interface Located {
  /** The folder that the locations are relative to: the deepest one that holds all files, links resolved. */
  readonly folder: string;
  readonly locate: LocateWeight;
}

/**
 * Points into the checkpoint's own files. ONNX Runtime refuses absolute locations and files whose real path lies
 * outside the model's folder, so real paths are taken and the folder is their common ancestor. What is no plain byte
 * range (views with strides, deflated entries), tables that are computed and the smallest tensors go into the model as float32.
 * @throws UserError when the files lie on different drives, or when too much of them is no plain byte range
 */
export async function locateWeights(model: EncoderModel, graph: ForwardGraph, weights: Weights): Promise<Located> {
  const paths = [...new Set([...model.weights.values()].map(({ path }) => path))];
  const real = new Map(await Promise.all(paths.map(async path => [path, await realpath(path)] as const)));
  const folder = commonFolder([...real.values()]);

  const reader = weights.withTables(graph.derivedTables);
  const inline = new Map<string, Float32Array>();
  let inlineBytes = 0;
  const put = async (key: string, shape: readonly number[]): Promise<void> => {
    inlineBytes += elementCount(shape) * 4;
    if (inlineBytes > MOST_INLINE) throw new UserError(t`Too many of ${model.name}'s tensors are views or compressed entries to be run from where they lie. Extract the encoder first, then run the result.`);
    inline.set(key, await reader.float32({ key, shape, firstRow: 0 }));
  };
  for (const { key, shape } of graph.derivedTables) await put(key, shape);
  for (const [key, stored] of model.weights) if (stored.indirect !== undefined || elementCount(stored.shape) <= FEW_ELEMENTS * MOST_PARTS) await put(key, stored.shape);

  const locate = (part: WeightPart): StoredPart => {
    const first = part.firstRow * elementCount(part.shape.slice(1));
    const count = elementCount(part.shape);
    const values = inline.get(part.key)?.subarray(first, first + count);
    if (values !== undefined) return { type: 'F32', data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
    const stored = model.weights.get(part.key);
    if (stored === undefined) throw new Error(`The graph asks for ${part.key}, which the model does not have.`);
    if (!isElementType(stored.dtype)) throw new UserError(t`${stored.key} is ${stored.dtype}, which ONNX does not have, so the encoder cannot be run.`);
    const bytes = dtypeBits(stored.dtype) / 8;
    const location = relative(folder, real.get(stored.path) ?? stored.path).split(sep).join('/');
    return { type: stored.dtype, data: { location, offset: stored.offset + first * bytes, length: count * bytes } };
  };
  return { folder, locate };
}

/** The deepest folder that holds all of `paths`. @throws UserError when there is none: they lie on different drives. */
export function commonFolder(paths: readonly string[]): string {
  const [first, ...others] = paths.map(dirname);
  if (first === undefined) throw new Error('There are no files.');
  let folder = first;
  for (const other of others) {
    while (folder !== other && !other.startsWith(folder.endsWith(sep) ? folder : folder + sep)) {
      const parent = dirname(folder);
      if (parent === folder) throw new UserError(t`The checkpoint's files lie on different drives (${first} and ${other}). Put them on one drive, or extract the encoder first.`);
      folder = parent;
    }
  }
  return folder;
}
