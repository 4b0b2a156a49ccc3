import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '../../../src/architecture/config';
import { detectFamily } from '../../../src/architecture/registry';
import { readBytes, type ByteSource } from '../../../src/checkpoint/byteSource';
import type { Checkpoint, Tensor } from '../../../src/checkpoint/checkpoint';
import { dtypeBits, elementCount, type Dtype } from '../../../src/checkpoint/dtype';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { tensorBytes } from '../../../src/checkpoint/tensorBytes';
import type { ExtractOptions } from '../../../src/extraction/extract';
import { makePlan, type Plan } from '../../../src/recipe/plan';
import type { Recipe } from '../../../src/recipe/recipe';
import { validate } from '../../../src/validation/validate';
import type { Validation } from '../../../src/validation/validation';

export const FIXTURES = join(__dirname, '../../fixtures');
export const TINY = {
  bin: join(FIXTURES, 'qwen-vl-tiny-bin/pytorch_model.bin.index.json'),
  safetensors: join(FIXTURES, 'qwen-vl-tiny-safetensors/model.safetensors.index.json'),
};

export interface Case {
  readonly checkpoint: Checkpoint;
  readonly plan: Plan;
  readonly validation: Validation;
}

/** A tiny Qwen-VL checkpoint with its preset recipe, validated against its own config.json. */
export async function tinyCase(index: string): Promise<Case> {
  const checkpoint = await openCheckpoint(index);
  const location = join(index, '../config.json');
  const config = parseConfig(await readFile(location, 'utf8'), location);
  const found = detectFamily(checkpoint.tensors, config);
  if (found === undefined) throw new Error('The fixture is not recognised.');
  const plan = makePlan(checkpoint, found.family.recipe(found.detection.prefix));
  return { checkpoint, plan, validation: validate(plan, found.family, config) };
}

export const KEEP_ALL: Recipe = { version: 1, name: 'All', family: 'qwen-vl', rules: [{ mark: 'keep', pattern: '**' }], overrides: [], settings: {} };
export const VALID: Validation = {
  valid: true, family: 'qwen-vl', config: undefined, hyperparameters: new Map(), expectedCount: 0, matchedCount: 0,
  missing: [], unexpected: [], mismatched: [], duplicates: [], warnings: [],
};

export interface MadeTensor {
  readonly key: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A checkpoint in memory, one file, kept whole. `read` may interfere with every read. */
export function madeCase(tensors: readonly MadeTensor[], read: (position: number, signal?: AbortSignal) => Promise<void> | void = () => undefined): Case {
  const all = Buffer.concat(tensors.map(tensor => tensor.bytes));
  const source: ByteSource = {
    name: 'made',
    size: all.length,
    async readInto(target, position, signal) {
      signal?.throwIfAborted();
      await read(position, signal);
      target.set(all.subarray(position, position + target.length));
    },
    close: () => Promise.resolve(),
  };
  let offset = 0;
  const listed = tensors.map(({ key, dtype, shape, bytes }): Tensor => {
    if (elementCount(shape) * dtypeBits(dtype) / 8 !== bytes.length) throw new Error(`${key} has ${bytes.length} bytes.`);
    const tensor = { key, dtype, shape, file: 0, offset, length: bytes.length };
    offset += bytes.length;
    return tensor;
  });
  const checkpoint: Checkpoint = {
    name: 'made', location: 'made', store: { location: 'made', list: () => Promise.resolve([]), open: () => Promise.reject(new Error('closed')) },
    files: [{ name: 'made', format: 'safetensors', source, metadata: new Map() }],
    tensors: listed, others: [], warnings: [], close: () => source.close(),
  };
  return { checkpoint, plan: makePlan(checkpoint, KEEP_ALL), validation: VALID };
}

/** Options for an extraction; what a test cares about is in `options`. */
export function to(out: string, options: Partial<ExtractOptions> = {}): ExtractOptions {
  return { out, format: 'safetensors', dtype: 'keep', config: { model_type: 'test' }, preprocessor: { size: 448 }, ...options };
}

/** All bytes of a tensor. */
export async function bytesOf(checkpoint: Checkpoint, tensor: Tensor): Promise<Buffer> {
  const file = checkpoint.files[tensor.file]!;
  if (tensor.indirect === undefined) return Buffer.from(await readBytes(file.source, tensor.offset, tensor.length));
  const chunks: Uint8Array[] = [];
  for await (const chunk of tensorBytes(file.source, tensor)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** Runs `use` with a new folder that is removed afterwards. */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'extraction-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Deterministic noise. */
export function noise(length: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = seed;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = state ^ (state >>> 15);
  }
  return new Uint8Array(words.buffer, 0, length);
}

const PYTHON = '/usr/bin/python3';
let torch: boolean | undefined;

/** Skips the test, saying why, unless Debian's python3-torch is installed. */
export function needTorch(test: Mocha.Context): void {
  torch ??= spawnSync(PYTHON, ['-c', 'import torch, numpy'], { timeout: 120_000 }).status === 0;
  if (torch) return;
  console.log(`      skipped: ${PYTHON} has no torch (Debian's python3-torch)`);
  test.skip();
}

/** Runs a Python program and returns what it printed. */
export function python(args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(PYTHON, args, { encoding: 'utf8', timeout: 120_000, maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}
