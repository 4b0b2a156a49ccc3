import assert from 'node:assert/strict';
import { compareSides, type CompareOptions, type Comparison } from '../../../src/comparison/compare';
import { cosine, relativeDifference } from '../../../src/comparison/difference';
import { modulesOf } from '../../../src/comparison/modules';
import { formatPercent } from '../../../src/comparison/percent';
import { reportLines } from '../../../src/comparison/report';
import { wholeSide } from '../../../src/comparison/sides';
import { verdict } from '../../../src/comparison/verdict';
import { madeCase, type MadeTensor } from '../extraction/support';

function f32(key: string, values: readonly number[], shape: readonly number[] = [values.length]): MadeTensor {
  return { key, dtype: 'F32', shape, bytes: new Uint8Array(Float32Array.from(values).buffer) };
}

/** Values that bfloat16 holds exactly. */
function bf16(key: string, values: readonly number[]): MadeTensor {
  return { key, dtype: 'BF16', shape: [values.length], bytes: new Uint8Array(Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), bits => bits >>> 16).buffer) };
}

function i64(key: string, values: readonly bigint[]): MadeTensor {
  return { key, dtype: 'I64', shape: [values.length], bytes: new Uint8Array(BigInt64Array.from(values).buffer) };
}

function compare(left: readonly MadeTensor[], right: readonly MadeTensor[], options?: CompareOptions): Promise<Comparison> {
  return compareSides(wholeSide(madeCase(left).checkpoint), wholeSide(madeCase(right).checkpoint), options);
}

function outcomes({ tensors }: Comparison): Record<string, string> {
  return Object.fromEntries(tensors.map(({ key, outcome }) => [key, outcome.kind]));
}

function differenceOf({ tensors }: Comparison, key: string) {
  const outcome = tensors.find(tensor => tensor.key === key)?.outcome;
  assert(outcome?.kind === 'different' && outcome.difference !== undefined, `${key} has no difference`);
  return outcome.difference;
}

/** An encoder of four blocks; `scale` multiplies what is in a block. */
function encoder(scale: (block: number) => number = () => 1): MadeTensor[] {
  const blocks = [0, 1, 2, 3].flatMap(block => [f32(`blocks.${block}.weight`, [3 * scale(block), 4 * scale(block)]), f32(`blocks.${block}.bias`, [1 * scale(block)])]);
  return [f32('conv.weight', [1, 2, 3, 4], [2, 2]), ...blocks, f32('norm.weight', [1])];
}

