import assert from 'node:assert/strict';
import { hubAddress, hubPage, parseLocation, shortLocation, type Location } from '../../../src/remote/location';
import { userError } from './support';

const HUB = new URL('https://huggingface.co');
const hub = (repo: string, revision = 'main', path = ''): Location => ({ kind: 'hub', repo, revision, path });

describe('parseLocation', () => {
  const cases: readonly (readonly [string, Location])[] = [
    ['hf://Qwen/Qwen-VL-Chat', hub('Qwen/Qwen-VL-Chat')],
    ['hf://Qwen/Qwen-VL-Chat/', hub('Qwen/Qwen-VL-Chat')],
    ['hf://Qwen/Qwen-VL-Chat@v1.0', hub('Qwen/Qwen-VL-Chat', 'v1.0')],
    ['hf://Qwen/Qwen-VL-Chat@v1/unet/model.safetensors', hub('Qwen/Qwen-VL-Chat', 'v1', 'unet/model.safetensors')],
    ['hf://a/b@refs/pr/12', hub('a/b', 'refs/pr/12')],
    ['hf://a/b@refs%2Fpr%2F12/x.bin', hub('a/b', 'refs/pr/12', 'x.bin')],
    ['hf://models/a/b', hub('a/b')],
    ['hf://gpt2', hub('gpt2')],
    ['hf://gpt2@main/model.safetensors', hub('gpt2', 'main', 'model.safetensors')],
    ['https://huggingface.co/Qwen/Qwen-VL-Chat', hub('Qwen/Qwen-VL-Chat')],
    [' https://hf.co/Qwen/Qwen-VL-Chat?x=1#readme ', hub('Qwen/Qwen-VL-Chat')],
    ['https://huggingface.co/gpt2', hub('gpt2')],
    ['https://huggingface.co/gpt2/tree/main', hub('gpt2')],
    ['https://huggingface.co/a/b/tree/refs%2Fpr%2F1/sub/folder', hub('a/b', 'refs/pr/1', 'sub/folder')],
    ['https://huggingface.co/a/b/blob/v2/model.safetensors', hub('a/b', 'v2', 'model.safetensors')],
    ['https://huggingface.co/a/b/resolve/main/model%20x.safetensors?download=true', hub('a/b', 'main', 'model x.safetensors')],
    ['https://huggingface.co/a/b/discussions/3', hub('a/b')],
    ['https://example.org/m/model.safetensors?sig=1#x', { kind: 'http', url: new URL('https://example.org/m/model.safetensors?sig=1') }],
    ['models/Qwen-VL-Chat', { kind: 'local', path: 'models/Qwen-VL-Chat' }],
    ['C:\\models\\x', { kind: 'local', path: 'C:\\models\\x' }],
  ];
  for (const [text, expected] of cases) {
    it(text, () => { assert.deepEqual(parseLocation(text, HUB), expected); });
  }

  it('knows the pages of a mirror below a path', () => {
    assert.deepEqual(parseLocation('https://mirror.example/hf/a/b/tree/v1', new URL('https://mirror.example/hf')), hub('a/b', 'v1'));
    assert.equal(parseLocation('https://mirror.example/a/b', new URL('https://mirror.example/hf')).kind, 'http');
  });

  it('refuses what is no model', () => {
    for (const text of ['hf://', 'hf://a/../b', 'hf://a/b@', 'hf://a/b/../../c', 'hf://a b/c', 'https://huggingface.co/', 'https://huggingface.co/docs/x', 'hf://datasets/a/b', 'https://huggingface.co/spaces/a/b', 'ftp://x/y', 'hf://a/b@%']) {
      assert.throws(() => parseLocation(text, HUB), userError(/./), text);
    }
  });

  it('shows addresses without what is secret, and knows the pages of models and files', () => {
    assert.equal(shortLocation('https://user:secret@example.org/a/model.bin?signature=s'), 'https://example.org/a/model.bin');
    assert.equal(shortLocation(`hf://a/b@${'0123456789'.repeat(4)}/model.bin`), 'hf://a/b@0123456/model.bin');
    assert.equal(hubPage({ repo: 'a/b', revision: 'main', path: '' }, new URL('https://mirror.example/hf/')), 'https://mirror.example/hf/a/b');
    assert.equal(hubPage({ repo: 'a/b', revision: 'refs/pr/1', path: 'x y/c.bin' }, HUB), 'https://huggingface.co/a/b/blob/refs%2Fpr%2F1/x%20y/c.bin');
    assert.throws(() => parseLocation('ftp://user:secret@example.org', HUB), (error: unknown) => !String(error).includes('secret'));
    assert.throws(() => parseLocation('https://user:secret@huggingface.co/datasets/x?token=t', HUB), (error: unknown) => !/secret|token/.test(String(error)));
  });

  it('reads back the address that it writes', () => {
    for (const location of [{ repo: 'a/b', revision: 'refs/pr/1', path: 'x/y.bin' }, { repo: 'gpt2', revision: 'main', path: '' }, { repo: 'a/b', revision: 'feature/x', path: '' }]) {
      assert.deepEqual(parseLocation(hubAddress(location), HUB), { kind: 'hub', ...location });
    }
  });
});
