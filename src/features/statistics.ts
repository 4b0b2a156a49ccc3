/** What is told about a set of values. Mean, deviation and extremes are those of the finite ones (NaN when there are none). */
export interface Statistics {
  readonly count: number;
  readonly mean: number;
  /** Of the population: divided by the count, as numpy's `std`. */
  readonly standardDeviation: number;
  readonly min: number;
  readonly max: number;
  readonly zeros: number;
  readonly nans: number;
  readonly infinities: number;
}

export function summarize(values: Float32Array): Statistics {
  let sum = 0, min = Infinity, max = -Infinity, finite = 0, zeros = 0, nans = 0;
  for (const value of values) {
    if (Number.isFinite(value)) {
      finite++;
      sum += value;
      if (value < min) min = value;
      if (value > max) max = value;
      if (value === 0) zeros++;
    } else if (Number.isNaN(value)) {
      nans++;
    }
  }
  const mean = sum / finite;
  let squares = 0;
  for (const value of values) if (Number.isFinite(value)) squares += (value - mean) ** 2;
  return {
    count: values.length,
    mean,
    standardDeviation: Math.sqrt(squares / finite),
    min: finite > 0 ? min : Number.NaN,
    max: finite > 0 ? max : Number.NaN,
    zeros,
    nans,
    infinities: values.length - finite - nans,
  };
}

export interface Range {
  readonly low: number;
  readonly high: number;
}

export interface Histogram extends Range {
  /** Of equal widths from `low` to `high`; each holds its lower edge, the last one its upper edge too. */
  readonly counts: Uint32Array | Float64Array;
}

/** All that is told about the values of a tensor. */
export interface Distribution {
  readonly statistics: Statistics;
  /** Of the finite values, from the least to the greatest. */
  readonly histogram: Histogram;
}

/** Counts the finite values within `range` (by default from the least to the greatest), as numpy's `histogram` does. */
export function histogram(values: Float32Array, bins: number, range: Range = extremes(values)): Histogram {
  // All values equal: one unit around them, as in numpy; no finite ones: an empty histogram.
  const { low, high } = range.low < range.high ? range : Number.isFinite(range.low) ? { low: range.low - 0.5, high: range.low + 0.5 } : { low: 0, high: 1 };
  const counts = new Uint32Array(bins);
  const step = (high - low) / bins;
  const edge = (i: number): number => i === bins ? high : low + i * step;
  for (const value of values) {
    if (!(value >= low && value <= high)) continue;
    let bin = Math.min(bins - 1, Math.floor((value - low) / step));
    // The quotient's rounding may miss the bin whose edges enclose the value.
    if (value < edge(bin)) bin--;
    else if (bin < bins - 1 && value >= edge(bin + 1)) bin++;
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { low, high, counts };
}

/** The least and the greatest finite value; NaN when there are none. */
export function extremes(values: Float32Array): Range {
  const { min, max } = summarize(values);
  return { low: min, high: max };
}

/** The range that leaves out `percent` of the finite values at either end (linear interpolation, as numpy's `percentile`). */
export function percentileRange(values: Float32Array, percent: number): Range {
  const sorted = values.filter(Number.isFinite).sort();
  return { low: quantile(sorted, percent / 100), high: quantile(sorted, 1 - percent / 100) };
}

/** @param sorted ascending; NaN when empty. */
export function quantile(sorted: Float32Array, fraction: number): number {
  const position = fraction * (sorted.length - 1);
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? below;
  return below + (above - below) * (position - Math.floor(position));
}
