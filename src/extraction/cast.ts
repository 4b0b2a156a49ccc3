import type { Dtype } from '../checkpoint/dtype';

/** What the person may ask for; `keep` copies the bytes as they are. */
export const CAST_TARGETS = { keep: undefined, bf16: 'BF16', f16: 'F16', f32: 'F32' } as const;
export type DtypeOption = keyof typeof CAST_TARGETS;

/**
 * Fills `target` with the elements of `source` in another dtype. Both hold the same number of whole little-endian
 * elements and start at a multiple of 8 bytes in their buffers.
 */
export type Cast = (source: Uint8Array, target: Uint8Array) => void;

/**
 * The dtype that a tensor has after `option`. Only F64, F32, F16 and BF16 are ever cast: integers and booleans are
 * indices and masks, and 8-bit floats go with scales that a cast would not apply.
 */
export function castDtype(dtype: Dtype, option: DtypeOption): Dtype {
  const target = CAST_TARGETS[option];
  return target !== undefined && (dtype === 'F64' || dtype in FROM_16_OR_32) ? target : dtype;
}

/**
 * How to turn elements of `from` into elements of `to`, as PyTorch's `.to()` does: round to nearest, ties to even;
 * too large becomes infinite; subnormals are exact; F64 goes to 16 bits by way of F32. A NaN stays a NaN with its
 * sign and upper payload bits, quiet. Undefined when the dtypes are the same.
 * @throws RangeError for a pair that `castDtype` never asks for.
 */
export function makeCast(from: Dtype, to: Dtype): Cast | undefined {
  if (from === to) return undefined;
  if (from === 'F64') {
    const rest = makeCast('F32', to);
    return (source, target) => {
      const narrow = new Float32Array(new Float64Array(source.buffer, source.byteOffset, source.byteLength / 8));
      const bytes = new Uint8Array(narrow.buffer);
      if (rest === undefined) target.set(bytes);
      else rest(bytes, target);
    };
  }
  const cast = FROM_16_OR_32[from]?.[to];
  if (cast === undefined) throw new RangeError(`No cast from ${from} to ${to}.`);
  return cast;
}

const FROM_16_OR_32: Partial<Record<Dtype, Partial<Record<Dtype, Cast>>>> = {
  F32: { BF16: floatsToBfloats, F16: floatsToHalves },
  F16: { F32: halvesToFloats, BF16: (source, target) => { lookUp(source, halfToBfloatTable(), target); } },
  BF16: { F32: bfloatsToFloats, F16: (source, target) => { lookUp(source, bfloatToHalfTable(), target); } },
};

// One loop for each pair of element types, so that each is compiled for its own.

function floatsToBfloats(source: Uint8Array, target: Uint8Array): void {
  const [input, output] = [words32(source), words16(target)];
  for (let i = 0; i < input.length; i++) output[i] = floatToBfloat(input[i] ?? 0);
}

function floatsToHalves(source: Uint8Array, target: Uint8Array): void {
  const [input, output] = [words32(source), words16(target)];
  for (let i = 0; i < input.length; i++) output[i] = floatToHalf(input[i] ?? 0);
}

/** Four at a time, out of signed words that hold two: half the time of one after the other (bench/ENCODER_NOTES.md). */
function bfloatsToFloats(source: Uint8Array, target: Uint8Array): void {
  const [input, output] = [words16(source), words32(target)];
  const pairs = new Int32Array(source.buffer, source.byteOffset, source.byteLength >> 2);
  const signed = new Int32Array(target.buffer, target.byteOffset, target.byteLength / 4);
  const whole = pairs.length & ~1;
  for (let i = 0; i < whole; i += 2) {
    const first = pairs[i] ?? 0;
    const second = pairs[i + 1] ?? 0;
    signed[2 * i] = first << 16;
    signed[2 * i + 1] = first & 0xffff0000;
    signed[2 * i + 2] = second << 16;
    signed[2 * i + 3] = second & 0xffff0000;
  }
  for (let i = 2 * whole; i < input.length; i++) output[i] = (input[i] ?? 0) << 16;
}

function halvesToFloats(source: Uint8Array, target: Uint8Array): void {
  const [input, output, table] = [words16(source), words32(target), halfToFloatTable()];
  for (let i = 0; i < input.length; i++) output[i] = table[input[i] ?? 0] ?? 0;
}

function lookUp(source: Uint8Array, table: Uint16Array, target: Uint8Array): void {
  const [input, output] = [words16(source), words16(target)];
  for (let i = 0; i < input.length; i++) output[i] = table[input[i] ?? 0] ?? 0;
}

/** The upper half of a float's bits, rounded. */
function floatToBfloat(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** IEEE 754 binary32 to binary16, on the bits. */
function floatToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  // Normal halves: rebias the exponent, round off 13 mantissa bits; a carry may run into the exponent, up to infinity.
  if (magnitude >= 0x38800000 && magnitude < 0x47800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // At most 2^-25, half of the smallest subnormal: the tie goes to zero, which is even.
  if (magnitude <= 0x33000000) return sign;
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const quotient = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  const up = rest > tie || (rest === tie && (quotient & 1) === 1);
  return sign | (up ? quotient + 1 : quotient);
}

/** binary16 to binary32, exact. */
function halfToFloat(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa === 0 ? 0 : 0x400000 | (mantissa << 13))) >>> 0;
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  // Subnormal: shift the leading one into the implicit place.
  const shift = Math.clz32(mantissa) - 21;
  return (sign | ((113 - shift) << 23) | ((mantissa << (shift + 13)) & 0x7fffff)) >>> 0;
}

const halfToFloatTable = once(() => Uint32Array.from({ length: 0x10000 }, (_, half) => halfToFloat(half)));
const halfToBfloatTable = once(() => Uint16Array.from(halfToFloatTable(), floatToBfloat));
const bfloatToHalfTable = once(() => Uint16Array.from({ length: 0x10000 }, (_, bfloat) => floatToHalf((bfloat << 16) >>> 0)));

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => made ??= make();
}

function words16(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
}

function words32(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
