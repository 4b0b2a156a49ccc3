import assert from 'node:assert/strict';

/** Asserts that each value lies within `tolerance` of the expected one, absolutely or relative to it. */
export function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(actual.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    const bound = tolerance * Math.max(1, Math.abs(expected[i]!));
    assert.ok(Math.abs(actual[i]! - expected[i]!) <= bound, `value ${i}: ${actual[i]!} instead of ${expected[i]!}`);
  }
}
