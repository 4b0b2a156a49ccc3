import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dot } from '../../../src/features/linearAlgebra';
import { fitPca, projectOnto } from '../../../src/features/pca';
import { colourScale, pcaColours } from '../../../src/features/pcaColours';
import type { TokenMatrix } from '../../../src/features/tokenMatrix';
import { assertClose } from './close';
import { rows, structured } from './features';

interface Expected { explainedVariance: number[]; explainedVarianceRatio: number[]; firstCoordinates: number[][]; projection: number[][] }
const expected = (JSON.parse(readFileSync('test/fixtures/features/expected.json', 'utf8')) as { pca: Record<'one' | 'two' | 'wide', Expected> }).pca;

describe('PCA', () => {
  const a = structured(64, 96, 1);
  const b = structured(49, 96, 50000);
  const cases: [string, TokenMatrix[], Expected][] = [
    ['one picture', [a], expected.one],
    ['two pictures together', [a, b], expected.two],
    ['more channels than tokens', [structured(30, 700, 9)], expected.wide],
  ];
  for (const [name, pictures, { explainedVariance, explainedVarianceRatio, firstCoordinates, projection }] of cases) {
    it(`is that of numpy's SVD: ${name}`, () => {
      const pca = fitPca(pictures);
      assertClose(pca.explainedVariance, explainedVariance, 1e-9);
      assertClose(pca.explainedVarianceRatio, explainedVarianceRatio, 1e-9);
      for (const [i, coordinates] of firstCoordinates.entries()) assertClose(pca.components[i]!.subarray(0, 8), coordinates, 1e-5);
      assertClose(projectOnto(pca, pictures[0]!).subarray(0, 30), projection.flat(), 1e-5);
    });
  }

  it('gives orthonormal components whose largest coordinate is positive, the same each time', () => {
    const { components } = fitPca([a], 5);
    for (const [i, x] of components.entries()) {
      for (const [j, y] of components.entries()) assertClose([dot(x, y)], [i === j ? 1 : 0], 1e-12);
      assert.ok(Math.max(...x) >= Math.max(...x.map(value => -value)));
    }
    assert.deepEqual(fitPca([a], 5).components, components);
  });

  it('finds directions of equal variance', () => {
    const { explainedVarianceRatio } = fitPca([rows([1, 0, 0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0])]);
    assertClose(explainedVarianceRatio, [1 / 3, 1 / 3, 1 / 3], 1e-12);
  });

  it('has zero components where the features have no further direction', () => {
    const line = fitPca([rows([1, 2], [2, 4], [3, 6])]);
    assertClose(line.explainedVarianceRatio, [1, 0, 0], 1e-12);
    assert.deepEqual([...line.components[2]!], [0, 0]);
    const point = fitPca([rows([1, 2], [1, 2])]);
    assert.deepEqual(point.explainedVarianceRatio, [0, 0, 0]);
    assert.deepEqual([...projectOnto(point, rows([1, 2]))], [0, 0, 0]);
    assert.deepEqual(fitPca([]).explainedVariance, [0, 0, 0]);
  });

  it('leaves tokens with NaN out of the fit and out of the colours', () => {
    const broken = structured(64, 96, 1);
    const whole = fitPca([{ ...a, data: a.data.subarray(96), tokens: 63 }]);
    broken.data[7] = Number.NaN;
    const pca = fitPca([broken]);
    assert.deepEqual(pca.explainedVariance, whole.explainedVariance);
    const projection = projectOnto(pca, broken);
    const colours = pcaColours(projection, colourScale([projection]));
    assert.deepEqual([...colours.subarray(0, 4)], [0, 0, 0, 0]);
    assert.equal(colours[7], 255);
  });

  it('colours from black to full over the range that pictures share', () => {
    const first = Float32Array.of(0, 5, 7, 10, 5, 8);
    const second = Float32Array.of(20, 5, 9);
    const scale = colourScale([first, second], 0);
    assert.deepEqual(scale, [{ low: 0, high: 20 }, { low: 5, high: 5 }, { low: 7, high: 9 }]);
    assert.deepEqual([...pcaColours(first, scale)], [0, 128, 0, 255, 128, 128, 128, 255]);
    assert.deepEqual([...pcaColours(second, scale)], [255, 128, 255, 255]);
    assert.deepEqual([...pcaColours(Float32Array.of(-100, 5, 100), scale)], [0, 128, 255, 255]);
  });
});
