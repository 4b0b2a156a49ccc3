/** A grid of patches: rows by columns. */
export interface Grid {
  readonly rows: number;
  readonly columns: number;
}

export function sameGrid(one: Grid, other: Grid): boolean {
  return one.rows === other.rows && one.columns === other.columns;
}

/** PyTorch's bicubic coefficient (ATen/native/UpSample.h); Pillow and OpenCV use others. */
const A = -0.75;

/**
 * Resizes a table of position embeddings from one grid to another as
 * `torch.nn.functional.interpolate(mode='bicubic', align_corners=False)` does in float32: four taps per axis
 * at a = -0.75, no antialiasing, edges repeated (ATen/native/UpSample.h, UpSampleKernel.cpp).
 * @param table (from.rows * from.columns, channels), row-major
 * @returns (to.rows * to.columns, channels); `table` itself when the grids agree, as Qwen-VL's get_abs_pos does
 */
export function resizePositions(table: Float32Array, channels: number, from: Grid, to: Grid): Float32Array {
  if (sameGrid(from, to)) return table;
  const vertical = taps(from.rows, to.rows);
  const horizontal = taps(from.columns, to.columns);
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

/**
 * Resizes a table of position embeddings linearly, corner on corner, as Qwen3-VL does (transformers, models/qwen3_vl,
 * fast_pos_embed_interpolate): row i of n lies at `linspace(0, rows - 1, n)[i]` of the table.
 * @param table (from.rows * from.columns, channels), row-major
 */
export function interpolatePositions(table: Float32Array, channels: number, from: Grid, to: Grid): Float32Array {
  const vertical = linspace(from.rows - 1, to.rows).map(at => linearTaps(at, from.rows));
  const horizontal = linspace(from.columns - 1, to.columns).map(at => linearTaps(at, from.columns));
  const result = new Float32Array(to.rows * to.columns * channels);
  for (const [row, rowTaps] of vertical.entries()) {
    for (const [column, columnTaps] of horizontal.entries()) {
      const target = (row * to.columns + column) * channels;
      for (const { index: y, weight: wy } of rowTaps) {
        for (const { index: x, weight: wx } of columnTaps) {
          const weight = Math.fround(wy * wx);
          const source = (y * from.columns + x) * channels;
          for (let channel = 0; channel < channels; channel++) result[target + channel] = (result[target + channel] ?? 0) + weight * (table[source + channel] ?? 0);
        }
      }
    }
  }
  return result;
}

/** torch.linspace(0, end, count) in float32, which counts its second half from the end. */
function linspace(end: number, count: number): number[] {
  const step = Math.fround(end / (count - 1));
  return Array.from({ length: count }, (_, index) => (count === 1 ? 0 : Math.fround(index < count / 2 ? step * index : end - step * (count - 1 - index))));
}

function linearTaps(at: number, count: number): Tap[] {
  const floor = Math.trunc(at);
  const share = Math.fround(at - floor);
  return [{ index: floor, weight: Math.fround(1 - share) }, { index: Math.min(floor + 1, count - 1), weight: share }];
}

interface Tap {
  readonly index: number;
  readonly weight: number;
}

/** For each target index the four source indices with their weights. Scale and coordinates are float32, as in PyTorch. */
function taps(from: number, to: number): Tap[][] {
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
