import { t } from '@vscode/l10n';
import { printable } from '../checkpoint/wording';
import { formatCount, formatShape } from '../format';
import { table } from '../table';
import { collapse } from '../validation/collapse';
import { foldBlocks } from '../validation/modules';
import type { ComparedTensor, Comparison, Outcome, TensorFacts } from './compare';
import { cosine, relativeDifference, type Difference } from './difference';
import { modulesOf, type ComparedModule } from './modules';
import { formatPercent } from './percent';

/** The most rows of a list. */
const SHOWN = 40;

/** The table of modules and the lists of tensors that are not equal, as lines of text; nothing in them that a terminal would obey. */
export function reportLines(comparison: Comparison): string[] {
  const { tensors } = comparison;
  const of = (kind: Outcome['kind']): ComparedTensor[] => tensors.filter(({ outcome }) => outcome.kind === kind);
  const recast = [...of('equalValues'), ...of('unread')].filter(({ left, right }) => left?.dtype !== right?.dtype);
  const columns = tensors.some(({ outcome }) => outcome.kind === 'different');
  return [
    ...table([[t('Left'), comparison.left.location], [t('Right'), comparison.right.location]]),
    '',
    ...table([[t('Module'), t('Tensors'), t('Result'), ...(columns ? MEASURES : [])], ...folded(modulesOf(tensors)).map(row => [row.name, String(row.tensors.length), resultOf(row), ...(columns ? measures(row.difference) : [])])]),
    ...section(t('Tensors that differ'), of('different'), [[t('Key'), t('Shape'), t('Dtype'), ...MEASURES], ...of('different').map(({ key, left, right, outcome }) => [
      key, shapeOf(left), dtypeChange(left, right), ...measures(outcome.kind === 'different' ? outcome.difference : undefined),
    ])]),
    ...section(t('Other shapes'), of('otherShape'), alike(of('otherShape'), ({ left, right }) => [`${shapeOf(left)} → ${shapeOf(right)}`, dtypeChange(left, right)])),
    ...section(t('Other dtypes'), recast, alike(recast, ({ left, right }) => [shapeOf(left), dtypeChange(left, right)])),
    ...section(t('Only left'), of('onlyLeft'), alike(of('onlyLeft'), ({ left }) => [shapeOf(left), left?.dtype ?? ''])),
    ...section(t('Only right'), of('onlyRight'), alike(of('onlyRight'), ({ right }) => [shapeOf(right), right?.dtype ?? ''])),
  ].map(printable);
}

/** Numbers as JSON has them: what is infinite or not a number is null. */
export function comparisonToJson({ left, right, tensors, valuesRead, equal }: Comparison): Record<string, unknown> {
  return {
    equal, valuesRead, left, right,
    modules: modulesOf(tensors).map(({ name, outcome, difference, tensors: members }) => ({ name, outcome, tensors: members.length, ...numbers(difference) })),
    tensors: tensors.map(({ outcome, ...rest }) => ({ ...rest, outcome: outcome.kind, ...numbers(outcome.kind === 'different' ? outcome.difference : undefined) })),
  };
}

const MEASURES = [t('Relative'), t('Largest'), t('Cosine'), ''];

function measures(difference: Difference | undefined): string[] {
  if (difference === undefined) return ['', '', '', ''];
  const { maxAbsolute, incomparable } = difference;
  const angle = cosine(difference);
  return [
    formatPercent(relativeDifference(difference)),
    Number(maxAbsolute.toPrecision(3)).toString(),
    Number.isNaN(angle) ? '' : angle.toFixed(6),
    incomparable === 0 ? '' : t`${formatCount(incomparable, 'element')} NaN or infinite on one side`,
  ];
}

function numbers(difference: Difference | undefined): Record<string, number> {
  return difference === undefined ? {} : { relative: relativeDifference(difference), maxAbsolute: difference.maxAbsolute, cosine: cosine(difference), incomparable: difference.incomparable };
}

/** Neighbouring layers of a stack with the same result, and nothing more to be said of them, in one row: `resblocks.{0-22}`. */
function folded(modules: readonly ComparedModule[]): ComparedModule[] {
  return foldBlocks(modules, (previous, module) => module.outcome !== 'different' && previous.outcome === module.outcome)
    .map(({ name, first, members }) => ({ ...first, name, tensors: members.flatMap(({ tensors }) => tensors) }));
}

const RESULTS: Readonly<Record<Outcome['kind'], string>> = {
  equalBytes: t('equal'), equalValues: t('equal values'), different: t('differs'), onlyLeft: t('only left'), onlyRight: t('only right'), otherShape: t('other shape'), unread: t('same shapes'),
};

function resultOf({ outcome, tensors }: ComparedModule): string {
  if (outcome !== 'different') return RESULTS[outcome];
  const changed = tensors.filter(tensor => tensor.outcome.kind !== 'equalBytes' && tensor.outcome.kind !== 'equalValues' && tensor.outcome.kind !== 'unread').length;
  return t`${changed} of ${tensors.length} differ`;
}

function section(title: string, tensors: readonly ComparedTensor[], rows: readonly (readonly string[])[]): string[] {
  if (tensors.length === 0) return [];
  const rest = rows.length - SHOWN;
  return ['', t`${title}: ${tensors.length}`, ...table(rows.slice(0, SHOWN)).map(line => `  ${line}`), ...(rest > 0 ? [t`  … and ${rest} more`] : [])];
}

/** Tensors as rows; those that differ only in their block's number in one. */
function alike(tensors: readonly ComparedTensor[], factsOf: (tensor: ComparedTensor) => readonly string[]): string[][] {
  return collapse(tensors, ({ key }) => key, tensor => `\t${factsOf(tensor).join('\t')}`).map(line => line.split('\t'));
}

function dtypeChange(left: TensorFacts | undefined, right: TensorFacts | undefined): string {
  return left?.dtype === right?.dtype ? left?.dtype ?? '' : `${left?.dtype ?? ''} → ${right?.dtype ?? ''}`;
}

function shapeOf(facts: TensorFacts | undefined): string {
  return facts === undefined ? '' : formatShape(facts.shape);
}
