import assert from 'node:assert/strict';
import { openCheckpoint } from '../../../src/checkpoint/open';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint';
import { openJob } from '../../../src/job';
import { openLocation } from '../../../src/remote/open';
import { COMMIT, type HubServer } from '../../support/hubServer';
import { hubOptions, TINY, withServer } from './support';

async function opened<T>(server: HubServer, text: string, use: (checkpoint: Checkpoint) => Promise<T> | T, options = {}): Promise<T> {
  const checkpoint = await openLocation(text, { hub: hubOptions(server, options) });
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

describe('openLocation: a Hub repository', () => {
  for (const [name, folder] of Object.entries(TINY)) {
    it(`lists and validates qwen-vl-tiny-${name} as the local folder does, in few requests`, () => withServer({ folder }, async server => {
      const local = await openCheckpoint(folder);
      try {
        await opened(server, 'hf://test/tiny', async remote => {
          assert.deepEqual(remote.tensors, local.tensors);
          assert.deepEqual(remote.files.map(file => [file.name, file.format, file.source.size]), local.files.map(file => [file.name, file.format, file.source.size]));
          assert.equal(remote.name, 'tiny');
          const index = name === 'bin' ? 'pytorch_model.bin.index.json' : 'model.safetensors.index.json';
          assert.equal(remote.location, `hf://test/tiny@${COMMIT}/${index}`);
          const job = await openJob(remote);
          const localJob = await openJob(local);
          assert.equal(job.validation?.valid, true);
          assert.deepEqual(job.config?.value, localJob.config?.value);
          assert.deepEqual(job.validation.matchedCount, localJob.validation?.matchedCount);
        });
      } finally {
        await local.close();
      }
    }));
  }
});
