import assert from 'node:assert/strict';
import { readdir, readFile, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encoderModel } from '../../../src/encoder/model';
import { isAbort } from '../../../src/errors';
import { EncoderStore } from '../../../src/extraction/encoderStore';
import { openJob, updateJob, validated, type Job } from '../../../src/job';
import { isLocal, localPlan } from '../../../src/localPlan';
import { applyMark } from '../../../src/recipe/edit';
import { openLocation } from '../../../src/remote/open';
import { openCheckpoint } from '../../../src/checkpoint/open';
import type { HubServer } from '../../support/hubServer';
import { writeMadeModel } from '../../support/madeModel';
import { hubOptions, inFolder, TINY, userError, withServer } from './support';

const storeIn = (folder: string, mostBytes = 1e9): EncoderStore => new EncoderStore({ folder: join(folder, 'store'), mostBytes, limitName: 'the limit' });

async function withJob<T>(server: HubServer, use: (job: Job) => Promise<T>, location = `hf://${server.repo}`): Promise<T> {
  const checkpoint = await openLocation(location, { hub: hubOptions(server, { idleTimeout: 10_000 }) });
  try {
    return await use(await openJob(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

const sizes = { width: 512, layers: 6, unwantedBytes: 8_000_000, shards: 2 };

describe('the store of fetched encoders', () => {
  for (const [name, folder] of Object.entries(TINY)) {
    it(`gives the encoder of qwen-vl-tiny-${name} the tensors it has, on this machine, and asks the network once`, () => inFolder(parent => withServer({ folder }, server => withJob(server, async job => {
      const store = storeIn(parent);
      assert.equal(isLocal(job.plan), false);
      assert.equal(await store.has(job.plan), false);
      const plan = await localPlan(job, store, {});
      assert.equal(isLocal(plan), true);
      assert.equal(await store.has(job.plan), true);
      const requests = server.log.length;
      const again = await localPlan(job, store, {});
      assert.deepEqual(again.kept, plan.kept);
      // Only what companionFiles looks for is asked of the server, which is known by now.
      assert.equal(server.log.length, requests);

      const { family, validation } = validated(job);
      const model = encoderModel(plan, family, validation.hyperparameters, job.config);
      const local = await openCheckpoint(folder);
      const original = await openJob(local);
      assert.equal(model.weights.size, original.plan.kept.length);
      for (const { tensor, outputKey } of original.plan.kept) {
        const stored = model.weights.get(outputKey ?? '')!;
        const bytes = new Uint8Array(tensor.length);
        await local.files[tensor.file]!.source.readInto(bytes, tensor.offset);
        assert.ok(Buffer.from(bytes).equals((await readFile(stored.path)).subarray(stored.offset, stored.offset + stored.length)), outputKey);
      }
      await local.close();
      const [entry, ...others] = await store.list();
      assert.deepEqual([entry?.name, others], ['tiny', []]);
      assert.match(entry!.location!, /^hf:\/\/test\/tiny@0123/);
    }))));
  }

  it('keeps one for each choice of tensors and for each commit', () => inFolder(parent => withServer({ folder: TINY.safetensors }, server => withJob(server, async job => {
    const store = storeIn(parent);
    await localPlan(job, store, {});
    const renamed = updateJob(job, { recipe: { ...job.recipe, name: 'another name' } });
    assert.equal(await store.has(renamed.plan), true);
    const edited = updateJob(job, { recipe: applyMark(job.recipe, [{ key: 'transformer.visual.conv1.weight' }], 'exclude') });
    assert.equal(await store.has(edited.plan), false);
    await withServer({ folder: TINY.safetensors, commit: 'f'.repeat(40) }, other => withJob(other, async moved => {
      assert.equal(await store.has(moved.plan), false);
    }));
  }))));

  it('fetches again what was cut short', () => inFolder(parent => withServer({ folder: TINY.bin }, server => withJob(server, async job => {
    const store = storeIn(parent);
    await localPlan(job, store, {});
    const [entry] = await store.list();
    await truncate(join(entry!.folder, 'model.safetensors'), 1000);
    assert.equal(await store.has(job.plan), false);
    assert.deepEqual(await store.list(), []);
    await localPlan(job, store, {});
    assert.equal(await store.has(job.plan), true);
  }))));

  it('goes on where a cancelled download stopped', () => inFolder(async parent => {
    await writeMadeModel(join(parent, 'model'), sizes);
    await withServer({ folder: join(parent, 'model') }, server => withJob(server, async job => {
      const store = storeIn(parent);
      const controller = new AbortController();
      await assert.rejects(localPlan(job, store, { signal: controller.signal, onProgress: ({ done }) => { if (done > 8e6) controller.abort(); } }), isAbort);
      const [left] = await store.list();
      assert.equal(left?.location, undefined);
      assert.ok(left!.bytes > 0);

      const mark = server.log.length;
      let resumed = 0;
      await localPlan(job, store, { onResume: bytes => { resumed = bytes; } });
      assert.ok(resumed > 0);
      assert.ok(server.sent(mark) < job.plan.keptBytes);
      assert.equal((await store.list()).length, 1);
      assert.deepEqual((await readdir(store.folder)).filter(name => name.startsWith('.')), []);
    }));
  }));

  it('is bounded: what was used longest ago goes, and what does not fit at all is refused', () => inFolder(async parent => {
    await withServer({ folder: TINY.safetensors }, server => withJob(server, async job => {
      await localPlan(job, storeIn(parent), {});
      await withServer({ folder: TINY.bin }, second => withJob(second, async other => { await localPlan(other, storeIn(parent), {}); }));
      const both = await storeIn(parent).list();
      const store = storeIn(parent, both.reduce((sum, { bytes }) => sum + bytes, 0));
      for (const { folder, location } of both) {
        const time = location!.includes('safetensors') ? new Date('2020-01-01') : new Date('2021-01-01');
        await utimes(join(folder, 'manifest.json'), time, time);
      }
      await withServer({ folder: TINY.safetensors, commit: 'f'.repeat(40) }, third => withJob(third, async other => { await localPlan(other, store, {}); }));
      assert.deepEqual((await store.list()).map(({ location }) => /@(.).*?\/(\w+)/.exec(location!)!.slice(1).join(' ')), ['f model', '0 pytorch_model']);
      await assert.rejects(localPlan(job, storeIn(parent, 1000), {}), userError(/The encoder is .* and at most 1\.00 KB are kept\. Raise the limit/));
      for (const entry of await store.list()) assert.equal(await store.remove(entry), true);
      assert.deepEqual(await readdir(store.folder), []);
    }));
  }));

  it('leaves other people\'s files alone', () => inFolder(parent => withServer({ folder: TINY.bin }, server => withJob(server, async job => {
    const store = storeIn(parent);
    await localPlan(job, store, {});
    await writeFile(join(store.folder, 'notes.txt'), 'mine');
    assert.equal((await store.list()).length, 1);
    await localPlan(job, storeIn(parent, Math.ceil(job.plan.keptBytes)), {});
    assert.ok((await readdir(store.folder)).includes('notes.txt'));
  }))));
});
