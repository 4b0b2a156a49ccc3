import type { Tensor } from '../checkpoint/checkpoint';
import type { Mark } from '../recipe/recipe';
import type { PlannedTensor } from '../recipe/plan';

/** A tensor's mark, with the two ways of staying behind told apart. */
export type KeyState = Mark | 'unwanted';
export const KEY_STATES: readonly KeyState[] = ['keep', 'strip', 'exclude', 'unwanted'];

export function keyState(planned: PlannedTensor): KeyState {
  return planned.decision === undefined ? 'unwanted' : planned.mark;
}

export interface TensorNode {
  readonly kind: 'tensor';
  readonly id: string;
  /** The rest of the key below its parent: `weight`, or `conv1.weight` where a module has but one tensor. */
  readonly label: string;
  /** Into the checkpoint's tensors. */
  readonly index: number;
  readonly parent: GroupNode | undefined;
}

export interface GroupNode {
  readonly kind: 'group';
  readonly id: string;
  /** `resblocks`, `transformer.visual` for a chain of only children, `0 … 99` for a part of a long list. */
  readonly label: string;
  /** What the group's keys begin with, closing dot included. */
  readonly prefix: string;
  /** Whether the group is only a part of the module `prefix`: one stretch of its children. */
  readonly part: boolean;
  /** The group's tensors, ascending, as indices into the checkpoint's. */
  readonly indices: Uint32Array;
  readonly parent: GroupNode | undefined;
}

export type KeyNode = GroupNode | TensorNode;

/** What a group says about its tensors. */
export interface GroupStats {
  readonly tensors: number;
  readonly bytes: number;
  readonly counts: Readonly<Record<KeyState, number>>;
  readonly state: KeyState | 'mixed';
}

/** More children than this are shown as stretches of STRETCH (or STRETCH², ...) each. */
export const MANY_CHILDREN = 200;
const STRETCH = 100;

/**
 * The keys of a checkpoint as a tree of module paths. Nothing is built before it is asked for: a group
 * divides its own tensors by their next segment when its children are first wanted, so that 100,000 keys cost one pass.
 * Children stand in state-dict order, numbered ones in numeric order.
 */
export class KeyTree {
  private rootNodes: readonly KeyNode[] | undefined;
  private readonly childNodes = new WeakMap<GroupNode, readonly KeyNode[]>();

  /** Shows the tensors at `indices` (ascending); all of them when absent. */
  constructor(private readonly tensors: readonly Tensor[], readonly indices: Uint32Array = everyIndex(tensors.length)) {}

  roots(): readonly KeyNode[] {
    this.rootNodes ??= this.divide(this.indices, '', undefined);
    return this.rootNodes;
  }

  children(node: GroupNode): readonly KeyNode[] {
    let children = this.childNodes.get(node);
    if (children === undefined) {
      children = this.divide(node.indices, node.prefix, node);
      this.childNodes.set(node, children);
    }
    return children;
  }

  /** The node of the tensor at `index`, or undefined when the tree does not show it. */
  find(index: number): TensorNode | undefined {
    for (let level = this.roots(); ;) {
      const node = level.find(candidate => (candidate.kind === 'tensor' ? candidate.index === index : includes(candidate.indices, index)));
      if (node === undefined || node.kind === 'tensor') return node;
      level = this.children(node);
    }
  }

  private divide(indices: Uint32Array, prefix: string, parent: GroupNode | undefined): readonly KeyNode[] {
    // A part of a long list holds some of its parent's children; they are divided again, by the same segment.
    const segments = this.segments(indices, prefix);
    if (segments.length > MANY_CHILDREN) return stretches(segments, prefix, parent);
    return segments.flatMap(segment => this.nodes(segment, prefix, parent));
  }

  /** The next segments below `prefix` in the order in which they are shown, each with its tensors. */
  private segments(indices: Uint32Array, prefix: string): Segment[] {
    const byName = new Map<string, Segment>();
    for (const index of indices) {
      const key = this.key(index);
      const end = key.indexOf('.', prefix.length);
      const name = end < 0 ? key.slice(prefix.length) : key.slice(prefix.length, end);
      let segment = byName.get(name);
      if (segment === undefined) byName.set(name, segment = { name, number: /^\d{1,15}$/.test(name) ? Number(name) : undefined, own: [], below: [] });
      (end < 0 ? segment.own : segment.below).push(index);
    }
    // The sort is stable: names keep the order in which they first appear.
    return [...byName.values()].sort((a, b) => (a.number ?? -1) - (b.number ?? -1));
  }

