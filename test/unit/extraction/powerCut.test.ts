import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { extract } from '../../../src/extraction/extract';
import { OutputFolder, recover } from '../../../src/extraction/outputFolder';
import { Disk, type Left } from '../../powerCut/disk';
import { readTree, record, writeTree } from '../../powerCut/record';
import { inFolder, madeCase, noise, to, VALID } from './support';

/** Of the many states, each so manyth is started again from: POWER_CUT_SAMPLE=1 takes all. */
const SAMPLE = Number(process.env.POWER_CUT_SAMPLE ?? 11);
const TENSORS = ['a', 'b', 'c'].map((key, index) => ({ key, dtype: 'U8', shape: [1000], bytes: noise(1000, index + 1) } as const));
const { plan } = madeCase(TENSORS);

/** The files below `place` that are no temporary folder's. */
function visible(left: Left, place: string): Map<string, Buffer | 'lost' | 'folder'> {
  return new Map([...left].filter(([name]) => name.startsWith(`${place}/`) && !name.includes('.vision-encoder-partial-')).map(([name, bytes]) => [name.slice(place.length + 1), bytes]));
}

function isEqual(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  try {
    assert.deepEqual(Object.fromEntries(a), Object.fromEntries(b));
    return true;
  } catch {
    return false;
  }
}

const told = (left: Left): string => JSON.stringify([...left].map(([name, bytes]) => [name, bytes instanceof Buffer ? bytes.length : bytes]));

/** How long each file was in the end: what was lost is zeros of that length, the hardest to tell from a whole one. */
const lengthsOf = (...trees: Left[]): Map<string, number> => new Map(trees.flatMap(tree => [...tree].flatMap(([name, bytes]) => (bytes instanceof Buffer ? [[name, bytes.length] as const] : []))));

describe('a power cut at any moment of an extraction', function () {
  this.timeout(60_000);

  it('leaves the whole output in its place, or none', () => inFolder(async root => {
    const before = await readTree(root);
    const operations = await record(root, () => extract(plan, VALID, to(join(root, 'deep/place/out'), { maxShardBytes: 1000 })));
    const whole = visible(await readTree(root), 'deep/place/out');
    assert.ok(whole.size === 7 && operations.length > 20, `${operations.length}`);
    const disk = new Disk(root, before, operations);
    let found = { none: 0, whole: 0 };
    for (const { at, left } of disk.states()) {
      const out = visible(left, 'deep/place/out');
      if (left.has('deep/place/out')) assert.ok(isEqual(out, whole), `before operation ${at}: ${told(left)}`);
      found = left.has('deep/place/out') ? { ...found, whole: found.whole + 1 } : { ...found, none: found.none + 1 };
    }
    assert.ok(found.none > 10 && found.whole >= 1, JSON.stringify(found));
    // Once it is told to be done, it stays.
    for (const left of disk.statesAt(operations.length)) assert.ok(isEqual(visible(left, 'deep/place/out'), whole), told(left));
  }));

  it('of one that replaces an output leaves the earlier or the new one, or what the next run makes the earlier one of', () => inFolder(async root => {
    const out = join(root, 'out');
    await extract(plan, VALID, to(out, { maxShardBytes: 1000 }));
    await writeFile(join(out, 'notes.txt'), 'somebody\'s');
    const before = await readTree(root);
    const operations = await record(root, () => extract(plan, VALID, to(out, { overwrite: true, maxShardBytes: 2000, config: { other: true } })));
    const after = await readTree(root);
    const [old, whole] = [visible(before, 'out'), visible(after, 'out')];
    assert.ok(!isEqual(old, whole) && whole.has('model-00001-of-00002.safetensors') && !whole.has('model-00001-of-00003.safetensors'));
    const disk = new Disk(root, before, operations);
    const torn: Left[] = [];
    let states = 0;
    for (const { at, left } of disk.states()) {
      states++;
      const now = visible(left, 'out');
      const isWhole = isEqual(now, old) || isEqual(now, whole);
      // Who finds a manifest finds all that it names.
      if (now.has('manifest.json')) assert.ok(isWhole, `before operation ${at}: ${told(left)}`);
      if (!isWhole) torn.push(left);
      // The others differ in little.
      if (states % SAMPLE === 0) await assertRecovers(root, left, lengthsOf(before, after), old, whole);
    }
    assert.ok(states > 50 && torn.length > 10, `${states} states, ${torn.length} of them torn`);
    for (const left of disk.statesAt(operations.length)) assert.ok(isEqual(visible(left, 'out'), whole), told(left));

    // The taking back may be cut off too, by another cut.
    for (const left of torn.filter((_, index) => index % (5 * SAMPLE) === 0)) {
      const again = join(root, 'again');
      await writeTree(again, left, lengthsOf(before, after));
      const start = await readTree(again);
      const recovery = await record(again, () => recover(join(again, 'out')));
      for (const second of new Disk(again, start, recovery).states()) {
        if (second.at % SAMPLE === 0) await assertRecovers(root, second.left, lengthsOf(before, after), old, whole);
      }
      await rm(again, { recursive: true });
    }
  }));
});

/** The next run finds the earlier output or the new one, and leaves nothing else. */
async function assertRecovers(root: string, left: Left, lengths: ReadonlyMap<string, number>, ...wanted: ReadonlyMap<string, unknown>[]): Promise<void> {
  const place = join(root, 'restarted');
  await mkdir(place);
  await writeTree(place, left, lengths);
  await recover(join(place, 'out'));
  await (await OutputFolder.prepare(join(place, 'out'))).discard();
  const found = await readTree(place);
  assert.ok(wanted.some(one => isEqual(visible(found, 'out'), one)), `${told(left)}\nbecame ${told(found)}`);
  assert.ok([...found.keys()].every(name => !name.includes('.vision-encoder-partial-')), told(found));
  await rm(place, { recursive: true });
}
