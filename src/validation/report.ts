import { printable } from '../checkpoint/wording';
import { formatCount } from '../format';
import { collapse } from './collapse';
import { groupBy } from './groupBy';
import type { Blame, Place, Validation } from './validation';

/** Lines of one kind of finding that are printed before the rest is only counted. */
const SHOWN = 12;

/**
 * The validation as text, in the words of PyTorch's load_state_dict, with the reasons first, and
 * the blocks of a stack told in one line. No trailing line feed, and nothing that a terminal would obey.
 * @param settingText how the reader gives a setting
 */
export function formatValidation(validation: Validation, settingText = (name: string, value: number): string => `${name}=${value}`): string {
  const { missing, unexpected, mismatched, duplicates, warnings } = validation;
  const sections: string[][] = [[headline(validation)]];
  const nothingFound = validation.matchedCount + unexpected.length + mismatched.length === 0;
  const blamed = groupBy([...missing, ...unexpected, ...mismatched].filter(finding => finding.blame !== undefined), finding => finding.blame);
  for (const [blame, findings] of blamed) {
    if (blame === undefined) continue;
    const fix = findings[0]?.fixes.find(one => one.kind === 'setting');
    sections.push([`${blame.message}${lineOf(blame)}`, `  This explains ${formatCount(findings.length, 'finding')}.${fix === undefined ? '' : ` To accept it, give ${Object.entries(fix.settings).map(([name, value]) => settingText(name, value)).join(' ')}.`}`]);
  }
  sections.push(
    nothingFound ? [] : listSection('Missing key(s) in state_dict:', collapse(missing, ({ key }) => key, suggestion)),
    listSection('Unexpected key(s) in state_dict:', collapse(unexpected, ({ key }) => key, suggestion)),
    listSection('Size mismatch:', collapse(mismatched, ({ key }) => key, ({ found, expected }) => `: the checkpoint has ${size(found)}, the encoder needs ${size(expected)}`)),
    listSection('Several tensors would get one key:', duplicates.map(({ key, sourceKeys }) => `${key} from ${sourceKeys.join(', ')}`)),
    listSection('Warnings:', warnings.map(({ message }) => message)),
  );
  return sections.filter(lines => lines.length > 0).map(lines => lines.map(printable).join('\n')).join('\n\n');
}

/** The validation for machines; lines and columns count from 1, as editors show them. */
export function validationToJson(validation: Validation): Record<string, unknown> {
  const { valid, family, config, problem, hyperparameters, expectedCount, matchedCount, missing, unexpected, mismatched, duplicates, warnings } = validation;
  return {
    valid,
    family,
    config: config ?? null,
    ...(problem !== undefined && { problem: withPlace(problem) }),
    expectedCount,
    matchedCount,
    missing: missing.map(withBlame),
    unexpected: unexpected.map(withBlame),
    mismatched: mismatched.map(withBlame),
    duplicates,
    warnings,
    hyperparameters: Object.fromEntries([...hyperparameters].map(([name, { value, origin }]) => [name, {
      value,
      origin: origin.kind,
      ...(origin.kind === 'config' && { path: origin.path.join('.') }),
    }])),
  };
}

function withBlame({ blame, ...rest }: { readonly blame?: Blame }): Record<string, unknown> {
  return { ...rest, ...(blame !== undefined && { blame: withPlace(blame) }) };
}

function withPlace({ place, ...rest }: { readonly place?: Place }): Record<string, unknown> {
  return { ...rest, ...(place !== undefined && { place: { file: place.location, line: place.range.startLine + 1, column: place.range.startColumn + 1 } }) };
}

function headline({ valid, problem, family, config, expectedCount, matchedCount, missing, unexpected, mismatched, duplicates }: Validation): string {
  const against = `${family}${config === undefined ? '' : ` with ${config}`}`;
  if (problem !== undefined) return `Not validated: ${problem.message}`;
  if (valid) return `Valid: all ${expectedCount} tensors that ${against} expects are there, with the right shapes.`;
  const faults = [
    missing.length > 0 ? `${missing.length} missing` : '',
    unexpected.length > 0 ? `${unexpected.length} unexpected` : '',
    mismatched.length > 0 ? formatCount(mismatched.length, 'mismatch') : '',
    duplicates.length > 0 ? formatCount(duplicates.length, 'duplicate') : '',
  ].filter(text => text !== '');
  return `Invalid for ${against}: ${faults.join(', ')}; ${matchedCount} of ${expectedCount} tensors match.`;
}

function suggestion({ nearest, blame }: { readonly nearest?: string; readonly blame?: Blame }): string {
  return nearest === undefined || blame !== undefined ? '' : ` (did you mean ${nearest}?)`;
}

function listSection(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  const rest = lines.length - SHOWN;
  const shown = rest > 1 ? [...lines.slice(0, SHOWN), `... and ${rest} more lines like these`] : lines;
  return [title, ...shown.map(line => `  ${line}`)];
}

function lineOf({ place }: Blame): string {
  return place === undefined ? '' : ` (${place.location}:${place.range.startLine + 1}:${place.range.startColumn + 1})`;
}

/** As PyTorch writes a shape. */
function size(shape: readonly number[]): string {
  return shape.length === 0 ? '[] (a scalar)' : `[${shape.join(', ')}]`;
}
