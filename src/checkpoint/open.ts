import { basename, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { formatCount } from '../format';
import type { RunOptions } from '../progress';
import { assemble } from './assemble';
import type { ByteSource, FileStore } from './byteSource';
import type { Candidate } from './candidates';
import { candidateLocation, findCheckpoints, obviousCandidate, shardName } from './candidates';
import type { Checkpoint, CheckpointFile, ParsedFile } from './checkpoint';
import { mapConcurrently } from './concurrent';
import { localStore } from './localStore';
import { readSafetensors } from './safetensors';
import type { ShardIndex } from './shardIndex';
import { readShardIndex } from './shardIndex';
import { sniff } from './sniff';
import { readTorchLegacy } from './torch/torchLegacy';
import { readTorchZip } from './torch/torchZip';
import { someOf } from './wording';

export { type Candidate, findCheckpoints, obviousCandidate } from './candidates';

/** Headers read at the same time: hides the latency of network disks, and keeps few buffers alive. */
const READS_AT_ONCE = 8;

const READERS: Readonly<Record<CheckpointFile['format'], (source: ByteSource, signal: AbortSignal | undefined, file: number) => Promise<ParsedFile>>> = {
  safetensors: readSafetensors,
  'torch-zip': readTorchZip,
  'torch-legacy': readTorchLegacy,
};

/**
 * Opens a checkpoint on this machine: a folder with one that is obviously meant, a weights file, an index, or one of
 * `findCheckpoints`. Only headers are read. Progress counts files.
 * @throws UserError when there is no checkpoint, when a folder holds several alike, or when what is there is faulty.
 */
export async function openCheckpoint(location: string | Candidate, options: RunOptions = {}): Promise<Checkpoint> {
  if (typeof location !== 'string') return openFromStore(localStore(location.folder), location, options);
  const candidates = await findCheckpoints(location, options.signal);
  const chosen = obviousCandidate(candidates);
  if (chosen === undefined) {
    // An index that cannot be read claims none of the shards beside it; then its fault is what matters.
    for (const { kind, folder, name } of candidates) if (kind === 'index') await readIndex(localStore(folder), name, options.signal);
    throw new UserError(t`${resolve(location)} holds ${candidates.length} checkpoints: ${someOf(candidates.map(({ name }) => name), 12)}. Open one of these files.`);
  }
  const checkpoint = await openFromStore(localStore(chosen.folder), chosen, options);
  const others = candidates.filter(candidate => candidate !== chosen).map(({ name }) => name);
  if (others.length === 0) return checkpoint;
  return { ...checkpoint, warnings: [others.length === 1 ? t`Beside ${chosen.name} there is ${someOf(others)}, which was not opened.` : t`Beside ${chosen.name} there are ${someOf(others)}, which were not opened.`, ...checkpoint.warnings] };
}

/** Opens a checkpoint from wherever `store` has its files. Everything is closed again when it fails. */
export async function openFromStore(store: FileStore, candidate: Candidate, options: RunOptions = {}): Promise<Checkpoint> {
  const { signal } = options;
  const index = candidate.kind === 'index' ? candidate.index ?? await readIndex(store, candidate.name, signal) : undefined;
  const names = index !== undefined ? inShardOrder(index.shards) : candidate.kind === 'shards' ? candidate.shards : [candidate.name];
  const missing = candidate.kind === 'file' ? new Set<string>() : await missingFiles(store, names, signal);
  const sources: ByteSource[] = [];
  const close = async (): Promise<void> => { await Promise.all(sources.map(source => source.close())); };
  try {
    // Formats first: that a shard is a Git LFS pointer explains more than that others are missing.
    const found = await mapConcurrently(names.filter(name => !missing.has(name)), READS_AT_ONCE, async name => {
      signal?.throwIfAborted();
      const source = await openShard(store, name, index, signal);
      sources.push(source);
      return { name, source, format: await sniff(source, signal) };
    });
    if (missing.size > 0) throw missingError(store, candidate, names, [...missing], index);
    let done = 0;
    options.onProgress?.({ done, total: found.length });
    const read = await mapConcurrently(found, READS_AT_ONCE, async (file, index) => {
      signal?.throwIfAborted();
      const parsed = await READERS[file.format](file.source, signal, index);
      options.onProgress?.({ done: ++done, total: found.length, label: file.name });
      return { ...file, parsed };
    });
    signal?.throwIfAborted();
    const { tensors, others, warnings } = assemble(read, index);
    return {
      name: candidate.kind === 'file' ? candidate.name : store.title ?? basename(store.location),
      location: candidateLocation(candidate),
      store,
      files: read.map(({ name, source, format, parsed }) => ({ name, format, source, metadata: parsed.metadata })),
      tensors,
      others,
      warnings: [...setWarnings(candidate), ...warnings],
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function readIndex(store: FileStore, name: string, signal: AbortSignal | undefined): Promise<ShardIndex> {
  const source = await store.open(name, signal);
  try {
    return await readShardIndex(source, signal);
  } finally {
    await source.close();
  }
}

/** Numbered shards were written in the order of the state dict; an index sorted by key names them in another. */
function inShardOrder(names: readonly string[]): string[] {
  return [...names].sort((a, b) => (shardName(a)?.number ?? 0) - (shardName(b)?.number ?? 0));
}

/** Shards in subfolders are not listed; when they are missing, opening them says so. */
async function missingFiles(store: FileStore, names: readonly string[], signal: AbortSignal | undefined): Promise<Set<string>> {
  const there = new Set((await store.list(signal)).map(({ name }) => name));
  return new Set(names.filter(name => !name.includes('/') && !there.has(name)));
}

async function openShard(store: FileStore, name: string, index: ShardIndex | undefined, signal: AbortSignal | undefined): Promise<ByteSource> {
  try {
    return await store.open(name, signal);
  } catch (error) {
    if (!(error instanceof UserError) || index === undefined) throw error;
    throw new UserError(t`${error.message} ${index.name} says that it holds ${formatCount(keysIn(index, name), 'key')}.`, { cause: error });
  }
}

function keysIn(index: ShardIndex, shard: string): number {
  let keys = 0;
  for (const owner of index.weightMap.values()) if (owner === shard) keys++;
  return keys;
}

function missingError(store: FileStore, candidate: Candidate, names: readonly string[], missing: readonly string[], index: ShardIndex | undefined): UserError {
  const those = missing.length === names.length ? t('none') : `${names.length - missing.length}`;
  const listed = missing.slice(0, 8).map(name => index === undefined ? name : `${name} (${formatCount(keysIn(index, name), 'key')})`).join(', ');
  const more = missing.length > 8 ? t` and ${missing.length - 8} more` : '';
  return new UserError(t`${store.location} holds ${those} of the ${formatCount(names.length, 'shard')} of ${candidate.name}; missing: ${listed}${more}. The download is incomplete; fetch the missing files.`);
}

function setWarnings(candidate: Candidate): string[] {
  const shard = candidate.kind === 'file' ? shardName(candidate.name) : undefined;
  return shard === undefined || shard.total === 1 ? [] : [t`${candidate.name} is one of ${shard.total} shards; only its own tensors are listed. Open its folder or index for all of them.`];
}
