import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, mkdirSync, rmSync } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { expected, fixturePath, readFloats, relativeError, TINY } from '../unit/encoder/fixture';
import { withServer } from '../unit/remote/support';
import { fails, FIXTURES, inFolder, names, run, type Ended } from './support';

const ROOT = join(__dirname, '../..');
const PICTURES = join(FIXTURES, 'pictures');
/** Everything that the encoder gives. */
const ALL = ['--layers', 'all', '--attention-pool'];

describe('vision-encoder features', function () {
  this.timeout(60_000);
  let folder: string;
  let program: string;

  // Within the project, so that Node finds ONNX Runtime and sharp.
  before(() => {
    mkdirSync(join(ROOT, 'test-results'), { recursive: true });
    folder = mkdtempSync(join(ROOT, 'test-results/cli-'));
    program = join(folder, 'cli.js');
    for (const [file, ...entry] of [['cli.js'], ['encoder.js', 'src/encoder/process.ts']]) {
      const { status, stderr } = spawnSync(process.execPath, [join(__dirname, 'build.mjs'), join(folder, file ?? ''), ...entry], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    }
  });
  after(() => { rmSync(folder, { recursive: true, force: true }); });

  const features = (...args: string[]): Promise<Ended> => run(['features', ...args, '--device', 'cpu'], { program });
  const failing = (args: string[], ...says: (string | RegExp)[]): Promise<void> => fails(['features', ...args], says, { program });
  const succeed = async (...args: string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await features(...args, '--json');
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const metadataOf = async (file: string): Promise<Record<string, string>> => {
    const bytes = await readFile(file);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE()))) as { __metadata__: Record<string, string> };
    return header.__metadata__;
  };

  it('runs an encoder on the Hub from a cache, which it fills once', () => inFolder(out => withServer({ folder: fixturePath(TINY[0]) }, async server => {
    const picture = fixturePath(TINY[0], 'picture.png');
    const files = ['local', 'fetched', 'cached'].map(name => join(out, `${name}.npy`));
    const [local = '', fetched = '', cached = ''] = files;
    const remotely = (file: string): Promise<Ended> => run(
      ['features', picture, '--checkpoint', 'hf://test/tiny', '--cache', join(out, 'cache'), '--out', file, '--device', 'cpu'], { program, env: { HF_ENDPOINT: server.endpoint, HF_HOME: out } });
    await succeed(picture, '--checkpoint', fixturePath(TINY[0]), '--out', local);
    const first = await remotely(fetched);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stderr, /Downloading .* of .* into .*cache, once\./);
    const kept = server.sent();
    const mark = server.log.length;
    const second = await remotely(cached);
    assert.equal(second.code, 0, second.stderr);
    assert.doesNotMatch(second.stderr, /Downloading/);
    assert.ok(server.sent(mark) < kept / 2, 'headers and configs alone');
    const [original, ...others] = await Promise.all(files.map(file => readFile(file)));
    for (const other of others) assert.ok(original!.equals(other));
  })));

  for (const name of TINY) {
    it(`writes what the reference computes, of ${name}`, () => inFolder(async out => {
      const file = join(out, 'all.safetensors');
      const json = await succeed(fixturePath(name, 'picture.png'), '--checkpoint', fixturePath(name), '--out', file, ...ALL);
      const known = await expected(name);
      const written = await readFloats(file);
      assert.deepEqual([...written.keys()].sort(), [...known.keys()].sort());
      for (const [key, { shape, data }] of known) {
        const ours = written.get(key);
        assert.deepEqual(ours?.shape, shape, key);
        if (key === 'pixel_values') {
          // One level of 255, in units of CLIP's smallest deviation.
          const most = data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (ours.data[i] ?? NaN))), 0);
          assert.ok(most <= 1 / 255 / 0.26, `pixel_values differ by ${most}`);
        } else {
          assert.ok(relativeError(ours.data, data) < 1e-5, `${key}: ${relativeError(ours.data, data)}`);
        }
      }
      assert.equal(json.device, 'cpu');
      assert.deepEqual(json.shapes, Object.fromEntries([...known].map(([key, { shape }]) => [key, shape])));
      assert.deepEqual(await names(out), ['all.safetensors']);
    }));

    it(`gives the same from the extracted encoder, of ${name}`, () => inFolder(async out => {
      const extracted = await run(['extract', fixturePath(name), '--out', join(out, 'encoder')], { program });
      assert.equal(extracted.code, 0, extracted.stderr);
      const picture = fixturePath(name, 'picture.png');
      await succeed(picture, '--checkpoint', fixturePath(name), '--out', join(out, 'before.safetensors'), '--resize', 'square', ...ALL);
      await succeed(picture, '--checkpoint', join(out, 'encoder'), '--out', join(out, 'after.safetensors'), '--resize', 'square', ...ALL);
      assert.deepEqual(await readFloats(join(out, 'after.safetensors')), await readFloats(join(out, 'before.safetensors')));
    }));
  }

  const tiny = fixturePath('qwen-vl-tiny-bin');

  it('writes a folder in batches, in the order of the names, each picture as if alone', () => inFolder(async out => {
    await mkdir(join(out, 'photos'));
    for (const [from, to] of [['rgb8.png', 'p10.png'], ['cmyk-plain.jpg', 'p2.jpg'], ['lossy.webp', 'P1.WEBP']] as const) await copyFile(join(PICTURES, from), join(out, 'photos', to));
    await writeFile(join(out, 'photos', 'notes.txt'), 'no picture');
    const pictures = ['P1.WEBP', 'p2.jpg', 'p10.png'].map(name => join(out, 'photos', name));
    const json = await succeed(join(out, 'photos'), '--checkpoint', tiny, '--out', join(out, 'all.safetensors'), '--batch-size', '2', '--layers', '0,2');
    assert.deepEqual(json.pictures, pictures);
    assert.deepEqual(JSON.parse((await metadataOf(join(out, 'all.safetensors'))).pictures ?? ''), pictures);
    const all = await readFloats(join(out, 'all.safetensors'));
    assert.deepEqual([...all.keys()].sort(), ['features', 'hidden_states.0', 'hidden_states.2', 'pixel_values']);
    for (const [index, picture] of pictures.entries()) {
      const file = join(out, `${index}.safetensors`);
      await succeed(picture, '--checkpoint', tiny, '--out', file, '--layers', '0,2');
      for (const [key, { shape, data }] of await readFloats(file)) {
        const together = all.get(key);
        assert.deepEqual(together?.shape, [3, ...shape.slice(1)]);
        assert.ok(relativeError(together.data.subarray(index * data.length, (index + 1) * data.length), data) < 1e-6, `${key} of ${picture}`);
      }
    }
  }));

  it('gives pictures of different shapes the patches that they have, each as if alone', () => inFolder(async out => {
    const encoder = join(FIXTURES, 'families', 'qwen2.5-vl');
    const [wide, high] = [join(out, 'wide.png'), join(out, 'high.png')];
    await sharp({ create: { width: 80, height: 64, channels: 3, background: '#804020' } }).png().toFile(wide);
    await sharp({ create: { width: 62, height: 121, channels: 3, background: '#204080' } }).png().toFile(high);
    const [both, alone] = [join(out, 'both.safetensors'), join(out, 'alone.safetensors')];
    assert.deepEqual((await succeed(wide, high, '--checkpoint', encoder, '--out', both, '--layers', '1')).grids, [[16, 20], [30, 16]]);
    await succeed(high, '--checkpoint', encoder, '--out', alone);
    const [mixed, single] = [await readFloats(both), await readFloats(alone)];
    assert.deepEqual(mixed.get('pictures.0.hidden_states.1')?.shape, [1, 320, 24]);
    assert.deepEqual(mixed.get('pictures.1.features'), single.get('features'));
    assert.deepEqual((await metadataOf(both)).grids, '[[16,20],[30,16]]');
    await failing([wide, high, '--checkpoint', encoder, '--out', join(out, 'both.npy')], 'The pictures have different numbers of patches');
  }));

  it('gives pictures on tiles the layout that they need, each as if alone', () => inFolder(async out => {
    const encoder = join(FIXTURES, 'families', 'mllama');
    const [wide, small] = [join(out, 'wide.png'), join(out, 'small.png')];
    await sharp({ create: { width: 48, height: 12, channels: 3, background: '#804020' } }).png().toFile(wide);
    await sharp({ create: { width: 10, height: 10, channels: 3, background: '#204080' } }).png().toFile(small);
    const [both, alone] = [join(out, 'both.safetensors'), join(out, 'alone.safetensors')];
    assert.deepEqual((await succeed(wide, small, '--checkpoint', encoder, '--out', both, '--layers', '4')).grids, [[3, 12], [3, 3]]);
    await succeed(small, '--checkpoint', encoder, '--out', alone);
    const [mixed, single] = [await readFloats(both), await readFloats(alone)];
    // A class token for each tile, then the patches of the whole canvas; the hidden states have all of the class's tokens.
    assert.deepEqual(['pixel_values', 'features', 'hidden_states.4'].map(name => mixed.get(`pictures.0.${name}`)?.shape), [[1, 3, 12, 48], [1, 40, 24], [1, 64, 8]]);
    assert.deepEqual(mixed.get('pictures.1.features')?.shape, [1, 10, 24]);
    assert.deepEqual(mixed.get('pictures.1.features'), single.get('features'));
  }));

  it('writes the features alone as .npy, which reads back', () => inFolder(async out => {
    const picture = fixturePath('qwen-vl-tiny-bin', 'picture.png');
    await succeed(picture, picture, '--checkpoint', tiny, '--out', join(out, 'f.npy'));
    const bytes = await readFile(join(out, 'f.npy'));
    const start = 10 + bytes.readUInt16LE(8);
    assert.match(bytes.toString('latin1', 0, start), /^\x93NUMPY\x01\0.*'descr': '<f4'.*'shape': \(2, 256, 128\)/s); // eslint-disable-line no-control-regex -- the format begins so
    const values = new Float32Array(new Uint8Array(bytes.subarray(start)).buffer);
    const { data } = (await expected('qwen-vl-tiny-bin')).get('features')!;
    assert.equal(values.length, 2 * data.length);
    for (const one of [values.subarray(0, data.length), values.subarray(data.length)]) assert.ok(relativeError(one, data) < 1e-5);
    await failing([picture, '--checkpoint', tiny, '--out', join(out, 'g.npy'), '--layers', '0'], '.safetensors');
  }));

  it('prepares pictures as preprocessor_config.json says, unless told', () => inFolder(async out => {
    const checkpoint = join(out, 'checkpoint');
    cpSync(tiny, checkpoint, { recursive: true });
    const config = (size: number): Promise<void> => writeFile(join(checkpoint, 'preprocessor_config.json'), JSON.stringify({ feature_extractor_type: 'CLIPFeatureExtractor', size, crop_size: size, resample: 3, do_center_crop: true }));
    const pixels = async (file: string, ...args: string[]) => {
      await succeed(join(PICTURES, 'orientation-1.jpg'), '--checkpoint', checkpoint, '--out', join(out, file), ...args);
      return (await readFloats(join(out, file))).get('pixel_values');
    };
    const square = await pixels('default.safetensors');
    await config(112);
    const cropped = await pixels('config.safetensors');
    assert.deepEqual(await pixels('crop.safetensors', '--resize', 'crop'), cropped);
    assert.deepEqual(await pixels('square.safetensors', '--resize', 'square'), square);
    assert.notDeepEqual(cropped, square);
    await config(224);
    assert.deepEqual(await pixels('other-size.safetensors'), cropped);
    const said = await succeed(join(PICTURES, 'rgb8.png'), '--checkpoint', checkpoint, '--out', join(out, 'said.safetensors'));
    assert.equal(said.preprocessing, 'the checkpoint\'s preprocessor_config.json (at 112 x 112 pixels, for which the encoder has positions; the file says 224 x 224)');
  }));

  it('names broken pictures, and goes on without them when told', () => inFolder(async out => {
    await writeFile(join(out, 'broken.png'), (await readFile(join(PICTURES, 'rgb8.png'))).subarray(0, 60));
    await writeFile(join(out, 'page.jpg'), '<html>');
    const pictures = [join(out, 'broken.png'), join(PICTURES, 'rgb8.png'), join(out, 'page.jpg')];
    await failing([...pictures, '--checkpoint', tiny, '--out', join(out, 'f.safetensors')], join(out, 'broken.png'));
    const json = await succeed(...pictures, '--checkpoint', tiny, '--out', join(out, 'f.safetensors'), '--skip-broken');
    assert.deepEqual(json.pictures, [join(PICTURES, 'rgb8.png')]);
    assert.deepEqual((json.skipped as { picture: string }[]).map(({ picture }) => picture), [join(out, 'broken.png'), join(out, 'page.jpg')]);
    assert.deepEqual((await readFloats(join(out, 'f.safetensors'))).get('features')?.shape, [1, 256, 128]);
    await failing([join(out, 'page.jpg'), '--checkpoint', tiny, '--out', join(out, 'g.safetensors'), '--skip-broken'], 'None of the pictures');
    assert.deepEqual(await names(out), ['broken.png', 'f.safetensors', 'page.jpg']);
  }));

  it('says what is wrong before anything runs, and leaves nothing', () => inFolder(async out => {
    const picture = join(PICTURES, 'rgb8.png');
    const file = join(out, 'f.safetensors');
    await failing([join(out, 'none.png'), '--checkpoint', tiny, '--out', file], join(out, 'none.png'), 'does not exist');
    await failing([out, '--checkpoint', tiny, '--out', file], out, 'no pictures');
    await failing([picture, '--checkpoint', tiny, '--out', join(out, 'f.json')], '.safetensors', 'end it with / for a folder');
    await failing([picture, '--checkpoint', tiny, '--out', join(out, 'shards')], 'the pictures of one folder');
    await failing([out, out, '--checkpoint', tiny, '--out', join(out, 'shards')], 'the pictures of one folder');
    await failing([picture, '--checkpoint', tiny, '--out', file, '--shard-pictures', '3'], '--shard-pictures is for folders');
    await failing([picture, '--checkpoint', tiny, '--out', file, '--layers', '3'], 'block 3', '0 to 2');
    await failing([picture, '--checkpoint', tiny, '--out', file, '--set', 'output_dim=7'], 'strictly');
    await writeFile(file, 'mine');
    await failing([picture, '--checkpoint', tiny, '--out', file], file, '--overwrite');
    assert.equal(await readFile(file, 'utf8'), 'mine');
    await succeed(picture, '--checkpoint', tiny, '--out', file, '--overwrite');
    assert.deepEqual((await readFloats(file)).get('features')?.shape, [1, 256, 128]);
    assert.deepEqual(await names(out), ['f.safetensors']);
  }));

  it('runs on the CPU, and says why, when the device is not there', () => inFolder(async out => {
    const { code, stdout, stderr } = await run(['features', join(PICTURES, 'rgb8.png'), '--checkpoint', tiny, '--out', join(out, 'f.npy'), '--device', 'coreml', '--json'], { program });
    assert.equal(code, 0, stderr);
    const { device, rejected } = JSON.parse(stdout) as { device: string; rejected: { device: string; reason: string }[] };
    if (process.platform === 'darwin') return;
    assert.deepEqual([device, rejected[0]?.device], ['cpu', 'coreml']);
    assert.match(rejected[0]?.reason ?? '', /CoreML/);
  }));

  it('says what runs before it runs, and how far each step is', () => inFolder(async out => {
    const picture = join(PICTURES, 'rgb8.png');
    const { code, stderr } = await run(['features', picture, picture, '--checkpoint', tiny, '--out', join(out, 'f.npy'), '--device', 'cpu', '--precision', 'float16'], { program });
    assert.equal(code, 0, stderr);
    const said = ['Reading pictures 50% (1 picture of 2 pictures)', 'The CPU calculates in single precision', 'Encoding 100% (2 pictures of 2 pictures)'].map(line => stderr.indexOf(line));
    assert.ok(said.every((at, index) => at > (said[index - 1] ?? -1)), stderr);
  }));

  it('writes a folder into shards with an index, and goes on where it was cancelled', () => inFolder(async out => {
    const photos = join(out, 'photos');
    await mkdir(join(photos, 'more'), { recursive: true });
    for (let index = 0; index < 120; index++) await copyFile(join(PICTURES, 'rgb8.png'), join(photos, `${index}.png`));
    await copyFile(join(PICTURES, 'lossy.webp'), join(photos, 'more', 'a.webp'));
    await writeFile(join(photos, 'page.jpg'), '<html>');
    const shards = join(out, 'features');
    const args = [photos, '--checkpoint', tiny, '--out', shards, '--shard-pictures', '16', '--layers', '1'];
    const cancelled = await run(['features', ...args, '--device', 'cpu', '--json'], {
      program,
      watch: child => { child.stderr?.on('data', (text: Buffer) => { if (text.includes('Encoding 50%')) child.kill('SIGINT'); }); },
    });
    assert.equal(cancelled.code, 130, cancelled.stderr);
    const [, done = ''] = /(\d+) of 12\d pictures are done and stay in .*features; run it again to go on\./.exec(cancelled.stderr) ?? [];
    assert.ok(Number(done) >= 32 && Number(done) < 121, cancelled.stderr);
    assert.ok((await names(shards)).includes('index.json'));

    const resumed = await features(...args);
    assert.equal(resumed.code, 0, resumed.stderr);
    assert.match(resumed.stderr, new RegExp(`${done} pictures are done already, ${122 - Number(done)} pictures to go\\.`));
    assert.match(resumed.stderr, /warning: Left out: .*page\.jpg/);
    assert.match(resumed.stdout, new RegExp(`121 pictures, ${121 - Number(done)} of them new on CPU: .*features, \\d+ shards`));
    const { pictures, metadata } = JSON.parse(await readFile(join(shards, 'index.json'), 'utf8')) as { pictures: Record<string, { shard: string; row: number }>; metadata: { complete: boolean } };
    assert.deepEqual([Object.keys(pictures).length, metadata.complete], [121, true]);
    const file = join(out, 'one.safetensors');
    await succeed(join(photos, 'more'), '--checkpoint', tiny, '--out', file, '--layers', '1');
    const alone = await readFloats(file);
    const { shard, row } = pictures['more/a.webp']!;
    const together = await readFloats(join(shards, shard));
    assert.deepEqual([...together.keys()].sort(), ['features', 'hidden_states.1']);
    for (const [key, { data }] of together) {
      const one = alone.get(key)!.data;
      assert.ok(relativeError(data.subarray(row * one.length, (row + 1) * one.length), one) < 1e-6, key);
    }

    const again = await succeed(...args);
    assert.deepEqual([again.pictures, again.encoded, (again.skipped as unknown[]).length], [121, 0, 1]);
    for (const name of ['3.png', '40.png']) await rm(join(photos, name));
    const told = await features(...args);
    assert.match(told.stderr, /Not in the folder any more, and taken out of the index: "3\.png", "40\.png"\./);
    assert.match(told.stderr, /The shards still hold features of 2 pictures that changed or went; --prune takes them out\./);
    assert.doesNotMatch((await features(...args)).stderr, /any more|--prune/);
    const pruned = await features(...args, '--prune');
    assert.match(pruned.stderr, /Taken out of the shards: features of 2 pictures that changed or went\./);
    await failing([photos, '--checkpoint', tiny, '--out', join(out, 'f.safetensors'), '--prune'], '--prune is for folders');
    await failing([photos, '--checkpoint', tiny, '--out', shards], 'other outputs (features, hidden_states.1 instead of features)', '--overwrite');
    const over = await succeed(photos, '--checkpoint', tiny, '--out', shards, '--overwrite');
    assert.deepEqual([over.pictures, over.encoded, over.shards], [119, 119, ['features-00001.safetensors']]);
    assert.deepEqual(await names(shards), ['features-00001.safetensors', 'index.json']);
  }));

  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    it(`leaves nothing after ${name}`, () => inFolder(async out => {
      const pictures = Array.from({ length: 400 }, () => join(PICTURES, 'rgb8.png'));
      const { code } = await run(['features', ...pictures, '--checkpoint', tiny, '--out', join(out, 'f.safetensors'), '--device', 'cpu'], {
        program,
        watch: child => { child.stderr?.on('data', (text: Buffer) => { if (text.includes('60%')) child.kill(name); }); },
      });
      assert.equal(code, name === 'SIGINT' ? 130 : 143);
      assert.deepEqual(await names(out), []);
    }));
  }

  it('exports ONNX models, one file or in place', () => inFolder(async out => {
    const extracted = await run(['extract', tiny, '--out', join(out, 'encoder')], { program });
    assert.equal(extracted.code, 0, extracted.stderr);
    const model = join(out, 'encoder', 'encoder.onnx');
    const exported = await run(['export', join(out, 'encoder'), '--out', model, '--weights', 'in-place', '--outputs', 'features, hidden_states.1', '--json'], { program });
    assert.equal(exported.code, 0, exported.stderr);
    assert.deepEqual((JSON.parse(exported.stdout) as { files: { path: string }[] }).files.map(({ path }) => path), [model]);
    const whole = await run(['export', tiny, '--out', join(out, 'whole', 'encoder.onnx')], { program });
    assert.equal(whole.code, 0, whole.stderr);
    assert.deepEqual(await names(join(out, 'whole')), ['encoder.onnx', 'encoder.onnx.data', 'preprocessor_config.json']);
    const { size, do_center_crop: crops } = JSON.parse(await readFile(join(out, 'whole', 'preprocessor_config.json'), 'utf8')) as Record<string, unknown>;
    assert.deepEqual([size, crops], [{ height: 112, width: 112 }, false]);
    assert.match(exported.stderr, /preprocessor_config\.json was there already and stays as it is\./);
    await fails(['export', tiny, '--out', join(out, 'whole', 'encoder.onnx')], ['exists already'], { program });
    await fails(['export', tiny, '--out', join(out, 'elsewhere.onnx'), '--weights', 'in-place'], ['own folder'], { program });
    await fails(['export', tiny, '--out', join(out, 'x.onnx'), '--outputs', 'hidden_states.9'], ['0 to 2'], { program });
    await fails(['export', tiny, '--out', join(out, 'x.bin')], ['.onnx'], { program });
  }));
});
