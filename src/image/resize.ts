import type { RgbImage } from './rgbImage';

/** Pillow's resampling filters, by their names there. */
export const FILTERS = ['nearest', 'box', 'bilinear', 'hamming', 'bicubic', 'lanczos'] as const;
export type Filter = (typeof FILTERS)[number];

/** A part of a picture, in its pixels. */
export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Resizes as Pillow's `Image.resize` does an 8-bit RGB picture, to the bit: antialiased, with 22-bit fixed-point
 * coefficients, columns first, rounded to 8 bits, then rows.
 *
 * Source of the arithmetic: Pillow, src/libImaging/Resample.c (and Geometry.c for `nearest`).
 *
 * @param window the part of the result to compute (the rest of a picture cut to its centre is never made);
 *   it lies within `width` x `height`. The whole when absent.
 * @throws RangeError when a size is not a positive integer.
 */
export function resize(image: RgbImage, width: number, height: number, filter: Filter, window: Window = { left: 0, top: 0, width, height }): RgbImage {
  for (const size of [width, height, window.width, window.height]) {
    if (!Number.isInteger(size) || size < 1) throw new RangeError(`Cannot resize to ${width} x ${height}.`);
  }
  if (filter === 'nearest') return resizeNearest(image, nearest(image.width, width, window.left, window.width), nearest(image.height, height, window.top, window.height));
  const kernel = kernels[filter];
  const columns = coefficients(image.width, width, kernel, window.left, window.width);
  const rows = coefficients(image.height, height, kernel, window.top, window.height);
  return resizeRows(resizeColumns(image, columns, rows.span), rows);
}

/** Levels of red, green and blue, pixel by pixel, that are no whole numbers. */
export interface Levels {
  readonly width: number;
  readonly height: number;
  readonly data: Float32Array;
}

/**
 * As `resize`, but levels stay fractions: what torchvision's resize makes of a float tensor, whose weights are Pillow's
 * (torch.nn.functional.interpolate with antialias; ATen/native/cpu/UpSampleKernel.cpp). They are within 3e-6 of its, of levels 0 to 1.
 */
export function resizeUnrounded(image: RgbImage, width: number, height: number, filter: Exclude<Filter, 'nearest'>, window: Window): Levels {
  const kernel = kernels[filter];
  const columns = coefficients(image.width, width, kernel, window.left, window.width);
  const { length, span, stride, first, count, weights } = coefficients(image.height, height, kernel, window.top, window.height);
  const lines = unroundedColumns(image, columns, span);
  const line = 3 * columns.length;
  const data = new Float32Array(line * length);
  for (let y = 0; y < length; y++) {
    for (let k = 0; k < (count[y] ?? 0); k++) {
      const weight = (weights[y * stride + k] ?? 0) / ONE;
      const from = ((first[y] ?? 0) - span.start + k) * line;
      for (let x = 0; x < line; x++) data[y * line + x] = (data[y * line + x] ?? 0) + weight * (lines[from + x] ?? 0);
    }
  }
  return { width: columns.length, height: length, data };
}

