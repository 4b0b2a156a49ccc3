import assert from 'node:assert/strict';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { OutputFolder, recover } from '../../src/extraction/outputFolder';
import { Disk, type Left, type Operation } from './disk';
import { readTree, record, writeTree } from './record';

export interface WrittenOutput {
  /** The folder that was watched, and the output's within it. */
  readonly root: string;
  readonly place: string;
  /** What was in `root` before, and what the program did to it. */
  readonly before: Left;
  readonly operations: readonly Operation[];
  /** The file by which an output counts as whole. */
  readonly seal?: string;
  /** From each so manyth state the next run is started. */
  readonly sample: number;
}

export interface Found {
  readonly states: number;
  /** States with the new output, with the earlier one (or none, as before), and with what the next run takes back. */
  readonly whole: number;
  readonly asBefore: number;
  readonly torn: number;
  /** States from which the next run was started; those of a power cut during that run included. */
  readonly recovered: number;
}

/**
 * Holds everything that a power cut can leave of a run that wrote an output against the promise: under its final name it is
 * whole or as it was before; if not, then without its seal, and the next run makes it as it was; and what is done, stays.
 * @throws AssertionError
 */
export async function checkOutput({ root, place, before, operations, seal = 'manifest.json', sample }: WrittenOutput): Promise<Found> {
  const after = await readTree(root);
  const [old, whole] = [visible(before, place), visible(after, place)];
  assert.ok(whole.has(seal) && !isDeepStrictEqual(old, whole));
  const lengths = lengthsOf(before, after);
  const found = { states: 0, whole: 0, asBefore: 0, torn: 0, recovered: 0 };
  const torn: Left[] = [];
  const disk = new Disk(root, before, operations);
  const startAgain = async (left: Left): Promise<void> => {
    await assertRecovers(root, place, left, lengths, old, whole);
    found.recovered++;
  };
  for (const { at, left } of disk.states()) {
    const now = visible(left, place);
    const where = `before operation ${at} of ${operations.length}: ${told(left)}`;
    found.states++;
    if (isDeepStrictEqual(now, whole)) found.whole++;
    else if (isDeepStrictEqual(now, old) && (before.has(place) || !left.has(place))) found.asBefore++;
    else {
      assert.ok(before.has(place), `a part of an output has appeared ${where}`);
      assert.ok(!now.has(seal), `there is ${seal}, and not all that belongs to it ${where}`);
      found.torn++;
      torn.push(left);
    }
    if (found.states % sample === 0) await startAgain(left);
  }
  for (const left of disk.statesAt(operations.length)) assert.ok(isDeepStrictEqual(visible(left, place), whole), `it was told to be done, and is lost: ${told(left)}`);
  // The next run may be cut off too, while it takes back.
  for (const [index, left] of torn.entries()) {
    if (index % (5 * sample) !== 0) continue;
    const again = join(root, 'again');
    await writeTree(again, left, lengths);
    const start = await readTree(again);
    const recovery = await record(again, () => recover(join(again, place)));
    for (const second of new Disk(again, start, recovery).states()) if (second.at % sample === 0) await startAgain(second.left);
    await rm(again, { recursive: true });
  }
  return found;
}

/** The next run finds the earlier output or the new one, and leaves nothing else. */
async function assertRecovers(root: string, place: string, left: Left, lengths: ReadonlyMap<string, number>, ...wanted: ReadonlyMap<string, unknown>[]): Promise<void> {
  const folder = join(root, 'restarted');
  await mkdir(folder);
  await writeTree(folder, left, lengths);
  await recover(join(folder, place));
  await (await OutputFolder.prepare(join(folder, place))).discard();
  const found = await readTree(folder);
  assert.ok(wanted.some(one => isDeepStrictEqual(visible(found, place), one)), `${told(left)}\nbecame ${told(found)}`);
  assert.ok([...found.keys()].every(name => !name.includes('.vision-encoder-partial-')), told(found));
  await rm(folder, { recursive: true });
}

/** The files below `place` that are no temporary folder's, in the order of their names. */
function visible(left: Left, place: string): Map<string, Buffer | 'lost' | 'folder'> {
  const files = [...left].filter(([name]) => name.startsWith(`${place}/`) && !name.includes('.vision-encoder-partial-'));
  return new Map(files.map(([name, bytes]) => [name.slice(place.length + 1), bytes] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** How long each file was: what was lost is zeros of that length, the hardest to tell from a whole one. */
function lengthsOf(...trees: Left[]): Map<string, number> {
  return new Map(trees.flatMap(tree => [...tree].flatMap(([name, bytes]) => (bytes instanceof Buffer ? [[name, bytes.length] as const] : []))));
}

function told(left: Left): string {
  return JSON.stringify([...left].map(([name, bytes]) => [name, bytes instanceof Buffer ? bytes.length : bytes]));
}
