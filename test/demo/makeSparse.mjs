// Makes a Qwen-VL-Chat of full size that takes almost no room on the disk: `node test/demo/makeSparse.mjs FOLDER`.
// Headers, index and configs are real; the weights are holes in sparse files and read as zeros.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { FULL_SIZE, modelConfig, preprocessorConfig, tensorsOf } from './qwenVl.mjs';
import { shard, writeShards } from './safetensors.mjs';

/** Writes ten shards, 19 GB by their length, into `folder`. @returns {Promise<number>} bytes of all tensors */
export async function makeSparse(folder) {
  await mkdir(folder, { recursive: true });
  const total = await writeShards(folder, shard(tensorsOf(FULL_SIZE), 10), undefined);
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(modelConfig(FULL_SIZE), null, 2));
  await writeFile(path.join(folder, 'preprocessor_config.json'), JSON.stringify(preprocessorConfig(FULL_SIZE), null, 2));
  return total;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = process.argv[2];
  if (folder === undefined) {
    console.error('Say where: node test/demo/makeSparse.mjs FOLDER');
    process.exit(2);
  }
  const total = await makeSparse(path.resolve(folder));
  console.log(`${path.resolve(folder)}: ${(total / 1e9).toFixed(1)} GB of tensors, all of it holes`);
}
