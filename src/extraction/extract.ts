import { constants, open } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { isRelaid } from '../architecture/relayout';
import type { CheckpointFile } from '../checkpoint/checkpoint';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import { isAbort } from '../errors';
import type { RunOptions } from '../progress';
import type { Plan, PlannedTensor } from '../recipe/plan';
import { ConnectionError } from '../remote/errors';
import type { Validation } from '../validation/validation';
import { TOOL } from '../version';
import { castDtype } from './cast';
import type { DtypeOption } from './cast';
import { copyFile } from './copy';
import type { TensorCopy } from './copy';
import { jsonFile, writeExtraFile, type ExtraFile } from './extraFiles';
import { fetchAhead } from './fetchAhead';
import type { FileLayout, OutputTensor } from './fileLayout';
import { writing } from './ioErrors';
import { contentHash, fingerprintOf, Journal, writtenBytes, type Prefix } from './journal';
import { MANIFEST_NAME } from './manifest';
import type { Manifest } from './manifest';
import { leftoverFor, OutputFolder, recover, type Leftover } from './outputFolder';
import { assertExtractable, assertSpace, checkFolder } from './preconditions';
import { manifestSource, manifestTensors, manifestValidation } from './provenance';
import type { WrittenFile } from './provenance';
import { shardIndex, splitIntoShards } from './shards';
import type { Shard } from './shards';
import { assertUnchanged, stateOf } from './sourceFiles';
import type { FileState } from './sourceFiles';
import { Threads } from './thread/threads';
import { weightsLayout, type OutputFormat } from './weightsLayout';

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
  /** Other files to write beside them. */
  readonly beside?: readonly ExtraFile[];
  /** Called when an extraction that was interrupted is continued, with the bytes that it had written. */
  readonly onResume?: (bytes: number) => void;
  /** Whether what an interrupted extraction left is thrown away rather than continued. */
  readonly startOver?: boolean;
  /** When given, a cancelled run leaves what it has if that can be continued, and tells of it before it throws. */
  readonly onKept?: (kept: Leftover) => void;
}

/** What decides the bytes of the weight files. */
export type OutputChoice = Pick<ExtractOptions, 'format' | 'dtype' | 'maxShardBytes'>;

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
 * From a remote checkpoint only the kept ranges are fetched; a run that died or lost its network leaves what it has,
 * and the next one into the same folder goes on from there (when nothing is cast, and the server tells versions).
 * Tied tensors are written once for each of their keys, in both formats. Progress counts bytes of weight files.
 * @throws UserError when the plan or the validation does not allow an extraction, when the output exists, when the
 * disk has no room or refuses, or when a source file changes. An abort throws the signal's reason.
 */
export async function extract(plan: Plan, validation: Validation, options: ExtractOptions): Promise<ExtractResult> {
  assertExtractable(plan, validation);
  const { outputs, shards, files } = planFiles(plan, options);
  const documents = documentsOf(outputs, shards, options);
  const names = [...files, ...documents].map(file => file.name).concat(MANIFEST_NAME);
  const bytes = files.reduce((sum, file) => sum + file.layout.size, 0);

  const folder = resolve(options.out);
  const filesToReplace = (): Promise<string[]> => checkFolder(folder, names, plan, options.overwrite ?? false);
  await recover(folder);
  await filesToReplace();
  const sources = await sourceStates(plan);
  options.signal?.throwIfAborted();
  const fingerprint = resumable(plan, outputs) ? fingerprintOf(plan, outputs, files) : undefined;
  const output = await OutputFolder.prepare(folder, options.startOver === true ? undefined : fingerprint);
  let journal: Journal | undefined;
  try {
    const earlier = output.unfinished?.files ?? new Map<string, Prefix>();
    const earlierBytes = writtenBytes(output.unfinished);
    await assertSpace(output.staging, folder, bytes - earlierBytes + documents.reduce((sum, file) => sum + file.size, 0));
    if (earlierBytes > 0) options.onResume?.(earlierBytes);
    if (output.unfinished !== undefined) journal = await Journal.reopen(output.staging);
    else if (fingerprint !== undefined) journal = await Journal.create(output.staging, fingerprint, folder);
    const written = await writeWeights(files, plan, outputs, { staging: output.staging, folder, journal, earlier }, bytes, options);
    const otherFiles: FileEntry[] = [];
    for (const file of documents) otherFiles.push(await writeFile(output.staging, folder, file, options.signal));
    for (const [file, state] of sources) await assertUnchanged(file, state);
    const tensors = manifestTensors(plan, outputs, written);
    const manifest: Manifest = {
      version: 2,
      tool: TOOL,
      createdAt: new Date().toISOString(),
      source: manifestSource(plan, tensors, sources),
      recipe: plan.recipe,
      ...(isRelaid(plan.checkpoint) && { relaid: { id: plan.checkpoint.relaid.id, recipe: plan.checkpoint.relaid.plan.recipe } }),
      validation: manifestValidation(validation),
      output: {
        format: options.format,
        dtype: options.dtype,
        files: [...written.map(({ name, size, copied }) => ({ name, size, treeSha256: copied.treeSha256 })), ...otherFiles],
        tensors,
      },
    };
    await writeFile(output.staging, folder, jsonFile(MANIFEST_NAME, manifest));
    options.signal?.throwIfAborted();
    // Somebody may have put something there meanwhile.
    const stale = await filesToReplace();
    await journal?.remove();
    await output.commit(names, stale);
    return { out: folder, files: names, tensors: outputs.length, bytes, manifest };
  } catch (error) {
    await journal?.close();
    if (journal !== undefined && error instanceof ConnectionError) {
      output.keep();
      throw new ConnectionError(t`${error.message} What has arrived is kept in ${output.staging}; extract into the same folder again to go on from there.`, { cause: error });
    }
    if (journal !== undefined && options.onKept !== undefined && isAbort(error)) {
      const bytes = writtenBytes(await Journal.read(output.staging));
      if (bytes > 0) {
        output.keep();
        options.onKept({ folder: output.staging, bytes });
        throw error;
      }
    }
    await output.discard();
    throw error;
  }
}

