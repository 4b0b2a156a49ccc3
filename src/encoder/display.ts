import type { RgbImage } from '../image/rgbImage';

/** Longer sides are made smaller: a screen shows no more. */
const DISPLAY_PIXELS = 1280;
const THUMBNAIL_PIXELS = 128;

/** The picture as a PNG for the panel, whatever format it came in. */
export function encodeDisplay(image: RgbImage): Promise<Uint8Array> {
  return toPng(image, DISPLAY_PIXELS, 'inside');
}

/** A small square of the picture's middle, for lists. */
export function encodeThumbnail(image: RgbImage): Promise<Uint8Array> {
  return toPng(image, THUMBNAIL_PIXELS, 'cover');
}

async function toPng({ data, width, height }: RgbImage, pixels: number, fit: 'inside' | 'cover'): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp');
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize(pixels, pixels, { fit, withoutEnlargement: fit === 'inside' })
    .png({ compressionLevel: 3 })
    .toBuffer();
  // A plain array: a Buffer would arrive at the panel as an object of numbers.
  return Uint8Array.from(png);
}
