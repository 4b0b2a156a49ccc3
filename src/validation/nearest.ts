import type { PlannedTensor } from '../recipe/plan';

/** A tensor that may have been meant, and the key that it has or would have in the encoder. */
export interface Candidate {
  readonly planned: PlannedTensor;
  readonly name: string;
}

/** How many candidates are compared per key. Buckets are small in real checkpoints; this bounds the hostile ones. */
const TRIED = 300;

/**
 * Makes a search for the candidate most similar to a missing key. Candidates are compared by edit distance only within
 * buckets of the same block numbers and the same shape, last segment or parent, so that 600 misses among 100,000 keys stay quick.
 */
export function nearestFinder(candidates: readonly Candidate[]): (key: string, shape: readonly number[]) => Candidate | undefined {
  const buckets = new Map<string, Candidate[]>();
  for (const candidate of candidates) {
    for (const bucket of bucketsOf(candidate.name, candidate.planned.tensor.shape)) {
      const members = buckets.get(bucket);
      if (members === undefined) buckets.set(bucket, [candidate]);
      else if (members.length < TRIED) members.push(candidate);
    }
  }
  return (key, shape) => {
    let best: Candidate | undefined;
    let bound = Math.max(2, Math.floor(key.length * 0.3)) + 1;
    for (const bucket of bucketsOf(key, shape)) {
      for (const candidate of buckets.get(bucket) ?? []) {
        if (candidate.name === key || candidate.name.endsWith(`.${key}`)) return candidate;
        const distance = editDistance(key, tail(candidate.name, key), bound);
        if (distance >= bound) continue;
        bound = distance;
        best = candidate;
      }
    }
    return best;
  };
}

function bucketsOf(name: string, shape: readonly number[]): string[] {
  const numbers = (name.match(/(?<=^|\.)\d+(?=\.|$)/g) ?? []).join('.');
  const segments = name.split('.');
  return [
    `tail ${segments.slice(-2).join('.')} ${numbers}`,
    `shape ${shape.join('x')} ${numbers}`,
    `leaf ${segments.at(-1) ?? ''} ${numbers}`,
    `parent ${segments.slice(0, -1).join('.')}`,
  ];
}

/** `name` without what stands before it when it has more segments than `key`: a forgotten prefix is no difference. */
function tail(name: string, key: string): string {
  const segments = name.split('.');
  return segments.slice(-Math.max(1, key.split('.').length)).join('.');
}

/** Levenshtein distance, or `bound` as soon as it is known to reach that. */
export function editDistance(a: string, b: string, bound: number): number {
  if (Math.abs(a.length - b.length) >= bound) return bound;
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA--;
    endB--;
  }
  let row = Array.from({ length: endB - start + 1 }, (_, index) => index);
  for (let i = start; i < endA; i++) {
    const next = [i - start + 1];
    for (let j = start; j < endB; j++) {
      const column = j - start;
      const replaced = (row[column] ?? 0) + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
    if (Math.min(...row) >= bound) return bound;
  }
  return Math.min(bound, row.at(-1) ?? bound);
}
