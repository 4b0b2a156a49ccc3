import type { Range } from './statistics';

/**
 * Colours at equal steps from the lowest value to the highest, interpolated in between.
 *
 * viridis and magma: every fifteenth colour of the maps by van der Walt, Smith and Firing ("A Better Default Colormap
 * for Matplotlib", 2015; CC0, https://bids.github.io/colormap); even in lightness, also for the colour-blind. redBlue:
 * ColorBrewer's RdBu of eleven (Brewer, Harrower), from blue over white to red, for values on both sides of zero.
 */
const controlPoints = {
  viridis: [
    '440154', '481769', '472a7a', '433d84', '3d4e8a', '355e8d', '2e6d8e', '297b8e', '23898e',
    '1f978b', '21a585', '2eb37c', '46c06f', '65cb5e', '89d548', 'b0dd2f', 'd8e219', 'fde725',
  ],
  magma: [
    '000004', '090720', '1a1042', '311165', '4a1079', '621980', '792282', '912b81', 'aa337d',
    'c23b75', 'd9466b', 'ec5860', 'f7725c', 'fc8e64', 'feaa74', 'fec68a', 'fde2a3', 'fcfdbf',
  ],
  redBlue: ['053061', '2166ac', '4393c3', '92c5de', 'd1e5f0', 'f7f7f7', 'fddbc7', 'f4a582', 'd6604d', 'b2182b', '67001f'],
} as const;

export type Colormap = keyof typeof controlPoints;

/** The map as a table of 256 colours, RGB one after the other. */
export function colourTable(map: Colormap): Uint8ClampedArray {
  const points = controlPoints[map].map(hex => [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16)));
  const table = new Uint8ClampedArray(3 * 256);
  for (let i = 0; i < 256; i++) {
    const position = i / 255 * (points.length - 1);
    const below = Math.min(Math.floor(position), points.length - 2);
    for (let c = 0; c < 3; c++) {
      const from = points[below]?.[c] ?? 0;
      const to = points[below + 1]?.[c] ?? 0;
      table[3 * i + c] = from + (to - from) * (position - below);
    }
  }
  return table;
}

/** RGBA for each value, clipped to the range; what is not a number is transparent. A range without extent gives its middle. */
export function colourValues(values: Float32Array, map: Colormap, { low, high }: Range): Uint8ClampedArray<ArrayBuffer> {
  const table = colourTable(map);
  const colours = new Uint8ClampedArray(4 * values.length);
  for (const [i, value] of values.entries()) {
    if (Number.isNaN(value)) continue;
    const fraction = high > low ? (value - low) / (high - low) : 0.5;
    const at = 3 * Math.round(255 * Math.min(1, Math.max(0, fraction)));
    colours.set([table[at] ?? 0, table[at + 1] ?? 0, table[at + 2] ?? 0, 255], 4 * i);
  }
  return colours;
}

/** The range around zero that holds all of `range`: what a map from blue to red needs for white to mean zero. */
export function aroundZero({ low, high }: Range): Range {
  const reach = Math.max(Math.abs(low), Math.abs(high));
  return { low: -reach, high: reach };
}
