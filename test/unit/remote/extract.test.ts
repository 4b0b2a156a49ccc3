import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { downloadEstimate } from '../../../src/extraction/downloadEstimate';
import { extract, type ExtractOptions, type ExtractResult } from '../../../src/extraction/extract';
import { verify } from '../../../src/extraction/verify';
import { companionFiles, openJob, validated, type Job } from '../../../src/job';
import { openLocation } from '../../../src/remote/open';
import { COMMIT, type HubServer } from '../../support/hubServer';
import { hubOptions, inFolder, TINY, withServer } from './support';

async function extractFrom(job: Job, out: string, options: Partial<ExtractOptions> = {}): Promise<ExtractResult> {
  return extract(job.plan, validated(job).validation, { ...(await companionFiles(job)), out, format: 'safetensors', dtype: 'keep', ...options });
}

async function withJob<T>(location: string, server: HubServer | undefined, use: (job: Job) => Promise<T>): Promise<T> {
  const checkpoint = server === undefined ? await openCheckpoint(location) : await openLocation(location, { hub: hubOptions(server) });
  try {
    return await use(await openJob(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

describe('extraction from a remote checkpoint', () => {
  for (const [name, folder] of Object.entries(TINY)) {
    for (const options of [{}, { format: 'torch', maxShardBytes: 80_000 }, { dtype: 'f32' }] as const) {
      it(`of qwen-vl-tiny-${name} equals the local one, bit for bit: ${JSON.stringify(options)}`, () => inFolder(async out => withServer({ folder }, async server => {
        const local = await withJob(folder, undefined, job => extractFrom(job, join(out, 'local'), options));
        const before = await withJob('hf://test/tiny', server, async job => {
          const mark = server.log.length;
          const remote = await extractFrom(job, join(out, 'remote'), options);
          assert.deepEqual(remote.files, local.files);
          for (const file of remote.files.slice(0, -1)) {
            assert.deepEqual(await readFile(join(out, 'remote', file)), await readFile(join(out, 'local', file)), file);
          }
          assert.deepEqual(remote.manifest.output, local.manifest.output);
          assert.match(remote.manifest.source.location, new RegExp(`^hf://test/tiny@${COMMIT}/`));
          const estimate = downloadEstimate(job.plan)!;
          assert.equal(estimate.download, job.plan.keptBytes);
          const sent = server.sent(mark);
          console.log('requests', server.log.length - mark, 'sent', sent, 'kept', job.plan.keptBytes, sent / job.plan.keptBytes);
          assert.ok(sent <= 1.02 * job.plan.keptBytes);
          return remote;
        });
        assert.equal(before.manifest.validation.config, 'config.json');
        assert.deepEqual(await readdir(join(out, 'remote')), await readdir(join(out, 'local')));
        assert.equal((await verify(join(out, 'remote'))).ok, true);
      })));
    }
  }
});
