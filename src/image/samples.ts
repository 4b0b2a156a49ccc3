/** What a decoder hands over: interleaved 8-bit samples, `channels` of them for each pixel. */
export interface Samples {
  readonly data: Uint8Array;
  readonly pixels: number;
  readonly channels: number;
  readonly colour: 'rgb' | 'cmyk';
  /** Whether the channel after the colours is opacity, not premultiplied. */
  readonly alpha: boolean;
}

/** The samples as RGB on a white ground. RGB without alpha is returned as it is, not copied. */
export function toRgb(samples: Samples): Uint8Array {
  const rgb = samples.colour === 'cmyk' ? cmykToRgb(samples) : firstThree(samples);
  return samples.alpha ? overWhite(rgb, samples) : rgb;
}

/**
 * The high bytes of 16-bit samples in little-endian order: Pillow's conversion of a 16-bit RGB picture,
 * also used for grey, which Pillow would clip at 255.
 */
export function highBytes(data: Uint8Array): Uint8Array {
  const high = new Uint8Array(data.length >> 1);
  for (let i = 0; i < high.length; i++) high[i] = data[2 * i + 1] ?? 0;
  return high;
}

function firstThree({ data, pixels, channels }: Samples): Uint8Array {
  if (channels === 3) return data;
  const rgb = new Uint8Array(3 * pixels);
  for (let from = 0, to = 0; to < rgb.length; from += channels, to += 3) {
    rgb[to] = data[from] ?? 0;
    rgb[to + 1] = data[from + 1] ?? 0;
    rgb[to + 2] = data[from + 2] ?? 0;
  }
  return rgb;
}

/**
 * Pillow's uncalibrated conversion (`cmyk2rgb` in libImaging/Convert.c): (255 - K) * (255 - ink) / 255.
 * Profiles are left aside on purpose: encoders are fed through Pillow, which leaves them aside too.
 */
function cmykToRgb({ data, pixels, channels }: Samples): Uint8Array {
  const rgb = new Uint8Array(3 * pixels);
  for (let from = 0, to = 0; to < rgb.length; from += channels, to += 3) {
    const white = 255 - (data[from + 3] ?? 0);
    for (let c = 0; c < 3; c++) {
      rgb[to + c] = Math.max(0, white - Math.round((data[from + c] ?? 0) * white / 255));
    }
  }
  return rgb;
}

function overWhite(rgb: Uint8Array, { data, channels, colour }: Samples): Uint8Array {
  const result = new Uint8Array(rgb.length);
  for (let from = colour === 'cmyk' ? 4 : 3, to = 0; to < rgb.length; from += channels, to += 3) {
    const alpha = data[from] ?? 0;
    const ground = 255 * (255 - alpha);
    for (let c = 0; c < 3; c++) result[to + c] = Math.round(((rgb[to + c] ?? 0) * alpha + ground) / 255);
  }
  return result;
}
