import type { RgbImage } from './rgbImage';
import { toRgb } from './samples';

/**
 * Windows and OS/2 bitmaps: 1, 4, 8, 16, 24 and 32 bits, run lengths (RLE4, RLE8), bit fields, either row order.
 * Layouts after Microsoft's "Bitmap Storage" (BITMAPCOREHEADER to BITMAPV5HEADER). Bit fields narrower or wider
 * than 8 bits are scaled with the remainder cut off, as Pillow does.
 *
 * @param checkSize is told the size before anything is allocated, and throws to refuse it.
 * @throws Error saying what is wrong with the data.
 */
export function decodeBmp(bytes: Uint8Array, checkSize: (width: number, height: number) => void): RgbImage {
  const header = parseHeader(bytes);
  checkSize(header.width, header.height);
  const pixels = bytes.subarray(header.pixelsAt);
  const data = header.bits <= 8 ? decodeIndexed(header, new Painting(header, bytes), pixels) : decodeDirect(header, pixels);
  return { width: header.width, height: header.height, data };
}

interface Header {
  readonly width: number;
  readonly height: number;
  /** Whether the first row stored is the top one. */
  readonly topDown: boolean;
  readonly bits: number;
  readonly compression: number;
  readonly pixelsAt: number;
  readonly palette: { readonly at: number; readonly entrySize: number; readonly length: number };
  /** Red, green, blue, alpha; 0 is a channel that is not there. */
  readonly masks: readonly [number, number, number, number];
}

const RGB = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3, ALPHABITFIELDS = 6;
const CORE_HEADER = 12, INFO_HEADER = 40, V2_HEADER = 52, V3_HEADER = 56;
const knownHeaders: readonly number[] = [CORE_HEADER, 16, INFO_HEADER, V2_HEADER, V3_HEADER, 64, 108, 124];

