import { blockOf, groupByModule, type Block } from '../validation/modules';
import { isEqual, type ComparedTensor, type Outcome } from './compare';
import { together, type Difference } from './difference';

/** A numbered layer of a stack, or a module outside any, with its tensors. */
export interface ComparedModule {
  /** `transformer.resblocks.7`, `conv1`. */
  readonly name: string;
  /** Set for a numbered layer. */
  readonly block: Block | undefined;
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
  return [...groupByModule(tensors, ({ key }) => key)].map(([name, members]) =>
    ({ name, block: blockOf(name), tensors: members, outcome: outcomeOf(members), difference: differenceOf(members) }));
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

function outcomeOf(tensors: readonly ComparedTensor[]): Outcome['kind'] {
  const kinds = new Set(tensors.map(({ outcome }) => outcome.kind));
  const [kind = 'different'] = kinds;
  if (kinds.size === 1) return kind;
  return [...kinds].every(one => one === 'equalBytes' || one === 'equalValues') ? 'equalValues' : 'different';
}
