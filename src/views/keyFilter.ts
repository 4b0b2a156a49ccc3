import type { PlannedTensor } from '../recipe/plan';
import type { KeyState } from './treeModel';
import { keyState } from './treeModel';

/** Which keys the tree shows. */
export interface KeyFilter {
  /** Words that must all stand in the key, in any order and case; `*` is any run of characters. */
  readonly text: string;
  /** Only tensors of these states; all when undefined. */
  readonly states: ReadonlySet<KeyState> | undefined;
}

export const NO_FILTER: KeyFilter = { text: '', states: undefined };

export function isFiltering(filter: KeyFilter): boolean {
  return filter.text.trim() !== '' || filter.states !== undefined;
}

/** The tensors that pass, ascending, as indices. */
export function matching(planned: readonly PlannedTensor[], filter: KeyFilter): Uint32Array {
  const words = matchers(filter.text);
  const found: number[] = [];
  planned.forEach((tensor, index) => {
    if (filter.states !== undefined && !filter.states.has(keyState(tensor))) return;
    if (words.every(word => word.test(tensor.tensor.key))) found.push(index);
  });
  return new Uint32Array(found);
}

/** The first `limit` keys that pass the text, those whose last segments match first: what a person types is mostly an end. */
export function search(keys: readonly string[], text: string, limit: number): number[] {
  const words = matchers(text);
  const ends: number[] = [];
  const others: number[] = [];
  const end = text.trim().toLowerCase();
  for (let index = 0; index < keys.length && ends.length < limit; index += 1) {
    const key = keys[index] ?? '';
    if (!words.every(word => word.test(key))) continue;
    if (end !== '' && key.toLowerCase().endsWith(end)) ends.push(index);
    else if (others.length < limit) others.push(index);
  }
  return [...ends, ...others].slice(0, limit);
}

/** The stretches of `label` that the filter's words cover, as [start, end) pairs, for highlighting. */
export function highlights(label: string, text: string): [number, number][] {
  return words(text).flatMap(word => {
    const match = new RegExp(expression(word), 'i').exec(label);
    return match === null || match[0] === '' ? [] : [[match.index, match.index + match[0].length] satisfies [number, number]];
  });
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(word => word !== '');
}

function matchers(text: string): RegExp[] {
  return words(text).map(word => new RegExp(expression(word), 'i'));
}

function expression(word: string): string {
  // Runs of stars are one star: `**` would only make the search slower.
  return word.replace(/\*+/g, '*').split('*').map(part => part.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('.*?');
}
