/**
 * How a picture's pixels became an encoder's: scaled from `source` to `resized`, of which the encoder saw
 * `width` x `height` pixels from (`left`, `top`) on; these are negative where it was padded.
 */
export interface Geometry {
  readonly source: { readonly width: number; readonly height: number };
  readonly resized: { readonly width: number; readonly height: number };
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** In pixels, with fractions; `x` and `y` are the upper left corner. */
export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Where a rectangle of the encoder's pixels lies in the original picture (outside it where padding was seen). */
export function toSource(geometry: Geometry, { x, y, width, height }: Rectangle): Rectangle {
  const scaleX = geometry.source.width / geometry.resized.width;
  const scaleY = geometry.source.height / geometry.resized.height;
  return { x: (x + geometry.left) * scaleX, y: (y + geometry.top) * scaleY, width: width * scaleX, height: height * scaleY };
}

/** The whole of what the encoder saw, in the original picture. */
export function seenArea(geometry: Geometry): Rectangle {
  return toSource(geometry, { x: 0, y: 0, width: geometry.width, height: geometry.height });
}

/** Where patch `index`, counted row by row, lies in the original picture. */
export function patchArea(geometry: Geometry, patchSize: number, index: number): Rectangle {
  const columns = Math.floor(geometry.width / patchSize);
  return toSource(geometry, { x: index % columns * patchSize, y: Math.floor(index / columns) * patchSize, width: patchSize, height: patchSize });
}

/** The patch that covers a point of the original picture, or undefined where the encoder did not look. */
export function patchAt(geometry: Geometry, patchSize: number, point: { readonly x: number; readonly y: number }): number | undefined {
  const column = Math.floor((point.x * geometry.resized.width / geometry.source.width - geometry.left) / patchSize);
  const row = Math.floor((point.y * geometry.resized.height / geometry.source.height - geometry.top) / patchSize);
  const columns = Math.floor(geometry.width / patchSize);
  const rows = Math.floor(geometry.height / patchSize);
  return column >= 0 && column < columns && row >= 0 && row < rows ? row * columns + column : undefined;
}
