import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { aroundZero, colourTable, colourValues } from '../../../src/features/colormap';
import { encodeNpy } from '../../../src/features/npy';
import { structured } from './features';

describe('encodeNpy', () => {
  const { data } = structured(64, 96, 1);
  const files: [string, Uint8Array][] = [
    ['float32-3x2x4.npy', encodeNpy(data.subarray(0, 24), [3, 2, 4])],
    ['float64-5.npy', encodeNpy(Float64Array.from(data.subarray(0, 5)), [5])],
    ['int32-2x0.npy', encodeNpy(new Int32Array(0), [2, 0])],
    ['uint8-scalar.npy', encodeNpy(Uint8Array.of(7), [])],
  ];
  for (const [name, bytes] of files) {
    it(`writes ${name} byte for byte as numpy's save does`, () => {
      assert.deepEqual(Buffer.from(bytes), readFileSync(`test/fixtures/features/${name}`));
    });
  }

  it('refuses a shape that does not fit', () => {
    assert.throws(() => encodeNpy(new Float32Array(5), [2, 3]), RangeError);
  });
});

describe('colormap', () => {
  const at = (map: 'viridis' | 'magma' | 'redBlue', index: number): number[] => [...colourTable(map).subarray(3 * index, 3 * index + 3)];

  it("stays within four levels of matplotlib's tables between the control points", () => {
    // Rows of matplotlib's _magma_data and _viridis_data, times 255.
    const known: [('viridis' | 'magma'), number, number[]][] = [
      ['magma', 0, [0, 0, 4]], ['magma', 70, [90, 22, 126]], ['magma', 127, [181, 54, 122]], ['magma', 185, [249, 123, 93]], ['magma', 255, [252, 253, 191]],
      ['viridis', 0, [68, 1, 84]], ['viridis', 128, [33, 145, 140]], ['viridis', 8, [71, 13, 96]], ['viridis', 98, [43, 116, 142]], ['viridis', 240, [216, 226, 25]], ['viridis', 248, [236, 229, 27]], ['viridis', 255, [253, 231, 37]],
    ];
    for (const [map, index, colour] of known) {
      for (const [c, value] of at(map, index).entries()) assert.ok(Math.abs(value - colour[c]!) <= 4, `${map} ${index}: ${at(map, index).join()}`);
    }
  });

  it('gets lighter all the way from the lowest value to the highest', () => {
    for (const map of ['viridis', 'magma'] as const) {
      // Every fifth colour: from one to the next, rounding to 8 bits outweighs the step.
      const lightness = Array.from({ length: 52 }, (_, i) => at(map, 5 * i)).map(([r, g, b]) => 0.2126 * r! ** 2.2 + 0.7152 * g! ** 2.2 + 0.0722 * b! ** 2.2);
      for (const [i, value] of lightness.entries()) assert.ok(i === 0 || value > lightness[i - 1]!, `${map} ${i}`);
    }
  });

  it('clips values to the range, leaves NaN transparent, and puts white at zero between blue and red', () => {
    const range = aroundZero({ low: -1, high: 4 });
    assert.deepEqual(range, { low: -4, high: 4 });
    const colours = colourValues(Float32Array.of(-9, 4, Number.NaN, 0), 'redBlue', range);
    assert.deepEqual([...colours.subarray(0, 12)], [5, 48, 97, 255, 103, 0, 31, 255, 0, 0, 0, 0]);
    for (const value of colours.subarray(12, 15)) assert.ok(value >= 244);
    assert.deepEqual([...colourValues(Float32Array.of(3), 'viridis', { low: 3, high: 3 })], [...at('viridis', 128), 255]);
  });
});
