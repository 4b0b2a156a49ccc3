import assert from 'node:assert/strict';
import { compareJobs } from '../../../src/compareJobs';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { openJob } from '../../../src/job';
import { openLocation } from '../../../src/remote/open';
import { hubOptions, TINY, withServer } from './support';

describe('comparing with a remote checkpoint', () => {
  for (const [name, folder] of Object.entries(TINY)) {
    it(`finds qwen-vl-tiny-${name} on the Hub equal to the one on this disk, and reads no more of it than its encoder`, () => withServer({ folder }, async server => {
      const [local, remote] = [await openCheckpoint(folder), await openLocation('hf://test/tiny', { hub: hubOptions(server, { idleTimeout: 10_000 }) })];
      try {
        const [left, right] = [await openJob(local), await openJob(remote)];
        for (const [one, other] of [[left, right], [right, left]] as const) {
          const mark = server.log.length;
          const { comparison, verdict } = await compareJobs(one, other, 'encoders', {});
          assert.equal(verdict, 'The encoders are equal, bit for bit.');
          assert.equal(comparison.tensors.length, right.plan.kept.length);
          const fetched = server.log.slice(mark).reduce((sum, { range }) => sum + (range === undefined ? 0 : range.to - range.from), 0);
          assert.ok(fetched <= right.plan.keptBytes * 1.02 && fetched > 0, `${fetched} bytes of ${right.plan.keptBytes}`);
        }
      } finally {
        await Promise.all([local.close(), remote.close()]);
      }
    }));
  }
});
