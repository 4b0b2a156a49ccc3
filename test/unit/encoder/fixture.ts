import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseConfig } from '../../../src/architecture/config';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { openFile } from '../../../src/checkpoint/fileSource';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { readSafetensors } from '../../../src/checkpoint/safetensors';
import { encoderModel, type EncoderModel } from '../../../src/encoder/model';
import { makePlan } from '../../../src/recipe/plan';

/** The encoder process's source; run through tsx, as mocha itself is. */
export const ENTRY = join(dirname(fileURLToPath(import.meta.url)), '../../../src/encoder/process.ts');

const FIXTURES = join(dirname(fileURLToPath(import.meta.url)), '../../fixtures');
export const TINY = ['qwen-vl-tiny-safetensors', 'qwen-vl-tiny-bin'] as const;
export type Tiny = (typeof TINY)[number];

export interface Known {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

export function fixturePath(name: Tiny, file = ''): string {
  return join(FIXTURES, name, file);
}

/** The encoder inside a tiny checkpoint, as the main job would find it. */
export function tinyModel(name: Tiny): Promise<EncoderModel> {
  return tinyModelAt(fixturePath(name));
}

export async function tinyModelAt(folder: string, prefix = 'transformer.visual'): Promise<EncoderModel> {
  const checkpoint = await openCheckpoint(folder);
  try {
    const config = parseConfig(await readFile(join(folder, 'config.json'), 'utf8'), join(folder, 'config.json'));
    return encoderModel(makePlan(checkpoint, qwenVl.recipe(prefix)), qwenVl, qwenVl.resolve(config, {}));
  } finally {
    await checkpoint.close();
  }
}

/** The float32 tensors of a safetensors file. */
export async function readFloats(path: string): Promise<Map<string, Known>> {
  const source = await openFile(path);
  try {
    const { tensors } = await readSafetensors(source);
    const known = new Map<string, Known>();
    for (const { key, shape, offset, length } of tensors) {
      const bytes = new Uint8Array(length);
      await source.readInto(bytes, offset);
      known.set(key, { shape, data: new Float32Array(bytes.buffer) });
    }
    return known;
  } finally {
    await source.close();
  }
}

/** What a tiny checkpoint's encoder gives for its picture: computed in float64 by an independent implementation. */
export function expected(name: Tiny): Promise<Map<string, Known>> {
  return readFloats(fixturePath(name, 'expected.safetensors'));
}

/** ||actual - reference|| / ||reference||. */
export function relativeError(actual: ArrayLike<number>, reference: ArrayLike<number>): number {
  if (actual.length !== reference.length) return Number.POSITIVE_INFINITY;
  let error = 0;
  let norm = 0;
  for (let i = 0; i < reference.length; i++) {
    error += ((actual[i] ?? NaN) - (reference[i] ?? NaN)) ** 2;
    norm += (reference[i] ?? NaN) ** 2;
  }
  return Math.sqrt(error / norm);
}
