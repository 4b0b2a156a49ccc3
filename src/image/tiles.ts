import { tileLayouts } from '../architecture/tiles';
import type { Size } from './freeSizes';

/** How Mllama lays a picture on square tiles: at most `most` of them, of `tile` pixels a side. */
export interface TileResize {
  readonly kind: 'tiles';
  readonly tile: number;
  readonly most: number;
}

/**
 * The canvas of whole tiles for a picture, and the size that it is resized to, at the canvas's upper left. Of all canvases the one
 * that enlarges it least, else shrinks it least, then the smallest; and it is enlarged no further than to the side of a tile.
 * Source: transformers' image_processing_mllama.py (get_optimal_tiled_canvas, get_image_size_fit_to_canvas), in its double arithmetic.
 */
export function onTiles(source: Size, { tile, most }: TileResize): { readonly resized: Size; readonly canvas: Size } {
  const canvases = tileLayouts(most).map(([rows, columns]) => ({ height: rows * tile, width: columns * tile }));
  const scaleTo = ({ height, width }: Size): number => Math.min(height / source.height, width / source.width);
  const scales = canvases.map(scaleTo);
  const enlarging = scales.filter(scale => scale >= 1);
  const best = enlarging.length > 0 ? Math.min(...enlarging) : Math.max(...scales);
  const [first, ...others] = canvases.filter((_, index) => scales[index] === best);
  if (first === undefined) throw new Error('There is no canvas.');
  const canvas = others.reduce((smallest, one) => (one.height * one.width < smallest.height * smallest.width ? one : smallest), first);

  const target = { height: clip(source.height, tile, canvas.height), width: clip(source.width, tile, canvas.width) };
  const [down, across] = [target.height / source.height, target.width / source.width];
  const fitted = (side: number, scale: number, longest: number): number => Math.max(1, Math.min(Math.floor(side * scale), longest));
  const resized = across < down
    ? { width: target.width, height: fitted(source.height, across, target.height) }
    : { height: target.height, width: fitted(source.width, down, target.width) };
  return { resized, canvas };
}

function clip(side: number, least: number, most: number): number {
  return Math.min(Math.max(side, least), most);
}
