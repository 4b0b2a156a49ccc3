// Makes the demo checkpoint: `node test/demo/makeDemo.mjs [FOLDER]`. The Qwen-VL layout in 3 MB, the same bytes every time.
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { drawPicture } from './picture.mjs';
import { DEMO_SIZE, encoderConfig, modelConfig, preprocessorConfig, tensorsOf } from './qwenVl.mjs';
import { shard, writeShards } from './safetensors.mjs';
import { weightsOf } from './weights.mjs';

export const DEMO_FOLDER = path.resolve(import.meta.dirname, '../../.cache/demo/qwen-vl-demo');

/** Writes the demo into `folder`, unless it is there; it appears whole or not at all. */
export async function makeDemo(folder = DEMO_FOLDER) {
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  await writeShards(partial, shard(tensorsOf(DEMO_SIZE), 3), weightsOf);
  const json = (name, value) => writeFile(path.join(partial, name), `${JSON.stringify(value, null, 2)}\n`);
  await json('config.json', modelConfig(DEMO_SIZE));
  await json('encoder-config.json', encoderConfig(DEMO_SIZE));
  await json('preprocessor_config.json', preprocessorConfig(DEMO_SIZE));
  await drawPicture(path.join(partial, 'picture.png'));
  await rename(partial, folder);
  return folder;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = process.argv[2] === undefined ? DEMO_FOLDER : path.resolve(process.argv[2]);
  const existed = existsSync(folder);
  await makeDemo(folder);
  console.log(existed ? `${folder} exists already; nothing was written.` : folder);
}
