import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const FIXTURES = resolve('test/fixtures');
/** Longer files are slow to mutate, and their length is mostly data. */
const MOST_BYTES = 6 * 1024;

/** The fixtures below `folders` whose name matches, of bearable length. */
export function seedFiles(folders: readonly string[], name: RegExp, mostBytes = MOST_BYTES): Buffer[] {
  const seeds: Buffer[] = [];
  for (const folder of folders) {
    for (const file of readdirSync(join(FIXTURES, folder), { recursive: true, encoding: 'utf8' }).sort()) {
      if (!name.test(file)) continue;
      const bytes = readFileSync(join(FIXTURES, folder, file));
      if (bytes.length > 0 && bytes.length <= mostBytes) seeds.push(bytes);
    }
  }
  if (seeds.length === 0) throw new Error(`No fixture below ${folders.join(', ')} matches ${String(name)}.`);
  return seeds;
}
