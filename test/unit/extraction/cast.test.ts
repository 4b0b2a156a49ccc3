import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dtype } from '../../../src/checkpoint/dtype';
import { castDtype, makeCast } from '../../../src/extraction/cast';
import { inFolder, needTorch, noise, python } from './support';

const SIZE: Partial<Record<Dtype, number>> = { F64: 8, F32: 4, F16: 2, BF16: 2 };

function cast(from: Dtype, to: Dtype, source: ArrayBufferView): Uint8Array {
  const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  const target = new Uint8Array(bytes.length / SIZE[from]! * SIZE[to]!);
  makeCast(from, to)!(bytes, target);
  return target;
}

function bits(from: Dtype, to: Dtype, ...values: number[]): number[] {
  const source = from === 'F64' ? Float64Array.from(values) : from === 'F32' ? Float32Array.from(values) : Uint16Array.from(values);
  const target = cast(from, to, source);
  return [...(SIZE[to] === 4 ? new Uint32Array(target.buffer) : new Uint16Array(target.buffer))];
}

/** The value of a binary16, from the definition. */
function halfValue(half: number): number {
  const [sign, exponent, mantissa] = [half >> 15 ? -1 : 1, (half >> 10) & 31, half & 1023];
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

describe('cast', () => {
  const halves = Uint16Array.from({ length: 0x10000 }, (_, i) => i);

  it('reads all 65536 halves as the definition has them, and writes them back', () => {
    const floats = new Float32Array(cast('F16', 'F32', halves).buffer);
    floats.forEach((value, half) => { assert.ok(Object.is(value, halfValue(half)) || (Number.isNaN(value) && Number.isNaN(halfValue(half))), `half ${half}`); });
    const back = new Uint16Array(cast('F32', 'F16', floats).buffer);
    back.forEach((half, i) => { assert.equal(half, Number.isNaN(halfValue(i)) ? i | 0x200 : i); });
  });

  it('reads all 65536 bfloat16 numbers as the upper half of a float, and writes them back', () => {
    const floats = cast('BF16', 'F32', halves);
    new Uint32Array(floats.buffer).forEach((value, i) => { assert.equal(value, i * 0x10000); });
    const back = new Uint16Array(cast('F32', 'BF16', floats).buffer);
    back.forEach((value, i) => { assert.equal(value, (i & 0x7fff) > 0x7f80 ? i | 0x40 : i); });
  });

  it('rounds to nearest, ties to even, at every step between two neighbouring halves', () => {
    for (let half = 0; half < 0x7bff; half++) {
      const [low, high] = [halfValue(half), halfValue(half + 1)];
      const middle = (low + high) / 2;
      const even = half % 2 === 0 ? half : half + 1;
      const ulp = 2 ** (Math.floor(Math.log2(middle)) - 23);
      assert.deepEqual(bits('F32', 'F16', middle - ulp, middle, middle + ulp), [half, even, half + 1], `between ${low} and ${high}`);
    }
  });

  it('rounds floats to bfloat16 to nearest, ties to even', () => {
    const source = Uint32Array.of(0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x7f7fffff, 0x00008000, 0x80018000);
    assert.deepEqual([...new Uint16Array(cast('F32', 'BF16', source).buffer)], [0x3f80, 0x3f82, 0x3f80, 0x3f81, 0x7f80, 0x0000, 0x8002]);
  });

  it('overflows to infinity, keeps NaN, infinities, zeros and their signs', () => {
    assert.deepEqual(bits('F32', 'F16', 65519.996, 65520, -65520, Infinity, -Infinity, 0, -0, NaN, 2 ** -25, -(2 ** -25) * 1.0001, 2 ** -150), [0x7bff, 0x7c00, 0xfc00, 0x7c00, 0xfc00, 0, 0x8000, 0x7e00, 0, 0x8001, 0]);
    assert.deepEqual(bits('F32', 'BF16', Infinity, -Infinity, 0, -0, NaN), [0x7f80, 0xff80, 0, 0x8000, 0x7fc0]);
    assert.deepEqual(bits('F64', 'F32', 1e39, -1e39, 1e-46, 0.1), [0x7f800000, 0xff800000, 0, 0x3dcccccd]);
    const signalling = Uint32Array.of(0x7f800001, 0xff800001);
    assert.deepEqual([...new Uint16Array(cast('F32', 'BF16', signalling).buffer)], [0x7fc0, 0xffc0]);
    assert.deepEqual([...new Uint16Array(cast('F32', 'F16', signalling).buffer)], [0x7e00, 0xfe00]);
  });

  it('leaves integers, booleans and 8-bit floats alone', () => {
    for (const dtype of ['I64', 'U8', 'BOOL', 'F8_E4M3', 'C64'] as const) assert.equal(castDtype(dtype, 'bf16'), dtype);
    assert.equal(castDtype('F64', 'f16'), 'F16');
    assert.equal(castDtype('F32', 'keep'), 'F32');
    assert.equal(makeCast('BF16', 'BF16'), undefined);
  });

  it('agrees with PyTorch bit for bit, NaN but for its payload', async function () {
    needTorch(this);
    this.timeout(180_000);
    await inFolder(async folder => {
      const random = noise(1 << 20, 7);
      const names = { F64: 'float64', F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;
      await writeFile(join(folder, 'in'), random);
      const pairs = (['F64', 'F32', 'F16', 'BF16'] as const).flatMap(from => (['F32', 'F16', 'BF16'] as const).filter(to => to !== from).map(to => [from, to] as const));
      const program = `
import sys, torch
data = bytearray(open(sys.argv[1], 'rb').read())
for pair in sys.argv[2:]:
    a, b = pair.split(',')
    t = torch.frombuffer(data, dtype=getattr(torch, a)).to(getattr(torch, b))
    t = torch.where(t.isnan(), torch.full_like(t, float('nan')), t)
    sys.stdout.write(bytes(t.contiguous().view(torch.uint8).numpy().tobytes()).hex() + '\\n')
`;
      const lines = python(['-c', program, join(folder, 'in'), ...pairs.map(([from, to]) => `${names[from]},${names[to]}`)]).split('\n');
      pairs.forEach(([from, to], i) => {
        const ours = cast(from, to, random);
        const theirs = Buffer.from(lines[i]!, 'hex');
        const [a, b] = SIZE[to] === 4
          ? [new Uint32Array(ours.buffer), new Uint32Array(Uint8Array.from(theirs).buffer)]
          : [new Uint16Array(ours.buffer), new Uint16Array(Uint8Array.from(theirs).buffer)];
        const [exponent, magnitude] = to === 'F32' ? [0x7f800000, 0x7fffffff] : to === 'F16' ? [0x7c00, 0x7fff] : [0x7f80, 0x7fff];
        const isNan = (value: number): boolean => (value & magnitude) > exponent;
        let differing = 0;
        a.forEach((value, at) => { if (value !== b[at] && !(isNan(value) && isNan(b[at]!))) differing++; });
        assert.equal(a.length, b.length);
        assert.equal(differing, 0, `${from} to ${to}`);
      });
    });
  });
});
