import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { CheckpointFile } from '../checkpoint/checkpoint';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import type { RunOptions } from '../progress';
import type { Plan, PlannedTensor } from '../recipe/plan';
import type { Validation } from '../validation/validation';
import { TOOL } from '../version';
import { castDtype } from './cast';
import type { DtypeOption } from './cast';
import { copyFile, CopyHashers } from './copy';
import type { TensorCopy } from './copy';
import type { FileLayout, OutputTensor } from './fileLayout';
import { writing } from './ioErrors';
import { MANIFEST_NAME } from './manifest';
import type { Manifest } from './manifest';
import { OutputFolder } from './outputFolder';
import { assertExtractable, assertSpace, checkFolder } from './preconditions';
import { manifestSource, manifestTensors, manifestValidation } from './provenance';
import type { WrittenFile } from './provenance';
import { safetensorsLayout } from './safetensorsWriter';
import { shardIndex, splitIntoShards } from './shards';
import type { Shard } from './shards';
import { assertUnchanged, stateOf } from './sourceFiles';
import type { FileState } from './sourceFiles';
import { torchLayout } from './torchWriter';

export type OutputFormat = Manifest['output']['format'];

export interface ExtractOptions extends RunOptions {
  /** The folder to write; made when it does not exist. */
  readonly out: string;
  readonly format: OutputFormat;
  /** What floating-point tensors are cast to. */
  readonly dtype: DtypeOption;
  /** Tensor bytes per file; all in one file when absent. */
  readonly maxShardBytes?: number;
  /** Whether files of the same names, and the other files of an earlier output, may be replaced. */
  readonly overwrite?: boolean;
  /** The contents of config.json and of preprocessor_config.json. */
  readonly config: Record<string, unknown>;
  readonly preprocessor: Record<string, unknown>;
}

export interface ExtractResult {
  /** The absolute path of the output folder. */
  readonly out: string;
  /** Its files, manifest.json last. */
  readonly files: readonly string[];
  readonly tensors: number;
  /** Bytes of weight files written. */
  readonly bytes: number;
  readonly manifest: Manifest;
}

const WEIGHTS = {
  safetensors: { stem: 'model', extension: 'safetensors' },
  torch: { stem: 'pytorch_model', extension: 'bin' },
} as const;

interface PlannedFile extends Shard {
  readonly layout: FileLayout;
}

/**
 * Writes the encoder: the kept tensors' bytes, copied once, with config.json, preprocessor_config.json and
 * manifest.json. The output appears in `out` when it is whole; a failed or cancelled run leaves nothing behind.
 * Tied tensors are written once for each of their keys, in both formats. Progress counts bytes of weight files.
 * @throws UserError when the plan or the validation does not allow an extraction, when the output exists, when the
 * disk has no room or refuses, or when a source file changes. An abort throws the signal's reason.
 */
export async function extract(plan: Plan, validation: Validation, options: ExtractOptions): Promise<ExtractResult> {
  assertExtractable(plan, validation);
  const outputs = plan.kept.map(planned => outputTensor(planned, options.dtype));
  const shards = splitIntoShards(outputs, options.maxShardBytes ?? Infinity, WEIGHTS[options.format]);
  const files = shards.map(shard => ({ ...shard, layout: fileLayout(shard, outputs, options.format) }));
  const documents = jsonDocuments(outputs, shards, options);
  const names = [...files.map(file => file.name), ...documents.keys(), MANIFEST_NAME];
  const bytes = files.reduce((sum, file) => sum + file.layout.size, 0);

  const folder = resolve(options.out);
  const stale = await checkFolder(folder, names, plan, options.overwrite ?? false);
  const sources = await sourceStates(plan);
  options.signal?.throwIfAborted();
  const output = await OutputFolder.prepare(folder);
  try {
    await assertSpace(output.staging, folder, bytes);
    const written = await writeWeights(files, plan, outputs, output.staging, folder, bytes, options);
    const jsonFiles: FileEntry[] = [];
    for (const [name, text] of documents) jsonFiles.push(await writeText(output.staging, folder, name, text));
    for (const [file, state] of sources) await assertUnchanged(file, state);
    const tensors = manifestTensors(plan, outputs, written);
    const manifest: Manifest = {
      version: 1,
      tool: TOOL,
      createdAt: new Date().toISOString(),
      source: manifestSource(plan, tensors, sources),
      recipe: plan.recipe,
      validation: manifestValidation(validation),
      output: {
        format: options.format,
        dtype: options.dtype,
        files: [...written.map(({ name, size, copied }) => ({ name, size, sha256: copied.sha256 })), ...jsonFiles],
        tensors,
      },
    };
    await writeText(output.staging, folder, MANIFEST_NAME, jsonText(manifest));
    options.signal?.throwIfAborted();
    await output.commit(names, stale);
    return { out: folder, files: names, tensors: outputs.length, bytes, manifest };
  } catch (error) {
    await output.discard();
    throw error;
  }
}

