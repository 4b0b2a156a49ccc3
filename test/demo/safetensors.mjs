// Writes a state dict as safetensors shards with their index: https://huggingface.co/docs/safetensors/index
import { open, writeFile } from 'node:fs/promises';
import path from 'node:path';

const BYTES_PER_ELEMENT = 2; // everything here is bfloat16

export const elements = shape => shape.reduce((product, dimension) => product * dimension, 1);

/** Splits `tensors`, in order, into `count` shards of about the same size. */
export function shard(tensors, count) {
  const total = tensors.reduce((sum, { shape }) => sum + elements(shape), 0);
  const shards = Array.from({ length: count }, () => []);
  let before = 0;
  for (const tensor of tensors) {
    shards[Math.min(count - 1, Math.floor(before / total * count))].push(tensor);
    before += elements(tensor.shape);
  }
  return shards.filter(tensors => tensors.length > 0);
}

/**
 * Writes every shard and `model.safetensors.index.json` into `folder`.
 * @param {{ key: string, shape: number[] }[][]} shards
 * @param {((tensor: { key: string, shape: number[] }) => Uint8Array) | undefined} bytesOf a tensor's bytes; absent: a hole in a sparse file
 * @returns {Promise<number>} bytes of all tensors
 */
export async function writeShards(folder, shards, bytesOf) {
  const weightMap = {};
  let total = 0;
  for (const [index, tensors] of shards.entries()) {
    const name = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    total += await writeShard(path.join(folder, name), tensors, bytesOf);
    for (const { key } of tensors) weightMap[key] = name;
  }
  await writeFile(path.join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }, null, 2));
  return total;
}

async function writeShard(file, tensors, bytesOf) {
  const header = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { key, shape } of tensors) {
    const start = end;
    end += elements(shape) * BYTES_PER_ELEMENT;
    header[key] = { dtype: 'BF16', shape, data_offsets: [start, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc(-json.length & 7, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const handle = await open(file, 'w');
  try {
    await handle.write(Buffer.concat([length, padded]));
    if (bytesOf) for (const tensor of tensors) await handle.write(bytesOf(tensor));
    else await handle.truncate(8 + padded.length + end);
  } finally {
    await handle.close();
  }
  return end;
}

function number(value) {
  return String(value).padStart(5, '0');
}
