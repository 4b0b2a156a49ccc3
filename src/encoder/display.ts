import type { RgbImage } from '../image/rgbImage';

/** Longer sides are made smaller: a screen shows no more. */
const DISPLAY_PIXELS = 1280;

/** The picture as a PNG for the panel, whatever format it came in. */
export async function encodeDisplay({ data, width, height }: RgbImage): Promise<Uint8Array> {
  const { default: sharp } = await import('sharp');
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .resize(DISPLAY_PIXELS, DISPLAY_PIXELS, { fit: 'inside', withoutEnlargement: true })
    .png({ compressionLevel: 3 })
    .toBuffer();
  // A plain array: a Buffer would arrive at the panel as an object of numbers.
  return Uint8Array.from(png);
}