function outputTensor({ tensor, outputKey }: PlannedTensor, option: DtypeOption): OutputTensor {
  const dtype = castDtype(tensor.dtype, option);
  const length = dtype === tensor.dtype ? tensor.length : elementCount(tensor.shape) * dtypeBits(dtype) / 8;
  return { key: outputKey ?? tensor.key, dtype, shape: tensor.shape, length };
}

function fileLayout(shard: Shard, outputs: readonly OutputTensor[], format: OutputFormat): FileLayout {
  const tensors = shard.tensors.flatMap(index => outputs[index] ?? []);
  return format === 'safetensors' ? safetensorsLayout(tensors) : torchLayout(tensors, shard.name.replace(/\.bin$/, ''));
}

/** The output's JSON files but for the manifest, by name. */
function jsonDocuments(outputs: readonly OutputTensor[], shards: readonly Shard[], options: ExtractOptions): Map<string, string> {
  const { stem, extension } = WEIGHTS[options.format];
  return new Map([
    ...(shards.length > 1 ? [[`${stem}.${extension}.index.json`, jsonText(shardIndex(outputs, shards))] as const] : []),
    ['config.json', jsonText(options.config)],
    ['preprocessor_config.json', jsonText(options.preprocessor)],
  ]);
}

function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** The files that tensors are taken from, as they are now. */
async function sourceStates(plan: Plan): Promise<Map<CheckpointFile, FileState>> {
  const used = new Set(plan.kept.map(({ tensor }) => tensor.file));
  const states = new Map<CheckpointFile, FileState>();
  for (const [index, file] of plan.checkpoint.files.entries()) {
    if (used.has(index)) states.set(file, await stateOf(file));
  }
  return states;
}

async function writeWeights(
  files: readonly PlannedFile[], plan: Plan, outputs: readonly OutputTensor[],
  staging: string, folder: string, total: number, { signal, onProgress }: RunOptions,
): Promise<(WrittenFile & { size: number })[]> {
  let done = 0;
  const written = [];
  const hashers = new CopyHashers();
  try {
    for (const { name, tensors, layout } of files) {
      const copies = tensors.map(index => tensorCopy(plan, outputs, index));
      const copied = await writeSynced(staging, folder, name, handle => copyFile(handle, layout, copies, hashers, {
        ...(signal !== undefined && { signal }),
        onBytes: (bytes, key) => {
          done += bytes;
          onProgress?.({ done, total, label: key ?? name });
        },
      }));
      written.push({ name, tensors, size: layout.size, copied });
    }
  } finally {
    await hashers.close();
  }
  return written;
}

function tensorCopy(plan: Plan, outputs: readonly OutputTensor[], index: number): TensorCopy {
  const [planned, output] = [plan.kept[index], outputs[index]];
  const file = planned && plan.checkpoint.files[planned.tensor.file];
  if (planned === undefined || output === undefined || file === undefined) throw new RangeError(`No source for output ${index}.`);
  return { source: file.source, tensor: planned.tensor, dtype: output.dtype };
}

type FileEntry = Manifest['output']['files'][number];

async function writeText(staging: string, folder: string, name: string, text: string): Promise<FileEntry> {
  const bytes = Buffer.from(text);
  await writeSynced(staging, folder, name, handle => handle.writeFile(bytes));
  return { name, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Makes a file, fills it and has it flushed to the disk; messages name the place where it will be in the end. */
async function writeSynced<T>(staging: string, folder: string, name: string, fill: (handle: Awaited<ReturnType<typeof open>>) => Promise<T>): Promise<T> {
  return writing(join(folder, name), async () => {
    const handle = await open(join(staging, name), 'wx');
    try {
      const result = await fill(handle);
      await handle.sync();
      return result;
    } finally {
      await handle.close();
    }
  });
}
