import type { Dtype } from '../checkpoint/dtype';
import { originalsAhead } from '../extraction/fetchAhead';
import type { Located } from '../extraction/thread/sources';
import type { RunOptions } from '../progress';
import { sameShape } from '../validation/compare';
import { compareTensors, type ValueOutcome } from './compareTensors';
import { pairsOf, type Pair, type Side } from './sides';

export type Outcome =
  | ValueOutcome
  | { readonly kind: 'onlyLeft' | 'onlyRight' | 'otherShape' }
  /** The same shape; the bytes were not read. */
  | { readonly kind: 'unread' };

/** A tensor as a header describes it. */
export interface TensorFacts {
  /** In its own checkpoint. */
  readonly key: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

export interface ComparedTensor {
  readonly key: string;
  readonly left: TensorFacts | undefined;
  readonly right: TensorFacts | undefined;
  readonly outcome: Outcome;
}

export interface Comparison {
  readonly left: Pick<Side, 'location' | 'family'>;
  readonly right: Pick<Side, 'location' | 'family'>;
  /** In the left side's order, then what only the right one has. */
  readonly tensors: readonly ComparedTensor[];
  /** Whether bytes were read. */
  readonly valuesRead: boolean;
  /** The same keys and shapes, and the same values; when none were read, the same dtypes. */
  readonly equal: boolean;
}

export interface CompareOptions extends RunOptions {
  /** Compare headers alone. */
  readonly keysOnly?: boolean;
}

/**
 * Compares two sides tensor by tensor; memory does not grow with the tensors. What a network holds is fetched ahead.
 * Progress counts the bytes of both.
 * @throws UserError when a tensor cannot be read
 */
export async function compareSides(left: Side, right: Side, { keysOnly = false, signal, onProgress }: CompareOptions = {}): Promise<Comparison> {
  const pairs = pairsOf(left, right);
  const common = keysOnly ? [] : pairs.flatMap(pair => readable(pair) ?? []);
  const total = common.reduce((sum, pair) => sum + pair.left.tensor.length + pair.right.tensor.length, 0);
  const outcomes = new Map<string, ValueOutcome>();
  const [leftAhead, rightAhead] = [originalsAhead(common.map(pair => pair.left)), originalsAhead(common.map(pair => pair.right))];
  let done = 0;
  try {
    for (const [index, pair] of common.entries()) {
      signal?.throwIfAborted();
      const onAdvance = (bytes: number): void => { onProgress?.({ done: done += bytes, total, label: pair.key }); };
      outcomes.set(pair.key, await compareTensors(leftAhead.originals[index] ?? pair.left, rightAhead.originals[index] ?? pair.right, pair.left, { signal, onAdvance }));
      leftAhead.leave(index);
      rightAhead.leave(index);
    }
  } finally {
    await Promise.all([leftAhead.close(), rightAhead.close()]);
  }
  const tensors = pairs.map((pair): ComparedTensor => ({ key: pair.key, left: factsOf(pair.left), right: factsOf(pair.right), outcome: outcomes.get(pair.key) ?? headerOutcome(pair) }));
  return {
    left: { location: left.location, family: left.family },
    right: { location: right.location, family: right.family },
    tensors, valuesRead: !keysOnly,
    equal: tensors.every(isEqual),
  };
}

/** Whether a tensor is the same on both sides, as far as was looked. */
export function isEqual({ left, right, outcome }: ComparedTensor): boolean {
  return outcome.kind === 'equalBytes' || outcome.kind === 'equalValues' || (outcome.kind === 'unread' && left?.dtype === right?.dtype);
}

function readable({ key, left, right }: Pair): { readonly key: string; readonly left: Located; readonly right: Located } | undefined {
  return left === undefined || right === undefined || !sameShape(left.tensor.shape, right.tensor.shape) ? undefined : { key, left, right };
}

function headerOutcome({ left, right }: Pair): Outcome {
  if (left === undefined) return { kind: 'onlyRight' };
  if (right === undefined) return { kind: 'onlyLeft' };
  return { kind: sameShape(left.tensor.shape, right.tensor.shape) ? 'unread' : 'otherShape' };
}

function factsOf(located: Located | undefined): TensorFacts | undefined {
  return located && { key: located.tensor.key, dtype: located.tensor.dtype, shape: located.tensor.shape };
}
