import { t } from '@vscode/l10n';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { elementCount } from '../checkpoint/dtype';
import { UserError } from '../errors';
import type { Distribution, Histogram, Statistics } from '../features/statistics';
import type { RunOptions } from '../progress';
import { elementReader, patternReader, patternValues } from './elements';
import { elementBytes } from './elementStream';

export const BINS = 64;

/**
 * Statistics and histogram of all elements of a tensor, streamed: memory does not grow with the tensor. Elements of up
 * to 16 bits are counted by their bit patterns in one pass; wider ones take a second pass for the histogram.
 * A complex tensor's values are its real and imaginary parts. Progress counts the bytes of all passes.
 * @throws UserError when the values cannot be read
 */
export async function tensorStatistics(source: ByteSource, tensor: Tensor, options: RunOptions = {}): Promise<Distribution> {
  const values = patternValues(tensor.dtype);
  const all = { start: 0, end: elementCount(tensor.shape) };
  if (values !== undefined) {
    const counts = new Float64Array(values.length); // a tensor may hold more than 2^32 zeros
    const patterns = patternReader(tensor.dtype);
    for await (const bytes of elementBytes(source, tensor, all, options)) {
      for (const bits of patterns(bytes)) counts[bits] = (counts[bits] ?? 0) + 1;
    }
    return ofCounts(values, counts);
  }

  const read = elementReader(tensor.dtype);
  if (read === undefined) throw new UserError(t`${tensor.key} is ${tensor.dtype}, whose values cannot be shown. Its bytes can be extracted all the same.`);
  const moments = new Moments();
  for await (const bytes of elementBytes(source, tensor, all, part(options, 0))) moments.add(read(bytes));
  const statistics = moments.statistics();
  const bins = new Bins(statistics.min, statistics.max);
  for await (const bytes of elementBytes(source, tensor, all, part(options, 1))) for (const value of read(bytes)) bins.add(value, 1);
  return { statistics, histogram: bins.histogram() };
}

function part({ signal, onProgress }: RunOptions, pass: 0 | 1): RunOptions {
  return {
    ...(signal !== undefined && { signal }),
    ...(onProgress !== undefined && { onProgress: ({ done, total, label }) => { onProgress({ done: pass * total + done, total: 2 * total, ...(label !== undefined && { label }) }); } }),
  };
}

function ofCounts(values: Float64Array, counts: Float64Array): Distribution {
  const moments = new Moments();
  for (const [bits, count] of counts.entries()) if (count > 0) moments.addRepeated(values[bits] ?? Number.NaN, count);
  const statistics = moments.statistics();
  const bins = new Bins(statistics.min, statistics.max);
  for (const [bits, count] of counts.entries()) if (count > 0) bins.add(values[bits] ?? Number.NaN, count);
  return { statistics, histogram: bins.histogram() };
}

/** Mean and deviation of a stream, merged piece by piece (Chan, Golub, LeVeque 1979), so that large sums lose nothing. */
class Moments {
  private count = 0;
  private finite = 0;
  private zeros = 0;
  private nans = 0;
  private min = Infinity;
  private max = -Infinity;
  private mean = 0;
  private squares = 0;

  add(values: Float64Array): void {
    let sum = 0, finite = 0;
    for (const value of values) {
      if (!Number.isFinite(value)) {
        if (Number.isNaN(value)) this.nans++;
        continue;
      }
      finite++;
      sum += value;
      if (value === 0) this.zeros++;
      if (value < this.min) this.min = value;
      if (value > this.max) this.max = value;
    }
    this.count += values.length;
    const mean = sum / finite;
    let squares = 0;
    for (const value of values) if (Number.isFinite(value)) squares += (value - mean) ** 2;
    this.merge(finite, mean, squares);
  }

  addRepeated(value: number, count: number): void {
    this.count += count;
    if (Number.isNaN(value)) this.nans += count;
    if (!Number.isFinite(value)) return;
    if (value === 0) this.zeros += count;
    this.min = Math.min(this.min, value);
    this.max = Math.max(this.max, value);
    this.merge(count, value, 0);
  }

  statistics(): Statistics {
    const { count, finite, zeros, nans } = this;
    const none = Number.NaN;
    return {
      count, zeros, nans,
      infinities: count - finite - nans,
      mean: finite > 0 ? this.mean : none,
      standardDeviation: finite > 0 ? Math.sqrt(this.squares / finite) : none,
      min: finite > 0 ? this.min : none,
      max: finite > 0 ? this.max : none,
    };
  }

  private merge(count: number, mean: number, squares: number): void {
    if (count === 0) return;
    const total = this.finite + count;
    const difference = mean - this.mean;
    this.squares += squares + difference ** 2 * this.finite * count / total;
    this.mean += difference * count / total;
    this.finite = total;
  }
}

/** A histogram that is filled as values come. */
class Bins {
  private readonly counts = new Float64Array(BINS);
  private readonly low: number;
  private readonly high: number;

  constructor(min: number, max: number) {
    // All values equal: one unit around them, as in numpy; no finite ones: an empty histogram.
    [this.low, this.high] = min < max ? [min, max] : Number.isFinite(min) ? [min - 0.5, min + 0.5] : [0, 1];
  }

  add(value: number, count: number): void {
    if (!Number.isFinite(value)) return;
    const bin = Math.min(BINS - 1, Math.floor((value - this.low) / (this.high - this.low) * BINS));
    this.counts[bin] = (this.counts[bin] ?? 0) + count;
  }

  histogram(): Histogram {
    return { low: this.low, high: this.high, counts: this.counts };
  }
}
