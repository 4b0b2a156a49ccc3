import { t } from '@vscode/l10n';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { UserError } from '../errors';
import type { RunOptions } from '../progress';
import { elementReader } from './elements';
import { elementBytes } from './elementStream';
import { matricesOf, type HeatMap, type Region } from './matrix';

/** Cells along a side at the most. */
export const MOST_CELLS = 192;

/**
 * A matrix of a tensor, or a rectangle of it, averaged to at most MOST_CELLS cells a side. Only the rows asked for are read
 * where the tensor is one plain byte range.
 * @param matrix which of `matricesOf(shape).count`
 * @throws UserError when the values cannot be read, or there is no such matrix
 */
export async function heatMap(source: ByteSource, tensor: Tensor, matrix: number, wanted: Region | undefined, options: RunOptions = {}): Promise<HeatMap> {
  const { rows: height, columns: width, count } = matricesOf(tensor.shape);
  const read = tensor.dtype === 'C64' ? undefined : elementReader(tensor.dtype);
  if (read === undefined) throw new UserError(t`${tensor.key} is ${tensor.dtype}, which is not drawn.`);
  const region = clamp(wanted ?? { row: 0, column: 0, rows: height, columns: width }, height, width);
  if (matrix >= count || region.rows <= 0 || region.columns <= 0) throw new UserError(t`${tensor.key} is [${tensor.shape.join(', ')}]: there is nothing to draw at that place.`);

  const cellRows = Math.ceil(region.rows / MOST_CELLS);
  const cellColumns = Math.ceil(region.columns / MOST_CELLS);
  const rows = Math.ceil(region.rows / cellRows);
  const columns = Math.ceil(region.columns / cellColumns);
  const sums = new Float64Array(rows * columns);
  const counts = new Uint32Array(rows * columns);

  const first = (matrix * height + region.row) * width;
  let row = 0, column = 0; // of the next element, in the region's rows and the matrix's columns
  for await (const bytes of elementBytes(source, tensor, { start: first, end: first + region.rows * width }, options)) {
    for (const value of read(bytes)) {
      const x = column - region.column;
      if (x >= 0 && x < region.columns && Number.isFinite(value)) {
        const cell = Math.floor(row / cellRows) * columns + Math.floor(x / cellColumns);
        sums[cell] = (sums[cell] ?? 0) + value;
        counts[cell] = (counts[cell] ?? 0) + 1;
      }
      if (++column === width) {
        column = 0;
        row++;
      }
    }
  }
  return { region, rows, columns, values: Float32Array.from(sums, (sum, cell) => sum / (counts[cell] ?? 0)) };
}

function clamp({ row, column, rows, columns }: Region, height: number, width: number): Region {
  const top = Math.min(row, height);
  const left = Math.min(column, width);
  return { row: top, column: left, rows: Math.min(rows, height - top), columns: Math.min(columns, width - left) };
}
