import type { ExpectedTensor } from '../architecture/family';
import type { PlannedTensor } from '../recipe/plan';

/** A kept tensor beside what the encoder's module expects under the same key. */
export interface Pair {
  readonly expected: ExpectedTensor;
  readonly found: PlannedTensor;
}

/** What a strict load finds, before anything is explained. */
export interface Comparison {
  readonly missing: readonly ExpectedTensor[];
  readonly mismatched: readonly Pair[];
  readonly unexpected: readonly PlannedTensor[];
  readonly matched: readonly Pair[];
}

/** The kept tensors by their keys in the encoder; of duplicates, the first. */
export type KeptByKey = ReadonlyMap<string, PlannedTensor>;

/** Compares as torch.nn.Module.load_state_dict(strict=True) does: by key, then by shape. */
export function compare(expected: readonly ExpectedTensor[], kept: KeptByKey): Comparison {
  const missing: ExpectedTensor[] = [];
  const mismatched: Pair[] = [];
  const matched: Pair[] = [];
  const wanted = new Set<string>();
  for (const tensor of expected) {
    wanted.add(tensor.key);
    const found = kept.get(tensor.key);
    if (found === undefined) missing.push(tensor);
    else (sameShape(tensor.shape, found.tensor.shape) ? matched : mismatched).push({ expected: tensor, found });
  }
  const unexpected = [...kept].flatMap(([key, tensor]) => (wanted.has(key) ? [] : [tensor]));
  return { missing, mismatched, unexpected, matched };
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, index) => dim === b[index]);
}

/** `a.7.b` -> `a.#.b` and 7: a key without its first number, so that the blocks of a stack look alike. */
export function blockTemplate(key: string): { readonly template: string; readonly block: number } | undefined {
  const match = /(^|\.)(\d{1,9})(?=\.|$)/.exec(key);
  if (match === null) return undefined;
  const [all, dot = '', digits = ''] = match;
  return { template: `${key.slice(0, match.index)}${dot}#${key.slice(match.index + all.length)}`, block: Number(digits) };
}
