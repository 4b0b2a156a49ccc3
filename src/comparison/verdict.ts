import { formatCount } from '../format';
import { groupBy } from '../validation/groupBy';
import { ranges } from '../validation/collapse';
import { isEqual, type Comparison, type ComparedTensor } from './compare';
import { relativeDifference } from './difference';
import { differenceOf, isEqualModule, isOneSided, modulesOf, type ComparedModule } from './modules';
import { formatPercent } from './percent';

/** The answer in one sentence, or a few clauses of one: what is equal, what differs and by how much. */
export function verdict(comparison: Comparison, what: 'encoders' | 'checkpoints'): string {
  const { tensors, left, right, valuesRead, equal } = comparison;
  const common = tensors.filter(tensor => tensor.left !== undefined && tensor.right !== undefined);
  if (tensors.length === 0) return `The ${what} have no tensors.`;
  if (common.length === 0) {
    const why = left.family !== undefined && right.family !== undefined && left.family !== right.family ? `: one is ${left.family}, the other ${right.family}, which name their tensors differently` : '';
    return `The ${what} have no key in common${why}.`;
  }
  if (equal && !valuesRead) return `The ${what} have the same keys, shapes and dtypes; their values were not read.`;
  if (equal) {
    const recast = tensors.filter(({ outcome }) => outcome.kind === 'equalValues').length;
    if (recast === 0) return `The ${what} are equal, bit for bit.`;
    return `The ${what} have equal values; ${recast} of ${formatCount(tensors.length, 'tensor')} ${recast === 1 ? 'has' : 'have'} other bytes${dtypesOf(tensors)}.`;
  }
  const clauses = [...(valuesRead ? valueClauses(tensors) : dtypeClauses(common)), ...keyClauses(comparison)].join('; ');
  return `${clauses.charAt(0).toUpperCase()}${clauses.slice(1)}.`;
}

/** What the numbered layers do, stack by stack, and then what is outside of them. */
function valueClauses(tensors: readonly ComparedTensor[]): string[] {
  const modules = modulesOf(tensors).filter(module => !isOneSided(module));
  const stacks = [...groupBy(modules.filter(({ block }) => block !== undefined), ({ block }) => block?.stack ?? '').entries()].filter(([, blocks]) => blocks.length > 1);
  const clauses = stacks.map(([stack, blocks]) => blocksClause(blocks, stacks.length === 1 ? '' : ` of ${stack}`));
  const inStacks = new Set(stacks.flatMap(([, blocks]) => blocks));
  const others = modules.filter(module => !inStacks.has(module)).flatMap(module => module.tensors).filter(({ outcome }) => outcome.kind !== 'onlyLeft' && outcome.kind !== 'onlyRight');
  if (others.length > 0) clauses.push(othersClause(others, stacks.length > 0 ? 'other ' : ''));
  return clauses;
}

function blocksClause(blocks: readonly ComparedModule[], where: string): string {
  const [equal, different] = [blocks.filter(isEqualModule), blocks.filter(block => !isEqualModule(block))];
  if (different.length === 0) return `all ${blocks.length} blocks${where} are equal`;
  const range = spread(different);
  if (equal.length === 0) return `all ${blocks.length} blocks${where} differ${range}`;
  return `${named(equal)}${where} ${equal.length === 1 ? 'is' : 'are'} equal (frozen), ${named(different)} ${different.length === 1 ? 'differs' : 'differ'}${range}`;
}

function othersClause(tensors: readonly ComparedTensor[], other: string): string {
  const different = tensors.filter(tensor => !isEqual(tensor));
  const all = formatCount(tensors.length, `${other}tensor`);
  if (different.length === 0) return tensors.length === 1 ? `the ${other}tensor is equal` : `the ${all} are equal`;
  const difference = differenceOf(different);
  const range = difference === undefined ? '' : `, by ${formatPercent(relativeDifference(difference))} taken together`;
  if (different.length === tensors.length) return tensors.length === 1 ? `the ${other}tensor differs${range}` : `the ${all} differ${range}`;
  return `${different.length} of ${all} ${different.length === 1 ? 'differs' : 'differ'}${range}`;
}

function dtypeClauses(common: readonly ComparedTensor[]): string[] {
  const changed = common.filter(({ left, right }) => left?.dtype !== right?.dtype).length;
  return changed === 0 ? [] : [`${changed} of ${formatCount(common.length, 'tensor')} that both have ${changed === 1 ? 'is' : 'are'} of another dtype${dtypesOf(common)}`];
}

function keyClauses({ tensors }: Comparison): string[] {
  const count = (kind: string): number => tensors.filter(({ outcome }) => outcome.kind === kind).length;
  const [shapes, onlyLeft, onlyRight] = [count('otherShape'), count('onlyLeft'), count('onlyRight')];
  return [
    ...(shapes === 0 ? [] : [`${formatCount(shapes, 'tensor')} ${shapes === 1 ? 'has another shape' : 'have other shapes'}`]),
    ...(onlyLeft === 0 ? [] : [`${formatCount(onlyLeft, 'key')} ${onlyLeft === 1 ? 'is' : 'are'} on the left only`]),
    ...(onlyRight === 0 ? [] : [`${formatCount(onlyRight, 'key')} ${onlyRight === 1 ? 'is' : 'are'} on the right only`]),
  ];
}

/** `, by 0.3 % to 1.2 %`: the least and the most that a block differs. */
function spread(blocks: readonly ComparedModule[]): string {
  const values = blocks.flatMap(({ difference }) => difference === undefined ? [] : relativeDifference(difference)).sort((a, b) => a - b).map(formatPercent);
  const [least, most] = [values[0], values.at(-1)];
  if (least === undefined || most === undefined) return '';
  return least === most ? `, by ${least}` : `, by ${least} to ${most}`;
}

function named(blocks: readonly ComparedModule[]): string {
  const numbers = blocks.flatMap(({ block }) => block?.index ?? []).sort((a, b) => a - b);
  return `${numbers.length === 1 ? 'block' : 'blocks'} ${ranges(numbers).replaceAll(',', ', ')}`;
}

/** ` (BF16 and F32)`: the changes of dtype. */
function dtypesOf(tensors: readonly ComparedTensor[]): string {
  const changes = new Set(tensors.flatMap(({ left, right }) => left === undefined || right === undefined || left.dtype === right.dtype ? [] : `${left.dtype} and ${right.dtype}`));
  return changes.size === 0 ? '' : ` (${[...changes].join(', ')})`;
}
