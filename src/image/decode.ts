import type Sharp from 'sharp';
import type { Metadata } from 'sharp';
import { t } from '@vscode/l10n';
import { isAbort, UserError } from '../errors';
import { decodeBmp } from './bmp';
import { type ImageFormat, sniff } from './format';
import type { RgbImage } from './rgbImage';
import { highBytes, toRgb } from './samples';

/** The longest side, as in JPEG: resizing makes a picture of one side's new and the other's old length. */
const MAX_SIDE = 65_535;

/** A decoded pixel of red, green, blue and alpha. */
const PIXEL_BYTES = 4;

/** The codec's planes and libheif's copies: an AVIF took 18 bytes a pixel where others take 4 or fewer (hostilePictures.test.ts). */
const AVIF_PIXEL_BYTES = 8;

/** Throws to refuse a picture, before anything of its size is allocated. */
type CheckSize = (width: number, height: number, bytesPerPixel?: number) => void;

export interface DecodeOptions {
  /** What messages call the picture; a file name. */
  readonly name?: string;
  /** The largest file, in bytes; 256 MiB unless told. */
  readonly maxBytes?: number;
  /** The largest picture, in pixels; 100 million unless told. Half of it where a pixel has 8 bytes: 400 MB are decoded at most; half of it for AVIF, whose decoder holds several copies. */
  readonly maxPixels?: number;
  readonly signal?: AbortSignal;
}

/**
 * Decodes a JPEG, PNG, WebP, GIF (first frame), AVIF, TIFF (first page) or BMP.
 *
 * The samples are those that Pillow gives a Python pipeline: colour profiles are not applied, CMYK is converted
 * plainly, 16-bit samples keep their high byte. Two things go beyond `Image.open(...).convert('RGB')`: the EXIF
 * orientation is applied, and transparency shows white rather than what lies hidden below it.
 *
 * @throws UserError when the bytes are no picture, are damaged or cut off, or exceed a limit.
 */
export async function decodeImage(bytes: Uint8Array, options: DecodeOptions = {}): Promise<RgbImage> {
  const { name = t('The picture'), maxBytes = 256 * 2 ** 20, maxPixels = 100e6, signal } = options;
  signal?.throwIfAborted();
  if (bytes.length === 0) throw new UserError(t`${name} is empty.`);
  if (bytes.length > maxBytes) throw new UserError(t`${name} has ${bytes.length} bytes, more than the limit of ${maxBytes} for a picture. Make it smaller first.`);

  const sniffed = sniff(bytes);
  if (sniffed.kind === 'other') throw new UserError(t`${name} is ${sniffed.what}. ${sniffed.advice}`);
  const checkSize: CheckSize = (width, height, bytesPerPixel = PIXEL_BYTES) => {
    const most = maxPixels * Math.min(1, PIXEL_BYTES / bytesPerPixel);
    if (width * height > most) {
      throw new UserError(t`${name} is ${width} x ${height}, ${megapixels(width * height)} million pixels; the limit is ${megapixels(most)} million${most < maxPixels ? t` of ${bytesPerPixel} bytes each` : ''}. Make it smaller first.`);
    }
    if (Math.max(width, height) > MAX_SIDE) throw new UserError(t`${name} is ${width} x ${height}; a side may have ${MAX_SIDE} pixels. Cut it first.`);
  };
  try {
    const image = sniffed.format === 'BMP' ? decodeBmp(bytes, checkSize) : await decodeWithSharp(bytes, sniffed.format, checkSize);
    signal?.throwIfAborted();
    return image;
  } catch (error) {
    if (error instanceof UserError || isAbort(error) || !(error instanceof Error)) throw error;
    throw new UserError(t`${name} cannot be decoded: the ${sniffed.format} data are damaged, cut off or of an unsupported kind (${firstLine(error.message)}).`, { detail: error.message, cause: error });
  }
}

async function decodeWithSharp(bytes: Uint8Array, format: ImageFormat, checkSize: CheckSize): Promise<RgbImage> {
  const sharp = await loadSharp();
  // checkSize replaces sharp's own pixel limit; failOn 'error' lets decoders' mere warnings pass, as Pillow does.
  const input = sharp(bytes, { failOn: 'error', ignoreIcc: true, limitInputPixels: false, sequentialRead: true });
  const metadata = await input.metadata();
  const space = workingSpace(metadata, format);
  const samples = ((space === 'cmyk' ? 4 : 3) + (metadata.hasAlpha ? 1 : 0)) * (metadata.depth === 'ushort' ? 2 : 1);
  checkSize(metadata.width, metadata.height, format === 'AVIF' ? Math.max(AVIF_PIXEL_BYTES, samples) : samples);
  const { data, info } = await input
    .autoOrient()
    .pipelineColourspace(space)
    .toColourspace(space)
    .raw({ depth: metadata.depth === 'ushort' ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true });
  return {
    width: info.width,
    height: info.height,
    data: toRgb({
      data: metadata.depth === 'ushort' ? highBytes(data) : data,
      pixels: info.width * info.height,
      channels: info.channels,
      colour: space === 'cmyk' ? 'cmyk' : 'rgb',
      alpha: metadata.hasAlpha,
    }),
  };
}

/** sharp is loaded with the first picture, so that nothing is paid for it before. */
async function loadSharp(): Promise<typeof Sharp> {
  try {
    const { default: sharp } = await import('sharp');
    // libvips would keep the last operations' memory; no picture is decoded twice in a row.
    sharp.cache(false);
    return sharp;
  } catch (error) {
    throw new UserError(t`The picture decoder cannot be loaded on ${process.platform}-${process.arch}. Reinstall the extension for this platform; BMP pictures can be read without it.`, { detail: String(error), cause: error });
  }
}

/** The space in which libvips hands the samples over unconverted (grey becomes three equal channels). */
function workingSpace(metadata: Metadata, format: ImageFormat): 'cmyk' | 'rgb16' | 'srgb' {
  if (metadata.depth !== 'uchar' && metadata.depth !== 'ushort') {
    throw new Error(`${format} with samples of type ${metadata.depth}; 8 and 16-bit ones can be shown`);
  }
  if (metadata.space === 'cmyk') return 'cmyk';
  return metadata.depth === 'ushort' ? 'rgb16' : 'srgb';
}

function megapixels(pixels: number): string {
  return (pixels / 1e6).toFixed(1);
}

function firstLine(message: string): string {
  return message.split('\n', 1)[0]?.trim() ?? '';
}
