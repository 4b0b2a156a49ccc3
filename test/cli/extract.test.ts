import assert from 'node:assert/strict';
import { copyFile, cp, mkdir, open, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { openCheckpoint } from '../../src/checkpoint/open';
import { BIN, copyOf, fails, inFolder, names, OUTPUT, run, runJson, SAFETENSORS } from './support';

/** dtype and shape of each tensor in an output folder. */
async function contents(folder: string): Promise<Map<string, string>> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return new Map(checkpoint.tensors.map(({ key, dtype, shape }) => [key, `${dtype} ${shape.join('x')}`]));
  } finally {
    await checkpoint.close();
  }
}

async function flipByte(path: string, position: number): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, position);
    await handle.write(Buffer.of(byte.readUInt8(0) ^ 0x10), 0, 1, position);
  } finally {
    await handle.close();
  }
}

describe('vision-encoder extract', () => {
  for (const [fixture, count] of [[BIN, 53], [SAFETENSORS, 52]] as const) {
    it(`writes and verifies the encoder of ${basename(fixture)} in both formats`, () => inFolder(async folder => {
      for (const [format, file] of [['safetensors', 'model.safetensors'], ['torch', 'pytorch_model.bin']] as const) {
        const out = join(folder, format);
        const { code, stdout, stderr } = await run(['extract', fixture, '--out', out, '--format', format]);
        assert.equal(code, 0, stderr);
        assert.match(stdout, new RegExp(`^✓ ${count} tensors, \\d+ KB, strictly valid: ${out} \\(\\d+ s\\)\n {2}${file} `));
        assert.match(stderr, /Extracting 100% \(.* KB of .* KB\)\nProve it: vision-encoder verify .*\n$/);
        assert.deepEqual(await names(out), ['config.json', 'manifest.json', file, 'preprocessor_config.json'].sort());
        const verified = await run(['verify', out]);
        assert.equal(verified.code, 0, verified.stderr);
        assert.match(verified.stdout, new RegExp(`^✓ ${count} tensors, \\d+ KB: equal to the source, tensor for tensor\\.\n$`));
      }
      assert.deepEqual(await contents(join(folder, 'torch')), await contents(join(folder, 'safetensors')));
      assert.deepEqual(await names(folder), ['safetensors', 'torch']);
      // What was extracted is a checkpoint of its own: the preset keeps all of it, and it is valid.
      const again = await run(['validate', join(folder, 'torch')]);
      assert.equal(again.code, 0, again.stdout + again.stderr);
    }));
  }

  it('casts and splits, and proves that too', () => inFolder(async folder => {
    const out = join(folder, 'out');
    const json = await runJson(['extract', BIN, '--out', out, '--dtype', 'f32', '--max-shard-size', '500KB']);
    const { output } = json.manifest as { output: { dtype: string; files: { name: string }[] } };
    assert.equal(output.dtype, 'f32');
    const shards = output.files.map(({ name }) => name).filter(name => name.endsWith('.safetensors'));
    assert.ok(shards.length >= 3 && shards[0] === `model-00001-of-0000${shards.length}.safetensors`, shards.join());
    assert.deepEqual(await names(out), ['config.json', 'manifest.json', ...shards, 'model.safetensors.index.json', 'preprocessor_config.json']);
    const dtypes = [...(await contents(out)).values()].map(text => text.split(' ')[0]);
    assert.deepEqual(new Set(dtypes), new Set(['F32']));
    assert.equal((await runJson(['verify', out])).ok, true);
    for (const dtype of ['bf16', 'f16']) {
      await runJson(['extract', BIN, '--out', join(folder, dtype), '--dtype', dtype, '--format', 'torch']);
      assert.equal((await runJson(['verify', join(folder, dtype)])).ok, true);
    }
  }));

  it('gives machines one document, whatever happens', () => inFolder(async folder => {
    const out = join(folder, 'out');
    const done = await runJson(['extract', BIN, '--out', out]);
    assert.deepEqual([done.extracted, done.out, (done.validation as { valid: boolean }).valid], [true, out, true]);
    assert.deepEqual(done.manifest, JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8')));
    const invalid = await runJson(['extract', BIN, '--out', join(folder, 'other'), '--set', 'layers=4'], 1);
    assert.deepEqual([invalid.extracted, (invalid.validation as { missing: unknown[] }).missing.length], [false, 12]);
    const { error, ...rest } = await runJson(['extract', BIN, '--out', out], 2);
    assert.match(String(error), /already has .*--overwrite/);
    assert.deepEqual(rest, {});
    assert.deepEqual(await names(folder), ['out']);
  }));

  it('writes nothing that would not load strictly', () => inFolder(async folder => {
    const { code, stdout, stderr } = await run(['extract', BIN, '--out', join(folder, 'out'), '--set', 'width=32', '--set', 'heads=4']);
    assert.equal(code, 1);
    assert.match(stdout, /^Invalid for qwen-vl .*To accept it, give --set width=64/s);
    assert.match(stderr, /error: Nothing was extracted/);
    const nothing = join(folder, 'nothing.json');
    await writeFile(nothing, JSON.stringify({ version: 1, name: 'Nothing', family: 'qwen-vl', rules: [{ mark: 'keep', module: 'vision_tower' }] }));
    const kept = await run(['extract', BIN, '--out', join(folder, 'out'), '--recipe', nothing]);
    assert.equal(kept.code, 1);
    assert.match(kept.stdout, /Nothing would be kept/);
    assert.deepEqual(await names(folder), ['nothing.json']);
  }));

  it('replaces an output only when told to, and nothing else that lies there', () => inFolder(async folder => {
    const out = join(folder, 'out');
    await run(['extract', BIN, '--out', out]);
    await writeFile(join(out, 'README.md'), 'mine');
    const before = await readFile(join(out, 'model.safetensors'));
    await fails(['extract', BIN, '--out', out, '--dtype', 'f32'], [`${out} already has`, 'model.safetensors', 'Choose another folder', '--overwrite']);
    assert.ok(before.equals(await readFile(join(out, 'model.safetensors'))));
    const { code, stderr } = await run(['extract', BIN, '--out', out, '--format', 'torch', '--overwrite']);
    assert.equal(code, 0, stderr);
    assert.deepEqual(await names(out), ['README.md', 'config.json', 'manifest.json', 'preprocessor_config.json', 'pytorch_model.bin']);
    assert.equal((await run(['verify', out])).code, 0);
  }));

  it('never writes over the checkpoint, goes through links, and makes the folders on the way', () => inFolder(async folder => {
    const checkpoint = await copyOf(SAFETENSORS, folder);
    const before = await names(checkpoint);
    await fails(['extract', checkpoint, '--out', checkpoint, '--overwrite'], ['holds the checkpoint itself', 'Choose another folder']);
    assert.deepEqual(await names(checkpoint), before);
    await mkdir(join(folder, 'real'));
    await symlink(join(folder, 'real'), join(folder, 'link'));
    for (const out of ['link', 'checkpoint/inside', 'a/b/out', 'with space']) {
      const { code, stderr } = await run(['extract', checkpoint, '--out', out], { cwd: folder });
      assert.equal(code, 0, stderr);
      assert.deepEqual(await names(join(folder, out)), OUTPUT);
      assert.match(stderr, /verify (link|checkpoint\/inside|a\/b\/out|'with space')\n$/);
    }
    assert.deepEqual(await names(join(folder, 'real')), OUTPUT);
    await fails(['extract', checkpoint, '--out', ''], ['--out', 'empty']);
    await fails(['extract', checkpoint], ['--out']);
    for (const size of ['0', '-1', 'big', '5XB']) await fails(['extract', checkpoint, '--out', 'x', `--max-shard-size=${size}`], ['--max-shard-size', '5GB']);
    await fails(['extract', checkpoint, '--out', 'x', '--format', 'gguf'], ['--format', 'safetensors, torch']);
    await fails(['extract', checkpoint, '--out', 'x', '--dtype', 'int8'], ['--dtype', 'keep, bf16, f16, f32']);
  }));
});

describe('vision-encoder verify', () => {
  it('finds one flipped bit', () => inFolder(async folder => {
    const out = join(folder, 'out');
    await run(['extract', SAFETENSORS, '--out', out]);
    await flipByte(join(out, 'model.safetensors'), 100_000);
    const { code, stdout, stderr } = await run(['verify', out]);
    assert.equal(code, 1);
    assert.match(stdout, /^model\.safetensors: has other bytes than were written/m);
    assert.match(stdout, /^[\w.]+: differs from transformer\.visual\.[\w.]+ in the source, first at element \d+\.$/m);
    assert.match(stderr, /error: 2 differences in .*out\. Extract the encoder again\./);
    const json = await runJson(['verify', out], 1);
    assert.deepEqual([json.ok, json.comparedWithSource, json.checkedTensors, (json.differences as unknown[]).length], [false, true, 51, 2]);
  }));

  it('finds a source that moved by --source, says when it was not compared, and when it differs', () => inFolder(async folder => {
    const checkpoint = await copyOf(SAFETENSORS, folder);
    const [out, moved] = [join(folder, 'out'), join(folder, 'moved')];
    await run(['extract', checkpoint, '--out', out]);
    await rename(checkpoint, moved);
    const alone = await run(['verify', out]);
    assert.equal(alone.code, 0);
    assert.match(alone.stdout, /equal to the manifest \(the source was not compared\)/);
    assert.match(alone.stderr, /warning: The source cannot be compared: .*checkpoint.* does not exist.*--source/);
    const found = await run(['verify', out, '--source', moved]);
    assert.deepEqual([found.code, found.stdout], [0, '✓ 52 tensors, 397 KB: equal to the source, tensor for tensor.\n']);
    await fails(['verify', out, '--source', join(folder, 'nowhere')], ['nowhere does not exist']);
    const other = await run(['verify', out, '--source', BIN]);
    assert.equal(other.code, 1);
    assert.match(other.stdout, /was F16 when it was extracted, transformer\.visual\..* in the source is BF16/);
  }));

  it('opens what the manifest names only where it is a path of this disk', () => inFolder(async folder => {
    const out = join(folder, 'out');
    await run(['extract', SAFETENSORS, '--out', out]);
    const manifest = JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8')) as { source: { location: string } };
    const verifyWith = async (location: string) => {
      await writeFile(join(out, 'manifest.json'), JSON.stringify({ ...manifest, source: { ...manifest.source, location } }));
      // In the checkpoint's folder a relative path would lead to it.
      const { code, stdout, stderr } = await run(['verify', out], { cwd: SAFETENSORS });
      assert.equal(code, 0, stderr);
      assert.match(stdout, /equal to the manifest \(the source was not compared\)/);
      return stderr;
    };
    for (const location of ['//fileserver/models/Qwen-VL', '\\\\fileserver\\models\\Qwen-VL', 'hf://Qwen/Qwen-VL-Chat', 'http://127.0.0.1:9/model.safetensors']) {
      const stderr = await verifyWith(location);
      assert.ok(stderr.includes(`not on this disk, so it is not opened unasked. To compare with it too, say --source ${location.includes('\\') ? `'${location}'` : location}\n`), stderr);
    }
    for (const location of ['.', 'C:\\models\\Qwen-VL']) assert.ok((await verifyWith(location)).includes(`${location} is no path of this machine. Say where it is with --source.`), location);
  }));

  it('wants the folder of an extraction', () => inFolder(async folder => {
    await fails(['verify', folder], [`There is no manifest.json in ${folder}`, 'Give the folder']);
    await cp(join(BIN, 'config.json'), join(folder, 'manifest.json'));
    await fails(['verify', folder], [join(folder, 'manifest.json'), 'not a manifest of this tool']);
    await copyFile(join(BIN, 'picture.png'), join(folder, 'manifest.json'));
    await fails(['verify', folder], [join(folder, 'manifest.json'), 'is not JSON']);
    await fails(['verify'], ['missing required argument']);
  }));
});
