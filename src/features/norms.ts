import { norm } from './linearAlgebra';
import { quantile } from './statistics';
import { token, type TokenMatrix } from './tokenMatrix';

/** The L2 norm of each token. */
export function tokenNorms(matrix: TokenMatrix): Float32Array {
  return Float32Array.from({ length: matrix.tokens }, (_, i) => norm(token(matrix, i)));
}

export interface OutlierToken {
  readonly index: number;
  readonly norm: number;
  /** The modified z-score: how many robust standard deviations above the median. */
  readonly score: number;
}

/**
 * Tokens whose norm stands far above the others', the largest first: the "artifact" tokens of Darcet et al.,
 * "Vision Transformers Need Registers" (2023). The score is Iglewicz and Hoaglin's, 0.6745 (x - median) / MAD, with
 * their limit of 3.5; where more than half the norms are equal (MAD 0), their mean absolute deviation takes its place.
 */
export function outlierTokens(norms: Float32Array, limit = 3.5): OutlierToken[] {
  const finite = norms.filter(Number.isFinite);
  const median = medianOf(finite);
  const deviations = finite.map(value => Math.abs(value - median));
  const mad = medianOf(deviations);
  const deviation = mad > 0 ? mad / 0.6745 : 1.253314 * deviations.reduce((sum, value) => sum + value, 0) / finite.length;
  if (!(deviation > 0)) return [];
  return [...norms]
    .map((value, index) => ({ index, norm: value, score: (value - median) / deviation }))
    .filter(({ score }) => score > limit)
    .sort((a, b) => b.score - a.score);
}

function medianOf(values: Float32Array): number {
  return quantile(values.slice().sort(), 0.5);
}
