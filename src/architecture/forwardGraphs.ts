import { UserError } from '../errors';
import type { ForwardGraph, Sizes } from './forwardGraph';
import { qwenVlGraph } from './qwenVlGraph';

const GRAPHS: Readonly<Record<string, (sizes: Sizes) => ForwardGraph>> = { 'qwen-vl': qwenVlGraph };

/** @throws UserError when the family can be extracted but not run. */
export function forwardGraph(family: string, sizes: Sizes): ForwardGraph {
  const make = Object.hasOwn(GRAPHS, family) ? GRAPHS[family] : undefined;
  if (make === undefined) throw new UserError(`Encoders of the family ${family} cannot be run yet; these can: ${Object.keys(GRAPHS).join(', ')}.`);
  return make(sizes);
}
