import { t } from '@vscode/l10n';
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
  const both = what === 'encoders' ? t('The encoders') : t('The checkpoints');
  if (tensors.length === 0) return t`${both} have no tensors.`;
  if (common.length === 0) {
    if (left.family === undefined || right.family === undefined || left.family === right.family) return t`${both} have no key in common.`;
    return t`${both} have no key in common: one is ${left.family}, the other ${right.family}, which name their tensors differently.`;
  }
  if (equal && !valuesRead) return t`${both} have the same keys, shapes and dtypes; their values were not read.`;
  if (equal) {
    const recast = tensors.filter(({ outcome }) => outcome.kind === 'equalValues').length;
    if (recast === 0) return t`${both} are equal, bit for bit.`;
    const [all, dtypes] = [formatCount(tensors.length, 'tensor'), dtypesOf(tensors)];
    return recast === 1 ? t`${both} have equal values; 1 of ${all} has other bytes${dtypes}.` : t`${both} have equal values; ${recast} of ${all} have other bytes${dtypes}.`;
  }
  const clauses = [...(valuesRead ? valueClauses(tensors) : dtypeClauses(common)), ...keyClauses(comparison)].join(t('; '));
  return t`${`${clauses.charAt(0).toUpperCase()}${clauses.slice(1)}`}.`;
}

/** What the numbered layers do, stack by stack, and then what is outside of them. */
function valueClauses(tensors: readonly ComparedTensor[]): string[] {
  const modules = modulesOf(tensors).filter(module => !isOneSided(module));
  const stacks = [...groupBy(modules.filter(({ block }) => block !== undefined), ({ block }) => block?.stack ?? '').entries()].filter(([, blocks]) => blocks.length > 1);
  const clauses = stacks.map(([stack, blocks]) => blocksClause(blocks, stacks.length === 1 ? '' : t` of ${stack}`));
  const inStacks = new Set(stacks.flatMap(([, blocks]) => blocks));
  const others = modules.filter(module => !inStacks.has(module)).flatMap(module => module.tensors).filter(({ outcome }) => outcome.kind !== 'onlyLeft' && outcome.kind !== 'onlyRight');
  if (others.length > 0) clauses.push(othersClause(others, stacks.length > 0));
  return clauses;
}

function blocksClause(blocks: readonly ComparedModule[], where: string): string {
  const [equal, different] = [blocks.filter(isEqualModule), blocks.filter(block => !isEqualModule(block))];
  if (different.length === 0) return t`all ${blocks.length} blocks${where} are equal`;
  const range = spread(different);
  if (equal.length === 0) return t`all ${blocks.length} blocks${where} differ${range}`;
  const frozen = equal.length === 1 ? t`${named(equal)}${where} is equal (frozen)` : t`${named(equal)}${where} are equal (frozen)`;
  return t`${frozen}, ${different.length === 1 ? t`${named(different)} differs${range}` : t`${named(different)} differ${range}`}`;
}

/** @param besides whether they stand beside blocks */
function othersClause(tensors: readonly ComparedTensor[], besides: boolean): string {
  const different = tensors.filter(tensor => !isEqual(tensor));
  const all = formatCount(tensors.length, besides ? 'otherTensor' : 'tensor');
  const only = besides ? t('the other tensor') : t('the tensor');
  if (different.length === 0) return tensors.length === 1 ? t`${only} is equal` : t`the ${all} are equal`;
  const difference = differenceOf(different);
  const range = difference === undefined ? '' : t`, by ${formatPercent(relativeDifference(difference))} taken together`;
  if (different.length === tensors.length) return tensors.length === 1 ? t`${only} differs${range}` : t`the ${all} differ${range}`;
  return different.length === 1 ? t`1 of ${all} differs${range}` : t`${different.length} of ${all} differ${range}`;
}

function dtypeClauses(common: readonly ComparedTensor[]): string[] {
  const changed = common.filter(({ left, right }) => left?.dtype !== right?.dtype).length;
  const [all, dtypes] = [formatCount(common.length, 'tensor'), dtypesOf(common)];
  if (changed === 0) return [];
  return [changed === 1 ? t`1 of ${all} that both have is of another dtype${dtypes}` : t`${changed} of ${all} that both have are of another dtype${dtypes}`];
}

function keyClauses({ tensors }: Comparison): string[] {
  const count = (kind: string): number => tensors.filter(({ outcome }) => outcome.kind === kind).length;
  const [shapes, onlyLeft, onlyRight] = [count('otherShape'), count('onlyLeft'), count('onlyRight')];
  return [
    ...(shapes === 0 ? [] : [shapes === 1 ? t('1 tensor has another shape') : t`${formatCount(shapes, 'tensor')} have other shapes`]),
    ...(onlyLeft === 0 ? [] : [onlyLeft === 1 ? t('1 key is on the left only') : t`${formatCount(onlyLeft, 'key')} are on the left only`]),
    ...(onlyRight === 0 ? [] : [onlyRight === 1 ? t('1 key is on the right only') : t`${formatCount(onlyRight, 'key')} are on the right only`]),
  ];
}

/** `, by 0.3 % to 1.2 %`: the least and the most that a block differs. */
function spread(blocks: readonly ComparedModule[]): string {
  const values = blocks.flatMap(({ difference }) => difference === undefined ? [] : relativeDifference(difference)).sort((a, b) => a - b).map(formatPercent);
  const [least, most] = [values[0], values.at(-1)];
  if (least === undefined || most === undefined) return '';
  return least === most ? t`, by ${least}` : t`, by ${least} to ${most}`;
}

function named(blocks: readonly ComparedModule[]): string {
  const numbers = blocks.flatMap(({ block }) => block?.index ?? []).sort((a, b) => a - b);
  const listed = ranges(numbers).replaceAll(',', ', ');
  return numbers.length === 1 ? t`block ${listed}` : t`blocks ${listed}`;
}

/** ` (BF16 and F32)`: the changes of dtype. */
function dtypesOf(tensors: readonly ComparedTensor[]): string {
  const changes = new Set(tensors.flatMap(({ left, right }) => left === undefined || right === undefined || left.dtype === right.dtype ? [] : t`${left.dtype} and ${right.dtype}`));
  return changes.size === 0 ? '' : ` (${[...changes].join(', ')})`;
}
