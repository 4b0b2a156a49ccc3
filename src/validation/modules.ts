import { ranges } from './collapse';
import { groupBy } from './groupBy';

/** A numbered layer's place: the stack's path and its number in it. */
export interface Block {
  readonly stack: string;
  readonly index: number;
}

/**
 * Tensors by module, in the order of their first ones: a numbered layer of a stack (`transformer.resblocks.7`), or a
 * module outside any (`conv1`).
 */
export function groupByModule<T>(tensors: readonly T[], keyOf: (tensor: T) => string): Map<string, T[]> {
  const stacks = [...new Set(tensors.flatMap(tensor => BLOCK_KEY.exec(keyOf(tensor))?.[1] ?? []))].map(stack => stack.split('.'));
  return groupBy(tensors, tensor => moduleOf(keyOf(tensor), stacks));
}

/** The place of a module that is a numbered layer. */
export function blockOf(module: string): Block | undefined {
  const [, stack = '', index] = BLOCK.exec(module) ?? [];
  return index === undefined ? undefined : { stack, index: Number(index) };
}

/** Modules that stand in one row. */
export interface Fold<M> {
  readonly name: string;
  readonly first: M;
  readonly members: readonly M[];
}

/** Neighbouring layers of a stack that are alike, in one: `transformer.resblocks.{0-22}`. */
export function foldBlocks<M extends { readonly name: string; readonly block: Block | undefined }>(modules: readonly M[], areAlike: (a: M, b: M) => boolean): Fold<M>[] {
  const folds: { readonly first: M; readonly members: M[] }[] = [];
  for (const module of modules) {
    const last = folds.at(-1);
    if (last?.first.block !== undefined && last.first.block.stack === module.block?.stack && areAlike(last.first, module)) last.members.push(module);
    else folds.push({ first: module, members: [module] });
  }
  return folds.map(({ first, members }) => {
    if (members.length === 1 || first.block === undefined) return { name: first.name, first, members };
    const { stack } = first.block;
    const indices = members.flatMap(({ block }) => block?.index ?? []).sort((a, b) => a - b);
    return { name: `${stack === '' ? '' : `${stack}.`}{${ranges(indices)}}`, first, members };
  });
}

/** A path whose last part is a number: `resblocks.7`, with its stack and the number. */
const BLOCK = /^(?:(.*)\.)?(\d{1,9})$/;
/** A key with a number in it, with the path before the first one. */
const BLOCK_KEY = /^(?:(.*?)\.)?\d{1,9}(?:\.|$)/;

/** Up to the first number; without one, the first module that is not on the way to a stack: `vision_model.embeddings` beside `vision_model.encoder.layers.0`. */
function moduleOf(key: string, stacks: readonly (readonly string[])[]): string {
  const parts = key.split('.');
  const number = parts.findIndex(part => /^\d{1,9}$/.test(part));
  if (number >= 0) return parts.slice(0, number + 1).join('.');
  const onTheWay = stacks.reduce((most, stack) => Math.max(most, sharedLength(stack, parts)), 0);
  return parts.slice(0, onTheWay + 1).join('.');
}

function sharedLength(a: readonly string[], b: readonly string[]): number {
  const differs = a.findIndex((part, index) => part !== b[index]);
  return differs < 0 ? a.length : differs;
}
