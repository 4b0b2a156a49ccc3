import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fails, inFolder, run, runJson, SAFETENSORS } from './support';

/** A safetensors file of tensors whose values are told. */
function safetensors(tensors: Readonly<Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly bytes: Uint8Array }>>, metadata: Readonly<Record<string, string>> = {}): Buffer {
  let offset = 0;
  const entries = Object.entries(tensors).map(([key, { dtype, shape, bytes }]) => [key, { dtype, shape, data_offsets: [offset, offset += bytes.length] }]);
  const header = Buffer.from(JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, ...Object.values(tensors).map(({ bytes }) => bytes)]);
}

const f32 = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe('vision-encoder inspect', () => {
  it('tells the files, their metadata once, and where the bytes are by dtype and by module', async () => {
    const { code, stdout } = await run(['inspect', SAFETENSORS]);
    assert.equal(code, 0);
    assert.match(stdout, /: 72 tensors in 4 files, 1\.33 MB\n/);
    assert.match(stdout, /^model-00002-of-00004\.safetensors {2}safetensors {2}330 KB$/m);
    assert.equal(stdout.match(/format = pt/g)?.length, 1);
    assert.match(stdout, /^F16 +72 {2}1\.33 MB {2}100 %$/m);
    assert.match(stdout, /^transformer\.visual\.transformer\.resblocks\.\{0-2\} +36 +253 KB +19 %$/m, 'layers that hold as much stand in one row');
    assert.match(stdout, /^lm_head +1 +131 KB +9\.9 %$/m);
  });

  it('tells what the values are like, and ends with 1 where some are not finite', () => inFolder(async folder => {
    const file = join(folder, 'model.safetensors');
    await writeFile(file, safetensors({
      good: { dtype: 'F32', shape: [2, 2], bytes: f32(-1, 0, 1, 4) },
      bad: { dtype: 'F32', shape: [4], bytes: f32(NaN, Infinity, 2, 2) },
      packed: { dtype: 'F4', shape: [4], bytes: new Uint8Array(2) },
    }));
    const { code, stdout } = await run(['inspect', file, '--values']);
    assert.equal(code, 1);
    // The mean and deviation of -1, 0, 1 and 4 are 1 and sqrt(3.5).
    assert.match(stdout, /^good +F32 +2×2 +-1 +4 +1 +1\.871 +25 % {4,}█ {2}█ {2}█ {8}█$/m);
    assert.match(stdout, /^bad +F32 +4 +2 +2 +2 +0 +25 % +25 % /m);
    assert.match(stdout, /^packed +F4 +4 .*not read$/m);
    assert.match(stdout, /\n✗ 8 values of 2 tensors: 1 NaN, 1 infinite\.\n {2}bad\n$/);
    const good = await run(['inspect', file, '--values', '--filter', 'GOOD']);
    assert.deepEqual([good.code, good.stdout.trimEnd().split('\n').at(-1)], [0, '✓ 4 values of 1 tensor: none is NaN or infinite.']);
  }));

  it('gives machines every tensor, with its statistics where they were asked for', () => inFolder(async folder => {
    const file = join(folder, 'model.safetensors');
    await writeFile(file, safetensors({ one: { dtype: 'F32', shape: [4], bytes: f32(-1, 0, 1, 4) } }, { step: '7' }));
    const headers = await runJson(['inspect', file]);
    // 8 bytes of length, a header of 85, and 16 of values.
    assert.deepEqual(headers.files, [{ name: 'model.safetensors', format: 'safetensors', size: 109, metadata: { step: '7' } }]);
    assert.deepEqual(headers.tensors, [{ key: 'one', dtype: 'F32', shape: [4], elements: 4, file: 'model.safetensors', offset: 93, length: 16 }]);
    const [tensor] = (await runJson(['inspect', file, '--values'])).tensors as { statistics: unknown; histogram: { low: number; high: number; counts: number[] } }[];
    assert.deepEqual(tensor?.statistics, { count: 4, zeros: 1, nans: 0, infinities: 0, mean: 1, standardDeviation: Math.sqrt(3.5), min: -1, max: 4 });
    assert.deepEqual([tensor.histogram.low, tensor.histogram.high, tensor.histogram.counts.reduce((sum, count) => sum + count)], [-1, 4, 4]);
  }));

  it('prints nothing that a terminal would obey', () => inFolder(async folder => {
    const file = join(folder, 'model.safetensors');
    await writeFile(file, safetensors({ '\u001b[31mred': { dtype: 'F32', shape: [1], bytes: f32(1) } }, { '\u001b]0;title\u0007': '\u001b[2J' }));
    for (const args of [[], ['--values']]) {
      const { code, stdout } = await run(['inspect', file, ...args]);
      assert.equal(code, 0);
      assert.ok(!stdout.includes('\u001b') && !stdout.includes('\u0007'), stdout);
    }
  }));

  it('says so when no key has the text', () => fails(['inspect', SAFETENSORS, '--filter', 'nothing'], ['No key of', 'contains nothing']));
});
