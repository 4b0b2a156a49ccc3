import { isUtf8 } from 'node:buffer';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import type { ByteSource } from './byteSource';
import { readBytes } from './byteSource';
import { JsonReader } from './headerJson';
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
  checkText(bytes, name);
  // JSON.parse would make an object of 100,000 properties first, which takes longer than all the rest, and put numbers first.
  const json = new JsonReader(withoutMark(bytes), t`The shard index ${name}`);
  let index: ShardIndex | undefined;
  if (json.peek() !== 'object') throw notAnIndex(name);
  json.openObject();
  for (let field = json.nextKey(); field !== undefined; field = json.nextKey()) {
    if (field === 'weight_map') index = readWeightMap(json, name);
    else json.skip();
  }
  json.end();
  if (index === undefined) throw notAnIndex(name);
  if (index.weightMap.size === 0) throw new UserError(t`${name} names no tensors: its "weight_map" is empty. Download it again.`);
  return index;
}

function readWeightMap(json: JsonReader, name: string): ShardIndex {
  if (json.peek() !== 'object') throw notAnIndex(name);
  const weightMap = new Map<string, string>();
  const shards = new Set<string>();
  let last: string | undefined;
  json.openObject();
  for (let key = json.nextKey(); key !== undefined; key = json.nextKey()) {
    if (json.peek() !== 'string') {
      json.skip();
      throw new UserError(t`${name} gives no file name for the key ${quoted(key)}. Download it again.`);
    }
    // Neighbours mostly share a shard.
    const shard = json.string(last);
    if (shard !== last) {
      if (!shards.has(shard) && !isStoredName(shard)) throw new UserError(t`${name} puts the key ${quoted(key)} into ${quoted(shard)}, which does not lie inside the index's folder. Such an index is damaged or malicious; it is refused.`);
      shards.add(shard);
      last = shard;
    }
    weightMap.set(key, shard);
  }
  return { name, weightMap, shards: [...shards] };
}

function notAnIndex(name: string): UserError {
  return new UserError(t`${name} is not a shard index: it has no "weight_map" object. Open the weights or the folder instead.`);
}

function checkText(bytes: Uint8Array, name: string): void {
  const pointer = lfsPointerSize(bytes.subarray(0, 1024));
  if (pointer !== undefined) throw new UserError(t`${name} ${lfsAdvice(pointer)}`);
  if (isWebPage(bytes.subarray(0, 1024))) throw new UserError(t`${name} ${WEB_PAGE_ADVICE}`);
  if (!isUtf8(bytes)) throw new UserError(t`${name} is not UTF-8 text, so it is no shard index. Download it again.`);
}

/** UTF-8's byte order mark, which some editors write. */
function withoutMark(bytes: Uint8Array): Uint8Array {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}
