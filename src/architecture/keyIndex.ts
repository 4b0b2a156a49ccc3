import type { Tensor } from '../checkpoint/checkpoint';

/** A checkpoint's keys, looked up by name and by how they end. */
export interface KeyIndex {
  readonly byKey: ReadonlyMap<string, Tensor>;
  /** What stands before `anchor` in the keys that end with it, each with its final dot; '' for a key that is the anchor. */
  readonly prefixesOf: (anchor: string) => string[];
  /** Whether there is a tensor of that name, or a module with tensors outside blocks 1 and later. */
  readonly has: (path: string) => boolean;
}

/** Detection asks every family about the same tensors: they are gone through once. */
const indexes = new WeakMap<readonly Tensor[], KeyIndex>();

/**
 * The index of these tensors. Keys inside block 1 and later are left out of `prefixesOf` (an anchor is outside the
 * blocks, or in block 0), which leaves a few hundred keys of any checkpoint to look at.
 */
export function keyIndex(tensors: readonly Tensor[]): KeyIndex {
  const known = indexes.get(tensors);
  if (known !== undefined) return known;
  const byKey = new Map<string, Tensor>();
  const byLeaf = new Map<string, string[]>();
  for (const tensor of tensors) {
    const { key } = tensor;
    byKey.set(key, tensor);
    if (isInLaterBlock(key)) continue;
    const leaf = leafOf(key);
    const keys = byLeaf.get(leaf);
    if (keys === undefined) byLeaf.set(leaf, [key]);
    else keys.push(key);
  }
  let modules: ReadonlySet<string> | undefined;
  const index: KeyIndex = {
    byKey,
    has: path => byKey.has(path) || (modules ??= modulesOf([...byLeaf.values()].flat())).has(path),
    prefixesOf: anchor => (byLeaf.get(leafOf(anchor)) ?? []).flatMap(key => {
      const prefix = key.slice(0, key.length - anchor.length);
      return key.endsWith(anchor) && (prefix === '' || prefix.endsWith('.')) ? [prefix] : [];
    }),
  };
  indexes.set(tensors, index);
  return index;
}

function modulesOf(keys: readonly string[]): Set<string> {
  const modules = new Set<string>();
  for (const key of keys) for (let dot = key.indexOf('.'); dot >= 0; dot = key.indexOf('.', dot + 1)) modules.add(key.slice(0, dot));
  return modules;
}

/** The last segment, with the one before it when the last is weight or bias, as most are. */
function leafOf(key: string): string {
  const dot = key.lastIndexOf('.');
  return key.endsWith('.weight') || key.endsWith('.bias') ? key.slice(key.lastIndexOf('.', dot - 1) + 1) : key.slice(dot + 1);
}

/** Whether some segment begins with a digit other than 0. */
function isInLaterBlock(key: string): boolean {
  for (let dot = key.indexOf('.'); dot >= 0; dot = key.indexOf('.', dot + 1)) {
    const first = key.charCodeAt(dot + 1);
    if (first >= 49 && first <= 57) return true;
  }
  return false;
}
