import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { UserError } from '../../../src/errors';
import { differenceMap, layerErrors, relativeError } from '../../../src/features/difference';
import { outlierTokens, tokenNorms } from '../../../src/features/norms';
import { cosine, cosineMatrix, cosinesTo, matchProbabilities, meanToken } from '../../../src/features/similarity';
import { histogram, percentileRange, summarize } from '../../../src/features/statistics';
import { token, tokenMatrix } from '../../../src/features/tokenMatrix';
import { assertClose } from './close';
import { rows, structured } from './features';

interface Expected {
  cosines: { row: number[]; sum: number; largest: number[]; pooled: number; softmax: number[] };
  norms: number[];
  statistics: Record<string, number>;
  histogram: { counts: number[]; low: number; high: number; ranged: number[] };
  percentiles: [number, number];
  difference: { relative: number; map: number[]; relativeMap: number[] };
}
const expected = JSON.parse(readFileSync('test/fixtures/features/expected.json', 'utf8')) as Expected;

const a = structured(64, 96, 1);
const b = structured(49, 96, 50000);

describe('similarity', () => {
  it("is numpy's, for one patch and for all of two pictures", () => {
    assertClose(cosinesTo(b, token(a, 5)), expected.cosines.row, 1e-7);
    const matrix = cosineMatrix(a, b);
    assertClose(matrix.subarray(5 * 49, 6 * 49), expected.cosines.row, 1e-7);
    assertClose([matrix.reduce((sum, value) => sum + value, 0)], [expected.cosines.sum], 1e-6);
    const largest = Array.from({ length: 64 }, (_, i) => matrix.subarray(i * 49, (i + 1) * 49)).map(row => row.indexOf(Math.max(...row)));
    assert.deepEqual(largest, expected.cosines.largest);
  });

  it('is 1 to itself, -1 to the opposite, 0 to what is zero, NaN to what is NaN', () => {
    const matrix = rows([3, 4], [-6, -8], [0, 0], [Number.NaN, 1]);
    assertClose(cosinesTo(matrix, token(matrix, 0)).subarray(0, 3), [1, -1, 0], 1e-7);
    assert.ok(Number.isNaN(cosinesTo(matrix, token(matrix, 0))[3]));
    assertClose(cosineMatrix(matrix, matrix).subarray(0, 3), [1, -1, 0], 1e-7);
  });

  it('pools and matches pictures as CLIP does', () => {
    assertClose([cosine(meanToken(a), meanToken(b))], [expected.cosines.pooled], 1e-6);
    assertClose(matchProbabilities(Float32Array.from(expected.cosines.row), 49), expected.cosines.softmax, 1e-5);
    assertClose(matchProbabilities(Float32Array.of(1, 0, -1, 1), 2, 1e-3), [1, 0, 0, 1], 1e-6);
    assert.throws(() => matchProbabilities(Float32Array.of(1), 1, 0), RangeError);
  });
});

describe('norms', () => {
  it("are numpy's", () => {
    assertClose(tokenNorms(a), expected.norms, 1e-6);
  });

  it('show the tokens that stand out, the largest first', () => {
    const norms = Float32Array.from({ length: 100 }, (_, i) => 10 + (i % 7) / 10);
    norms[40] = 55;
    norms[3] = 90;
    assert.deepEqual(outlierTokens(norms).map(({ index, norm }) => [index, norm]), [[3, 90], [40, 55]]);
    // Modified z-score by hand: median 10.3, median of the deviations 0.2.
    assertClose([outlierTokens(norms)[0]!.score], [0.6745 * (90 - 10.3) / 0.2], 1e-3);
    assert.deepEqual(outlierTokens(new Float32Array(10).fill(2)), []);
    assert.deepEqual(outlierTokens(Float32Array.of(2, 2, 2, 2, 2, 2, 2, 2, 2, 9)).map(({ index }) => index), [9]);
    assert.deepEqual(outlierTokens(new Float32Array(0)), []);
  });
});

describe('statistics', () => {
  it("are numpy's over the finite values, beside counts of the others", () => {
    const values = a.data.slice(0, 384);
    values[3] = Number.NaN;
    values[50] = Infinity;
    values[51] = -Infinity;
    values[60] = 0;
    values[61] = -0;
    const { mean, standardDeviation, ...exact } = summarize(values);
    const { mean: expectedMean, standardDeviation: expectedDeviation, ...expectedExact } = expected.statistics;
    assert.deepEqual(exact, expectedExact);
    assertClose([mean, standardDeviation], [expectedMean!, expectedDeviation!], 1e-12);
  });

  it('have no mean where nothing is finite', () => {
    const { mean, min, nans, count } = summarize(Float32Array.of(Number.NaN));
    assert.deepEqual({ mean, min, nans, count }, { mean: Number.NaN, min: Number.NaN, nans: 1, count: 1 });
  });

  it("counts a histogram as numpy's, in its own range and in a given one", () => {
    const { counts, low, high } = histogram(a.data, 32);
    assert.deepEqual({ counts: [...counts], low, high }, { counts: expected.histogram.counts, low: expected.histogram.low, high: expected.histogram.high });
    assert.deepEqual([...histogram(a.data, 10, { low: -0.5, high: 0.25 }).counts], expected.histogram.ranged);
    assert.deepEqual([...histogram(Float32Array.of(2, 2, Number.NaN), 2).counts], [0, 2]);
    assert.deepEqual([...histogram(Float32Array.of(Number.NaN), 2).counts], [0, 0]);
  });

  it("cuts percentiles as numpy's", () => {
    const { low, high } = percentileRange(a.data, 1);
    assertClose([low, high], expected.percentiles, 1e-6);
  });
});

describe('difference', () => {
  const other = structured(64, 96, 77);
  const noisy = tokenMatrix(a.data.map((value, i) => value + Math.fround(Math.fround(1e-3) * other.data[i]!)), 64, 96);

  it("is numpy's, over a layer and for each token", () => {
    assertClose([relativeError(noisy.data, a.data) / expected.difference.relative], [1], 1e-9);
    assertClose(layerErrors([a, noisy], [a, a]), [0, expected.difference.relative], 1e-12);
    const { absolute, relative } = differenceMap(noisy, a);
    assertClose(absolute, expected.difference.map, 1e-9);
    assertClose(relative, expected.difference.relativeMap, 1e-9);
  });

  it('is 0 between zeros and infinite from zero', () => {
    assert.equal(relativeError(Float32Array.of(0, 0), Float32Array.of(0, 0)), 0);
    assert.equal(relativeError(Float32Array.of(0, 1), Float32Array.of(0, 0)), Infinity);
  });

  it('refuses features of different shapes with a sentence', () => {
    const start = 'Features of 2 x 1 and 1 x 2 cannot be compared: ';
    assert.throws(() => differenceMap(rows([1], [2]), rows([1, 2])), (error: unknown) => error instanceof UserError && error.message.startsWith(start));
    assert.throws(() => layerErrors([rows([1], [2])], [rows([1, 2])]), (error: unknown) => error instanceof UserError && error.message.startsWith(start));
    assert.throws(() => layerErrors([], [a]), UserError);
    assert.throws(() => relativeError(Float32Array.of(1), Float32Array.of(1, 2)), UserError);
    assert.throws(() => tokenMatrix(new Float32Array(5), 2, 3), RangeError);
  });
});
