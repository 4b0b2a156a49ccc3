import assert from 'node:assert/strict';
import { formatBytes, formatCount, formatDuration, formatShape } from '../../src/format';

describe('format', () => {
  it('writes bytes with three digits and the unit that keeps them below a thousand', () => {
    assert.deepEqual([0, 999, 1000, 999_499, 999_500, 3_837_666_816, 1.5e15].map(formatBytes), ['0 B', '999 B', '1.00 KB', '999 KB', '1.00 MB', '3.84 GB', '1.50 PB']);
  });

  it('writes shapes, counts and durations', () => {
    assert.equal(formatShape([1664, 3, 14, 14]), '1664×3×14×14');
    assert.equal(formatShape([]), 'scalar');
    assert.equal(formatCount(1, 'tensor'), '1 tensor');
    assert.equal(formatCount(100_000, 'key'), '100,000 keys');
    assert.deepEqual([7.6, 200, 3900].map(formatDuration), ['8 s', '3 min 20 s', '1 h 5 min']);
  });
});
