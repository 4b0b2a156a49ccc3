import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { describeValue } from './describe';
import { isScriptClass } from './globals';
import { dictEntries, isSequence, PickleObject, type PickleValue } from './pickleValue';
import { asTensor } from './rebuild';
import { quoted } from '../wording';

export interface StateDict {
  readonly tensors: readonly { readonly key: string; readonly value: PickleObject }[];
  readonly others: readonly { readonly key: string; readonly description: string }[];
  readonly warnings: readonly string[];
}

/** The key of a tensor that was saved on its own, not in a dict. */
export const BARE_TENSOR_KEY = 'tensor';

/** `{'model': {'state_dict': {...}}}` is met; longer chains are not. */
const MAX_WRAPPERS = 3;
const MAX_DEPTH = 64;
const MAX_TENSORS = 1_000_000;
/** Modules that are shared are named once for each place; references that multiply are an attack, whose listing takes seconds. */
const MAX_SHARING = 64;
const SHARED_ALWAYS = 10_000;
const MAX_OTHERS = 10_000;
/** Of all keys together; as much as a safetensors header may hold. */
const MAX_KEY_CHARACTERS = 100_000_000;
/** Always a wrapper, whatever stands beside it. */
const WRAPPERS = ['state_dict', 'model_state_dict'];
/** A wrapper only when what stands beside it is a training run's own state: a module may have these names too. */
const POSSIBLE_WRAPPERS = ['model', 'module'];
const TRAINING_STATE = /(?:^|_)(?:optim|sched|lr_sched|scaler|rng|callbacks|loops|(?:ema|amp)(?:_|$))/i;

/**
 * Finds the tensors in what a pickle holds, under their state-dict keys, in order.
 * Nested dicts, lists and TorchScript modules are joined with dots. A training checkpoint is
 * unwrapped: `{'state_dict': {...}, 'optimizer': {...}, 'epoch': 3}` gives the keys of the state
 * dict, and the rest is described in `others`.
 * @throws UserError when there are no tensors, or when they are nested beyond reason.
 */
export function findStateDict(name: string, root: PickleValue): StateDict {
  const bare = asTensor(root);
  if (bare !== undefined) return { tensors: [{ key: BARE_TENSOR_KEY, value: bare }], others: [], warnings: [] };
  const counts = countTensors(root);
  const has = (value: PickleValue): boolean => (counts.get(value) ?? 0) > 0;
  const listing = new Listing(name, has);
  const distinct = [...counts.keys()].filter(value => asTensor(value) !== undefined).length;
  if ((counts.get(root) ?? 0) > MAX_TENSORS) throw listing.absurd(t`holds more than ${MAX_TENSORS} tensors`);
  if ((counts.get(root) ?? 0) > SHARED_ALWAYS + MAX_SHARING * distinct) throw listing.absurd(t`names its ${distinct} tensors ${counts.get(root) ?? 0} times`);
  let inner = root;
  for (let depth = 0; depth < MAX_WRAPPERS; depth++) {
    const wrapper = wrapperKey(inner, has);
    if (wrapper === undefined) break;
    const entries = dictEntries(inner) ?? new Map<PickleValue, PickleValue>();
    for (const [key, value] of entries) {
      if (key !== wrapper) listing.addOther(segment(key), has(value) ? t`${describeValue(value)} with tensors, not part of the model's weights` : describeValue(value));
    }
    inner = entries.get(wrapper) ?? null;
  }
  listing.walk(inner);
  if (listing.tensors.length === 0) throw new UserError(t`${name} holds no tensors, only ${describeValue(root)}. Choose the file with the model's weights.`);
  return listing;
}

/** The values directly inside `value`, with the key segment of each; undefined when it has none. */
function children(value: PickleValue): Iterable<[PickleValue, PickleValue]> | undefined {
  if (isSequence(value)) return value.items.entries();
  if (value instanceof PickleObject && value.state !== undefined && isScriptClass(value.callable)) return dictEntries(value.state);
  return dictEntries(value);
}

/**
 * For each container, how many tensors lie in it, shared parts counted each time but never beyond
 * MAX_TENSORS + 1. Each container is visited once, so references that multiply cost nothing;
 * a container within itself counts nothing there.
 */