interface Kernel {
  /** The kernel is zero beyond this distance, in source pixels at scale 1. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

const sinc = (x: number): number => x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);

/** Keys' parameter; PyTorch and OpenCV use -0.75. */
const BICUBIC_A = -0.5;

const kernels: Readonly<Record<Exclude<Filter, 'nearest'>, Kernel>> = {
  box: { support: 0.5, weight: x => x > -0.5 && x <= 0.5 ? 1 : 0 },
  bilinear: { support: 1, weight: x => Math.max(0, 1 - Math.abs(x)) },
  // Pillow writes these two constants in single precision.
  hamming: { support: 1, weight: x => Math.abs(x) >= 1 ? 0 : sinc(x) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(x * Math.PI)) },
  bicubic: {
    support: 2,
    weight: signed => {
      const x = Math.abs(signed);
      if (x < 1) return ((BICUBIC_A + 2) * x - (BICUBIC_A + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * BICUBIC_A : 0;
    },
  },
  lanczos: { support: 3, weight: x => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0 },
};

const PRECISION_BITS = 22;
const ONE = 1 << PRECISION_BITS;
const HALF = 1 << (PRECISION_BITS - 1);

/** How each output position is mixed: `count[i]` source positions from `first[i]` on, weighted by `weights[i * stride ...]`. */
interface Coefficients {
  readonly length: number;
  readonly stride: number;
  /** The source positions that any of them needs. */
  readonly span: { readonly start: number; readonly end: number };
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly weights: Int32Array;
}

/** For the output positions `begin` to `begin + length` of a side of `from` pixels that becomes `to` pixels long. */
function coefficients(from: number, to: number, { support, weight }: Kernel, begin: number, length: number): Coefficients {
  const scale = from / to;
  const filterScale = Math.max(scale, 1);
  const reach = support * filterScale;
  const stride = Math.ceil(reach) * 2 + 1;
  const first = new Int32Array(length);
  const count = new Int32Array(length);
  const weights = new Int32Array(length * stride);
  const exact = new Float64Array(stride);
  for (let i = 0; i < length; i++) {
    const centre = (begin + i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    let sum = 0;
    for (let j = 0; j < end - start; j++) sum += exact[j] = weight((j + start - centre + 0.5) * (1 / filterScale));
    for (let j = 0; j < end - start; j++) {
      const normalised = (exact[j] ?? 0) / (sum === 0 ? 1 : sum) * ONE;
      weights[i * stride + j] = Math.trunc(normalised + (normalised < 0 ? -0.5 : 0.5));
    }
    first[i] = start;
    count[i] = end - start;
  }
  const last = length - 1;
  const span = { start: first[0] ?? 0, end: (first[last] ?? 0) + (count[last] ?? 0) };
  return { length, stride, span, first, count, weights };
}

/** Resizes the rows `start` to `end` in width; the result's rows count from `start`. */
function resizeColumns({ width, data }: RgbImage, columns: Coefficients, { start, end }: Coefficients['span']): RgbImage {
  const { length, stride, first, count, weights } = columns;
  const result = new Uint8ClampedArray(3 * length * (end - start));
  let to = 0;
  for (let y = start; y < end; y++) {
    for (let x = 0; x < length; x++) {
      let red = HALF, green = HALF, blue = HALF;
      let from = 3 * (y * width + (first[x] ?? 0));
      const lastWeight = x * stride + (count[x] ?? 0);
      for (let k = x * stride; k < lastWeight; k++, from += 3) {
        const weight = weights[k] ?? 0;
        red += weight * (data[from] ?? 0);
        green += weight * (data[from + 1] ?? 0);
        blue += weight * (data[from + 2] ?? 0);
      }
      result[to++] = red >> PRECISION_BITS;
      result[to++] = green >> PRECISION_BITS;
      result[to++] = blue >> PRECISION_BITS;
    }
  }
  return { width: length, height: end - start, data: new Uint8Array(result.buffer) };
}

function unroundedColumns({ width, data }: RgbImage, { length, stride, first, count, weights }: Coefficients, { start, end }: Coefficients['span']): Float32Array {
  const result = new Float32Array(3 * length * (end - start));
  for (let y = start, to = 0; y < end; y++) {
    for (let x = 0; x < length; x++) {
      for (let channel = 0; channel < 3; channel++, to++) {
        let sum = 0;
        for (let k = 0; k < (count[x] ?? 0); k++) sum += (weights[x * stride + k] ?? 0) * (data[3 * (y * width + (first[x] ?? 0) + k) + channel] ?? 0);
        result[to] = sum / ONE;
      }
    }
  }
  return result;
}

function resizeRows({ width, data }: RgbImage, rows: Coefficients): RgbImage {
  const { length, stride, span, first, count, weights } = rows;
  const line = 3 * width;
  const result = new Uint8ClampedArray(line * length);
  const sums = new Int32Array(line);
  for (let y = 0; y < length; y++) {
    sums.fill(HALF);
    // Row by row through memory: the sums of a whole line grow together.
    for (let k = 0; k < (count[y] ?? 0); k++) {
      const weight = weights[y * stride + k] ?? 0;
      const from = ((first[y] ?? 0) - span.start + k) * line;
      for (let x = 0; x < line; x++) sums[x] = (sums[x] ?? 0) + weight * (data[from + x] ?? 0);
    }
    for (let x = 0; x < line; x++) result[y * line + x] = (sums[x] ?? 0) >> PRECISION_BITS;
  }
  return { width, height: length, data: new Uint8Array(result.buffer) };
}

function resizeNearest({ width, data }: RgbImage, columns: Int32Array, rows: Int32Array): RgbImage {
  const result = new Uint8Array(3 * columns.length * rows.length);
  let to = 0;
  for (const y of rows) {
    for (const x of columns) {
      const from = 3 * (y * width + x);
      result[to++] = data[from] ?? 0;
      result[to++] = data[from + 1] ?? 0;
      result[to++] = data[from + 2] ?? 0;
    }
  }
  return { width: columns.length, height: rows.length, data: result };
}

/** Source positions; the position is accumulated, as in Pillow, so that its rounding errors are the same. */
function nearest(from: number, to: number, begin: number, length: number): Int32Array {
  const scale = from / to;
  const positions = new Int32Array(length);
  for (let i = 0, position = scale * 0.5; i < begin + length; i++, position += scale) {
    if (i >= begin) positions[i - begin] = Math.min(from - 1, Math.trunc(position));
  }
  return positions;
}
