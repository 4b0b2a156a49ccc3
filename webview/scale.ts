import { aroundZero, type Colormap } from '../src/features/colormap';
import { extremes, percentileRange, type Range } from '../src/features/statistics';
import type { PatchMap } from '../src/protocol';

/** How numbers become colours: around zero for what has a sign, else from the least to the greatest. */
export interface Scale {
  readonly colours: Colormap;
  readonly range: Range;
}

/** The share of the patches at either end that clipped colours do not tell apart, in percent. */
const CLIPPED_PERCENT = 1;

/**
 * One scale for all maps that are seen together; undefined when none is of numbers.
 * @param isSigned whether zero lies in the middle
 * @param clip whether a few outliers are left out
 */
export function scaleOf(maps: readonly (PatchMap | undefined)[], isSigned: boolean, clip: boolean): Scale | undefined {
  const ranges = maps.flatMap(map => map?.values === undefined ? [] : [clip ? percentileRange(map.values, CLIPPED_PERCENT) : extremes(map.values)]).filter(({ low }) => Number.isFinite(low));
  if (ranges.length === 0) return undefined;
  const range = { low: Math.min(...ranges.map(({ low }) => low)), high: Math.max(...ranges.map(({ high }) => high)) };
  return isSigned ? { colours: 'redBlue', range: aroundZero(range) } : { colours: 'viridis', range };
}

/** Where a value lies on the scale, 0 to 1. */
export function placeOn({ range: { low, high } }: Scale, value: number): number {
  return high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5;
}