/** What an interrupted extraction into `options.out` left that the next one, with these options, would go on from. */
export async function findLeftover(plan: Plan, options: OutputChoice & Pick<ExtractOptions, 'out'>): Promise<Leftover | undefined> {
  const { outputs, files } = planFiles(plan, options);
  if (!resumable(plan, outputs)) return undefined;
  return leftoverFor(resolve(options.out), fingerprintOf(plan, outputs, files));
}

/**
 * Equal for plans whose weight files hold the same bytes of the same version of the same checkpoint.
 * Undefined when a source cannot tell its version.
 */
export function contentId(plan: Plan, options: OutputChoice): string | undefined {
  const { outputs, files } = planFiles(plan, options);
  return contentHash(plan, outputs, files);
}

function planFiles(plan: Plan, { format, dtype, maxShardBytes = Infinity }: OutputChoice): { outputs: OutputTensor[]; shards: Shard[]; files: PlannedFile[] } {
  const outputs = plan.kept.map(planned => outputTensor(planned, dtype));
  const shards = splitIntoShards(outputs, maxShardBytes, WEIGHTS[format]);
  return { outputs, shards, files: shards.map(shard => ({ ...shard, layout: weightsLayout(shard.name, shard.tensors.flatMap(index => outputs[index] ?? []), format) })) };
}

/** Whether a run that dies leaves something worth continuing: bytes that were fetched, and are as they were fetched. */
function resumable({ checkpoint, kept }: Plan, outputs: readonly OutputTensor[]): boolean {
  return kept.every(({ tensor }, index) => checkpoint.files[tensor.file]?.source.remote !== undefined && outputs[index]?.dtype === tensor.dtype);
}

function outputTensor({ tensor, outputKey }: PlannedTensor, option: DtypeOption): OutputTensor {
  const dtype = castDtype(tensor.dtype, option);
  const length = dtype === tensor.dtype ? tensor.length : elementCount(tensor.shape) * dtypeBits(dtype) / 8;
  return { key: outputKey ?? tensor.key, dtype, shape: tensor.shape, length };
}

/** The output's other files but for the manifest. */
function documentsOf(outputs: readonly OutputTensor[], shards: readonly Shard[], { format, config, preprocessor, beside = [] }: ExtractOptions): ExtraFile[] {
  const { stem, extension } = WEIGHTS[format];
  return [
    ...(shards.length > 1 ? [jsonFile(`${stem}.${extension}.index.json`, shardIndex(outputs, shards))] : []),
    jsonFile('config.json', config),
    jsonFile('preprocessor_config.json', preprocessor),
    ...beside,
  ];
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

/** Where weight files are written, and what an earlier run has written there. */
interface Place {
  readonly staging: string;
  readonly folder: string;
  readonly journal: Journal | undefined;
  readonly earlier: ReadonlyMap<string, Prefix>;
}

async function writeWeights(
  files: readonly PlannedFile[], plan: Plan, outputs: readonly OutputTensor[], { staging, folder, journal, earlier }: Place, total: number, { signal, onProgress }: RunOptions,
): Promise<(WrittenFile & { size: number })[]> {
  let done = 0;
  const written = [];
  const threads = new Threads();
  try {
    for (const { name, tensors, layout } of files) {
      const before = earlier.get(name);
      const copies = tensors.map(index => tensorCopy(plan, outputs, index));
      const ahead = fetchAhead(layout, copies, before?.bytes ?? 0);
      try {
        const copied = await writeSynced(staging, folder, name, handle => copyFile(handle, layout, ahead.copies, threads, {
          ...(signal !== undefined && { signal }),
          ...(before !== undefined && { written: before }),
          ...(journal !== undefined && { onWritten: prefix => journal.record(name, handle, prefix, prefix.bytes === layout.size) }),
          onBytes: (bytes, key) => {
            done += bytes;
            onProgress?.({ done, total, label: key ?? name });
          },
        }));
        written.push({ name, tensors, size: layout.size, copied });
      } finally {
        await ahead.close();
      }
    }
  } finally {
    await threads.close();
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

async function writeFile(staging: string, folder: string, file: ExtraFile, signal?: AbortSignal): Promise<FileEntry> {
  const sha256 = await writeSynced(staging, folder, file.name, handle => writeExtraFile(handle, file, signal));
  return { name: file.name, size: file.size, sha256 };
}

/** Makes a file, fills it and has it flushed to the disk; messages name the place where it will be in the end. */
async function writeSynced<T>(staging: string, folder: string, name: string, fill: (handle: Awaited<ReturnType<typeof open>>) => Promise<T>): Promise<T> {
  return writing(join(folder, name), async () => {
    // What an earlier run wrote is continued.
    const handle = await open(join(staging, name), constants.O_RDWR | constants.O_CREAT);
    try {
      const result = await fill(handle);
      await handle.sync();
      return result;
    } finally {
      await handle.close();
    }
  });
}
