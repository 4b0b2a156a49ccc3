import { addScaled, dot, type Eigenpair, norm, symmetricEigen } from './linearAlgebra';
import { token, type TokenMatrix } from './tokenMatrix';

/** Principal components of patch features. */
export interface Pca {
  readonly mean: Float64Array;
  /** Orthonormal directions, the one of the largest variance first; zero where the features have no further direction. */
  readonly components: readonly Float64Array[];
  /** The variance along each (divided by tokens - 1). */
  readonly explainedVariance: readonly number[];
  /** The same as a part of the whole variance, 0 to 1. */
  readonly explainedVarianceRatio: readonly number[];
}

/** Residual of an eigenpair, relative to the largest eigenvalue, below which it counts as found. */
const TOLERANCE = 1e-6;
const MAX_STEPS = 60;
/** When so many directions are held, the search starts again from the best of them. */
const MAX_BASIS = 40;

/**
 * Fits `count` principal components to the patches of one or several pictures together; tokens with a NaN or
 * an infinity are left out. The result depends on nothing but the features: the search starts from fixed
 * directions, and each component's largest coordinate is made positive (as scikit-learn's `svd_flip`).
 *
 * Method: Rayleigh-Ritz on a growing block Krylov space with restarts (Musco and Musco, "Randomized Block Krylov
 * Methods", 2015), applied to the covariance without forming it: a step on 1024 x 1664 features costs four
 * products of the features with a vector and back.
 */
export function fitPca(pictures: readonly TokenMatrix[], count = 3): Pca {
  const rows = pictures.flatMap(finiteTokens);
  const channels = pictures[0]?.channels ?? 0;
  const mean = meanOf(rows, channels);
  const centred = rows.map(row => Float64Array.from(row, (value, i) => value - (mean[i] ?? 0)));
  const divisor = Math.max(1, rows.length - 1);
  const total = centred.reduce((sum, row) => sum + dot(row, row), 0) / divisor;

  const found = total > 0 ? largestEigenpairs(vector => covarianceTimes(centred, divisor, vector), channels, count) : [];
  const threshold = 1e-12 * (found[0]?.value ?? 0);
  const kept = Array.from({ length: count }, (_, i): Eigenpair => {
    const pair = found[i];
    return pair !== undefined && pair.value > threshold ? pair : { value: 0, vector: new Float64Array(channels) };
  });
  for (const { vector } of kept) fixSign(vector);
  return {
    mean,
    components: kept.map(pair => pair.vector),
    explainedVariance: kept.map(pair => pair.value),
    explainedVarianceRatio: kept.map(pair => total > 0 ? pair.value / total : 0),
  };
}

/** Each token's coordinates along the components: (tokens, components), row by row. */
export function projectOnto(pca: Pca, tokens: TokenMatrix): Float32Array {
  const offsets = pca.components.map(component => dot(component, pca.mean));
  const result = new Float32Array(tokens.tokens * pca.components.length);
  for (let i = 0, to = 0; i < tokens.tokens; i++) {
    const row = token(tokens, i);
    for (const [c, component] of pca.components.entries()) result[to++] = dot(row, component) - (offsets[c] ?? 0);
  }
  return result;
}

function finiteTokens(matrix: TokenMatrix): Float32Array[] {
  return Array.from({ length: matrix.tokens }, (_, i) => token(matrix, i)).filter(row => row.every(Number.isFinite));
}

function meanOf(rows: readonly Float32Array[], channels: number): Float64Array {
  const mean = new Float64Array(channels);
  for (const row of rows) addScaled(mean, row, 1 / rows.length);
  return mean;
}

function covarianceTimes(centred: readonly Float64Array[], divisor: number, vector: Float64Array): Float64Array {
  const result = new Float64Array(vector.length);
  for (const row of centred) addScaled(result, row, dot(row, vector) / divisor);
  return result;
}

/** A direction that is searched in, and what the operator makes of it. */
interface Direction {
  readonly vector: Float64Array;
  readonly image: Float64Array;
}

function largestEigenpairs(operator: (vector: Float64Array) => Float64Array, size: number, count: number): Eigenpair[] {
  let basis: Direction[] = [];
  let block = startingVectors(size, count + 1);
  let ritz: Eigenpair[] = [];
  for (let step = 0; step < MAX_STEPS; step++) {
    const before = basis.length;
    for (const candidate of block) {
      const vector = orthonormalise(candidate, basis);
      if (vector !== undefined) basis.push({ vector, image: operator(vector) });
    }
    if (basis.length === before) break;
    const pairs = symmetricEigen(basis.map(a => basis.map(b => (dot(a.vector, b.image) + dot(b.vector, a.image)) / 2)));
    const directions = pairs.slice(0, 2 * count + 2).map(pair => combine(basis, pair.vector, size));
    ritz = directions.slice(0, count).map((direction, i) => ({ value: pairs[i]?.value ?? 0, vector: direction.vector }));
    block = directions.slice(0, count + 1).map(({ vector, image }, i) => {
      const residual = image.slice();
      addScaled(residual, vector, -(pairs[i]?.value ?? 0));
      return residual;
    });
    const tolerance = TOLERANCE * (pairs[0]?.value ?? 0);
    if (block.slice(0, count).every(residual => norm(residual) <= tolerance)) break;
    if (basis.length + block.length > MAX_BASIS) basis = directions;
  }
  return ritz;
}

/** The part of `vector` across the basis, at length 1; undefined when nothing but rounding is left. */
function orthonormalise(vector: Float64Array, basis: readonly Direction[]): Float64Array | undefined {
  const result = vector.slice();
  const length = norm(vector);
  // Twice is enough for orthogonality to rounding (Parlett, The Symmetric Eigenvalue Problem, section 6.9).
  for (let pass = 0; pass < 2; pass++) {
    for (const direction of basis) addScaled(result, direction.vector, -dot(result, direction.vector));
  }
  const rest = norm(result);
  return rest > 1e-10 * length ? result.map(value => value / rest) : undefined;
}

function combine(basis: readonly Direction[], weights: Float64Array, size: number): Direction {
  const vector = new Float64Array(size);
  const image = new Float64Array(size);
  for (const [i, direction] of basis.entries()) {
    addScaled(vector, direction.vector, weights[i] ?? 0);
    addScaled(image, direction.image, weights[i] ?? 0);
  }
  return { vector, image };
}

/** Fixed directions without structure: a linear congruential generator (Numerical Recipes' constants). */
function startingVectors(size: number, count: number): Float64Array[] {
  let state = 1;
  const next = (): number => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return state / 2 ** 31;
  };
  return Array.from({ length: count }, () => Float64Array.from({ length: size }, next));
}

function fixSign(vector: Float64Array): void {
  const largest = vector.reduce((best, value) => Math.abs(value) > Math.abs(best) ? value : best, 0);
  if (largest >= 0) return;
  for (const [i, value] of vector.entries()) vector[i] = -value;
}
