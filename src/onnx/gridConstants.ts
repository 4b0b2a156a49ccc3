import { createHash } from 'node:crypto';
import type { GraphBuilder, Initialiser, Value } from './graphBuilder';

/*
 * The grid of patches decides a few constants of an encoder's graph (shapes, rotary factors, resized positions, windows) and none of its
 * weights. A model that is given these with every run serves pictures of all grids.
 */

/** The constants that differ between the graphs of two grids, made by portable builders; undefined when more than constants in the model itself does. */
export function gridConstants(one: GraphBuilder, other: GraphBuilder): ReadonlySet<Value> | undefined {
  if (one.structure !== other.structure) return undefined;
  const others = other.constants;
  const differing = [...one.constants.values()].filter(constant => {
    const match = others.get(constant.name);
    return match === undefined || digest(match) !== digest(constant);
  });
  return differing.every(({ data }) => data instanceof Uint8Array) ? new Set(differing.map(({ name }) => name)) : undefined;
}

/** What stays of a graph without these constants: graphs with the same rest run on the same model. */
export function restOf(graph: GraphBuilder, without: ReadonlySet<Value>): string {
  const hash = createHash('sha256').update(graph.structure);
  for (const constant of graph.constants.values()) if (!without.has(constant.name)) hash.update(digest(constant));
  return hash.digest('hex');
}

function digest({ name, type, shape, data }: Initialiser): string {
  return JSON.stringify([name, type, shape, data instanceof Uint8Array ? createHash('sha256').update(data).digest('hex') : data]);
}
