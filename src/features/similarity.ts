import { addScaled, dot, norm } from './linearAlgebra';
import { token, type TokenMatrix } from './tokenMatrix';

/** The cosine of two vectors; 0 when one of them is zero, NaN when a value is NaN. */
export function cosine(a: Float32Array, b: Float32Array): number {
  const lengths = norm(a) * norm(b);
  return lengths === 0 ? 0 : dot(a, b) / lengths;
}

/** The cosine of `vector` (a patch of this picture, or of another) to each token. */
export function cosinesTo(matrix: TokenMatrix, vector: Float32Array): Float32Array {
  return Float32Array.from({ length: matrix.tokens }, (_, i) => cosine(token(matrix, i), vector));
}

/** The cosines of all tokens of `a` to all of `b`: (a.tokens, b.tokens), row by row. */
export function cosineMatrix(a: TokenMatrix, b: TokenMatrix): Float32Array {
  const rows = unitTokens(a);
  const columns = unitTokens(b);
  const { channels } = b;
  const result = new Float32Array(a.tokens * b.tokens);
  for (let i = 0; i < a.tokens; i++) {
    const row = rows.subarray(i * channels, (i + 1) * channels);
    // Four columns at a time: each value of the row is fetched once for four products.
    for (let j = 0; j < b.tokens; j += 4) {
      const at0 = j * channels, at1 = at0 + channels, at2 = at1 + channels, at3 = at2 + channels;
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let c = 0; c < channels; c++) {
        const value = row[c] ?? 0;
        s0 += value * (columns[at0 + c] ?? 0);
        s1 += value * (columns[at1 + c] ?? 0);
        s2 += value * (columns[at2 + c] ?? 0);
        s3 += value * (columns[at3 + c] ?? 0);
      }
      result.set([s0, s1, s2, s3].slice(0, b.tokens - j), i * b.tokens + j);
    }
  }
  return result;
}

/** One vector for a whole picture: the mean of its tokens. */
export function meanToken(matrix: TokenMatrix): Float32Array {
  const mean = new Float64Array(matrix.channels);
  for (let i = 0; i < matrix.tokens; i++) addScaled(mean, token(matrix, i), 1 / matrix.tokens);
  return Float32Array.from(mean);
}

/** CLIP's initial temperature; a trained model stores ln(1 / temperature) as `logit_scale`. */
export const CLIP_TEMPERATURE = 0.07;

/**
 * The softmax of cosine / temperature over each row of `columns` cosines: how probably each column belongs to the
 * row (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, figure 3).
 *
 * @throws RangeError when the temperature is not positive.
 */
export function matchProbabilities(cosines: Float32Array, columns: number, temperature = CLIP_TEMPERATURE): Float32Array {
  if (!(temperature > 0)) throw new RangeError(`A temperature of ${temperature} is not positive.`);
  const result = new Float32Array(cosines.length);
  for (let start = 0; start < cosines.length; start += columns) {
    const row = cosines.subarray(start, start + columns);
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const powers = Float64Array.from(row, value => Math.exp((value - largest) / temperature));
    const sum = powers.reduce((a, b) => a + b, 0);
    result.set(powers.map(power => power / sum), start);
  }
  return result;
}

/** The tokens at length 1, with rows of zeros to a multiple of four. */
function unitTokens(matrix: TokenMatrix): Float64Array {
  const units = new Float64Array(Math.ceil(matrix.tokens / 4) * 4 * matrix.channels);
  for (let i = 0; i < matrix.tokens; i++) {
    const row = token(matrix, i);
    const length = norm(row);
    if (length === 0) continue;
    const start = i * matrix.channels;
    for (let c = 0; c < row.length; c++) units[start + c] = (row[c] ?? 0) / length;
  }
  return units;
}
