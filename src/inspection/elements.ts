import type { Dtype } from '../checkpoint/dtype';

/** Turns whole little-endian elements into numbers; 64-bit integers are rounded to the nearest double. */
export type ReadElements = (bytes: Uint8Array) => Float64Array;

/** The numbers that a float of few bits can be, by its bits. */
interface FloatFormat {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  readonly bias: number;
  /** ieee: an exponent of ones is infinite or NaN; fn: only all ones is NaN; fnuz: only minus zero is NaN. */
  readonly specials: 'ieee' | 'fn' | 'fnuz';
}

/**
 * Binary16 and bfloat16; the 8-bit formats of "FP8 Formats for Deep Learning" (arXiv 2209.05433) and of
 * "8-bit Numerical Formats for Deep Neural Networks" (arXiv 2206.02915, fnuz), as torch names them.
 */
const FLOATS: Partial<Record<Dtype, FloatFormat>> = {
  F16: { exponentBits: 5, mantissaBits: 10, bias: 15, specials: 'ieee' },
  BF16: { exponentBits: 8, mantissaBits: 7, bias: 127, specials: 'ieee' },
  F8_E5M2: { exponentBits: 5, mantissaBits: 2, bias: 15, specials: 'ieee' },
  F8_E4M3: { exponentBits: 4, mantissaBits: 3, bias: 7, specials: 'fn' },
  F8_E5M2FNUZ: { exponentBits: 5, mantissaBits: 2, bias: 16, specials: 'fnuz' },
  F8_E4M3FNUZ: { exponentBits: 4, mantissaBits: 3, bias: 8, specials: 'fnuz' },
};

/**
 * Of a dtype with at most 16 bits, the number that each bit pattern means: an element's bits, as an unsigned integer,
 * are its index. Undefined for wider dtypes and for those whose elements are no whole bytes (F4, F6).
 */
export function patternValues(dtype: Dtype): Float64Array | undefined {
  const known = tables.get(dtype) ?? makePatternValues(dtype);
  if (known !== undefined) tables.set(dtype, known);
  return known;
}

/** Made once: a table of 65,536 numbers takes longer than many a tensor's reading. */
const tables = new Map<Dtype, Float64Array>();

function makePatternValues(dtype: Dtype): Float64Array | undefined {
  const format = FLOATS[dtype];
  if (format !== undefined) return Float64Array.from({ length: 2 ** (1 + format.exponentBits + format.mantissaBits) }, (_, bits) => floatValue(bits, format));
  switch (dtype) {
    case 'U8': case 'BOOL': return Float64Array.from({ length: 256 }, (_, bits) => bits);
    case 'I8': return Float64Array.from({ length: 256 }, (_, bits) => bits << 24 >> 24);
    case 'U16': return Float64Array.from({ length: 65536 }, (_, bits) => bits);
    case 'I16': return Float64Array.from({ length: 65536 }, (_, bits) => bits << 16 >> 16);
    // Powers of two alone (OCP Microscaling Formats 1.0, section 5.4.1).
    case 'F8_E8M0': return Float64Array.from({ length: 256 }, (_, bits) => bits === 255 ? Number.NaN : 2 ** (bits - 127));
    default: return undefined;
  }
}

/** Undefined for dtypes whose elements are no whole bytes. C64 reads as its real and imaginary parts in turn. */
export function elementReader(dtype: Dtype): ReadElements | undefined {
  const values = patternValues(dtype);
  if (values !== undefined) {
    const patterns = patternReader(dtype);
    return bytes => {
      const bits = patterns(bytes);
      const numbers = new Float64Array(bits.length);
      // Float64Array.from with a function takes several times as long.
      for (let i = 0; i < bits.length; i++) numbers[i] = values[bits[i] ?? 0] ?? Number.NaN;
      return numbers;
    };
  }
  switch (dtype) {
    case 'F32': case 'C64': return bytes => new Float64Array(new Float32Array(...words(bytes, 4)));
    case 'F64': return bytes => new Float64Array(...words(bytes, 8));
    case 'I32': return bytes => new Float64Array(new Int32Array(...words(bytes, 4)));
    case 'U32': return bytes => new Float64Array(new Uint32Array(...words(bytes, 4)));
    case 'I64': return bytes => Float64Array.from(new BigInt64Array(...words(bytes, 8)), Number);
    case 'U64': return bytes => Float64Array.from(new BigUint64Array(...words(bytes, 8)), Number);
    default: return undefined;
  }
}

/** The bit patterns of a dtype that `patternValues` knows. */
export function patternReader(dtype: Dtype): (bytes: Uint8Array) => Uint8Array | Uint16Array {
  const wide = dtype === 'F16' || dtype === 'BF16' || dtype === 'U16' || dtype === 'I16';
  return bytes => wide ? new Uint16Array(...words(bytes, 2)) : bytes;
}

/** A typed array's arguments; typed arrays start at multiples of their width, so bytes that do not are copied. */
function words(bytes: Uint8Array, width: number): [ArrayBufferLike, number, number] {
  const aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  return [aligned.buffer, aligned.byteOffset, Math.floor(bytes.byteLength / width)];
}

function floatValue(bits: number, { exponentBits, mantissaBits, bias, specials }: FloatFormat): number {
  const width = exponentBits + mantissaBits;
  const negative = bits >> width !== 0;
  const exponent = (bits >> mantissaBits) & (2 ** exponentBits - 1);
  const mantissa = bits & (2 ** mantissaBits - 1);
  if (specials === 'fnuz' && bits === 2 ** width) return Number.NaN;
  if (specials === 'fn' && (bits & (2 ** width - 1)) === 2 ** width - 1) return Number.NaN;
  if (specials === 'ieee' && exponent === 2 ** exponentBits - 1) return mantissa === 0 ? (negative ? -Infinity : Infinity) : Number.NaN;
  const size = exponent === 0 ? mantissa * 2 ** (1 - bias - mantissaBits) : (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
  return negative ? -size : size;
}
