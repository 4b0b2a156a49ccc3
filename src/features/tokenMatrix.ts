/** Hidden states or pooled features of one picture: one row of `channels` values for each token, patches row by row. */
export interface TokenMatrix {
  readonly data: Float32Array;
  readonly tokens: number;
  readonly channels: number;
}

/** @throws RangeError when `data` does not hold `tokens` x `channels` values. */
export function tokenMatrix(data: Float32Array, tokens: number, channels: number): TokenMatrix {
  if (data.length !== tokens * channels) throw new RangeError(`${data.length} values are not ${tokens} x ${channels}.`);
  return { data, tokens, channels };
}

/** A token's values, as a view. */
export function token({ data, channels }: TokenMatrix, index: number): Float32Array {
  return data.subarray(index * channels, (index + 1) * channels);
}
