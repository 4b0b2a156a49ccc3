import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { extract } from '../../../src/extraction/extract';
import { checkOutput } from '../../powerCut/outputs';
import { readTree, record } from '../../powerCut/record';
import { inFolder, madeCase, noise, to, VALID } from './support';

/** Of the many states, each so manyth is started again from; 1 takes all. */
const SAMPLE = 11;
const { plan } = madeCase(['a', 'b', 'c'].map((key, index) => ({ key, dtype: 'U8', shape: [1000], bytes: noise(1000, index + 1) } as const)));

describe('a power cut at any moment of an extraction', function () {
  this.timeout(60_000);

  it('leaves the whole output in its place, or none', () => inFolder(async root => {
    const before = await readTree(root);
    const operations = await record(root, () => extract(plan, VALID, to(join(root, 'deep/place/out'), { maxShardBytes: 1000 })));
    const { whole, asBefore } = await checkOutput({ root, place: 'deep/place/out', before, operations, sample: SAMPLE });
    assert.ok(whole >= 1 && asBefore > 10, `${whole} and ${asBefore}`);
  }));

  it('of one that replaces an output leaves the earlier or the new one, or what the next run makes the earlier one of', () => inFolder(async root => {
    const out = join(root, 'out');
    await extract(plan, VALID, to(out, { maxShardBytes: 1000 }));
    await writeFile(join(out, 'notes.txt'), 'somebody\'s');
    const before = await readTree(root);
    const operations = await record(root, () => extract(plan, VALID, to(out, { overwrite: true, maxShardBytes: 2000, config: { other: true } })));
    const { states, torn, recovered } = await checkOutput({ root, place: 'out', before, operations, sample: SAMPLE });
    assert.ok(states > 50 && torn > 10 && recovered > 20, `${states} states, ${torn} of them torn, ${recovered} recovered`);
  }));
});
