import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { featureOutputs } from '../../../src/encoder/features';
import { freeMemory } from '../../../src/encoder/freeMemory';
import { blockParameters, memoryNeed, memoryWarning, type MemoryNeed, type RunPlan } from '../../../src/encoder/memory';
import { forwardGraph } from '../../../src/architecture/forwardGraphs';
import { blocksNeeded, wantedOutputs } from '../../../src/architecture/outputs';
import { UserError } from '../../../src/errors';
import { tinyModel } from './fixture';

describe('outputs', () => {
  it('are named as the command line asks for them', async () => {
    const model = await tinyModel('qwen-vl-tiny-bin');
    assert.deepEqual(featureOutputs(model, { layers: 'all', attentionPool: true }), ['features', 'hidden_states.0', 'hidden_states.1', 'hidden_states.2', 'attn_pool.weights']);
    assert.deepEqual(featureOutputs(model, { layers: [1], attentionPool: false }), ['features', 'hidden_states.1']);
  });

  it('decide how many blocks run, and must exist', async () => {
    const graph = forwardGraph((await tinyModel('qwen-vl-tiny-bin')).graph);
    const blocks = (...names: string[]): number => blocksNeeded(graph, wantedOutputs(graph, names));
    assert.deepEqual([blocks('embeddings'), blocks('hidden_states.0'), blocks('attentions.2.0'), blocks('attentions.0.1'), blocks('features')], [0, 1, 2, 0, 3]);
    for (const name of ['hidden_states', 'hidden_states.3', 'hidden_states.0.1', 'attentions.1', 'attentions.1.4', 'toString', '']) {
      assert.throws(() => blocks(name), UserError, name);
    }
  });
});

describe('memory', () => {
  it('warns when there is too little, and says what then', async () => {
    const model = await tinyModel('qwen-vl-tiny-bin');
    const graph = forwardGraph(model.graph);
    const needOf = (plan: Partial<RunPlan>): MemoryNeed => memoryNeed(model, graph, { provider: 'cpu', precision: 'float16', batch: 1, extent: { blocks: 3, held: 4 }, ...plan });
    const need = needOf({});
    assert.equal(need.weights, 4 * [...model.weights.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0));
    assert.equal(needOf({ provider: 'webgpu' }).weights * 2, need.weights);
    assert.ok(needOf({ batch: 8 }).least > need.least);
    // 64 tokens of width 64: three hidden states fewer; and a block of three fewer.
    assert.equal(need.least - needOf({ extent: { blocks: 3, held: 1 } }).least, 3 * 64 * 64 * 4);
    assert.equal(need.weights - needOf({ extent: { blocks: 2, held: 3 } }).weights, blockParameters(model, graph, 2) * 4);
    // The CPU's fused operator holds no map of all heads: 4 of 64 x 64, and their softmax, elsewhere; nor does it keep 12 more widths of what it had.
    assert.equal(needOf({ provider: 'webgpu', precision: 'float32' }).least - need.least, (2 * 4 + 12) * 64 * 64 * 4);
    assert.match(memoryWarning(need, 'cpu', 'float32', need.least - 1) ?? '', /fewer layers/);
    assert.match(memoryWarning(need, 'cpu', 'float32', need.least + 1) ?? '', /read anew/);
    assert.equal(memoryWarning(need, 'cpu', 'float32', need.least + need.weights), undefined);
    assert.match(memoryWarning(need, 'webgpu', 'float32', need.least + 1) ?? '', /half precision needs half as much/);
    assert.doesNotMatch(memoryWarning(need, 'webgpu', 'float16', need.least + 1) ?? '', /half precision/);
    assert.equal(memoryWarning(need, 'webgpu', 'float32', need.least + need.weights), undefined);
  });

  const GB = 1e9;
  const meminfo = `MemTotal: 16000000 kB\nMemAvailable:   ${8 * GB / 1024} kB\n`;
  const freeWith = (files: Readonly<Record<string, string>>): Promise<number> => freeMemory(path => Promise.resolve(files[path]), 'linux');

  it('is what the machine has available, where no control group bounds it', async () => {
    assert.equal(await freeWith({ '/proc/meminfo': meminfo }), 8 * GB);
    assert.equal(await freeWith({ '/proc/meminfo': meminfo, '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': 'max\n', '/sys/fs/cgroup/memory.current': `${3 * GB}\n` }), 8 * GB);
  });

  it('is what a container leaves, whose page cache is not in use', async () => {
    const container = { '/proc/meminfo': meminfo, '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/memory.max': `${4 * GB}\n`, '/sys/fs/cgroup/memory.current': `${3 * GB}\n` };
    assert.equal(await freeWith(container), 1 * GB);
    assert.equal(await freeWith({ ...container, '/sys/fs/cgroup/memory.stat': `anon 1\ninactive_file ${2 * GB}\nactive_file 5\n` }), 3 * GB);
    // What the machine has bounds it too.
    assert.equal(await freeWith({ ...container, '/sys/fs/cgroup/memory.current': '0\n', '/proc/meminfo': `MemAvailable: ${2 * GB / 1024} kB\n` }), 2 * GB);
    assert.equal(await freeWith({ ...container, '/sys/fs/cgroup/memory.current': `${5 * GB}\n` }), 0);
  });

  it('is bounded by a group\'s parents, in both versions, also where only the root is mounted', async () => {
    assert.equal(await freeWith({
      '/proc/meminfo': meminfo, '/proc/self/cgroup': '0::/user.slice/code.scope\n',
      '/sys/fs/cgroup/user.slice/code.scope/memory.max': 'max\n', '/sys/fs/cgroup/user.slice/code.scope/memory.current': `${GB}\n`,
      '/sys/fs/cgroup/user.slice/memory.max': `${5 * GB}\n`, '/sys/fs/cgroup/user.slice/memory.current': `${3 * GB}\n`,
    }), 2 * GB);
    assert.equal(await freeWith({
      '/proc/meminfo': meminfo, '/proc/self/cgroup': '12:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': `${4 * GB}\n`, '/sys/fs/cgroup/memory/memory.usage_in_bytes': `${3 * GB}\n`,
      '/sys/fs/cgroup/memory/memory.stat': `inactive_file 7\ntotal_inactive_file ${GB}\n`,
    }), 2 * GB);
  });

  it('is a number here', async () => {
    const free = await freeMemory();
    assert.ok(free > 0 && free <= totalmem());
  });
});
