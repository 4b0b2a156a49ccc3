import { type TokenMatrix, tokenMatrix } from '../../../src/features/tokenMatrix';

/** Numbers from -0.5 to 0.5: hashes (MurmurHash3's finaliser) of an index, exactly as make_expected.py has them. */
function hashes(count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    let hash = i + seed >>> 0;
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    return ((hash ^ hash >>> 16) >>> 8) / 2 ** 24 - 0.5;
  });
}

/** Features with three strong directions and noise; bit for bit those of make_expected.py. */
export function structured(tokens: number, channels: number, seed: number): TokenMatrix {
  const values = hashes(tokens * channels, seed).map(value => 0.125 * value);
  for (const [rank, weight] of [4, 2, 1].entries()) {
    const left = hashes(tokens, seed + 100 + rank * 1000);
    const right = hashes(channels, seed + 200 + rank * 1000);
    for (const i of values.keys()) values[i]! += weight * left[Math.floor(i / channels)]! * right[i % channels]!;
  }
  return tokenMatrix(Float32Array.from(values, value => value + 0.25), tokens, channels);
}

/** Features of the given rows. */
export function rows(...values: number[][]): TokenMatrix {
  return tokenMatrix(Float32Array.from(values.flat()), values.length, values[0]!.length);
}
