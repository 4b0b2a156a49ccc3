import { groupBy } from '../validation/groupBy';
import { isEqual, type ComparedTensor, type Outcome } from './compare';
import { together, type Difference } from './difference';

/** A numbered layer of a stack, or a module outside any, with its tensors. */
export interface ComparedModule {
  /** `transformer.resblocks.7`, `conv1`. */
  readonly name: string;
  /** Set for a numbered layer: the stack's path and its number in it. */
  readonly block: { readonly stack: string; readonly index: number } | undefined;
  readonly tensors: readonly ComparedTensor[];
  /**
   * What all its tensors have in common, `different` when they are not alike. Tensors that are equal in bytes and
   * tensors that are equal in values alone are together equal in values.
   */
  readonly outcome: Outcome['kind'];
  /** Of the tensors that differ and could be read as numbers, taken together; undefined when there are none. */
  readonly difference: Difference | undefined;
}

/** The modules of a comparison, in the order of their first tensors. */
export function modulesOf(tensors: readonly ComparedTensor[]): ComparedModule[] {
  const stacks = [...new Set(tensors.flatMap(({ key }) => BLOCK_KEY.exec(key)?.[1] ?? []))].map(stack => stack.split('.'));
  return [...groupBy(tensors, ({ key }) => moduleOf(key, stacks)).entries()].map(([name, members]) => {
    const [, stack, index] = BLOCK.exec(name) ?? [];
    return { name, block: index === undefined ? undefined : { stack: stack ?? '', index: Number(index) }, tensors: members, outcome: outcomeOf(members), difference: differenceOf(members) };
  });
}

/** Whether all that both sides have of it is equal, and neither side lacks any. */
export function isEqualModule({ tensors }: ComparedModule): boolean {
  return tensors.every(isEqual);
}

/** Whether one side has none of it. */
export function isOneSided({ outcome }: ComparedModule): boolean {
  return outcome === 'onlyLeft' || outcome === 'onlyRight';
}

/** The difference of those tensors that differ, taken together. */
export function differenceOf(tensors: readonly ComparedTensor[]): Difference | undefined {
  const differences = tensors.flatMap(({ outcome }) => outcome.kind === 'different' ? outcome.difference ?? [] : []);
  return differences.length === 0 ? undefined : together(differences);
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

function outcomeOf(tensors: readonly ComparedTensor[]): Outcome['kind'] {
  const kinds = new Set(tensors.map(({ outcome }) => outcome.kind));
  const [kind = 'different'] = kinds;
  if (kinds.size === 1) return kind;
  return [...kinds].every(one => one === 'equalBytes' || one === 'equalValues') ? 'equalValues' : 'different';
}
