import { isUtf8 } from 'node:buffer';
import * as z from 'zod';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import type { ByteSource } from './byteSource';
import { readBytes } from './byteSource';
import { quoted } from './wording';
import { isStoredName } from './storedName';
import { isWebPage, lfsAdvice, lfsPointerSize, WEB_PAGE_ADVICE } from './sniff';

/** A million keys are some 100 MB of JSON; more is no index. */
const MAX_INDEX_BYTES = 256_000_000;

/** Which shard holds which key: what `model.safetensors.index.json` and `pytorch_model.bin.index.json` say. */
export interface ShardIndex {
  /** The index file's name. */
  readonly name: string;
  /** Key to shard name, in the file's order; shard names are relative to the index's folder. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** The shards, in the order in which the file first names them. */
  readonly shards: readonly string[];
}

// A record schema would build an object anew and so lose a key "__proto__".
const weightMapSchema = z.custom<Readonly<Record<string, unknown>>>(value => typeof value === 'object' && value !== null && !Array.isArray(value));
const indexSchema = z.looseObject({ weight_map: weightMapSchema });

/**
 * Reads a shard index. `metadata.total_size` is not looked at: real indexes have it missing or wrong.
 * @throws UserError when the file is not an index or one of its shards would lie outside the folder.
 */
export async function readShardIndex(source: ByteSource, signal?: AbortSignal): Promise<ShardIndex> {
  if (source.size > MAX_INDEX_BYTES) throw new UserError(t`${source.name} is ${source.size} bytes long, too long for a shard index. If it holds weights, give it another name than .json.`);
  return parseShardIndex(await readBytes(source, 0, source.size, signal), source.name);
}

/** @throws UserError */
export function parseShardIndex(bytes: Uint8Array, name: string): ShardIndex {
  const index = indexSchema.safeParse(parseJson(bytes, name));
  if (!index.success) throw new UserError(t`${name} is not a shard index: it has no "weight_map" object. Open the weights or the folder instead.`);
  const weightMap = new Map<string, string>();
  const shards = new Set<string>();
  const entries = index.data.weight_map;
  // Of 100,000 keys, an array of pairs takes longer to make than to use.
  for (const key of Object.keys(entries)) {
    const shard = entries[key];
    if (typeof shard !== 'string') throw new UserError(t`${name} gives no file name for the key ${quoted(key)}. Download it again.`);
    if (!shards.has(shard)) {
      if (!isStoredName(shard)) throw new UserError(t`${name} puts the key ${quoted(key)} into ${quoted(shard)}, which does not lie inside the index's folder. Such an index is damaged or malicious; it is refused.`);
      shards.add(shard);
    }
    weightMap.set(key, shard);
  }
  if (weightMap.size === 0) throw new UserError(t`${name} names no tensors: its "weight_map" is empty. Download it again.`);
  return { name, weightMap, shards: [...shards] };
}

function parseJson(bytes: Uint8Array, name: string): unknown {
  const pointer = lfsPointerSize(bytes.subarray(0, 1024));
  if (pointer !== undefined) throw new UserError(t`${name} ${lfsAdvice(pointer)}`);
  if (isWebPage(bytes.subarray(0, 1024))) throw new UserError(t`${name} ${WEB_PAGE_ADVICE}`);
  if (!isUtf8(bytes)) throw new UserError(t`${name} is not UTF-8 text, so it is no shard index. Download it again.`);
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8').replace(/^\ufeff/, ''));
  } catch (error) {
    const detail = error instanceof Error ? error.message : '';
    throw new UserError(t`${name} is not valid JSON: it is cut off or damaged. Download it again.`, { detail, cause: error });
  }
}
