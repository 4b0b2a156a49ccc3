import type { Tensor } from '../checkpoint/checkpoint';
import type { Target } from '../recipe/edit';
import type { GroupNode, KeyNode, KeyTree } from './treeModel';

/**
 * The fewest targets that cover what is selected, and nothing that the tree does not show:
 * a whole module by its path, a filtered or partial group tensor by tensor.
 */
export function targetsOf(nodes: readonly KeyNode[], tree: KeyTree, tensors: readonly Tensor[]): Target[] {
  const selected = new Set(nodes);
  return nodes.filter(node => !hasSelectedAncestor(node, selected)).flatMap(node => targetsOfNode(node, tree, tensors));
}

function targetsOfNode(node: KeyNode, tree: KeyTree, tensors: readonly Tensor[]): Target[] {
  if (node.kind === 'group' && node.part) return tree.children(node).flatMap(child => targetsOfNode(child, tree, tensors));
  if (node.kind === 'group' && isWholeModule(node, tensors)) return [{ module: node.prefix.slice(0, -1) }];
  const indices = node.kind === 'group' ? node.indices : [node.index];
  return Array.from(indices, index => ({ key: tensors[index]?.key ?? '' }));
}

/** Whether the group holds all that a rule for its module would match, the tensor of the module's own name included. */
function isWholeModule(group: GroupNode, tensors: readonly Tensor[]): boolean {
  const module = group.prefix.slice(0, -1);
  if (module === '') return false;
  let count = 0;
  for (const { key } of tensors) if (key === module || key.startsWith(group.prefix)) count += 1;
  return count === group.indices.length;
}

function hasSelectedAncestor(node: KeyNode, selected: ReadonlySet<KeyNode>): boolean {
  for (let parent = node.parent; parent !== undefined; parent = parent.parent) if (selected.has(parent)) return true;
  return false;
}