function countTensors(root: PickleValue): Map<PickleValue, number> {
  const counts = new Map<PickleValue, number>();
  const open: { value: PickleValue; rest: Iterator<[PickleValue, PickleValue]>; count: number }[] = [];
  const enter = (value: PickleValue): number => {
    if (value === null || typeof value !== 'object') return 0;
    const known = counts.get(value);
    if (known !== undefined) return known;
    if (asTensor(value) !== undefined) return count(value, 1);
    const inside = children(value);
    if (inside === undefined) return 0;
    open.push({ value, rest: inside[Symbol.iterator](), count: 0 });
    return count(value, 0);
  };
  const count = (value: PickleValue, tensors: number): number => {
    counts.set(value, tensors);
    return tensors;
  };
  enter(root);
  for (let frame = open.at(-1); frame !== undefined; frame = open.at(-1)) {
    const next = frame.rest.next();
    if (next.done !== true) {
      frame.count = Math.min(frame.count + enter(next.value[1]), MAX_TENSORS + 1);
      continue;
    }
    open.pop();
    count(frame.value, frame.count);
    const parent = open.at(-1);
    if (parent !== undefined) parent.count = Math.min(parent.count + frame.count, MAX_TENSORS + 1);
  }
  return counts;
}

function wrapperKey(value: PickleValue, has: (value: PickleValue) => boolean): string | undefined {
  const entries = dictEntries(value);
  if (entries === undefined) return undefined;
  const holds = (key: string): boolean => {
    const inner = entries.get(key);
    return inner !== undefined && dictEntries(inner) !== undefined && has(inner) && inner !== value;
  };
  return WRAPPERS.find(holds) ?? POSSIBLE_WRAPPERS.find(key => holds(key)
    && [...entries].every(([other, inner]) => other === key || !has(inner) || TRAINING_STATE.test(segment(other))));
}

class Listing implements StateDict {
  readonly tensors: { key: string; value: PickleObject }[] = [];
  readonly others: { key: string; description: string }[] = [];
  readonly warnings: string[] = [];
  private readonly keys = new Set<string>();
  private keyCharacters = 0;
  private entered = 0;
  private othersLeftOut = false;

  constructor(private readonly name: string, private readonly has: (value: PickleValue) => boolean) {}

  /** Lists what lies below `root`, depth first; only containers with tensors are entered. */
  walk(root: PickleValue): void {
    const path: { value: PickleValue; prefix: string; rest: Iterator<[PickleValue, PickleValue]> }[] = [];
    const enter = (value: PickleValue, prefix: string): void => {
      if (path.some(frame => frame.value === value)) return;
      if (path.length >= MAX_DEPTH) throw this.absurd(t`nests its tensors more than ${MAX_DEPTH} levels deep`);
      if (++this.entered > MAX_TENSORS) throw this.absurd(t('repeats its parts without end'));
      path.push({ value, prefix, rest: (children(value) ?? [])[Symbol.iterator]() });
    };
    enter(root, '');
    for (let frame = path.at(-1); frame !== undefined; frame = path.at(-1)) {
      const next = frame.rest.next();
      if (next.done === true) {
        path.pop();
        continue;
      }
      const [name, value] = next.value;
      const key = frame.prefix + segment(name);
      const tensor = asTensor(value);
      if (tensor !== undefined) this.addTensor(key, tensor);
      else if (this.has(value)) enter(value, `${key}.`);
      else if (!(frame.value instanceof PickleObject && isScriptClass(frame.value.callable))) this.addOther(key, describeValue(value));
    }
  }

  addOther(key: string, description: string): void {
    if (this.others.length < MAX_OTHERS) {
      this.countKey(key);
      this.others.push({ key, description });
    } else if (!this.othersLeftOut) {
      this.othersLeftOut = true;
      this.warnings.push(t`${this.name} holds more than ${MAX_OTHERS} values that are not tensors; only the first are shown.`);
    }
  }

  private addTensor(key: string, value: PickleObject): void {
    this.countKey(key);
    if (this.keys.has(key)) {
      this.warnings.push(t`${this.name} holds the key ${quoted(key)} twice, once nested and once spelt out; the first one counts.`);
      return;
    }
    this.keys.add(key);
    this.tensors.push({ key, value });
  }

  private countKey(key: string): void {
    this.keyCharacters += key.length;
    if (this.keyCharacters > MAX_KEY_CHARACTERS) throw this.absurd(t`has keys of more than ${MAX_KEY_CHARACTERS} characters together`);
  }

  absurd(what: string): UserError {
    return new UserError(t`${this.name} ${what}, which no model does. It is damaged or made to do harm.`);
  }
}

function segment(key: PickleValue): string {
  return typeof key === 'string' ? key : typeof key === 'number' || typeof key === 'bigint' ? String(key) : describeValue(key);
}