function parseHeader(bytes: Uint8Array): Header {
  if (bytes.length < 26) throw new Error('the file ends inside its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerSize = view.getUint32(14, true);
  if (!knownHeaders.includes(headerSize)) throw new Error(`unknown header of ${headerSize} bytes`);
  if (bytes.length < 14 + headerSize) throw new Error('the file ends inside its header');
  const core = headerSize === CORE_HEADER;
  const width = core ? view.getUint16(18, true) : view.getInt32(18, true);
  const storedHeight = core ? view.getUint16(20, true) : view.getInt32(22, true);
  const bits = view.getUint16(core ? 24 : 28, true);
  const compression = headerSize >= INFO_HEADER ? view.getUint32(30, true) : RGB;
  if (width <= 0 || storedHeight === 0) throw new Error(`a size of ${width} x ${Math.abs(storedHeight)}`);
  checkCompression(bits, compression, storedHeight);

  const separateMasks = headerSize !== INFO_HEADER ? 0 : compression === BITFIELDS ? 12 : compression === ALPHABITFIELDS ? 16 : 0;
  const paletteAt = 14 + headerSize + separateMasks;
  const declared = headerSize >= INFO_HEADER ? view.getUint32(46, true) : 0;
  const pixelsAt = view.getUint32(10, true);
  if (pixelsAt < paletteAt || pixelsAt >= bytes.length) throw new Error(`pixels at byte ${pixelsAt} of ${bytes.length}`);
  const entrySize = core ? 3 : 4;
  const length = bits > 8 ? 0 : Math.min(declared === 0 ? 2 ** bits : declared, 2 ** bits, Math.floor((pixelsAt - paletteAt) / entrySize));
  if (bits <= 8 && length === 0) throw new Error('no palette');
  return {
    width, height: Math.abs(storedHeight), topDown: storedHeight < 0, bits, compression, pixelsAt,
    palette: { at: paletteAt, entrySize, length },
    masks: parseMasks(view, headerSize, bits, compression),
  };
}

function checkCompression(bits: number, compression: number, height: number): void {
  const allowed: Readonly<Record<number, readonly number[]>> = {
    [RGB]: [1, 4, 8, 16, 24, 32], [RLE8]: [8], [RLE4]: [4], [BITFIELDS]: [16, 32], [ALPHABITFIELDS]: [16, 32],
  };
  if (!allowed[compression]?.includes(bits)) throw new Error(`${bits} bits a pixel with compression ${compression}`);
  if ((compression === RLE8 || compression === RLE4) && height < 0) throw new Error('run lengths stored from the top');
}

function parseMasks(view: DataView, headerSize: number, bits: number, compression: number): Header['masks'] {
  if (compression !== BITFIELDS && compression !== ALPHABITFIELDS) {
    return bits === 16 ? [0x7c00, 0x03e0, 0x001f, 0] : [0xff0000, 0xff00, 0xff, 0];
  }
  const hasAlpha = headerSize >= V3_HEADER || compression === ALPHABITFIELDS;
  const end = 54 + (hasAlpha ? 16 : 12);
  if (view.byteLength < end) throw new Error('the file ends inside its bit fields');
  return [view.getUint32(54, true), view.getUint32(58, true), view.getUint32(62, true), hasAlpha ? view.getUint32(66, true) : 0];
}

/** Bytes from one row to the next: rows start at multiples of 4. */
function rowSize(header: Header): number {
  return Math.ceil(header.width * header.bits / 32) * 4;
}

function rowStart(header: Header, y: number): number {
  return (header.topDown ? y : header.height - 1 - y) * rowSize(header);
}

function checkPixels(header: Header, pixels: Uint8Array): void {
  // The last row's padding may be missing.
  const needed = rowSize(header) * (header.height - 1) + Math.ceil(header.width * header.bits / 8);
  if (pixels.length < needed) throw new Error(`${pixels.length} bytes of pixels where ${needed} are needed`);
}

/** RGB that is painted with colours of the palette, without a picture of their numbers beside it. */
class Painting {
  readonly rgb: Uint8Array;

  constructor(private readonly header: Header, private readonly bytes: Uint8Array) {
    this.rgb = new Uint8Array(3 * header.width * header.height);
  }

  /** Gives the pixel `at` the palette's colour `index`. */
  set(at: number, index: number): void {
    const { palette } = this.header;
    if (index >= palette.length) throw new Error(`colour ${index} of a palette of ${palette.length}`);
    const entry = palette.at + index * palette.entrySize;
    this.rgb[3 * at] = this.bytes[entry + 2] ?? 0;
    this.rgb[3 * at + 1] = this.bytes[entry + 1] ?? 0;
    this.rgb[3 * at + 2] = this.bytes[entry] ?? 0;
  }
}

function decodeIndexed(header: Header, painting: Painting, pixels: Uint8Array): Uint8Array {
  if (header.compression === RGB) paintPacked(header, painting, pixels);
  else paintRuns(header, painting, pixels);
  return painting.rgb;
}

function paintPacked(header: Header, painting: Painting, pixels: Uint8Array): void {
  checkPixels(header, pixels);
  const { width, height, bits } = header;
  const mask = 2 ** bits - 1;
  for (let y = 0; y < height; y++) {
    const start = rowStart(header, y);
    for (let x = 0; x < width; x++) {
      const bit = x * bits;
      painting.set(y * width + x, (pixels[start + (bit >> 3)] ?? 0) >> (8 - bits - (bit & 7)) & mask);
    }
  }
}

/** RLE4 and RLE8, bottom row first. What no run paints keeps colour 0; a run may not leave its row. */
function paintRuns(header: Header, painting: Painting, pixels: Uint8Array): void {
  const { width, height, bits } = header;
  for (let at = 0; at < width * height; at++) painting.set(at, 0);
  const perByte = 8 / bits;
  let at = 0, x = 0, y = height - 1;
  const next = (): number => {
    const value = pixels[at++];
    if (value === undefined) throw new Error('the run lengths end before the picture does');
    return value;
  };
  const paint = (index: number): void => {
    if (x >= width || y < 0) throw new Error(`a run leaves row ${height - 1 - y}`);
    painting.set(y * width + x++, index);
  };
  const half = (value: number, i: number): number => perByte === 1 ? value : i % 2 === 0 ? value >> 4 : value & 15;
  for (;;) {
    const count = next();
    const value = next();
    if (count > 0) {
      for (let i = 0; i < count; i++) paint(half(value, i));
    } else if (value === 0) {
      x = 0;
      y--;
    } else if (value === 1) {
      return;
    } else if (value === 2) {
      x += next();
      y -= next();
    } else {
      const start = at;
      for (let i = 0, byte = 0; i < value; i++) {
        if (i % perByte === 0) byte = next();
        paint(half(byte, i));
      }
      at += (at - start) % 2;
    }
  }
}

function decodeDirect(header: Header, pixels: Uint8Array): Uint8Array {
  checkPixels(header, pixels);
  const { width, height, bits, masks } = header;
  const step = bits / 8;
  // No fourth channel where there is no alpha.
  let opaque = masks[3] === 0;
  const channels = masks.slice(0, opaque ? 3 : 4).map(channel);
  const samples = new Uint8Array(channels.length * width * height);
  let alphaSeen = false;
  for (let y = 0; y < height; y++) {
    let from = rowStart(header, y);
    let to = channels.length * y * width;
    for (let x = 0; x < width; x++, from += step) {
      let value = (pixels[from] ?? 0) | (pixels[from + 1] ?? 0) << 8;
      if (step > 2) value |= (pixels[from + 2] ?? 0) << 16;
      if (step > 3) value |= (pixels[from + 3] ?? 0) << 24;
      for (const { mask, shift, largest } of channels) samples[to++] = Math.floor(((value & mask) >>> shift) * 255 / largest);
      alphaSeen ||= samples[to - 1] !== 0;
    }
  }
  // Writers that do not know of alpha leave it 0 everywhere; browsers too then take the picture for opaque.
  opaque ||= !alphaSeen;
  return toRgb({ data: samples, pixels: width * height, channels: channels.length, colour: 'rgb', alpha: !opaque });
}

function channel(mask: number): { mask: number; shift: number; largest: number } {
  if (mask === 0) return { mask, shift: 0, largest: 1 };
  const shift = 31 - Math.clz32(mask & -mask);
  const largest = mask >>> shift;
  if ((largest & (largest + 1)) !== 0) throw new Error(`a bit field 0x${mask.toString(16)} with gaps`);
  return { mask, shift, largest };
}
