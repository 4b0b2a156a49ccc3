import { t } from '@vscode/l10n';
import {
  dictEntries, PickleDict, PickleGlobal, PickleList, PickleObject, PicklePersistent, PickleSet, PickleTuple, type PickleValue,
} from './pickleValue';
import { formatCount } from '../../format';
import { printable, quoted } from '../wording';

const MAX_TEXT = 80;

/** A short description of a value that is not a tensor, for a person. It looks at the value's outside only. */
export function describeValue(value: PickleValue): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'bool True' : 'bool False';
  if (typeof value === 'bigint') return `int ${shorten(value.toString())}`;
  if (typeof value === 'number') return `${Number.isInteger(value) ? 'int' : 'float'} ${value}`;
  if (typeof value === 'string') return `str ${quoted(shorten(value))}`;
  if (value instanceof Uint8Array) return formatCount(value.length, 'byte');
  if (value instanceof PickleGlobal) return nameOf(value);
  if (value instanceof PickleTuple) return t`tuple of ${count(value.items.length)}`;
  if (value instanceof PickleList) return t`list of ${count(value.items.length)}`;
  if (value instanceof PickleSet) return t`set of ${count(value.items.length)}`;
  if (value instanceof PickleDict) return t`dict of ${count(value.entries.size)}`;
  if (value instanceof PicklePersistent) return t('storage without a tensor');
  return describeObject(value);
}

function describeObject(object: PickleObject): string {
  const entries = dictEntries(object);
  if (entries !== undefined) return t`${printable(shorten(object.callable.name))} with ${count(entries.size)}`;
  const [first] = object.args;
  if (object.callable.name === '_reconstruct' && first instanceof PickleGlobal) return t`${nameOf(first)} (not loaded)`;
  return t`${nameOf(object.callable)} (not loaded)`;
}

function nameOf(global: PickleGlobal): string {
  return printable(shorten(global.path));
}

function count(values: number): string {
  return formatCount(values, 'value');
}

function shorten(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
}
