import assert from 'node:assert/strict';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { HeldTensor } from '../../../src/inspection/heldTensor';
import { heatMap } from '../../../src/inspection/heatMap';
import { tensorStatistics } from '../../../src/inspection/tensorStatistics';
import { openLocation } from '../../../src/remote/open';
import { hubOptions, TINY, withServer } from './support';

describe('looking inside a remote file', () => {
  for (const [name, folder] of Object.entries(TINY)) {
    it(`of ${name}: numbers and pictures as on this disk, from one download of that tensor alone`, () => withServer({ folder }, async server => {
      const [local, remote] = [await openCheckpoint(folder), await openLocation('hf://test/tiny', { hub: hubOptions(server, { idleTimeout: 10_000 }) })];
      try {
        const held = new HeldTensor();
        for (const key of ['transformer.visual.conv1.weight', 'transformer.visual.ln_pre.weight']) {
          const [here, there] = [local, remote].map(({ tensors, files }) => {
            const tensor = tensors.find(each => each.key === key);
            const source = tensor && files[tensor.file]?.source;
            assert.ok(tensor && source);
            return { tensor, source };
          });
          assert.ok(here && there);
          const mark = server.log.length;
          const progress: number[] = [];
          for (const measure of [tensorStatistics, (...[source, tensor, options]: Parameters<typeof tensorStatistics>) => heatMap(source, tensor, 0, undefined, options)]) {
            const own = await held.sourceFor(there.source, there.tensor, { onProgress: ({ done }) => { progress.push(done); } });
            assert.deepEqual(await measure(own, there.tensor, {}), await measure(here.source, here.tensor, {}));
          }
          assert.deepEqual(progress, [there.tensor.length]);
          const { offset, length } = there.tensor;
          const ranges = server.log.slice(mark).map(({ range }) => range);
          // A tensor within the header's read-ahead is there already.
          assert.ok(ranges.length <= 1, JSON.stringify(ranges));
          for (const range of ranges) assert.deepEqual(range, { from: offset, to: offset + length });
        }
      } finally {
        await Promise.all([local.close(), remote.close()]);
      }
    }));
  }
});
