/** A grid of patches: rows by columns. */
export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

export function sameGrid(one: Grid, other: Grid): boolean {
  return one.rows === other.rows && one.columns === other.columns;
}

/** How a table of positions comes to another grid; each is a way of mixing a side's stored positions into new ones. */
export const TABLE_RESIZES = ['bicubic', 'corners', 'antialiased'] as const;
export type TableResize = (typeof TABLE_RESIZES)[number];

interface Tap {
  readonly index: number;
  readonly weight: number;
}

/** For each of `to` positions along a side the stored ones, of `from`, that it is mixed of. Weights are float32, as in PyTorch. */
type Taps = (from: number, to: number) => Tap[][];

const TAPS: Readonly<Record<TableResize, Taps>> = { bicubic: bicubicTaps, corners: cornerTaps, antialiased: antialiasedTaps };

/**
 * Resizes a table of position embeddings from one grid to another.
 * - `bicubic`: `torch.nn.functional.interpolate(mode='bicubic', align_corners=False)`: four taps per axis at a = -0.75, no
 *   antialiasing, edges repeated (ATen/native/UpSample.h, UpSampleKernel.cpp).
 * - `corners`: linearly, corner on corner, as Qwen3-VL does (transformers, models/qwen3_vl, fast_pos_embed_interpolate):
 *   row i of n lies at `linspace(0, rows - 1, n)[i]` of the table.
 * - `antialiased`: `interpolate(mode='bilinear', align_corners=False, antialias=True)`, as SigLIP 2 NaFlex does
 *   (transformers, models/siglip2, resize_positional_embeddings).
 * @param table (from.rows * from.columns, channels), row-major
 * @returns (to.rows * to.columns, channels); `table` itself when the grids agree, which all of them leave as it is
 */
export function resizePositions(table: Float32Array, channels: number, from: Grid, to: Grid, resize: TableResize = 'bicubic'): Float32Array {
  if (sameGrid(from, to)) return table;
  const vertical = TAPS[resize](from.rows, to.rows);
  const horizontal = TAPS[resize](from.columns, to.columns);
  const result = new Float32Array(to.rows * to.columns * channels);
  vertical.forEach((rowTaps, row) => {
    horizontal.forEach((columnTaps, column) => {
      const target = (row * to.columns + column) * channels;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0;
        for (const { index: y, weight: wy } of rowTaps) {
          let line = 0;
          for (const { index: x, weight: wx } of columnTaps) line += wx * (table[(y * from.columns + x) * channels + channel] ?? 0);
          sum += wy * line;
        }
        result[target + channel] = sum;
      }
    });
  });
  return result;
}

/** PyTorch's bicubic coefficient (ATen/native/UpSample.h); Pillow and OpenCV use others. */
const A = -0.75;

function bicubicTaps(from: number, to: number): Tap[][] {
  const scale = Math.fround(from / to);
  return Array.from({ length: to }, (_, target) => {
    const centre = Math.fround(Math.fround(scale * Math.fround(target + 0.5)) - 0.5);
    const floor = Math.floor(centre);
    const t = Math.fround(centre - floor);
    return [far(t + 1), near(t), near(1 - t), far(2 - t)].map((weight, tap) => ({
      index: Math.min(Math.max(floor - 1 + tap, 0), from - 1),
      weight: Math.fround(weight),
    }));
  });
}

/** Keys' cubic kernel for |x| <= 1. */
function near(x: number): number {
  return ((A + 2) * x - (A + 3)) * x * x + 1;
}

/** Keys' cubic kernel for 1 < |x| < 2. */
function far(x: number): number {
  return ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
}

function cornerTaps(from: number, to: number): Tap[][] {
  return linspace(from - 1, to).map(at => {
    const floor = Math.trunc(at);
    const share = Math.fround(at - floor);
    return [{ index: floor, weight: Math.fround(1 - share) }, { index: Math.min(floor + 1, from - 1), weight: share }];
  });
}

/** torch.linspace(0, end, count) in float32, which counts its second half from the end. */
function linspace(end: number, count: number): number[] {
  const step = Math.fround(end / (count - 1));
  return Array.from({ length: count }, (_, index) => (count === 1 ? 0 : Math.fround(index < count / 2 ? step * index : end - step * (count - 1 - index))));
}

/**
 * A triangle around each centre, as wide as the positions that become one, cut at the edges and brought to the sum 1
 * (ATen/native/cpu/UpSampleKernel.cpp, _compute_indices_weights_aa).
 */
function antialiasedTaps(from: number, to: number): Tap[][] {
  const scale = Math.fround(from / to);
  const support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, target) => {
    const centre = Math.fround(scale * Math.fround(target + 0.5));
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const heights = Array.from({ length: end - first }, (_, tap) => Math.max(0, 1 - Math.abs(Math.fround((tap + first - centre + 0.5) / support))));
    const sum = heights.reduce((total, height) => total + height, 0);
    return heights.map((height, tap) => ({ index: first + tap, weight: Math.fround(height / sum) }));
  });
}
