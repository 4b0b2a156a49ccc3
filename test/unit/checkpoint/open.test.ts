import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { readBytes, type ByteSource, type FileStore } from '../../../src/checkpoint/byteSource';
import { findInStore } from '../../../src/checkpoint/candidates';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint';
import { localStore } from '../../../src/checkpoint/localStore';
import { findCheckpoints, openCheckpoint, openFromStore, type Candidate } from '../../../src/checkpoint/open';
import { isAbort } from '../../../src/errors';
import type { Progress } from '../../../src/progress';
import { fileWith, FIXTURES, inFolder, safetensorsFile, userError } from './support';

const TINY = join(FIXTURES, 'qwen-vl-tiny-safetensors');
const INDEX = 'model.safetensors.index.json';

async function opened(location: string | Candidate, use: (checkpoint: Checkpoint) => Promise<void> | void): Promise<void> {
  const checkpoint = await openCheckpoint(location);
  try {
    await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

const keys = (checkpoint: Checkpoint): string[] => checkpoint.tensors.map(({ key }) => key);

/** Writes files: shards as lists of keys, JSON as objects, anything else as it is. */
async function write(folder: string, files: Readonly<Record<string, readonly string[] | object | Buffer | string>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    const bytes = Array.isArray(content) ? fileWith(content as string[]) : Buffer.isBuffer(content) || typeof content === 'string' ? content : JSON.stringify(content);
    await writeFile(join(folder, name), bytes);
  }
}

const S1 = 'model-00001-of-00002.safetensors';
const S2 = 'model-00002-of-00002.safetensors';
const indexOf = (weightMap: Readonly<Record<string, string>>): object => ({ metadata: { total_size: 1 }, weight_map: weightMap });

/** A local store that counts what it has open. */
function countingStore(folder: string): FileStore & { open: (name: string) => Promise<ByteSource>; openNow: number; mostOpening: number } {
  const inner = localStore(folder);
  let opening = 0;
  return {
    location: inner.location,
    openNow: 0,
    mostOpening: 0,
    list: signal => inner.list(signal),
    async open(name) {
      this.mostOpening = Math.max(this.mostOpening, ++opening);
      await new Promise(done => setTimeout(done, 2));
      const source = await inner.open(name);
      opening--;
      this.openNow++;
      return { ...source, close: async () => { this.openNow--; await source.close(); } };
    },
  };
}

describe('openCheckpoint', () => {
  it('opens the tiny Qwen-VL checkpoint, by its folder and by its index', async () => {
    const map = (JSON.parse(readFileSync(join(TINY, INDEX), 'utf8')) as { weight_map: Record<string, string> }).weight_map;
    await inFolder(async folder => {
      await cp(TINY, folder, { recursive: true });
      await rm(join(folder, 'expected.safetensors'));
      for (const location of [folder, join(folder, INDEX)]) {
        await opened(location, async checkpoint => {
          assert.equal(checkpoint.name, basename(folder));
          assert.equal(checkpoint.location, join(folder, INDEX));
          assert.equal(checkpoint.store.location, folder);
          assert.deepEqual(checkpoint.files.map(({ name, format }) => [name, format]), [1, 2, 3, 4].map(number => [`model-0000${number}-of-00004.safetensors`, 'safetensors']));
          assert.deepEqual(new Map(checkpoint.tensors.map(({ key, file }) => [key, checkpoint.files[file]?.name])), new Map(Object.entries(map)));
          assert.deepEqual(checkpoint.warnings, []);
          assert.ok(checkpoint.tensors.some(({ key }) => key.startsWith('transformer.visual.')));
          for (const { file, offset, length } of checkpoint.tensors) {
            const source = checkpoint.files[file]?.source;
            assert.ok(source !== undefined && offset + length <= source.size);
          }
          const [first] = checkpoint.tensors;
          const source = checkpoint.files[first?.file ?? -1]?.source;
          assert.ok(first !== undefined && source?.path !== undefined);
          const whole = await readFile(source.path);
          assert.deepEqual(Buffer.from(await readBytes(source, first.offset, first.length)), whole.subarray(first.offset, first.offset + first.length));
        });
      }
    });
  });

  it('opens the one with a usual name beside others, and says so', () => opened(TINY, checkpoint => {
    assert.equal(checkpoint.location, join(TINY, INDEX));
    assert.deepEqual(checkpoint.warnings, ['Beside model.safetensors.index.json there is "expected.safetensors", which was not opened.']);
  }));

  it('asks when several could be meant', () => inFolder(async folder => {
    await write(folder, { 'model.safetensors': ['a'], [INDEX]: indexOf({ a: S1 }), [S1]: ['a'] });
    await assert.rejects(openCheckpoint(folder), userError(/holds 2 checkpoints: "model\.safetensors\.index\.json", "model\.safetensors"\. Open one of these/));
    await rm(join(folder, INDEX));
    await rm(join(folder, S1));
    await rename(join(folder, 'model.safetensors'), join(folder, 'a.safetensors'));
    await write(folder, { 'b.safetensors': ['b'] });
    await assert.rejects(openCheckpoint(folder), userError(/holds 2 checkpoints: "a\.safetensors", "b\.safetensors"/));
  }));

  it('opens the candidate that was chosen', async () => {
    const [index, file, ...more] = await findCheckpoints(TINY);
    assert.ok(index !== undefined && file !== undefined);
    assert.deepEqual([index.kind, file.kind, more], ['index', 'file', []]);
    assert.equal(index.bytes, readdirSync(TINY).filter(name => name.startsWith('model-')).reduce((sum, name) => sum + readFileSync(join(TINY, name)).length, 0));
    await opened(index, checkpoint => { assert.equal(checkpoint.files.length, 4); });
    await opened(file, checkpoint => { assert.equal(checkpoint.name, 'expected.safetensors'); });
  });

  it('opens the tiny Qwen-VL checkpoint that torch.save wrote, in its index\'s shards', async () => {
    const folder = join(FIXTURES, 'qwen-vl-tiny-bin');
    const map = (JSON.parse(readFileSync(join(folder, 'pytorch_model.bin.index.json'), 'utf8')) as { weight_map: Record<string, string> }).weight_map;
    await opened(folder, checkpoint => {
      assert.equal(checkpoint.location, join(folder, 'pytorch_model.bin.index.json'));
      assert.deepEqual(checkpoint.files.map(({ name, format }) => [name, format]), [1, 2, 3].map(number => [`pytorch_model-0000${number}-of-00003.bin`, 'torch-zip']));
      assert.deepEqual(new Map(checkpoint.tensors.map(({ key, file }) => [key, checkpoint.files[file]?.name])), new Map(Object.entries(map)));
      assert.ok(checkpoint.tensors.every(({ dtype }) => dtype === 'BF16'));
    });
  });

  it('opens real shards and a real single file', async () => {
    const julia = join(FIXTURES, 'real/files/FluxML+SafeTensors.jl/test');
    await opened(join(julia, 'sharded'), checkpoint => {
      assert.equal(checkpoint.tensors.length, 36);
      assert.equal(checkpoint.files.length, 6);
      assert.deepEqual(checkpoint.files[0]?.metadata, new Map([['format', 'pt']]));
      // Numbered shards come by number, whatever order the index has.
      assert.deepEqual(checkpoint.files.map(({ name }) => name), readdirSync(join(julia, 'sharded')).filter(name => name.endsWith('.safetensors')).sort());
    });
    const path = join(julia, 'non_sharded/model.with_metadata.safetensors');
    await opened(path, checkpoint => {
      assert.deepEqual([checkpoint.name, checkpoint.location, checkpoint.tensors.length], ['model.with_metadata.safetensors', path, 36]);
      assert.equal(checkpoint.files[0]?.metadata.get('version'), '2.2');
    });
  });

  for (const [model, name] of [
    ['qwen2-vl-olmocr', 'model-00001-of-00004.safetensors'],
    ['qwen3-vl-reason2', 'model-00001-of-00004.safetensors'],
    ['llava-lisa-7b', 'pytorch_model-00001-of-00002.bin'],
  ] as const) {
    it(`tells that ${model} holds Git LFS pointers`, async () => {
      const folder = join(FIXTURES, 'real/models', model);
      const expected = userError(new RegExp(`^${name} is a Git LFS pointer`), /git lfs pull/);
      await assert.rejects(openCheckpoint(folder), expected);
      await assert.rejects(openCheckpoint(join(folder, name)), expected);
    });
  }

  it('names the shards that an index promises and nobody downloaded', () => assert.rejects(
    openCheckpoint(join(FIXTURES, 'real/models/gemma3-medgemma-27b')),
    userError(/holds none of the 12 shards of model\.safetensors\.index\.json/, /model-00001-of-00012\.safetensors \(\d+ keys\)/, /and 4 more/),
  ));

  describe('checks the index against the headers', () => {
    const refused: readonly (readonly [what: string, files: Parameters<typeof write>[1], ...reasons: RegExp[]])[] = [
      ['a missing shard', { [INDEX]: indexOf({ a: S1, b: S2, c: S2 }), [S1]: ['a'] }, /holds 1 of the 2 shards/, /missing: model-00002-of-00002\.safetensors \(2 keys\)/],
      ['a missing shard in a subfolder', { [INDEX]: indexOf({ a: S1, b: 'more/x.safetensors' }), [S1]: ['a'] }, /more\/x\.safetensors does not exist\./, /holds 1 key\./],
      ['keys that their shard lacks', { [INDEX]: indexOf({ a: S1, b: S1, c: S2 }), [S1]: ['a'], [S2]: ['c'] }, /names keys that are not in their shards: model-00001-of-00002\.safetensors lacks "b"/, /do not belong together/],
      ['a key that is in another shard', { [INDEX]: indexOf({ a: S1, b: S1, c: S2 }), [S1]: ['a'], [S2]: ['b', 'c'] }, /lacks "b" \("b" is in model-00002-of-00002\.safetensors\)/],
      ['a shard outside the folder', { [INDEX]: indexOf({ a: '../model.safetensors' }) }, /"\.\.\/model\.safetensors", which does not lie inside/],
      ['a truncated shard', { [INDEX]: indexOf({ a: S1, b: S2 }), [S1]: ['a'], [S2]: fileWith(['b'], 50).subarray(0, 90) }, /^model-00002-of-00002\.safetensors is 90 bytes, its header needs \d+: the download is incomplete/],
      ['an index that is cut off', { [INDEX]: '{"weight_map":{"a":' }, /^The shard index model\.safetensors\.index\.json is damaged: it ends too early/],
      ['a web page in a shard\'s place', { [INDEX]: indexOf({ a: S1 }), [S1]: '<!doctype html><p>Sign in' }, /^model-00001-of-00002\.safetensors is a web page/],
    ];
    for (const [what, files, ...reasons] of refused) {
      it(`refuses ${what}, and closes every file`, () => inFolder(async folder => {
        await write(folder, files);
        await assert.rejects(openCheckpoint(folder), userError(...reasons));
        const store = countingStore(folder);
        const [candidate] = await findInStore(store);
        assert.ok(candidate !== undefined);
        await assert.rejects(openFromStore(store, candidate));
        assert.equal(store.openNow, 0);
      }));
    }

    it('lists tensors that the index does not name, with a warning', () => inFolder(async folder => {
      await write(folder, { [INDEX]: indexOf({ a: S1, b: S2 }), [S1]: ['a', 'stray'], [S2]: ['b'] });
      await opened(folder, checkpoint => {
        assert.deepEqual(keys(checkpoint), ['a', 'stray', 'b']);
        assert.match(checkpoint.warnings.join(), /^1 tensor in the shards that model\.safetensors\.index\.json does not name: "stray"/);
      });
    }));

    it('takes a key that two shards hold from the one that the index names', () => inFolder(async folder => {
      for (const [owner, file, order] of [[S1, 0, ['x', 'a', 'y']], [S2, 1, ['x', 'y', 'a']]] as const) {
        await write(folder, { [INDEX]: indexOf({ x: S1, a: owner, y: S2 }), [S1]: ['x', 'a'], [S2]: ['y', 'a'] });
        await opened(folder, checkpoint => {
          assert.deepEqual(keys(checkpoint), order);
          assert.equal(checkpoint.tensors.find(({ key }) => key === 'a')?.file, file);
          assert.match(checkpoint.warnings.join(), /1 key in more than one file: "a"\. The file that the index names counts/);
        });
      }
    }));
  });

  describe('without an index', () => {
    it('opens a whole set of shards as one', () => inFolder(async folder => {
      await write(folder, { [S2]: ['b', 'c'], [S1]: ['a', 'c'] });
      await opened(folder, checkpoint => {
        assert.deepEqual(keys(checkpoint), ['a', 'c', 'b']);
        assert.equal(checkpoint.location, folder);
        assert.deepEqual(checkpoint.files.map(({ name }) => name), [S1, S2]);
        assert.equal(checkpoint.tensors[1]?.file, 1);
        assert.match(checkpoint.warnings.join(), /"c"\. The last file counts/);
      });
    }));

    it('names the shards that a set lacks', () => inFolder(async folder => {
      await write(folder, { 'model-00002-of-00004.safetensors': ['b'], 'model-00003-of-00004.safetensors': ['c'] });
      await assert.rejects(openCheckpoint(folder), userError(/holds 2 of the 4 shards of model-\*-of-00004\.safetensors; missing: model-00001-of-00004\.safetensors, model-00004-of-00004\.safetensors\. The download is incomplete/));
    }));

    it('opens one shard alone, with a warning', () => inFolder(async folder => {
      await write(folder, { [S2]: ['b'] });
      await opened(join(folder, S2), checkpoint => {
        assert.deepEqual(keys(checkpoint), ['b']);
        assert.match(checkpoint.warnings.join(), /^model-00002-of-00002\.safetensors is one of 2 shards; only its own tensors are listed/);
      });
    }));
  });

  it('warns of odd keys and of tensors that hold nothing', () => inFolder(async folder => {
    await write(folder, { 'model.safetensors': ['', '__proto__', '../../etc/passwd', 'a\u0007b', 'evil\u202egnp', 'C:\\x'], 'hollow.safetensors': safetensorsFile('{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'), 'none.safetensors': safetensorsFile('{}') });
    await opened(join(folder, 'model.safetensors'), checkpoint => {
      assert.equal(checkpoint.tensors.length, 6);
      const warnings = checkpoint.warnings.join('\n');
      assert.match(warnings, /One tensor has an empty key/);
      assert.match(warnings, /2 keys with control or invisible characters: "a\\u0007b", "evil\\u202egnp"/);
      assert.match(warnings, /2 keys that could be taken for a file path: "\.\.\/\.\.\/etc\/passwd", "C:\\x"/);
    });
    await opened(join(folder, 'hollow.safetensors'), checkpoint => { assert.match(checkpoint.warnings.join(), /1 tensor of shape \(0,\).*ZeRO-3.*"w"/); });
    await opened(join(folder, 'none.safetensors'), checkpoint => { assert.match(checkpoint.warnings.join(), /There are no tensors in it/); });
  }));

  it('works in a Hugging Face cache, whose files are links', () => inFolder(async folder => {
    await write(folder, { 'blobs/aa': ['a'], 'blobs/bb': ['b'], 'blobs/cc': indexOf({ a: S1, b: S2 }) });
    await mkdir(join(folder, 'snapshots/rev'), { recursive: true });
    for (const [blob, name] of [['aa', S1], ['bb', S2], ['cc', INDEX]] as const) await symlink(`../../blobs/${blob}`, join(folder, 'snapshots/rev', name));
    await opened(join(folder, 'snapshots/rev'), checkpoint => { assert.deepEqual(keys(checkpoint), ['a', 'b']); });
  }));

  it('reports progress and stops when told', () => inFolder(async folder => {
    await cp(TINY, folder, { recursive: true });
    const location = join(folder, INDEX);
    const seen: Progress[] = [];
    const checkpoint = await openCheckpoint(location, { onProgress: progress => { seen.push({ ...progress }); } });
    await checkpoint.close();
    assert.deepEqual(seen.map(({ done, total }) => [done, total]), [0, 1, 2, 3, 4].map(done => [done, 4]));
    await assert.rejects(openCheckpoint(location, { signal: AbortSignal.abort() }), isAbort);
    const controller = new AbortController();
    await assert.rejects(openCheckpoint(location, { signal: controller.signal, onProgress: ({ done }) => { if (done === 1) controller.abort(); } }), isAbort);
  }));

  it('opens at most eight of many shards at once', () => inFolder(async folder => {
    const names = Array.from({ length: 40 }, (_, index) => `model-${String(index + 1).padStart(5, '0')}-of-00040.safetensors`);
    await write(folder, Object.fromEntries(names.map((name, index) => [name, [`layer.${index}`]])));
    const store = countingStore(folder);
    const [candidate] = await findInStore(store);
    assert.ok(candidate !== undefined);
    const checkpoint = await openFromStore(store, candidate);
    assert.deepEqual(keys(checkpoint), names.map((_, index) => `layer.${index}`));
    assert.equal(store.mostOpening, 8);
    assert.equal(store.openNow, 40);
    await checkpoint.close();
    assert.equal(store.openNow, 0);
  }));

  it('opens 20 GB in shards quickly: only headers are read', () => inFolder(async folder => {
    const shardBytes = 5_000_000_000;
    for (let shard = 1; shard <= 4; shard++) {
      const header = safetensorsFile(`{"layer.${shard}":{"dtype":"U8","shape":[${shardBytes}],"data_offsets":[0,${shardBytes}]}}`);
      const path = join(folder, `model-0000${shard}-of-00004.safetensors`);
      await writeFile(path, header);
      await truncate(path, header.length + shardBytes);
    }
    const start = performance.now();
    await opened(folder, checkpoint => { assert.equal(checkpoint.tensors.reduce((sum, { length }) => sum + length, 0), 4 * shardBytes); });
    assert.ok(performance.now() - start < 1000);
  }));
});

describe('findCheckpoints', () => {
  const found = async (folder: string): Promise<string[]> => (await findCheckpoints(folder)).map(({ kind, name }) => `${kind} ${name}`);

  it('lists indexes, sets and files that no index names', () => inFolder(async folder => {
    await write(folder, {
      [INDEX]: indexOf({ a: S1, b: S2 }), [S1]: ['a'], [S2]: ['b'],
      'pytorch_model.bin.index.json': indexOf({ a: 'pytorch_model-00001-of-00001.bin' }), 'pytorch_model-00001-of-00001.bin': '',
      'model.safetensors': ['a'], 'other-00001-of-00003.safetensors': ['x'], 'old.CKPT': '', 'a.pt': '', 'b.pth': '',
      'training_args.bin': '', 'optimizer.pt': '', 'scheduler.pt': '', 'rng_state_0.pth': '', 'config.json': {}, 'tokenizer.model': '',
    });
    assert.deepEqual(await found(folder), [
      'index model.safetensors.index.json', 'index pytorch_model.bin.index.json', 'file a.pt', 'file b.pth', 'file model.safetensors', 'file old.CKPT', 'shards other-*-of-00003.safetensors',
    ]);
  }));

  it('offers a trainer\'s files when there is nothing better', () => inFolder(async folder => {
    await write(folder, { 'optimizer.pt': '', 'training_args.bin': '' });
    assert.deepEqual(await found(folder), ['file optimizer.pt', 'file training_args.bin']);
  }));

  it('keeps an index that cannot be read, for opening it to say why', () => inFolder(async folder => {
    await write(folder, { [INDEX]: '{' });
    assert.deepEqual(await found(folder), [`index ${INDEX}`]);
  }));

  it('says what is there instead', () => inFolder(async folder => {
    await assert.rejects(findCheckpoints(folder), userError(/holds no checkpoint: looked for .*\*\.safetensors.* but it holds no files/));
    await write(folder, { 'config.json': {}, 'README.md': '', 'a.txt': '', 'b.txt': '', 'c.txt': '', 'd.txt': '', 'e.txt': '' });
    await assert.rejects(findCheckpoints(folder), userError(/it holds "README\.md", "a\.txt", .* and 2 more files\. Open the folder that directly/));
    await write(folder, { 'cache/snapshots/rev/model.safetensors': ['a'] });
    await assert.rejects(findCheckpoints(join(folder, 'cache')), userError(/it holds no files\. There are weights in .*cache\/snapshots\/rev; open that folder/));
  }));

  it('takes a file for what it is, and says so when it is not there', () => inFolder(async folder => {
    await write(folder, { 'model.safetensors': ['a'], 'config.json': {} });
    assert.deepEqual(await found(join(folder, 'model.safetensors')), ['file model.safetensors']);
    await assert.rejects(openCheckpoint(join(folder, 'config.json')), userError(/config\.json is not a shard index/));
    await assert.rejects(openCheckpoint(join(folder, 'none.safetensors')), userError(/^\/.*none\.safetensors does not exist/));
    await assert.rejects(openCheckpoint(join(folder, 'none')), userError(/none does not exist/));
    await rename(join(folder, 'model.safetensors'), join(folder, 'weights'));
    await opened(join(folder, 'weights'), checkpoint => { assert.deepEqual(keys(checkpoint), ['a']); });
  }));
});
