/**
 * What a pickle describes, as inert data. Nothing here was imported or called: a GLOBAL stays a
 * name, a REDUCE stays "this name was to be called with these arguments".
 * Values may share parts and refer to themselves; whoever walks them visits each one once.
 */
export type PickleValue =
  | null | boolean | number | bigint | string | Uint8Array
  | PickleGlobal | PickleTuple | PickleList | PickleDict | PickleSet | PickleObject | PicklePersistent;

/** The name of something that Python would import. */
export class PickleGlobal {
  readonly path: string;

  constructor(readonly module: string, readonly name: string) {
    this.path = `${module}.${name}`;
  }
}

export class PickleTuple {
  constructor(readonly items: readonly PickleValue[]) {}
}

export class PickleList {
  constructor(readonly items: PickleValue[]) {}
}

export class PickleSet {
  constructor(readonly items: PickleValue[]) {}
}

/** Keys compare as in Python for strings and numbers, by identity for tuples. */
export class PickleDict {
  readonly entries = new Map<PickleValue, PickleValue>();
}

/** What REDUCE, NEWOBJ and their kin would have made, with what was to be put into it afterwards. */
export class PickleObject {
  /** From BUILD. */
  state: PickleValue | undefined;
  /** From SETITEM and SETITEMS. */
  entries: Map<PickleValue, PickleValue> | undefined;
  /** From APPEND, APPENDS and ADDITEMS. */
  items: PickleValue[] | undefined;

  constructor(readonly callable: PickleGlobal, readonly args: readonly PickleValue[]) {}
}

/** Something that the pickle leaves to its surroundings; in a checkpoint, a storage. */
export class PicklePersistent {
  constructor(readonly id: PickleValue) {}
}

const DICT_CLASSES = new Set(['collections.OrderedDict', 'collections.defaultdict', 'collections.Counter', 'builtins.dict']);

/** The entries of a dict or of one of its standard subclasses, in order; undefined for anything else. */
export function dictEntries(value: PickleValue): ReadonlyMap<PickleValue, PickleValue> | undefined {
  if (value instanceof PickleDict) return value.entries;
  if (!(value instanceof PickleObject) || !DICT_CLASSES.has(value.callable.path)) return undefined;
  // Python 2 passes an OrderedDict's pairs as the constructor's argument, later versions set items.
  const initial = value.args.at(-1);
  if (initial === undefined || !isSequence(initial)) {
    return initial instanceof PickleDict && value.entries === undefined ? initial.entries : value.entries ?? new Map();
  }
  const entries = new Map<PickleValue, PickleValue>();
  for (const pair of initial.items) {
    if (!isSequence(pair)) continue;
    const [key, item] = pair.items;
    if (key !== undefined && item !== undefined) entries.set(key, item);
  }
  for (const [key, item] of value.entries ?? []) entries.set(key, item);
  return entries;
}

export function isSequence(value: PickleValue | undefined): value is PickleTuple | PickleList {
  return value instanceof PickleTuple || value instanceof PickleList;
}
