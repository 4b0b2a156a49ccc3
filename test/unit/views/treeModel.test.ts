import assert from 'node:assert/strict';
import type { Checkpoint, Tensor } from '../../../src/checkpoint/checkpoint';
import { makePlan } from '../../../src/recipe/plan';
import { applyMark } from '../../../src/recipe/edit';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { targetsOf } from '../../../src/views/targets';
import { groupStats, KeyTree, MANY_CHILDREN, nodeChanged, type GroupNode, type KeyNode } from '../../../src/views/treeModel';

const tensors = (keys: readonly string[]): Tensor[] => keys.map(key => ({ key, dtype: 'BF16', shape: [2, 3], file: 0, offset: 0, length: 12 }));
const labels = (nodes: readonly KeyNode[]): string[] => nodes.map(node => node.label);

function group(nodes: readonly KeyNode[], label: string): GroupNode {
  const node = nodes.find(candidate => candidate.label === label);
  assert.ok(node?.kind === 'group', `no group ${label} among ${labels(nodes).join(', ')}`);
  return node;
}

function planOf(list: readonly Tensor[]) {
  const checkpoint: Checkpoint = {
    name: 'model', location: '/model', files: [], tensors: list, others: [], warnings: [],
    store: { location: '/model', list: () => Promise.resolve([]), open: () => Promise.reject(new Error('not needed')) },
    close: () => Promise.resolve(),
  };
  return makePlan(checkpoint, qwenVl.recipe('transformer.visual'));
}

/** Every tensor below the nodes, in the order in which they are shown. */
function leaves(tree: KeyTree, nodes: readonly KeyNode[] = tree.roots()): number[] {
  return nodes.flatMap(node => (node.kind === 'tensor' ? [node.index] : leaves(tree, tree.children(node))));
}

