import assert from 'node:assert/strict';
import { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Hub } from '../../../src/remote/hub';
import { HubRefusal } from '../../../src/remote/hubErrors';
import { cachedModels } from '../../../src/remote/hubCache';
import { hubCacheFolder, hubEndpoint, hubToken } from '../../../src/remote/hubOptions';
import { hubStore } from '../../../src/remote/hubStore';
import { openLocation } from '../../../src/remote/open';
import { COMMIT } from '../../support/hubServer';
import { hubOptions, inFolder, TINY, userError, withServer } from './support';

describe('hubStore', () => {
  it('lists long folders page by page, and opens files in subfolders', () => inFolder(async folder => {
    for (let i = 0; i < 30; i++) await writeFile(join(folder, `file-${String(i).padStart(2, '0')}.json`), '{}');
    await mkdir(join(folder, 'unet'));
    await writeFile(join(folder, 'unet/model.bin'), 'weights');
    await withServer({ folder }, async server => {
      const store = hubStore(await Hub.connect(hubOptions(server)), 'test/tiny', COMMIT);
      const list = await store.list();
      assert.equal(list.length, 30);
      assert.deepEqual(list[0], { name: 'file-00.json', size: 2 });
      const source = await store.open('unet/model.bin');
      const bytes = new Uint8Array(7);
      await source.readInto(bytes, 0);
      assert.equal(Buffer.from(bytes).toString(), 'weights');
      assert.deepEqual([source.name, source.remote?.version], ['model.bin', server.hash('unet/model.bin')]);
      await assert.rejects(store.open('../x'), userError(/is refused/));
      await assert.rejects(store.open('none'), userError(/none does not exist in hf:/));
    });
  }));

  it('does not follow a list to another host', () => inFolder(async folder => {
    await withServer({ folder, fault: ({ url }) => url.includes('/tree/') ? { headers: { link: '<http://127.0.0.1:59/x>; rel="next"' } } : undefined }, async server => {
      await assert.rejects(hubStore(await Hub.connect(hubOptions(server, { token: 'hf_x' })), 'test/tiny', COMMIT).list(), userError(/points to 127\.0\.0\.1:59 .*refused/));
    });
  }));

  it('says that a server is no Hub', () => withServer({ folder: TINY.bin, search: [{ id: 3 }] }, async server => {
    await assert.rejects((await Hub.connect(hubOptions(server))).search('x'), userError(/does not answer as the Hugging Face Hub does/));
    await assert.rejects(openLocation('hf://test/tiny', { hub: hubOptions(server, { endpoint: server.cdn }) }), userError(/./));
  }));
});

describe('searching the Hub', () => {
  it('gives what fits, with what a list shows', () => withServer({ folder: TINY.bin, search: [{ id: 'Qwen/Qwen-VL-Chat', downloads: 5, likes: 2, gated: 'auto', tags: [] }, { id: 'b/c' }, { id: '../../evil' }] }, async server => {
    assert.deepEqual(await (await Hub.connect(hubOptions(server))).search('qwen vl&x'), [
      { id: 'Qwen/Qwen-VL-Chat', downloads: 5, likes: 2, gated: true, isPrivate: false },
      { id: 'b/c', downloads: 0, likes: 0, gated: false, isPrivate: false },
    ]);
    assert.match(server.log[0]!.url, /^\/api\/models\?search=qwen\+vl%26x&sort=downloads/);
  }));
});

describe('a repository and an account', () => {
  it('are told: branches, and whose the token is', () => withServer({ folder: TINY.bin, revisions: ['main', 'refs/pr/1'], token: 'good', gated: true }, async server => {
    const hub = await Hub.connect(hubOptions(server, { token: 'good' }));
    assert.deepEqual(await hub.refs('test/tiny'), { branches: ['main', 'refs/pr/1'], tags: [] });
    assert.equal(await hub.account(), 'tester');
    await assert.rejects((await Hub.connect(hubOptions(server, { token: 'bad' }))).account(), (error: unknown) => error instanceof HubRefusal && error.tokenHelps && error.sentence.includes('refuses the token'));
  }));
});

