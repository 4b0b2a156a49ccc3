/** A rectangle of the matrix that a tensor's last two dimensions make. */
export interface Region {
  readonly row: number;
  readonly column: number;
  readonly rows: number;
  readonly columns: number;
}

export interface HeatMap {
  /** What was asked for, within the matrix. */
  readonly region: Region;
  /** Cells down and across; with one element a cell these are the region's rows and columns. */
  readonly rows: number;
  readonly columns: number;
  /** Mean of the finite elements of each cell, row by row; NaN where there are none. */
  readonly values: Float32Array;
}

/** The matrix of a tensor's last two dimensions (a vector is one row, a scalar one element) and how many of them it holds. */
export function matricesOf(shape: readonly number[]): { readonly rows: number; readonly columns: number; readonly count: number } {
  return { rows: shape.at(-2) ?? 1, columns: shape.at(-1) ?? 1, count: shape.slice(0, -2).reduce((product, size) => product * size, 1) };
}