  private nodes(segment: Segment, prefix: string, parent: GroupNode | undefined): KeyNode[] {
    const { own, below } = segment;
    const nodes: KeyNode[] = own.map(index => this.tensorNode(index, prefix, parent));
    const [first] = below;
    if (first === undefined) return nodes;
    if (below.length === 1) return [...nodes, this.tensorNode(first, prefix, parent)];
    const common = this.commonModule(first, below);
    return [...nodes, { kind: 'group', id: `module ${common}`, label: common.slice(prefix.length, -1), prefix: common, part: false, indices: new Uint32Array(below), parent }];
  }

  /** The longest module path, with its closing dot, that all of `indices` lie under. */
  private commonModule(first: number, indices: readonly number[]): string {
    const key = this.key(first);
    let common = key.slice(0, key.lastIndexOf('.') + 1);
    for (const index of indices) {
      while (!this.key(index).startsWith(common)) common = common.slice(0, common.lastIndexOf('.', common.length - 2) + 1);
    }
    return common;
  }

  private tensorNode(index: number, prefix: string, parent: GroupNode | undefined): TensorNode {
    return { kind: 'tensor', id: `tensor ${index}`, label: this.key(index).slice(prefix.length), index, parent };
  }

  private key(index: number): string {
    return this.tensors[index]?.key ?? '';
  }
}

interface Segment {
  readonly name: string;
  readonly number: number | undefined;
  /** A tensor of that very name, as `a` beside `a.weight`. */
  readonly own: number[];
  /** What lies in the module of that name. */
  readonly below: number[];
}

/** Numbered children are divided at round numbers when the list has few gaps, all others by position. */
function stretches(segments: readonly Segment[], prefix: string, parent: GroupNode | undefined): GroupNode[] {
  const first = segments[0]?.number;
  const last = segments.at(-1)?.number;
  const dense = first !== undefined && last !== undefined && last - first < 2 * segments.length;
  let size = STRETCH;
  while (segments.length / size > MANY_CHILDREN) size *= STRETCH;
  const parts = new Map<number, Segment[]>();
  segments.forEach((segment, position) => {
    const part = Math.floor((dense ? segment.number ?? 0 : position) / size);
    const members = parts.get(part);
    if (members === undefined) parts.set(part, [segment]);
    else members.push(segment);
  });
  return [...parts.values()].map(members => {
    const from = members[0]?.name ?? '';
    const to = members.at(-1)?.name ?? '';
    const label = from === to ? from : `${from} … ${to}`;
    return { kind: 'group', id: `part ${prefix}${label}`, label, prefix, part: true, indices: new Uint32Array(members.flatMap(({ own, below }) => [...own, ...below])).sort(), parent };
  });
}

/** Counts and bytes of a group under a plan's marks. */
export function groupStats(indices: Uint32Array, planned: readonly PlannedTensor[]): GroupStats {
  const counts: Record<KeyState, number> = { keep: 0, strip: 0, exclude: 0, unwanted: 0 };
  let bytes = 0;
  for (const index of indices) {
    const tensor = planned[index];
    if (tensor === undefined) continue;
    counts[keyState(tensor)] += 1;
    bytes += tensor.tensor.length;
  }
  const state = KEY_STATES.find(candidate => counts[candidate] === indices.length) ?? 'mixed';
  return { tensors: indices.length, bytes, counts, state };
}

/** Whether anything that the tree shows of the node differs between two plans of one checkpoint. */
export function nodeChanged(node: KeyNode, before: readonly PlannedTensor[], after: readonly PlannedTensor[]): boolean {
  const differs = (index: number): boolean => {
    const [a, b] = [before[index], after[index]];
    return a?.mark !== b?.mark || a?.outputKey !== b?.outputKey || a?.decision?.source !== b?.decision?.source || a?.decision?.rule !== b?.decision?.rule;
  };
  return node.kind === 'tensor' ? differs(node.index) : node.indices.some(differs);
}

function everyIndex(length: number): Uint32Array {
  return new Uint32Array(length).map((_, index) => index);
}

/** Binary search in an ascending array. */
function includes(ascending: Uint32Array, value: number): boolean {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] ?? Infinity) < value) low = middle + 1;
    else high = middle;
  }
  return ascending[low] === value;
}