describe('comparing two checkpoints', () => {
  it('finds equal ones equal, bit for bit', async () => {
    const comparison = await compare(encoder(), encoder());
    assert.equal(comparison.equal, true);
    assert.deepEqual(new Set(Object.values(outcomes(comparison))), new Set(['equalBytes']));
    assert.equal(verdict(comparison, 'encoders'), 'The encoders are equal, bit for bit.');
  });

  it('takes the same numbers in another dtype, and zeros of either sign, as equal values', async () => {
    const comparison = await compare([bf16('a', [1, -0.5, Number.NaN, Infinity]), f32('zero', [0])], [f32('a', [1, -0.5, Number.NaN, Infinity]), f32('zero', [-0])]);
    assert.deepEqual(outcomes(comparison), { a: 'equalValues', zero: 'equalValues' });
    assert.equal(comparison.equal, true);
    assert.equal(verdict(comparison, 'encoders'), 'The encoders have equal values; 2 of 2 tensors have other bytes (BF16 and F32).');
  });

  it('measures what differs: ||a-b||/||a||, the largest difference and the cosine', async () => {
    const difference = differenceOf(await compare([f32('a', [3, 4])], [bf16('a', [3, 8])]), 'a');
    assert.equal(relativeDifference(difference), 4 / 5);
    assert.equal(difference.maxAbsolute, 4);
    assert.ok(Math.abs(cosine(difference) - (9 + 32) / (5 * Math.sqrt(73))) < 1e-15);
  });

  it('takes the norm of the whole tensor where the first difference comes late', async () => {
    const size = 700_000;
    const left = Array.from({ length: size }, (_, i) => (i % 7) - 3);
    const right = left.slice();
    right[650_000] = 100;
    const difference = differenceOf(await compare([f32('a', left)], [f32('a', right)]), 'a');
    const norm = Math.sqrt(left.reduce((sum, value) => sum + value ** 2, 0));
    const distance = Math.abs(100 - (left[650_000] ?? 0));
    assert.ok(Math.abs(relativeDifference(difference) - distance / norm) < 1e-12);
    assert.equal(difference.maxAbsolute, distance);
  });

  it('keeps NaN and infinity out of the sums and counts them where only one side has them', async () => {
    const difference = differenceOf(await compare([f32('a', [1, Number.NaN, Number.NaN, Infinity, 2])], [f32('a', [1, Number.NaN, 0, -Infinity, 2])]), 'a');
    assert.equal(difference.incomparable, 2);
    assert.equal(relativeDifference(difference), 0);
    assert.match(reportLines(await compare([f32('a', [Number.NaN])], [f32('a', [1])])).join('\n'), /1 element NaN or infinite on one side/);
  });

  it('tells whole numbers apart that are the same double', async () => {
    const comparison = await compare([i64('a', [2n ** 53n])], [i64('a', [2n ** 53n + 1n])]);
    assert.deepEqual(outcomes(comparison), { a: 'different' });
  });

  it('compares elements below a byte by their bytes', async () => {
    const f4 = (byte: number): MadeTensor => ({ key: 'a', dtype: 'F4', shape: [2], bytes: Uint8Array.of(byte) });
    assert.deepEqual(outcomes(await compare([f4(0x12)], [f4(0x12)])), { a: 'equalBytes' });
    const comparison = await compare([f4(0x12)], [f4(0x13)]);
    assert.deepEqual(outcomes(comparison), { a: 'different' });
    assert.equal(verdict(comparison, 'encoders'), 'The tensor differs.');
  });

  it('says which blocks were frozen and by how much the others differ', async () => {
    const comparison = await compare(encoder(), encoder(block => block === 2 ? 1.5 : block === 3 ? 1.25 : 1));
    assert.equal(comparison.equal, false);
    assert.equal(verdict(comparison, 'encoders'), 'Blocks 0-1 are equal (frozen), blocks 2-3 differ, by 25 % to 50 %; the 2 other tensors are equal.');
    const rows = modulesOf(comparison.tensors).map(({ name, outcome, difference }) => [name, outcome, difference && relativeDifference(difference)]);
    assert.deepEqual(rows, [
      ['conv', 'equalBytes', undefined], ['blocks.0', 'equalBytes', undefined], ['blocks.1', 'equalBytes', undefined],
      ['blocks.2', 'different', 0.5], ['blocks.3', 'different', 0.25], ['norm', 'equalBytes', undefined],
    ]);
    const lines = reportLines(comparison);
    assert.ok(lines.some(line => /^blocks\.\{0-1\} +4 +equal$/.test(line)), lines.join('\n'));
    assert.ok(lines.some(line => /^blocks\.2 +2 +2 of 2 differ +50 % +2 +1\.000000$/.test(line)), lines.join('\n'));
  });

  it('says so when every block differs', async () => {
    assert.equal(verdict(await compare(encoder(), encoder(block => 2 + block)), 'encoders'), 'All 4 blocks differ, by 100 % to 400 %; the 2 other tensors are equal.');
  });

  it('tells keys that only one has, and other shapes', async () => {
    const comparison = await compare([...encoder(), f32('head', [1]), f32('tail', [1, 2])], [...encoder(), f32('tail', [1]), f32('extra.0', [1]), f32('extra.1', [1])]);
    assert.equal(comparison.equal, false);
    assert.deepEqual([outcomes(comparison).head, outcomes(comparison).tail, outcomes(comparison)['extra.1']], ['onlyLeft', 'otherShape', 'onlyRight']);
    assert.equal(verdict(comparison, 'checkpoints'), 'All 4 blocks are equal; 1 of 3 other tensors differs; 1 tensor has another shape; 1 key is on the left only; 2 keys are on the right only.');
    const text = reportLines(comparison).join('\n');
    assert.match(text, /Other shapes: 1\n {2}tail +2 → 1 +F32/);
    assert.match(text, /Only right: 2\n {2}extra\.\{0-1\} +1 +F32/);
  });

  it('names the families of encoders that share no key', async () => {
    const [left, right] = [wholeSide(madeCase([f32('a', [1])]).checkpoint), wholeSide(madeCase([f32('b', [1])]).checkpoint)];
    const comparison = await compareSides({ ...left, family: 'CLIP' }, { ...right, family: 'Qwen-VL' });
    assert.equal(verdict(comparison, 'encoders'), 'The encoders have no key in common: one is CLIP, the other Qwen-VL, which name their tensors differently.');
  });

  it('reads no weights for the keys alone', async () => {
    const refuse = (): never => { throw new Error('Bytes were read.'); };
    const [left, right] = [encoder(), encoder()].map(tensors => wholeSide(madeCase(tensors, refuse).checkpoint));
    assert(left !== undefined && right !== undefined);
    const same = await compareSides(left, right, { keysOnly: true });
    assert.equal(same.equal, true);
    assert.equal(verdict(same, 'encoders'), 'The encoders have the same keys, shapes and dtypes; their values were not read.');
    const recast = await compare([f32('a', [1])], [bf16('a', [1])], { keysOnly: true });
    assert.equal(recast.equal, false);
    assert.equal(verdict(recast, 'encoders'), '1 of 1 tensor that both have is of another dtype (F32 and BF16).');
  });

  it('reports the bytes of both sides, and stops when told to', async () => {
    const seen: number[] = [];
    await compare([bf16('a', [1, 2])], [f32('a', [1, 2])], { onProgress: ({ done, total }) => { seen.push(done, total); } });
    assert.deepEqual(seen, [12, 12]);
    const controller = new AbortController();
    const left = wholeSide(madeCase(encoder(), () => { controller.abort(); }).checkpoint);
    await assert.rejects(compareSides(left, wholeSide(madeCase(encoder()).checkpoint), { signal: controller.signal }), { name: 'AbortError' });
  });

  it('lets nothing through that a terminal would obey', async () => {
    const lines = reportLines(await compare([f32('a\u001b[2J', [1])], [f32('b', [1])]));
    assert.equal(lines.join('\n').includes('\u001b'), false);
  });
});

describe('formatPercent', () => {
  for (const [fraction, text] of [[0, '0 %'], [0.0031, '0.31 %'], [0.012, '1.2 %'], [1.5, '150 %'], [2.4e-7, '2.4e-5 %'], [Infinity, 'infinitely']] as const) {
    it(`writes ${fraction} as ${text}`, () => { assert.equal(formatPercent(fraction), text); });
  }
});
