import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Filter, resize } from '../../../src/image/resize';
import type { RgbImage } from '../../../src/image/rgbImage';

interface Case { from: [number, number]; to: [number, number]; filter: Filter; seed: number; flat: boolean; sha256: string }
const cases = JSON.parse(readFileSync('test/fixtures/resize/expected.json', 'utf8')) as Case[];

/** The picture that make_expected.py generates: each byte a hash (MurmurHash3's finaliser) of its index. */
function noise(width: number, height: number, seed: number, flat: boolean): RgbImage {
  const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    let hash = i + seed >>> 0;
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    const byte = (hash ^ hash >>> 16) >>> 24;
    return flat ? (byte >= 128 ? 255 : 0) : byte;
  });
  return { width, height, data };
}

describe('resize', () => {
  for (const { from, to, filter, seed, flat, sha256 } of cases) {
    it(`${filter} ${from.join(' x ')}${flat ? ' (black and white)' : ''} to ${to.join(' x ')} is Pillow's to the bit`, () => {
      const resized = resize(noise(from[0], from[1], seed, flat), to[0], to[1], filter);
      assert.deepEqual([resized.width, resized.height], to);
      assert.equal(createHash('sha256').update(resized.data).digest('hex'), sha256);
    });
  }

  it('computes a part of the result as it is in the whole', () => {
    for (const filter of ['nearest', 'bilinear', 'bicubic', 'lanczos'] as const) {
      for (const [width, height] of [[40, 30], [100, 90]] as const) {
        const whole = resize(noise(57, 61, 5, false), width, height, filter);
        const window = { left: 7, top: 11, width: 20, height: 13 };
        const part = resize(noise(57, 61, 5, false), width, height, filter, window);
        const rows = Array.from({ length: 13 }, (_, y) => [...whole.data.subarray(3 * ((11 + y) * width + 7), 3 * ((11 + y) * width + 27))]);
        assert.deepEqual([...part.data], rows.flat());
      }
    }
  });

  it('needs no more memory than the part asked for', () => {
    const part = resize(noise(2, 3000, 5, false), 448, 672_000, 'bicubic', { left: 0, top: 335_776, width: 448, height: 448 });
    assert.equal(part.data.length, 3 * 448 * 448);
  });

  it('refuses sizes that no picture has', () => {
    for (const [width, height] of [[0, 5], [5, -1], [2.5, 5], [Number.NaN, 5]] as const) {
      assert.throws(() => resize(noise(4, 4, 0, false), width, height, 'bicubic'), RangeError);
    }
  });
});
