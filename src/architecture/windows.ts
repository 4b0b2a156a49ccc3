import type { Grid } from './positions';

/** Windows of one shape: their tokens, window after window, and how many each has. */
export interface WindowGroup {
  readonly tokens: readonly number[];
  readonly size: number;
}

/**
 * The windows of `side` x `side` patches that tile a grid from its upper left corner. Those at the right and lower edges
 * are smaller; windows of one shape go together, so that no window needs padding.
 */
export function windowGroups(grid: Grid, side: number): WindowGroup[] {
  const groups = new Map<string, { tokens: number[]; size: number }>();
  for (let top = 0; top < grid.rows; top += side) {
    for (let left = 0; left < grid.columns; left += side) {
      const [height, width] = [Math.min(side, grid.rows - top), Math.min(side, grid.columns - left)];
      const group = groups.get(`${height} ${width}`) ?? { tokens: [], size: height * width };
      groups.set(`${height} ${width}`, group);
      for (let row = top; row < top + height; row++) {
        for (let column = left; column < left + width; column++) group.tokens.push(row * grid.columns + column);
      }
    }
  }
  return [...groups.values()];
}

/** The number of each token's window, row by row. */
export function windowNumbers(grid: Grid, side: number): number[] {
  const across = Math.ceil(grid.columns / side);
  return Array.from({ length: grid.rows * grid.columns }, (_, token) => Math.floor(Math.floor(token / grid.columns) / side) * across + Math.floor(token % grid.columns / side));
}

/** The tokens of the windows of `side` x `side` that cover a grid, window after window, row by row; -1 where a window reaches beyond the lower or right edge. */
export function paddedWindows(grid: Grid, side: number): number[] {
  const order: number[] = [];
  for (let top = 0; top < grid.rows; top += side) {
    for (let left = 0; left < grid.columns; left += side) {
      for (let row = top; row < top + side; row++) {
        for (let column = left; column < left + side; column++) order.push(row < grid.rows && column < grid.columns ? row * grid.columns + column : -1);
      }
    }
  }
  return order;
}

/** Where each token of the groups' or the windows' order stands: puts them back in the order of the grid, without padding. */
export function inverseOrder(order: readonly number[]): number[] {
  const inverse = new Array<number>(order.filter(token => token >= 0).length).fill(0);
  for (const [place, token] of order.entries()) if (token >= 0) inverse[token] = place;
  return inverse;
}