describe('key tree', () => {
  it('groups by module path and writes chains of only children as one row', () => {
    const tree = new KeyTree(tensors(['model.visual.conv1.weight', 'model.visual.ln.weight', 'model.visual.ln.bias']));
    assert.deepEqual(labels(tree.roots()), ['model.visual']);
    const visual = group(tree.roots(), 'model.visual');
    assert.deepEqual(labels(tree.children(visual)), ['conv1.weight', 'ln']);
    assert.deepEqual(labels(tree.children(group(tree.children(visual), 'ln'))), ['weight', 'bias']);
  });

  it('keeps the order of the state dict for names and puts numbers in numeric order', () => {
    const tree = new KeyTree(tensors(['z.w', 'z.b', 'a.10.w', 'a.10.b', 'a.2.w', 'a.2.b', 'a.0.w', 'a.0.b', 'a.bias']));
    assert.deepEqual(labels(tree.roots()), ['z', 'a']);
    assert.deepEqual(labels(tree.children(group(tree.roots(), 'a'))), ['bias', '0', '2', '10']);
  });

  it('shows a tensor that has the name of a module beside it', () => {
    const tree = new KeyTree(tensors(['a', 'a.weight', 'a.bias']));
    assert.deepEqual(tree.roots().map(node => `${node.kind} ${node.label}`), ['tensor a', 'group a']);
  });

  it('holds every tensor once, whatever the keys look like', () => {
    const keys = ['', '.', '..', 'a..b', '.a', 'a.', 'a.b.', 'a.b', 'x'.repeat(5000), Array(3000).fill('deep').join('.'), 'a\u0000b', '1.2.3', '001', '1'];
    const tree = new KeyTree(tensors(keys));
    assert.deepEqual(leaves(tree).sort((a, b) => a - b), keys.map((_, index) => index));
    for (const index of keys.keys()) assert.equal(tree.find(index)?.index, index);
  });

  it('divides a long numbered list at round numbers', () => {
    const tree = new KeyTree(tensors(Array.from({ length: 300 }, (_, i) => [`experts.${i}.up`, `experts.${i}.down`]).flat()));
    const experts = group(tree.roots(), 'experts');
    assert.deepEqual(labels(tree.children(experts)), ['0 … 99', '100 … 199', '200 … 299']);
    assert.deepEqual(labels(tree.children(group(tree.children(experts), '100 … 199'))).slice(0, 2), ['100', '101']);
  });

  for (const [what, name] of [['dense numbers', (i: number) => i], ['sparse numbers', (i: number) => i * 1_000_003], ['names', (i: number) => `p${i}`]] as const) {
    it(`never shows more than a few hundred rows at once: 50,000 ${what}`, () => {
      const list = tensors(Array.from({ length: 50_000 }, (_, i) => `${name(i)}`));
      const tree = new KeyTree(list);
      const widest = (nodes: readonly KeyNode[]): number => Math.max(nodes.length, ...nodes.map(node => (node.kind === 'group' ? widest(tree.children(node)) : 0)));
      assert.ok(widest(tree.roots()) <= MANY_CHILDREN);
      assert.equal(leaves(tree).length, list.length);
    });
  }

  it('finds a tensor below folded groups, with the parents that lead to it', () => {
    const tree = new KeyTree(tensors(Array.from({ length: 300 }, (_, i) => `m.experts.${i}.up.weight`)));
    const node = tree.find(250);
    assert.deepEqual([node?.label, node?.parent?.label, node?.parent?.parent?.label], ['250.up.weight', '200 … 299', 'm.experts']);
    assert.equal(new KeyTree(tensors(['a', 'b']), Uint32Array.of(0)).find(1), undefined);
  });

  it('counts marks and bytes of a group, and says when its tensors agree', () => {
    const list = tensors(['transformer.visual.conv1.weight', 'transformer.visual.proj', 'transformer.h.0.w', 'transformer.h.1.w']);
    const tree = new KeyTree(list);
    const plan = planOf(list);
    const root = group(tree.roots(), 'transformer');
    assert.deepEqual(groupStats(root.indices, plan.tensors), { tensors: 4, bytes: 48, counts: { keep: 0, strip: 1, exclude: 1, unwanted: 2 }, state: 'mixed' });
    assert.equal(groupStats(group(tree.children(root), 'h').indices, plan.tensors).state, 'unwanted');
  });

  it('tells which nodes an edit has changed', () => {
    const list = tensors(['transformer.visual.ln.weight', 'transformer.visual.ln.bias', 'lm_head.weight']);
    const before = planOf(list);
    const after = makePlan(before.checkpoint, applyMark(before.recipe, [{ key: 'lm_head.weight' }], 'keep'));
    assert.deepEqual(new KeyTree(list).roots().filter(node => nodeChanged(node, before.tensors, after.tensors)).map(node => node.label), ['lm_head.weight']);
  });

  it('shows 100,000 keys, refreshes their marks and finds the last within a moment', function () {
    this.timeout(20_000);
    const list = tensors(Array.from({ length: 100_000 }, (_, i) => `model.layers.${Math.floor(i / 900)}.mlp.experts.${Math.floor(i / 3) % 300}.${['gate', 'up', 'down'][i % 3] ?? ''}.weight`));
    const plan = planOf(list);
    const started = performance.now();
    const tree = new KeyTree(list);
    for (const root of tree.roots()) if (root.kind === 'group') groupStats(root.indices, plan.tensors);
    assert.ok(tree.find(99_999));
    const elapsed = performance.now() - started;
    assert.ok(elapsed < 1500, `took ${Math.round(elapsed)} ms`);
  });
});

describe('targets of a mark', () => {
  const list = tensors(['m.a.w', 'm.a.b', 'm.c.0.w', 'm.c.1.w', 'x']);

  it('names a whole module by its path, and what lies in it not again', () => {
    const tree = new KeyTree(list);
    const module = group(tree.roots(), 'm');
    const inner = group(tree.children(module), 'a');
    assert.deepEqual(targetsOf([module, inner, ...tree.roots().slice(1)], tree, list), [{ module: 'm' }, { key: 'x' }]);
  });

  it('names only what a filter shows', () => {
    const tree = new KeyTree(list, Uint32Array.of(0, 2, 3));
    assert.deepEqual(targetsOf([group(tree.roots(), 'm')], tree, list), [{ key: 'm.a.w' }, { key: 'm.c.0.w' }, { key: 'm.c.1.w' }]);
  });

  it('does not name a module that has a tensor of its own name, which the group does not show', () => {
    const named = tensors(['a', 'a.w', 'a.b']);
    const tree = new KeyTree(named);
    assert.deepEqual(targetsOf(tree.roots().filter(node => node.kind === 'group'), tree, named), [{ key: 'a.w' }, { key: 'a.b' }]);
  });

  it('names a stretch of a long list module by module', () => {
    const many = tensors(Array.from({ length: 300 }, (_, i) => [`e.${i}.w`, `e.${i}.b`]).flat());
    const tree = new KeyTree(many);
    const part = group(tree.children(group(tree.roots(), 'e')), '200 … 299');
    const targets = targetsOf([part], tree, many);
    assert.equal(targets.length, 100);
    assert.deepEqual(targets[0], { module: 'e.200' });
  });
});
