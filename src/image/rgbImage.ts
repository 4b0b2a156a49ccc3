/** A decoded picture: `data` is RGB, row by row from the top, 3 * width * height bytes. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}