describe('the Hub client\'s own settings', () => {
  it('are followed', () => inFolder(async folder => {
    await writeFile(join(folder, 'token'), 'hf_file\n');
    await writeFile(join(folder, 'other'), 'hf_other');
    assert.equal(await hubToken({}, { HF_HOME: folder }), 'hf_file');
    assert.equal(await hubToken({}, { HF_HOME: folder, HF_TOKEN_PATH: join(folder, 'other') }), 'hf_other');
    assert.equal(await hubToken({}, { HF_HOME: folder, HF_TOKEN: 'hf_env' }), 'hf_env');
    assert.equal(await hubToken({ token: 'hf_given' }, { HF_TOKEN: 'hf_env' }), 'hf_given');
    assert.equal(await hubToken({ token: '' }, { HF_TOKEN: 'hf_env' }), undefined);
    assert.equal(await hubToken({}, { HF_HOME: folder, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }), undefined);
    assert.equal(await hubToken({}, { HF_HOME: join(folder, 'none') }), undefined);
    assert.equal(hubCacheFolder({}, { HF_HOME: '/h' }), '/h/hub');
    assert.equal(hubCacheFolder({}, { HF_HOME: '/h', HF_HUB_CACHE: '/c' }), '/c');
    assert.equal(hubCacheFolder({ cache: false }, {}), undefined);
    assert.equal(hubEndpoint({}, { HF_ENDPOINT: 'https://mirror.example' }).href, 'https://mirror.example/');
    assert.equal(hubEndpoint({}, {}).href, 'https://huggingface.co/');
    assert.throws(() => hubEndpoint({}, { HF_ENDPOINT: 'mirror' }), userError(/"mirror" is not valid/));
  }));
});

describe('the Hub cache', () => {
  /** The cache as the Hub's client makes it: blobs, and snapshots of links to them. */
  async function fill(cache: string): Promise<string> {
    const model = join(cache, 'models--test--tiny');
    const snapshot = join(model, 'snapshots', COMMIT);
    await cp(TINY.safetensors, join(model, 'blobs'), { recursive: true });
    await rm(join(model, 'blobs/expected.safetensors'));
    await mkdir(join(model, 'refs'), { recursive: true });
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(model, 'refs/main'), COMMIT);
    for (const name of ['config.json', 'model.safetensors.index.json', ...[1, 2, 3, 4].map(n => `model-0000${n}-of-00004.safetensors`)]) await symlink(`../../blobs/${name}`, join(snapshot, name));
    return snapshot;
  }

  it('is read when it has the model whole, and the Hub otherwise', () => inFolder(async cache => {
    const snapshot = await fill(cache);
    await withServer({ folder: TINY.safetensors }, async server => {
      const notices: string[] = [];
      const open = async (text: string): Promise<string> => {
        const checkpoint = await openLocation(text, { hub: hubOptions(server, { cache, onNotice: notice => { notices.push(notice); } }) });
        await checkpoint.close();
        return checkpoint.location;
      };
      assert.deepEqual(await cachedModels(cache), [{ repo: 'test/tiny', commit: COMMIT, folder: snapshot }]);
      assert.equal(await open('hf://test/tiny'), join(snapshot, 'model.safetensors.index.json'));
      assert.deepEqual(server.log.map(({ url }) => url), ['/api/models/test/tiny/revision/main']);
      assert.match(notices.join(), /test\/tiny is on this disk already/);
      await open(`hf://test/tiny@${COMMIT}/model-00001-of-00004.safetensors`);
      assert.equal(server.log.length, 1);
      await rm(join(cache, 'models--test--tiny/blobs/model-00003-of-00004.safetensors'));
      assert.deepEqual(await cachedModels(cache), []);
      assert.equal(await open('hf://test/tiny/model.safetensors.index.json'), `hf://test/tiny@${COMMIT}/model.safetensors.index.json`);
    });
  }));

  it('serves without a network, and says so', () => inFolder(async cache => {
    const snapshot = await fill(cache);
    const notices: string[] = [];
    const hub = { endpoint: 'http://127.0.0.1:59', token: '', cache, firstDelay: 1, onNotice: (notice: string) => { notices.push(notice); } };
    const checkpoint = await openLocation('hf://test/tiny', { hub });
    await checkpoint.close();
    assert.equal(checkpoint.location, join(snapshot, 'model.safetensors.index.json'));
    assert.match(notices.join(), /ECONNREFUSED.*taken as it was when it was last downloaded/);
    await assert.rejects(openLocation('hf://test/tiny@v9', { hub }), userError(/127\.0\.0\.1:59 cannot be read/));
  }));
});
