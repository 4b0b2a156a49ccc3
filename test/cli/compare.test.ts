import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BIN, copyOf, fails, inFolder, run, runJson, SAFETENSORS } from './support';

/** Adds 1 to the first byte of a tensor's first bfloat16 in a safetensors file: its lowest mantissa bits. */
async function changeTensor(path: string, key: string): Promise<void> {
  const bytes = await readFile(path);
  const headerBytes = Number(bytes.readBigUInt64LE());
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { readonly data_offsets: readonly [number, number] } | undefined>;
  const entry = header[key];
  assert(entry, `${key} is not in ${path}`);
  const at = 8 + headerBytes + entry.data_offsets[0];
  bytes.writeUInt8((bytes.readUInt8(at) + 1) % 256, at);
  await writeFile(path, bytes);
}

async function extracted(from: string, out: string, ...args: string[]): Promise<string> {
  const { code, stderr } = await run(['extract', from, '--out', out, ...args]);
  assert.equal(code, 0, stderr);
  return out;
}

describe('vision-encoder compare', () => {
  it('finds a full model and the encoder taken out of it equal', () => inFolder(async folder => {
    const encoder = await extracted(BIN, join(folder, 'encoder'));
    const { code, stdout, stderr } = await run(['compare', BIN, encoder]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^✓ The encoders are equal, bit for bit\.\n/);
    assert.match(stdout, /\ntransformer\.resblocks\.\{0-\d\} +\d+ +equal\n/);
    assert.match(stderr, /^Comparing 100% /m);
  }));

  it('finds a cast encoder equal in values', () => inFolder(async folder => {
    const cast = await extracted(SAFETENSORS, join(folder, 'cast'), '--dtype', 'f32');
    const { verdict, equal } = await runJson(['compare', SAFETENSORS, cast]);
    assert.equal(equal, true);
    assert.match(String(verdict), /^The encoders have equal values; .* \(F16 and F32\)\.$/);
  }));

  it('finds the block that was changed', () => inFolder(async folder => {
    const encoder = await extracted(SAFETENSORS, join(folder, 'encoder'));
    await changeTensor(join(encoder, 'model.safetensors'), 'transformer.resblocks.1.mlp.c_fc.weight');
    const { code, stdout } = await run(['compare', SAFETENSORS, encoder]);
    assert.equal(code, 1);
    assert.match(stdout, /^≠ .*\bblock 1 differs, by [\d.e-]+ %; the \d+ other tensors are equal\.\n/);
    assert.match(stdout, /\nTensors that differ: 1\n.*\n {2}transformer\.resblocks\.1\.mlp\.c_fc\.weight /);
    const json = await runJson(['compare', SAFETENSORS, encoder], 1) as { tensors: { key: string; outcome: string; relative?: number }[] };
    const different = json.tensors.filter(({ outcome }) => outcome !== 'equalBytes');
    assert.deepEqual(different.map(({ key, outcome }) => [key, outcome]), [['transformer.resblocks.1.mlp.c_fc.weight', 'different']]);
    assert.ok((different[0]?.relative ?? 0) > 0);
  }));

  it('compares everything by its own keys, or headers alone, when asked to', () => inFolder(async folder => {
    const copy = await copyOf(SAFETENSORS, folder);
    const all = await run(['compare', SAFETENSORS, copy, '--all']);
    assert.deepEqual([all.code, all.stdout.split('\n')[0]], [0, '✓ The checkpoints are equal, bit for bit.']);
    const encoder = await extracted(SAFETENSORS, join(folder, 'encoder'));
    const apart = await run(['compare', SAFETENSORS, encoder, '--all']);
    assert.deepEqual([apart.code, apart.stdout.split('\n')[0]], [1, '≠ The checkpoints have no key in common.']);
    const keys = await run(['compare', SAFETENSORS, encoder, '--keys-only']);
    assert.deepEqual([keys.code, keys.stdout.split('\n')[0], keys.stderr], [0, '✓ The encoders have the same keys, shapes and dtypes; their values were not read.', '']);
  }));

  it('takes a recipe for either side', () => inFolder(async folder => {
    const { stdout } = await run(['recipe', SAFETENSORS]);
    const recipe = JSON.parse(stdout) as { rules: unknown[] };
    const file = join(folder, 'without-conv1.recipe.json');
    await writeFile(file, JSON.stringify({ ...recipe, rules: [{ mark: 'exclude', module: 'transformer.visual.conv1' }, ...recipe.rules] }));
    const one = await run(['compare', SAFETENSORS, SAFETENSORS, '--right-recipe', file]);
    assert.equal(one.code, 1);
    assert.match(one.stdout, /1 key is on the left only\./);
    assert.match(one.stdout, /Only left: 1\n {2}conv1\.weight /);
    assert.equal((await run(['compare', SAFETENSORS, SAFETENSORS, '--recipe', file])).code, 0);
  }));

  it('says what is wrong', async () => {
    await fails(['compare', SAFETENSORS, join(SAFETENSORS, 'absent')], ['absent', 'does not exist']);
    const { code, stderr } = await run(['compare', SAFETENSORS, SAFETENSORS, '--all', '--recipe', 'x.json']);
    assert.equal(code, 2);
    assert.match(stderr, /--all.*cannot be used with.*--recipe/);
  });
});
