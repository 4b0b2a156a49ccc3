/** What a decoder hands over: interleaved 8-bit samples, `channels` of them for each pixel. */
export interface Samples {
  readonly data: Uint8Array;
  readonly pixels: number;
  readonly channels: number;
  readonly colour: 'rgb' | 'cmyk';
  /** Whether the channel after the colours is opacity, not premultiplied. */
  readonly alpha: boolean;
}

/**
 * The samples as RGB on a white ground. It is made in place of the samples, which are used up: a picture at the limit is
 * hundreds of megabytes, once.
 *
 * CMYK is converted as Pillow does it, uncalibrated (`cmyk2rgb` in libImaging/Convert.c): (255 - K) * (255 - ink) / 255.
 * Profiles are left aside on purpose: encoders are fed through Pillow, which leaves them aside too.
 */
export function toRgb({ data, pixels, channels, colour, alpha }: Samples): Uint8Array {
  if (channels === 3 && colour === 'rgb') return data;
  const alphaAt = colour === 'cmyk' ? 4 : 3;
  for (let i = 0, from = 0, to = 0; i < pixels; i++, from += channels) {
    const opacity = alpha ? data[from + alphaAt] ?? 0 : 255;
    const white = 255 - (data[from + 3] ?? 0);
    for (let c = 0; c < 3; c++) {
      const sample = data[from + c] ?? 0;
      const level = colour === 'cmyk' ? Math.max(0, white - Math.round(sample * white / 255)) : sample;
      data[to++] = alpha ? Math.round((level * opacity + 255 * (255 - opacity)) / 255) : level;
    }
  }
  return data.subarray(0, 3 * pixels);
}

/**
 * The high bytes of 16-bit samples in little-endian order, in their place: Pillow's conversion of a 16-bit RGB picture,
 * also used for grey, which Pillow would clip at 255.
 */
export function highBytes(data: Uint8Array): Uint8Array {
  const length = data.length >> 1;
  for (let i = 0; i < length; i++) data[i] = data[2 * i + 1] ?? 0;
  return data.subarray(0, length);
}
