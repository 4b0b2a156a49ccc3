import type { ListedTensor } from '../../src/inspectorProtocol';

/** A module with the bytes of all tensors below it; a tensor is a leaf. */
export interface ModuleNode {
  /** The last segment of the path, or a chain of them where each has but one child. */
  readonly name: string;
  readonly path: string;
  readonly bytes: number;
  readonly tensors: number;
  readonly children: readonly ModuleNode[];
  /** The place in the list, of a leaf. */
  readonly tensor?: number;
}

interface Open {
  name: string;
  path: string;
  bytes: number;
  tensors: number;
  readonly children: Map<string, Open>;
  tensor?: number;
}

const open = (name: string, path: string): Open => ({ name, path, bytes: 0, tensors: 0, children: new Map() });

/** Where the bytes of the tensors at `rows` are, by module path. */
export function moduleTree(tensors: readonly ListedTensor[], rows: readonly number[]): ModuleNode {
  const root = open('', '');
  for (const row of rows) {
    const tensor = tensors[row];
    if (tensor === undefined) continue;
    let node = root;
    root.bytes += tensor.bytes;
    root.tensors++;
    const segments = tensor.key.split('.');
    for (const [depth, segment] of segments.entries()) {
      let child = node.children.get(segment);
      if (child === undefined) {
        child = open(segment, segments.slice(0, depth + 1).join('.'));
        node.children.set(segment, child);
      }
      child.bytes += tensor.bytes;
      child.tensors++;
      node = child;
    }
    node.tensor = row;
  }
  return close(root);
}

function close(node: Open): ModuleNode {
  const [only] = node.children.values();
  if (node.children.size === 1 && only !== undefined && node.path !== '' && node.tensor === undefined) {
    const merged = close(only);
    return { ...merged, name: `${node.name}.${merged.name}` };
  }
  const { name, path, bytes, tensors, tensor } = node;
  return { name, path, bytes, tensors, children: [...node.children.values()].map(close), ...(tensor !== undefined && { tensor }) };
}
