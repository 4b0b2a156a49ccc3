import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, open, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BIN, cliPath, copyOf, fails, FIXTURES, inFolder, names, run, SAFETENSORS, skip } from './support';

const NOBODY = 65534;

/** Each must be refused by every command that opens a checkpoint, in the same words. */
const FILES: readonly (readonly [file: string, ...says: (string | RegExp)[]])[] = [
  ['real/models/llava-lisa-7b', 'pytorch_model-00001-of-00002.bin', 'Git LFS pointer', '9.98 GB', 'git lfs pull'],
  ['real/models/qwen2-vl-olmocr', 'model-00001-of-00004.safetensors', 'Git LFS pointer', 'git lfs pull'],
  ['real/models/qwen3-vl-reason2', 'model-00001-of-00004.safetensors', 'Git LFS pointer', 'git lfs pull'],
  ['real/models/gemma3-medgemma-27b', 'none of the 12 shards', 'model-00001-of-00012.safetensors (460 keys)', 'fetch the missing files'],
  ['real/models/qwen-vl-deepspeed-visualchat', 'holds no checkpoint', 'config.json', 'Open the folder that directly holds the weights'],
  ['malformed/torch/lfs_pointer.bin', 'lfs_pointer.bin', 'git lfs pull'],
  ['malformed/torch/gguf.bin', 'gguf.bin is a GGUF file', 'Open the original checkpoint'],
  ['malformed/torch/hdf5.bin', 'hdf5.bin is an HDF5 file', 'Open the PyTorch or safetensors version'],
  ['malformed/safetensors/html_error_page.safetensors', 'html_error_page.safetensors is a web page', 'Download it again'],
  ['malformed/torch/pkl_os_system.bin', 'pkl_os_system.bin', '"posix.system"', 'nothing was run', 'safetensors version'],
  ['malformed/torch/empty.bin', 'empty.bin is empty', 'Download it again'],
  ['malformed/torch/truncated_no_eocd.bin', 'truncated_no_eocd.bin', 'incomplete', 'download it again'],
  ['malformed/torch/storage_long.bin', 'storage_long.bin is damaged', 'data/0', 'Download it again'],
  ['malformed/torch/record_size_lies.bin', 'record_size_lies.bin', 'data/0', 'does not fit into the file'],
  ['malformed/torch/pkl_billion_laughs_2e40.bin', 'pkl_billion_laughs_2e40.bin holds no tensors', 'Choose the file'],
  ['malformed/torch/pkl_deep_nesting_100k.bin', 'pkl_deep_nesting_100k.bin', 'Choose the file'],
  ['malformed/torch/two_roots.bin', 'two_roots.bin', '"other/x"', 'unpack it'],
  ['malformed/safetensors/len_100MB_plus1.safetensors', 'len_100MB_plus1.safetensors', '100000001', '100000000'],
  ['malformed/safetensors/len_gt_file.safetensors', 'len_gt_file.safetensors', 'Download it again'],
  ['malformed/safetensors/overlap_full_same.safetensors', 'overlap_full_same.safetensors', '"w1" overlap those of "w0"', 'Download or export'],
  ['malformed/safetensors/shape_overflow_mul.safetensors', 'shape_overflow_mul.safetensors', 'dimension', 'Download or export'],
  ['malformed/safetensors/not_utf8.safetensors', 'not_utf8.safetensors', 'download it again'],
  ['qwen-vl-tiny-bin/picture.png', 'picture.png'],
];

