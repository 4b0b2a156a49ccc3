import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { davitGraph, loweredBy } from './davitGraph';
import type { ForwardGraph } from './forwardGraph';
import type { GraphSpec } from './graphSpec';
import { mllamaGraph } from './mllamaGraph';
import type { Grid } from './positions';
import { qwenVlGraph } from './qwenVlGraph';
import { vitGraph } from './vitGraph';

/**
 * The forward pass over a grid of patches; over that of the encoder's usual square picture unless told.
 * @throws UserError when the encoder does not take such a grid
 */
export function forwardGraph(spec: GraphSpec, grid: Grid = usualGrid(spec)): ForwardGraph {
  const fault = gridFault(spec, grid);
  if (fault !== undefined) throw new UserError(t`The encoder does not take pictures of ${grid.rows} x ${grid.columns} patches: ${fault}.`);
  switch (spec.kind) {
    case 'qwen-vl': return qwenVlGraph(spec.sizes);
    case 'mllama': return mllamaGraph(spec, grid);
    case 'davit': return davitGraph(spec, grid);
    case 'vit': return vitGraph(spec, grid);
  }
}

/** Whether the picture decides the grid. */
export function takesAnyGrid(spec: GraphSpec): boolean {
  return multipleOf(spec) !== undefined;
}

/** Pixels on the side of the square picture that the encoder usually takes, or takes only. */
export function usualSide(spec: GraphSpec): number {
  switch (spec.kind) {
    case 'qwen-vl': return spec.sizes.image_size ?? 0;
    case 'mllama': return spec.tileSize;
    case 'davit':
    case 'vit': return spec.imageSize;
  }
}

/** The pictures that the encoder takes: squares of `side` pixels, or, with a `unit`, any whose sides are multiples of that. */
export function pictureSizes(spec: GraphSpec): { readonly side: number; readonly patch: number; readonly unit?: number } {
  const [patch, multiple] = [patchSize(spec), multipleOf(spec)];
  return { side: usualSide(spec), patch, ...(multiple !== undefined && { unit: multiple * patch }) };
}

/** The patches of a picture of so many pixels. @throws UserError when the encoder does not take such pictures */
export function gridOf(spec: GraphSpec, height: number, width: number): Grid {
  const [side, patch] = [usualSide(spec), patchSize(spec)];
  const grid = { rows: Math.floor(height / patch), columns: Math.floor(width / patch) };
  const fault = takesAnyGrid(spec)
    ? (height % patch === 0 && width % patch === 0 ? gridFault(spec, grid) : t`patches are ${patch} x ${patch} pixels`)
    : (height === side && width === side ? undefined : t`they have to be ${side} x ${side}`);
  if (fault !== undefined) throw new UserError(t`The encoder does not take pictures of ${width} x ${height} pixels: ${fault}.`);
  return grid;
}

function usualGrid(spec: GraphSpec): Grid {
  const multiple = multipleOf(spec) ?? 1;
  const side = Math.max(1, Math.floor(usualSide(spec) / patchSize(spec) / multiple)) * multiple;
  return { rows: side, columns: side };
}

function gridFault(spec: GraphSpec, grid: Grid): string | undefined {
  const multiple = multipleOf(spec);
  if (multiple === undefined) {
    const { rows } = usualGrid(spec);
    return grid.rows === rows && grid.columns === rows ? undefined : t`they have to be ${rows} x ${rows}`;
  }
  const fits = [grid.rows, grid.columns].every(side => Number.isInteger(side) && side > 0 && side % multiple === 0);
  if (!fits) return t`rows and columns have to be multiples of ${multiple}`;
  if (spec.kind !== 'mllama' || spec.layouts.some(([rows, columns]) => rows * multiple === grid.rows && columns * multiple === grid.columns)) return undefined;
  return t`tiles have to be laid out ${spec.layouts.map(layout => layout.join(' x ')).join(', ')}`;
}

function multipleOf(spec: GraphSpec): number | undefined {
  switch (spec.kind) {
    case 'qwen-vl': return undefined;
    case 'mllama': return spec.tileSize / spec.patchSize;
    case 'davit': return 1;
    case 'vit': return spec.gridMultiple;
  }
}

function patchSize(spec: GraphSpec): number {
  switch (spec.kind) {
    case 'qwen-vl': return spec.sizes.patch_size ?? 1;
    case 'davit': return loweredBy(spec.stages);
    case 'mllama':
    case 'vit': return spec.patchSize;
  }
}
