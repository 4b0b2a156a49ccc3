import type { PlannedTensor } from '../recipe/plan';

/** A tensor that may have been meant, and the key that it has or would have in the encoder. */
export interface Candidate {
  readonly planned: PlannedTensor;
  readonly name: string;
}

export interface Wanted {
  readonly key: string;
  readonly shape: readonly number[];
}

/** How many candidates of one bucket are compared. Buckets are small in real checkpoints; this bounds the hostile ones. */
const TRIED = 100;

/**
 * The candidate most similar to each wanted key, where one is similar at all. Edit distances are taken only within
 * buckets of the same block numbers and the same shape, last segments or parent, and only the buckets that a wanted key
 * asks for are filled, so that 600 misses among 100,000 keys stay quick.
 */
export function findNearest(wanted: readonly Wanted[], candidates: readonly Candidate[]): Map<string, Candidate> {
  const asked = wanted.map(({ key, shape }) => ({ key, buckets: [...bucketsOf(key, shape, blockNumbers(key)), parentBucket(key)] }));
  const buckets = new Map(asked.flatMap(({ buckets: names }) => names.map((name): [string, Candidate[]] => [name, []])));
  const numbers = new Set(wanted.map(({ key }) => blockNumbers(key)));
  const fill = (bucket: string, candidate: Candidate): void => {
    const members = buckets.get(bucket);
    if (members !== undefined && members.length < TRIED) members.push(candidate);
  };
  for (const candidate of candidates) {
    const { name, planned } = candidate;
    fill(parentBucket(name), candidate);
    const own = blockNumbers(name);
    if (numbers.has(own)) for (const bucket of bucketsOf(name, planned.tensor.shape, own)) fill(bucket, candidate);
  }
  return new Map(asked.flatMap(({ key, buckets: names }) => {
    const best = mostSimilar(key, names.flatMap(name => buckets.get(name) ?? []));
    return best === undefined ? [] : [[key, best] as const];
  }));
}

function mostSimilar(key: string, candidates: readonly Candidate[]): Candidate | undefined {
  let best: Candidate | undefined;
  let bound = Math.max(2, Math.floor(key.length * 0.2)) + 1;
  for (const candidate of candidates) {
    if (candidate.name === key || candidate.name.endsWith(`.${key}`)) return candidate;
    const distance = editDistance(key, tail(candidate.name, key), bound);
    if (distance >= bound) continue;
    bound = distance;
    best = candidate;
  }
  return best;
}

function bucketsOf(name: string, shape: readonly number[], numbers: string): string[] {
  const leaf = name.lastIndexOf('.');
  const tailStart = name.lastIndexOf('.', leaf - 1);
  return [`tail ${name.slice(tailStart + 1)} ${numbers}`, `shape ${shape.join('x')} ${numbers}`, `leaf ${name.slice(leaf + 1)} ${numbers}`];
}

function parentBucket(name: string): string {
  return `parent ${name.slice(0, Math.max(0, name.lastIndexOf('.')))}`;
}

/** `a.7.b.12` -> `.7.12`: the segments that are numbers. */
function blockNumbers(name: string): string {
  let numbers = '';
  for (let start = 0; start < name.length;) {
    const dot = name.indexOf('.', start);
    const end = dot < 0 ? name.length : dot;
    const first = name.charCodeAt(start);
    if (first >= 48 && first <= 57 && /^\d+$/.test(name.slice(start, end))) numbers += `.${name.slice(start, end)}`;
    start = end + 1;
  }
  return numbers;
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