describe('vision-encoder on bad input', () => {
  for (const [file, ...says] of FILES) {
    it(`says one sentence of ${file}`, () => inFolder(async folder => {
      await fails(['keys', join(FIXTURES, file)], says);
      await fails(['extract', join(FIXTURES, file), '--out', join(folder, 'out')], says);
      assert.deepEqual(await names(folder), []);
    }));
  }

  /** Damages a copy of a checkpoint, whose extraction must then be refused and leave nothing. */
  function refusesDamaged(what: string, fixture: string, damage: (checkpoint: string) => Promise<unknown>, says: readonly (string | RegExp)[]): void {
    it(`refuses ${what}`, () => inFolder(async folder => {
      const checkpoint = await copyOf(fixture, folder);
      await damage(checkpoint);
      await fails(['extract', checkpoint, '--out', join(folder, 'out')], says);
      assert.deepEqual(await names(folder), ['checkpoint']);
    }));
  }

  refusesDamaged('a missing shard', SAFETENSORS, checkpoint => rm(join(checkpoint, 'model-00002-of-00004.safetensors')),
    ['holds 3 of the 4 shards', /model-00002-of-00004\.safetensors \(\d+ keys\)/, 'fetch the missing files']);
  refusesDamaged('a truncated safetensors shard', SAFETENSORS, checkpoint => truncate(join(checkpoint, 'model-00003-of-00004.safetensors'), 200_000),
    [/model-00003-of-00004\.safetensors is 200000 bytes, its header needs \d+/, 'incomplete', 'Download it again']);
  refusesDamaged('a truncated PyTorch shard', BIN, checkpoint => truncate(join(checkpoint, 'pytorch_model-00002-of-00003.bin'), 200_000),
    ['pytorch_model-00002-of-00003.bin', 'cut off', 'download it again']);
  refusesDamaged('an index that names keys its shard lacks', SAFETENSORS, async checkpoint => {
    const path = join(checkpoint, 'model.safetensors.index.json');
    const index = JSON.parse(await readFile(path, 'utf8')) as { weight_map: Record<string, string> };
    index.weight_map['transformer.visual.ln_extra.weight'] = 'model-00001-of-00004.safetensors';
    await writeFile(path, JSON.stringify(index));
  }, ['model.safetensors.index.json names keys', 'model-00001-of-00004.safetensors lacks "transformer.visual.ln_extra.weight"', 'do not belong together']);
  refusesDamaged('an index that leads out of its folder', SAFETENSORS, async checkpoint => {
    const path = join(checkpoint, 'model.safetensors.index.json');
    await writeFile(path, (await readFile(path, 'utf8')).replaceAll('model-00001', '../../model-00001'));
  }, ['model.safetensors.index.json', 'does not lie inside', 'refused']);
  refusesDamaged('a config with something behind its end', SAFETENSORS, checkpoint => copyFile(join(FIXTURES, 'real/models/llava-lisa-7b/config.json'), join(checkpoint, 'config.json')),
    ['config.json is not valid JSON: line 43, column 1', '"[http]" follows', 'Delete everything from there on']);
  refusesDamaged('a broken preprocessor_config.json', SAFETENSORS, checkpoint => writeFile(join(checkpoint, 'preprocessor_config.json'), '[1]'), ['preprocessor_config.json', 'an array']);
  refusesDamaged('a config that is none', SAFETENSORS, checkpoint => copyFile(join(checkpoint, 'picture.png'), join(checkpoint, 'config.json')), ['config.json is not UTF-8 text', 'right file']);
  refusesDamaged('a link whose file is gone', BIN, async checkpoint => {
    const shard = join(checkpoint, 'pytorch_model-00001-of-00003.bin');
    await rm(shard);
    await symlink('/blobs/gone', shard);
  }, ['pytorch_model-00001-of-00003.bin', /missing|does not exist/]);

  it('names config and recipe files that cannot be taken', () => inFolder(async folder => {
    const [big, text] = [join(folder, 'big.json'), join(folder, 'text.json')];
    const handle = await open(big, 'w');
    await handle.truncate(3 * 2 ** 30);
    await handle.close();
    await writeFile(text, 'hello');
    for (const option of ['--config', '--recipe']) {
      await fails(['validate', BIN, option, join(folder, 'nowhere.json')], ['nowhere.json does not exist', 'Check the path']);
      await fails(['validate', BIN, option, folder], [folder, 'is a folder']);
      await fails(['validate', BIN, option, big], ['big.json is larger than 16.8 MB', 'right file']);
      await fails(['validate', BIN, option, text], ['text.json is not valid JSON: line 1, column 1']);
      await fails(['validate', BIN, option, join(BIN, 'picture.png')], ['picture.png is not UTF-8 text']);
      await fails(['validate', BIN, option, ''], [option, 'empty']);
    }
    await fails(['validate', BIN, '--recipe', join(BIN, 'config.json')], ['config.json is not a valid recipe', 'version must be 1']);
    await writeFile(text, JSON.stringify({ version: 1, name: 'x', family: 'clap', rules: [] }));
    await fails(['validate', BIN, '--recipe', text], ['"clap" is not known', 'qwen-vl']);
  }));

  it('says which checkpoints a folder holds when it cannot choose', () => inFolder(async folder => {
    for (const name of ['a.safetensors', 'b.safetensors']) await copyFile(join(FIXTURES, 'malformed/safetensors/ok_dtype_F32.safetensors'), join(folder, name));
    await fails(['keys', folder], ['holds 2 checkpoints: "a.safetensors", "b.safetensors"', 'Open one']);
    await fails(['keys', join(folder, 'c.safetensors')], ['c.safetensors does not exist']);
  }));

  it('says which folder it has no permission for', async function () {
    if (process.getuid?.() !== 0) return skip(this, 'only root can become another user');
    await inFolder(async folder => {
      await chmod(folder, 0o755);
      const checkpoint = await copyOf(SAFETENSORS, folder);
      await mkdir(join(folder, 'closed'));
      await fails(['extract', checkpoint, '--out', join(folder, 'closed')], [join(folder, 'closed'), 'no permission', 'Choose another folder'], { uid: NOBODY });
      await fails(['extract', checkpoint, '--out', join(folder, 'new/out')], [join(folder, 'new/out'), 'no permission'], { uid: NOBODY });
      assert.deepEqual(await names(join(folder, 'closed')), []);
      await chmod(join(checkpoint, 'model-00001-of-00004.safetensors'), 0o600);
      await fails(['keys', checkpoint], ['model-00001-of-00004.safetensors may not be read', 'permission'], { uid: NOBODY });
      await chmod(checkpoint, 0o700);
      await fails(['keys', checkpoint], [checkpoint, 'may not be read', 'permission'], { uid: NOBODY });
      assert.deepEqual(await names(folder), ['checkpoint', 'closed']);
    });
  });

  it('says that the disk is full, before it begins', async function () {
    await inFolder(async folder => {
      const disk = join(folder, 'disk');
      await mkdir(disk);
      if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk]).status !== 0) return skip(this, 'no permission to mount a small disk');
      try {
        await fails(['extract', BIN, '--out', join(disk, 'out')], [/The disk of .*disk\/out has .* free, and the output needs/, 'Free some space']);
        assert.deepEqual(await names(disk), []);
      } finally {
        spawnSync('umount', [disk]);
      }
    });
  });

  it('takes a config from a pipe', () => {
    const { status, stdout, stderr } = spawnSync('bash', ['-c', 'cat "$1" | "$2" "$3" validate "$4" --config /dev/stdin --set output_dim=128', 'bash', join(BIN, 'encoder-config.json'), process.execPath, cliPath(), BIN], { encoding: 'utf8' });
    assert.deepEqual([status, stdout.slice(0, 6)], [0, 'Valid:'], stderr);
  });

  it('exits with 0 for help and version, and teaches', async () => {
    const help = await run(['--help']);
    assert.equal(help.code, 0);
    for (const word of ['keys', 'recipe', 'validate', 'extract', 'verify', 'Exit codes: 0 valid or equal, 1 invalid or different, 2', 'Examples:']) assert.ok(help.stdout.includes(word), word);
    const shared = ['--config', '--recipe', '--family', '--set', '--json'];
    const options = {
      keys: [...shared, '--filter', '--mark'], recipe: shared, validate: shared,
      extract: [...shared, '--out', '--format', '--dtype', '--max-shard-size', '--overwrite'], verify: ['--source', '--json'],
    };
    for (const [command, wanted] of Object.entries(options)) {
      const { code, stdout } = await run([command, '--help']);
      assert.equal(code, 0);
      for (const option of wanted) assert.ok(stdout.includes(`${option} `) || stdout.includes(`${option}\n`), `${command} --help says ${option}`);
      assert.match(stdout, new RegExp(`Examples:\n {2}\\$ vision-encoder ${command} `));
    }
    const version = await run(['--version']);
    assert.deepEqual([version.code, /^\d+\.\d+\.\d+\n$/.test(version.stdout)], [0, true]);
    const nothing = await run([]);
    assert.deepEqual([nothing.code, nothing.stdout], [2, '']);
    assert.match(nothing.stderr, /^Usage: vision-encoder/);
  });
});
