import type { RotarySpec } from './graphSpec';
import type { Grid } from './positions';

/**
 * The factors of a rotary position embedding in two dimensions (RoFormer, arXiv 2104.09864): every pair of a head's
 * channels is turned by an angle, the patch's row or column times the pair's frequency. A token is then
 * `x * cos + swapped(x) * sin`, where `swapped` exchanges the two of each pair; `sin` carries the minus of the first.
 */
export interface RotaryTables {
  /** (tokens, headDim). */
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** @param prefixTokens before the patches; they are not turned */
export function rotaryTables(spec: RotarySpec, headDim: number, { rows, columns }: Grid, prefixTokens: number): RotaryTables {
  const pairs = headDim / 2;
  const cos = new Float32Array((prefixTokens + rows * columns) * headDim).fill(1);
  const sin = new Float32Array(cos.length);
  const places = Array.from({ length: pairs }, (_, pair) => (spec.pairs === 'halves' ? [pair, pairs + pair] as const : [2 * pair, 2 * pair + 1] as const));
  const axes = Array.from({ length: pairs }, (_, pair) => pairAxis(spec, headDim, pair));
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const token = (prefixTokens + row * columns + column) * headDim;
      for (const [pair, { along, frequency }] of axes.entries()) {
        const [first = 0, second = 0] = places[pair] ?? [];
        const angle = Math.fround((along === 'row' ? coordinate(spec, row, rows) : coordinate(spec, column, columns)) * frequency);
        cos[token + first] = cos[token + second] = Math.cos(angle);
        sin[token + second] = Math.sin(angle);
        sin[token + first] = -Math.sin(angle);
      }
    }
  }
  return { cos, sin };
}

/** What the angle of a pair grows with, and how fast. All in float32, as the implementations compute it. */
function pairAxis(spec: RotarySpec, headDim: number, pair: number): { readonly along: 'row' | 'column'; readonly frequency: number } {
  const quarter = headDim / 4;
  const [isRow, index] = spec.axes === 'in-turn' ? [pair % 2 === 1, Math.floor(pair / 2)] : [(pair < quarter) === (spec.axes === 'rows-first'), pair % quarter];
  // Pixtral deals one sequence of frequencies out to rows and columns in turn; the others give both the same.
  const step = spec.frequencies === 'dealt' ? 4 * index + (isRow ? 0 : 2) : 4 * index;
  return { along: isRow ? 'row' : 'column', frequency: Math.fround(1 / Math.fround(spec.theta ** Math.fround(step / headDim))) };
}

function coordinate({ coordinates, stretchedTo }: RotarySpec, index: number, count: number): number {
  switch (coordinates) {
    case 'from-zero': return stretchedTo === undefined ? index : Math.fround(Math.fround(index / count) * stretchedTo);
    case 'from-one': return index + 1;
    // DINOv3: centres of patches between -1 and 1, as shares of a full turn.
    case 'centred': return Math.fround(2 * Math.PI * Math.fround(2 * Math.fround((index + 0.5) / count) - 1));
  }
}
