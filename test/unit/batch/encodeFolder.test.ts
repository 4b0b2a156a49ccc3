import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { CancelledRun, earlierRun, encodeFolder } from '../../../src/batch/encodeFolder';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { EncoderClient } from '../../../src/encoder/client';
import type { EncoderModel } from '../../../src/encoder/model';
import { isAbort, UserError } from '../../../src/errors';
import { openJob } from '../../../src/job';
import { previewModel } from '../../../src/previewModel';
import { ENTRY, expected, fixturePath, readFloats, relativeError, tinyModel, tinyModelAt } from '../encoder/fixture';
import { FIXTURES } from '../support/checkpoints';
import { fakeEncoder, readIndex, request, TOKENS, valueOf, WIDTH, writePicture } from './support';

const says = (...texts: (string | RegExp)[]) => (error: unknown): boolean => {
  assert.ok(error instanceof UserError, String(error));
  for (const text of texts) assert.match(error.message, typeof text === 'string' ? new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : text);
  return true;
};

describe('the features of a folder', function () {
  this.timeout(60_000);
  let scratch: string;
  let folder: string;
  let out: string;
  let model: EncoderModel;
  before(async () => { model = await tinyModel('qwen-vl-tiny-bin'); });
  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'batch-'));
    [folder, out] = [join(scratch, 'pictures'), join(scratch, 'out', 'features')];
    for (let index = 0; index < 10; index++) await writePicture(join(folder, `p${index}.png`), `picture ${index}`);
  });
  afterEach(async () => { await rm(scratch, { recursive: true, force: true }); });

  /** What the index leads to, by picture, as the fake encoder's number; fails where an array's row is not of one number. */
  const numbers = async (): Promise<Record<string, number>> => {
    const { pictures } = await readIndex(out);
    const found: Record<string, number> = {};
    for (const [name, { shard, row, prefix = '' }] of Object.entries(pictures)) {
      const values = (await readFloats(join(out, shard))).get(`${prefix}features`)!;
      assert.deepEqual(values.shape.slice(1), [TOKENS, WIDTH]);
      const mine = new Set(values.data.subarray(row * TOKENS * WIDTH, (row + 1) * TOKENS * WIDTH));
      assert.equal(mine.size, 1, name);
      found[name] = [...mine][0]!;
    }
    return found;
  };
  const right = async (): Promise<Record<string, number>> => {
    const contents = await Promise.all((await readdir(folder)).filter(name => name.endsWith('.png')).map(async name => [name, valueOf(await readFile(join(folder, name), 'utf8'))] as const));
    return Object.fromEntries(contents);
  };
  const files = async (): Promise<string[]> => (await readdir(out)).sort();

  it('come of pictures that another process decodes while the ones before run, no more than a batch ahead', async () => {
    const decoder = fakeEncoder();
    const decodedAtRun: number[] = [];
    const encoder = fakeEncoder({ onRun: async () => {
      // Time for whatever goes on meanwhile.
      for (let turn = 0; turn < 20; turn++) await new Promise(resolve => { setImmediate(resolve); });
      decodedAtRun.push(decoder.decoded.length);
    } });
    await writePicture(join(folder, 'p3.png'), 'broken');
    const result = await encodeFolder(encoder, model, request(folder, out, { decoder }));
    assert.deepEqual([result.encoded, result.skipped.map(({ name }) => name), encoder.decoded], [9, ['p3.png'], []]);
    // Ten pictures in batches of two, the fourth of which cannot be decoded.
    assert.deepEqual(decodedAtRun.map((decoded, run) => decoded > 2 * (run + 1) - 1 || run === 4), [true, true, true, true, true]);
    assert.ok(decodedAtRun.every((decoded, run) => decoded <= 2 * (run + 2)), decodedAtRun.join());
    const wanted = await right();
    delete wanted['p3.png'];
    assert.deepEqual(await numbers(), wanted);
  });

  it('go into shards that an index leads to', async () => {
    const plans: unknown[] = [];
    const result = await encodeFolder(fakeEncoder(), model, request(folder, out, { onPlan: plan => { plans.push(plan); } }));
    assert.deepEqual(plans, [{ kept: 0, pending: 10 }]);
    assert.deepEqual([result.pictures, result.encoded, result.skipped, result.removed], [10, 10, [], []]);
    assert.deepEqual(await files(), ['features-00001.safetensors', 'features-00002.safetensors', 'features-00003.safetensors', 'index.json']);
    assert.deepEqual(await numbers(), await right());
    const { metadata, pictures } = await readIndex(out);
    assert.deepEqual(pictures['p5.png'], { shard: 'features-00002.safetensors', row: 1, grid: [8, 8], size: 9, modified: new Date(2001, 0).toISOString() });
    assert.deepEqual([metadata.complete, metadata.pictures, metadata.outputs, metadata.source], [true, 10, ['features'], folder]);
  });

  it('are taken in the order of the names, of folders below too, of pictures alone', async () => {
    await writePicture(join(folder, 'p10.png'), 'ten');
    await writePicture(join(folder, 'below', 'more', 'a.JPG'), 'below');
    await writePicture(join(folder, '.hidden', 'b.png'), 'hidden');
    await writePicture(join(folder, '._p1.png'), 'resource fork');
    await writePicture(join(folder, 'notes.txt'), 'no picture');
    await symlink(folder, join(folder, 'loop'));
    await symlink(join(folder, 'gone'), join(folder, 'dangling.png'));
    const result = await encodeFolder(fakeEncoder(), model, request(folder, out));
    assert.deepEqual(Object.keys((await readIndex(out)).pictures), ['below/more/a.JPG', ...Array.from({ length: 11 }, (_, index) => `p${index}.png`)]);
    assert.deepEqual(result.skipped.map(({ name }) => name), ['dangling.png']);
  });

  it('does nothing again, and then only what came, changed or went', async () => {
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    const before = await numbers();
    const idle = fakeEncoder();
    assert.equal((await encodeFolder(idle, model, request(folder, out))).encoded, 0);
    assert.deepEqual([idle.decoded, idle.loads], [[], 0]);

    await writePicture(join(folder, 'p11.png'), 'new');
    await writePicture(join(folder, 'p3.png'), 'changed', 2002);
    await writePicture(join(folder, 'p4.png'), 'picture X', 2002); // of the same size
    await rm(join(folder, 'p7.png'));
    const encoder = fakeEncoder();
    const result = await encodeFolder(encoder, model, request(folder, out));
    assert.deepEqual(encoder.decoded, ['p3.png', 'p4.png', 'p11.png'].map(name => join(folder, name)));
    assert.deepEqual([result.pictures, result.encoded, result.removed], [10, 3, ['p7.png']]);
    assert.deepEqual(await numbers(), await right());
    assert.equal((await numbers())['p5.png'], before['p5.png']);
    assert.deepEqual((await readIndex(out)).removed, ['p7.png']);
    // And once more: of a picture that is in two shards the later one counts.
    assert.equal((await encodeFolder(fakeEncoder(), model, request(folder, out))).encoded, 0);
    assert.deepEqual(await numbers(), await right());
  });

  it('of pictures that changed or went are told once, and taken out of the shards when asked', async () => {
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    await writePicture(join(folder, 'p3.png'), 'changed', 2002);
    for (const name of ['p7.png', 'p8.png', 'p9.png']) await rm(join(folder, name));
    const told = await encodeFolder(fakeEncoder(), model, request(folder, out));
    assert.deepEqual([told.newlyRemoved, told.stale, told.pruned], [['p7.png', 'p8.png', 'p9.png'], 4, 0]);
    const again = await encodeFolder(fakeEncoder(), model, request(folder, out));
    assert.deepEqual([again.removed, again.newlyRemoved, again.stale], [['p7.png', 'p8.png', 'p9.png'], [], 4]);
    assert.deepEqual((await readIndex(out)).removed, ['p7.png', 'p8.png', 'p9.png']);

    const before = await Promise.all((await files()).map(async name => (await readFile(join(out, name))).length));
    const idle = fakeEncoder();
    const pruned = await encodeFolder(idle, model, request(folder, out, { prune: true }));
    assert.deepEqual([idle.loads, pruned.encoded, pruned.pruned, pruned.stale, pruned.pictures], [0, 0, 4, 0, 7]);
    // Of 4, 4, 2 and 1 pictures the first lost one, the second one and the third both; the fourth is the changed picture's own.
    assert.deepEqual(await files(), ['features-00004.safetensors', 'features-00005.safetensors', 'features-00006.safetensors', 'index.json']);
    const after = await Promise.all((await files()).map(async name => (await readFile(join(out, name))).length));
    assert.ok(after.reduce((sum, size) => sum + size) < before.reduce((sum, size) => sum + size) - 4 * TOKENS * WIDTH * 4 + 4096);
    assert.deepEqual(await numbers(), await right());
    assert.deepEqual((await readIndex(out)).removed, []);
    const last = await encodeFolder(idle, model, request(folder, out, { prune: true }));
    assert.deepEqual([last.encoded, last.pruned, last.removed, last.stale], [0, 0, [], 0]);
    assert.deepEqual(await numbers(), await right());
  });

  it('stay as they are when pruning is cancelled, or a shard does not hold what it says', async () => {
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    await rm(join(folder, 'p1.png'));
    await rm(join(folder, 'p5.png'));
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    const before = await files();
    const controller = new AbortController();
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out, { prune: true, signal: controller.signal, onProgress: ({ label, done }) => { if (label === 'pruning' && done === 2) controller.abort(); } })), { name: 'AbortError' });
    assert.deepEqual(await files(), before);
    assert.deepEqual(await numbers(), await right());
    const shard = await readFile(join(out, 'features-00001.safetensors'), 'latin1');
    await writeFile(join(out, 'features-00001.safetensors'), shard.replace('"features":{', '"featuros":{'), 'latin1');
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out, { prune: true })), says('features-00001.safetensors does not hold features of p0.png, as it says. Delete it and run again'));
    assert.deepEqual(await files(), before);
  });

  it('list pictures that cannot be decoded and go on, and try them again the next time', async () => {
    for (const index of [0, 1, 5]) await writePicture(join(folder, `p${index}.png`), 'broken');
    const result = await encodeFolder(fakeEncoder(), model, request(folder, out));
    assert.deepEqual(result.skipped.map(({ name }) => name), ['p0.png', 'p1.png', 'p5.png']);
    const { skipped, pictures } = await readIndex(out);
    assert.deepEqual([Object.keys(skipped), Object.keys(pictures).length], [['p0.png', 'p1.png', 'p5.png'], 7]);
    assert.match(skipped['p5.png']!, /p5\.png cannot be decoded/);
    await writePicture(join(folder, 'p5.png'), 'whole');
    const again = await encodeFolder(fakeEncoder(), model, request(folder, out));
    assert.deepEqual([again.encoded, again.skipped.length], [1, 2]);
  });

  it('are refused where no picture can be read, and leave nothing', async () => {
    for (let index = 0; index < 10; index++) await writePicture(join(folder, `p${index}.png`), 'broken');
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says('None of the pictures', 'p0.png cannot be decoded'));
    await assert.rejects(readdir(out), { code: 'ENOENT' });
    await rm(folder, { recursive: true });
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says(folder, 'does not exist'));
    await writePicture(join(folder, 'notes.txt'), 'x');
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says(folder, 'no pictures'));
  });

  it('keep what is done when cancelled, down to the batch under way', async () => {
    const controller = new AbortController();
    let batches = 0;
    const encoder = fakeEncoder({ onRun: () => { if (++batches === 4) { controller.abort(); controller.signal.throwIfAborted(); } } });
    await assert.rejects(encodeFolder(encoder, model, request(folder, out, { signal: controller.signal })), error => {
      assert.ok(error instanceof CancelledRun && isAbort(error));
      assert.match(error.message, /6 of 10 pictures are done and stay in .*features; run it again to go on\./);
      return true;
    });
    assert.deepEqual(await files(), ['features-00001.safetensors', 'features-00002.safetensors', 'index.json']);
    const { metadata, pictures } = await readIndex(out);
    assert.deepEqual([metadata.complete, Object.keys(pictures).length], [false, 6]);
    const resumed = fakeEncoder();
    const plans: unknown[] = [];
    await encodeFolder(resumed, model, request(folder, out, { onPlan: plan => { plans.push(plan); } }));
    assert.deepEqual([plans, resumed.decoded.length], [[{ kept: 6, pending: 4 }], 4]);
    assert.deepEqual(await numbers(), await right());
    assert.equal((await readIndex(out)).metadata.complete, true);
  });

  it('keep what is done when the encoder fails', async () => {
    let batches = 0;
    const encoder = fakeEncoder({ onRun: () => { if (++batches === 2) throw new UserError('The encoder\'s process was killed.'); } });
    await assert.rejects(encodeFolder(encoder, model, request(folder, out)), says('was killed'));
    assert.deepEqual(Object.keys((await readIndex(out)).pictures), ['p0.png', 'p1.png']);
    assert.equal((await encodeFolder(fakeEncoder(), model, request(folder, out))).encoded, 8);
    assert.deepEqual(await numbers(), await right());
  });

  it('leave nothing when cancelled before anything is done', async () => {
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out, { signal: AbortSignal.abort() })), { name: 'AbortError' });
    await assert.rejects(readdir(out), { code: 'ENOENT' });
  });

  it('of another encoder or with other settings are refused, and replaced when told to, once there is something new', async () => {
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    const before = await numbers();
    const fineTuned = await tinyModel('qwen-vl-tiny-safetensors');
    const attempt = (what: Partial<Parameters<typeof request>[2]>, other = model) => encodeFolder(fakeEncoder(), other, request(folder, out, what));
    await assert.rejects(attempt({}, fineTuned), says('another encoder (qwen-vl-tiny-bin)', 'Choose another folder', 'start over'));
    await assert.rejects(attempt({ outputs: ['hidden_states.1', 'features'] }), says('other outputs (features instead of features, hidden_states.1)'));
    await assert.rejects(attempt({ preprocessing: { filter: 'bicubic', rescale: 1 } }), says('prepared in another way'));
    await assert.rejects(attempt({ precision: 'float16' }), says('another precision (float32)'));
    assert.deepEqual(await numbers(), before);

    await writeFile(join(out, 'mine.txt'), 'mine');
    await assert.rejects(attempt({ startOver: true, signal: AbortSignal.abort() }), { name: 'AbortError' });
    const failing = fakeEncoder({ onRun: () => { throw new UserError('No memory.'); } });
    await assert.rejects(encodeFolder(failing, fineTuned, request(folder, out, { startOver: true })), says('No memory'));
    assert.deepEqual(await numbers(), before);
    await encodeFolder(fakeEncoder(), fineTuned, request(folder, out, { startOver: true, shardPictures: 5 }));
    assert.deepEqual(await files(), ['features-00001.safetensors', 'features-00002.safetensors', 'index.json', 'mine.txt']);
    assert.deepEqual(await numbers(), await right());
  });

  it('continue with the same encoder wherever its weights lie', async () => {
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    const { settings } = (await earlierRun(out))!;
    const moved = join(scratch, 'moved');
    await cp(fixturePath('qwen-vl-tiny-bin'), moved, { recursive: true, filter: path => !path.endsWith('expected.safetensors') });
    assert.equal((await encodeFolder(fakeEncoder(), await tinyModelAt(moved), request(folder, out))).encoded, 0);
    assert.match(settings.encoder.digest, /^[0-9a-f]{64}$/);
  });

  it('say which shard is damaged or foreign', async () => {
    await encodeFolder(fakeEncoder(), model, request(folder, out));
    await truncate(join(out, 'features-00002.safetensors'), 5000);
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says('features-00002.safetensors is damaged. Delete it and run again'));
    await rm(join(out, 'features-00002.safetensors'));
    assert.equal((await encodeFolder(fakeEncoder(), model, request(folder, out))).encoded, 4);
    assert.deepEqual(await numbers(), await right());
    await writeFile(join(out, 'features-00009.safetensors'), await readFile(join(FIXTURES, 'qwen-vl-tiny-bin', 'expected.safetensors')));
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says('features-00009.safetensors was not written by'));
  });

  it('never replace an index.json of another kind, and nothing runs before that is known', async () => {
    for (const other of ['{"mine": 1}', '']) {
      await mkdir(out, { recursive: true });
      await writeFile(join(out, 'index.json'), other);
      const encoder = fakeEncoder();
      for (const startOver of [false, true]) await assert.rejects(encodeFolder(encoder, model, request(folder, out, { startOver })), says('index.json is not an index of features', 'Choose another folder'));
      assert.deepEqual([encoder.loads, await readFile(join(out, 'index.json'), 'utf8'), await files()], [0, other, ['index.json']]);
    }
    await rm(out, { recursive: true });
    await mkdir(join(out, 'index.json'), { recursive: true });
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says('index.json is not an index of features'));
  });

  it('are refused where a file is', async () => {
    await mkdir(dirname(out), { recursive: true });
    await writeFile(out, 'mine');
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says(out, 'is a file', 'Choose a folder'));
  });

  it('are written by one run at a time', async () => {
    let second: unknown;
    const encoder = fakeEncoder({ onRun: async () => { second ??= await encodeFolder(fakeEncoder(), model, request(folder, out)).catch((error: unknown) => error); } });
    await encodeFolder(encoder, model, request(folder, out));
    assert.ok(says('Another run is writing into', out)(second));
    await writeFile(join(out, '.vision-encoder-lock'), JSON.stringify({ host: 'elsewhere', pid: 1, booted: 0 }));
    await assert.rejects(encodeFolder(fakeEncoder(), model, request(folder, out)), says('delete', '.vision-encoder-lock'));
  });

  it('go on after a kill at any point, and do at most one shard again', async function () {
    this.timeout(120_000);
    for (let index = 6; index < 10; index++) await rm(join(folder, `p${index}.png`));
    const program = join(scratch, 'killed.cjs');
    const built = spawnSync(process.execPath, [join(import.meta.dirname, '../../cli/build.mjs'), program, 'test/unit/batch/killed.ts'], { encoding: 'utf8' });
    assert.equal(built.status, 0, built.stderr);
    const log = join(scratch, 'log');
    const run = (...killAt: string[]) => spawnSync(process.execPath, [program, fixturePath('qwen-vl-tiny-bin'), folder, out, log, ...killAt], { encoding: 'utf8' });
    const whole = run();
    assert.equal(whole.status, 0, whole.stderr);
    const operations = Number(whole.stdout);
    assert.ok(operations > 15, whole.stdout);
    const [all, wanted] = [await files(), await right()];
    for (let killAt = 1; killAt <= operations; killAt++) {
      await rm(dirname(out), { recursive: true });
      await rm(log, { force: true });
      assert.equal(run(String(killAt)).signal, 'SIGKILL', `${killAt}`);
      const encodedBefore = (await readFile(log, 'utf8').catch(() => '')).split('\n').length - 1;
      const resumed = fakeEncoder();
      const result = await encodeFolder(resumed, model, request(folder, out, { batchSize: 3, shardPictures: 3 }));
      assert.ok(encodedBefore + resumed.decoded.length <= 6 + 3, `${killAt}: ${encodedBefore} and ${resumed.decoded.length}`);
      assert.equal(result.pictures, 6);
      assert.deepEqual(await numbers(), wanted, `${killAt}`);
      assert.deepEqual(await files(), all, `${killAt}`);
    }
  });

  describe('of a real encoder', () => {
    let client: EncoderClient;
    before(() => { client = new EncoderClient({ entry: ENTRY }); });
    after(async () => { await client.close(); });

    it('are what the reference computes', async () => {
      await rm(folder, { recursive: true });
      for (const name of ['a.png', 'b.png', 'c.png']) await writePicture(join(folder, name), '').then(async () => { await writeFile(join(folder, name), await readFile(fixturePath('qwen-vl-tiny-bin', 'picture.png'))); });
      const progress = new Map<string, number[]>();
      await encodeFolder(client, model, request(folder, out, { outputs: ['features', 'hidden_states.1'], onProgress: ({ done, label = '' }) => { progress.set(label, [...progress.get(label) ?? [], done]); } }));
      const known = await expected('qwen-vl-tiny-bin');
      const written = await readFloats(join(out, 'features-00001.safetensors'));
      assert.deepEqual([...written.keys()].sort(), ['features', 'hidden_states.1']);
      for (const [key, { data, shape }] of written) {
        assert.equal(shape[0], 3);
        for (let row = 0; row < 3; row++) assert.ok(relativeError(data.subarray(row * data.length / 3, (row + 1) * data.length / 3), known.get(key)!.data) < 1e-5, key);
      }
      assert.deepEqual([...progress.keys()].filter(label => label !== 'loading'), ['hashing', 'running']);
      assert.deepEqual([progress.get('running')?.at(0), progress.get('running')?.at(-1)], [0, 3]);
      assert.deepEqual(progress.get('running'), [...progress.get('running')!].sort((a, b) => a - b));
    });

    it('stand apart where pictures have different numbers of patches', async () => {
      await rm(folder, { recursive: true });
      await writePicture(join(folder, 'notes.txt'), '');
      for (const [name, width, height] of [['wide', 80, 64], ['wide2', 80, 64], ['high', 62, 121]] as const) await sharp({ create: { width, height, channels: 3, background: '#804020' } }).png().toFile(join(folder, `${name}.png`));
      const checkpoint = await openCheckpoint(join(FIXTURES, 'families', 'qwen2.5-vl'));
      const free = await previewModel(await openJob(checkpoint)).finally(() => checkpoint.close());
      await encodeFolder(client, free.model, request(folder, out, { preprocessing: free.preprocessing.model, batchSize: 4 }));
      const { pictures } = await readIndex(out);
      assert.deepEqual(Object.values(pictures).map(({ prefix, row, grid }) => [prefix, row, grid]), [['pictures.0.', 0, [30, 16]], ['pictures.1.', 0, [16, 20]], ['pictures.2.', 0, [16, 20]]]);
      const written = await readFloats(join(out, 'features-00001.safetensors'));
      assert.deepEqual(written.get('pictures.1.features'), written.get('pictures.2.features'));
      assert.deepEqual([...written].map(([key, { shape }]) => [key, shape]).sort(), [['pictures.0.features', [1, 480, 24]], ['pictures.1.features', [1, 320, 24]], ['pictures.2.features', [1, 320, 24]]]);
    });
  });
});
