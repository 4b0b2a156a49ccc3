import { percentileRange, type Range } from './statistics';

/** How far each of three coordinates reaches from black to full red, green or blue. */
export type ColourScale = readonly [Range, Range, Range];

/**
 * A scale for the projections of one or several pictures together, so that a colour means the same in all;
 * `percent` of the tokens at either end are clipped, so that a few outliers do not grey out the rest.
 *
 * @param projections (tokens, 3) each, as projectOnto gives for three components
 */
export function colourScale(projections: readonly Float32Array[], percent = 1): ColourScale {
  const range = (component: number): Range => percentileRange(concatenate(projections.map(values => values.filter((_, i) => i % 3 === component))), percent);
  return [range(0), range(1), range(2)];
}

/** RGBA, row by row; a token with no finite coordinates is transparent, a component without any extent half bright. */
export function pcaColours(projection: Float32Array, scale: ColourScale): Uint8ClampedArray<ArrayBuffer> {
  const tokens = projection.length / 3;
  const colours = new Uint8ClampedArray(4 * tokens);
  for (let i = 0; i < tokens; i++) {
    const coordinates = projection.subarray(3 * i, 3 * i + 3);
    if (!coordinates.every(Number.isFinite)) continue;
    for (const [c, { low, high }] of scale.entries()) {
      colours[4 * i + c] = high > low ? 255 * ((coordinates[c] ?? 0) - low) / (high - low) : 127.5;
    }
    colours[4 * i + 3] = 255;
  }
  return colours;
}

function concatenate(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
