import {
  dictEntries, PickleDict, PickleGlobal, PickleList, PickleObject, PicklePersistent, PickleSet, PickleTuple, type PickleValue,
} from './pickleValue';
import { printable, quoted } from '../wording';

const MAX_TEXT = 80;

/** A short description of a value that is not a tensor, for a person. It looks at the value's outside only. */
export function describeValue(value: PickleValue): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'bool True' : 'bool False';
  if (typeof value === 'bigint') return `int ${shorten(value.toString())}`;
  if (typeof value === 'number') return `${Number.isInteger(value) ? 'int' : 'float'} ${value}`;
  if (typeof value === 'string') return `str ${quoted(shorten(value))}`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof PickleGlobal) return nameOf(value);
  if (value instanceof PickleTuple) return `tuple of ${count(value.items.length)}`;
  if (value instanceof PickleList) return `list of ${count(value.items.length)}`;
  if (value instanceof PickleSet) return `set of ${count(value.items.length)}`;
  if (value instanceof PickleDict) return `dict of ${count(value.entries.size)}`;
  if (value instanceof PicklePersistent) return 'storage without a tensor';
  return describeObject(value);
}

function describeObject(object: PickleObject): string {
  const entries = dictEntries(object);
  if (entries !== undefined) return `${printable(shorten(object.callable.name))} of ${count(entries.size)}`;
  const [first] = object.args;
  if (object.callable.name === '_reconstruct' && first instanceof PickleGlobal) return `${nameOf(first)} (not loaded)`;
  return `${nameOf(object.callable)} (not loaded)`;
}

function nameOf(global: PickleGlobal): string {
  return printable(shorten(global.path));
}

function count(values: number): string {
  return values === 1 ? '1 value' : `${values} values`;
}

function shorten(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`;
}
