import { aroundZero, type Colormap } from '../src/features/colormap';
import { extremes, type Range } from '../src/features/statistics';
import type { PatchMap } from '../src/protocol';

/** How numbers become colours: around zero for what has a sign, else from the least to the greatest. */
export interface Scale {
  readonly colours: Colormap;
  readonly range: Range;
}

/** One scale for all maps that are seen together; undefined when none is of numbers. */
export function scaleOf(maps: readonly (PatchMap | undefined)[]): Scale | undefined {
  const ranges = maps.flatMap(map => map?.values === undefined ? [] : [extremes(map.values)]).filter(({ low }) => Number.isFinite(low));
  if (ranges.length === 0) return undefined;
  const range = { low: Math.min(...ranges.map(({ low }) => low)), high: Math.max(...ranges.map(({ high }) => high)) };
  return range.low < 0 ? { colours: 'redBlue', range: aroundZero(range) } : { colours: 'viridis', range };
}
