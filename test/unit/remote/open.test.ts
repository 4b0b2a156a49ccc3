import assert from 'node:assert/strict';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '../../../src/checkpoint/open';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint';
import { UserError } from '../../../src/errors';
import { extract } from '../../../src/extraction/extract';
import { companionFiles, openJob, validated } from '../../../src/job';
import { openLocation } from '../../../src/remote/open';
import { COMMIT, type HubServer } from '../../support/hubServer';
import { hubOptions, inFolder, TINY, userError, withServer } from './support';

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
      const apiCalls = server.log.filter(({ url }) => url.startsWith('/api/models/'));
      assert.deepEqual(apiCalls.map(({ url }) => url), [`/api/models/test/tiny/revision/main`, `/api/models/test/tiny/tree/${COMMIT}`]);
      const ofShards = server.log.filter(({ where }) => where === 'cdn');
      assert.equal(ofShards.length, name === 'bin' ? 3 * 2 : 4);
      // Index and config come from the Hub itself; it redirects once for each of them and for each shard.
      assert.equal(server.log.length - apiCalls.length - ofShards.length, 2 * 2 + (name === 'bin' ? 3 : 4));
    }));
  }
});

describe('openLocation: other addresses', () => {
  it('opens pasted pages, files and revisions of a Hub', () => withServer({ folder: TINY.safetensors, revisions: ['main', 'refs/pr/3', 'v1.0'] }, async server => {
    for (const text of ['hf://test/tiny@v1.0/model.safetensors.index.json', 'hf://test/tiny@refs/pr/3/model.safetensors.index.json', `hf://test/tiny@${COMMIT}`, `${server.endpoint}/test/tiny`, `${server.endpoint}/test/tiny/tree/main`, `${server.endpoint}/test/tiny/blob/v1.0/model.safetensors.index.json`, `${server.endpoint}/test/tiny/resolve/main/model.safetensors.index.json?download=true`]) {
      await opened(server, text, checkpoint => {
        assert.equal(checkpoint.files.length, 4, text);
        assert.equal(checkpoint.location, `hf://test/tiny@${COMMIT}/model.safetensors.index.json`);
      });
    }
    await opened(server, 'hf://test/tiny/model-00002-of-00004.safetensors', checkpoint => {
      assert.deepEqual([checkpoint.name, checkpoint.files.length], ['model-00002-of-00004.safetensors', 1]);
      assert.match(checkpoint.warnings.join(), /is one of 4 shards/);
    });
  }));

  it('takes every file of one commit, though the branch moves at once', () => inFolder(async parent => {
    const folder = join(parent, 'model');
    await cp(TINY.bin, folder, { recursive: true });
    await writeFile(join(folder, 'preprocessor_config.json'), JSON.stringify({ image_processor_type: 'CLIPImageProcessor', size: 112 }));
    await withServer({ folder }, async server => {
      server.fault = ({ url }) => {
        if (url.includes('/revision/')) setImmediate(() => { server.options.moved = 'e'.repeat(40); });
        return undefined;
      };
      const checkpoint = await openLocation('hf://test/tiny', { hub: hubOptions(server) });
      const job = await openJob(checkpoint);
      assert.equal(server.options.moved, 'e'.repeat(40));
      const result = await extract(job.plan, validated(job).validation, { ...(await companionFiles(job)), out: join(parent, 'out'), format: 'safetensors', dtype: 'keep' });
      await checkpoint.close();
      const asked = server.log.filter(({ where, url }) => where === 'hub' && !url.includes('/resolve-cache/')).map(({ url }) => url);
      assert.deepEqual(asked.filter(url => !url.includes(COMMIT)), ['/api/models/test/tiny/revision/main']);
      for (const name of ['config.json', 'preprocessor_config.json', 'pytorch_model.bin.index.json']) assert.ok(asked.includes(`/test/tiny/resolve/${COMMIT}/${name}`), name);
      assert.ok(result.manifest.source.location.startsWith(`hf://test/tiny@${COMMIT}/`));
    });
  }));

  it('refuses shards that an index names outside of its folder', () => inFolder(async folder => {
    await cp(TINY.bin, folder, { recursive: true });
    for (const name of ['../../etc/passwd', '/etc/passwd', 'C:\\\\secret', 'a/../../b']) {
      await writeFile(join(folder, 'pytorch_model.bin.index.json'), JSON.stringify({ weight_map: { 'transformer.visual.proj': name } }));
      await withServer({ folder }, async server => {
        for (const location of ['hf://test/tiny/pytorch_model.bin.index.json', `${server.plain}/pytorch_model.bin.index.json`]) {
          const mark = server.log.length;
          await assert.rejects(openLocation(location, { hub: hubOptions(server) }), UserError, `${location} ${name}`);
          assert.deepEqual(server.log.slice(mark).filter(({ url }) => /passwd|secret|\/b$/.test(decodeURIComponent(url))), []);
        }
      });
    }
  }));

  it('opens what it opened by its location again, at the same commit', () => withServer({ folder: TINY.bin, revisions: [] }, async server => {
    await opened(server, `hf://test/tiny@${COMMIT}`, async first => {
      await opened(server, first.location, second => { assert.deepEqual(second.tensors, first.tensors); });
    });
    assert.equal(server.log.filter(({ url }) => url.includes('/revision/')).length, 0);
  }));

  it('opens an index, a folder with one, and a single file on any server with ranges', () => withServer({ folder: TINY.safetensors }, async server => {
    const local = await openCheckpoint(TINY.safetensors);
    for (const text of [`${server.plain}/model.safetensors.index.json`, server.plain, `${server.plain}/`]) {
      await opened(server, text, async remote => {
        assert.deepEqual(remote.tensors, local.tensors);
        assert.equal((await openJob(remote)).validation?.valid, true);
        assert.equal(remote.location, `${server.plain}/model.safetensors.index.json`);
      });
    }
    await local.close();
    const mark = server.log.length;
    await opened(server, `${server.plain}/model-00003-of-00004.safetensors?X-Amz-Signature=secret`, async remote => {
      assert.equal(remote.location, `${server.plain}/model-00003-of-00004.safetensors`);
      assert.equal((await openJob(remote)).config?.value.model_type, 'qwen');
    });
    for (const { url } of server.log.slice(mark)) assert.equal(url.includes('secret'), url.includes('00003-of'), url);
  }));

  it('keeps user and password out of the location, and shows them to that server only', () => withServer({ folder: TINY.bin }, async server => {
    const address = server.plain.replace('http://', 'http://me:pass%20word@');
    await opened(server, `${address}/pytorch_model.bin.index.json`, checkpoint => { assert.equal(checkpoint.location, `${server.plain}/pytorch_model.bin.index.json`); });
    for (const { headers } of server.log) assert.equal(headers.authorization, `Basic ${Buffer.from('me:pass word').toString('base64')}`);
  }));

  it('says what is not there', () => withServer({ folder: TINY.bin }, async server => {
    const failing = (text: string, message: RegExp): Promise<void> => assert.rejects(opened(server, text, () => undefined), userError(message));
    await failing(`${server.plain}/none.safetensors`, /\/plain\/none\.safetensors does not exist\. Check the address/);
    await failing(`${server.cdn}/plain/none/`, /holds no checkpoint: looked for .* Give the address of the weights file/);
    await failing('http://127.0.0.1:59/model.safetensors', /127\.0\.0\.1:59 cannot be read: it refused the connection \(ECONNREFUSED\)\. 2 attempts failed/);
    await failing('Qwen/Qwen-VL-Chat', /does not exist\. .*write hf:\/\/Qwen\/Qwen-VL-Chat/);
    await failing(`${server.plain}/%E0%A4%A.safetensors`, /is not a valid address: .* is wrongly encoded/);
    await failing('s3://bucket/model', /cannot be opened: addresses are hf:/);
  }));

  it('says that a server does not serve ranges', () => withServer({ folder: TINY.bin, fault: () => ({ ignoreRange: true, headers: { 'content-length': '9000000' } }) }, async server => {
    await assert.rejects(opened(server, `${server.plain}/pytorch_model-00001-of-00003.bin`, () => undefined), userError(/ignores requests for a part/));
  }));

  it('needs no network for a local path', async () => {
    const checkpoint = await openLocation(TINY.bin, { hub: { fetch: () => Promise.reject(new Error('fetched')) } });
    assert.equal(checkpoint.location.startsWith('/'), true);
    await checkpoint.close();
  });
});
