// Makes the demo checkpoint: `node test/demo/makeDemo.mjs [FOLDER]`. The Qwen-VL layout in 3 MB, the same bytes every time.
// With `--sample` as the folder, the smaller one that comes with the extension.
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { drawPicture } from './picture.mjs';
import { DEMO_SIZE, SAMPLE_SIZE, encoderConfig, modelConfig, preprocessorConfig, tensorsOf } from './qwenVl.mjs';
import { shard, writeShards } from './safetensors.mjs';
import { weightsOf } from './weights.mjs';

export const DEMO_FOLDER = path.resolve(import.meta.dirname, '../../.cache/demo/qwen-vl-demo');
const SAMPLE_FOLDER = path.resolve(import.meta.dirname, '../../media/sample');

/** Writes a checkpoint of `size` into `folder`, unless it is there; it appears whole or not at all. */
export async function makeDemo(folder = DEMO_FOLDER, size = DEMO_SIZE, shards = 3) {
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  await writeShards(partial, shard(tensorsOf(size), shards), weightsOf);
  const json = (name, value) => writeFile(path.join(partial, name), `${JSON.stringify(value, null, 2)}\n`);
  await json('config.json', modelConfig(size));
  await json('encoder-config.json', encoderConfig(size));
  await json('preprocessor_config.json', preprocessorConfig(size));
  await drawPicture(path.join(partial, 'picture.png'));
  await rename(partial, folder);
  return folder;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const sample = process.argv[2] === '--sample';
  const folder = sample ? SAMPLE_FOLDER : process.argv[2] === undefined ? DEMO_FOLDER : path.resolve(process.argv[2]);
  const existed = existsSync(folder);
  await (sample ? makeDemo(folder, SAMPLE_SIZE, 2) : makeDemo(folder));
  console.log(existed ? `${folder} exists already; nothing was written.` : folder);
}
