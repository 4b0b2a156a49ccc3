// A run that kills its process before the `killAt`th file operation that changes what is there; without one it prints how many there were.
import fs, { type FileHandle } from 'node:fs/promises';
import { encodeFolder } from '../../../src/batch/encodeFolder';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { openJob } from '../../../src/job';
import { previewModel } from '../../../src/previewModel';
import { fakeEncoder, request } from './support';

const [checkpoint = '', folder = '', out = '', log = '', killAt] = process.argv.slice(2);
let operations = 0;
const count = (): void => {
  operations += 1;
  if (operations === Number(killAt)) process.kill(process.pid, 'SIGKILL');
};

function watch<T extends object>(target: T, names: readonly (keyof T & string)[]): void {
  for (const name of names) {
    const original = target[name] as (...args: unknown[]) => unknown;
    Object.assign(target, { [name]: function (this: unknown, ...args: unknown[]) { count(); return original.apply(this, args); } });
  }
}

async function main(): Promise<void> {
  const opened = await openCheckpoint(checkpoint);
  const { model } = await previewModel(await openJob(opened));
  await opened.close();
  const handle = await fs.open(__filename);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  watch(fs, ['mkdir', 'rename', 'rm', 'rmdir']);
  watch(prototype, ['sync']);
  await encodeFolder(fakeEncoder({ log }), model, request(folder, out, { batchSize: 3, shardPictures: 3 }));
  console.log(operations);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
