import assert from 'node:assert/strict';
import { featureOutputs } from '../../../src/encoder/features';
import { memoryNeed, memoryWarning } from '../../../src/encoder/memory';
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
    const need = memoryNeed(model, graph, 'cpu', 'float16');
    assert.equal(need.weights, 4 * [...model.weights.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0));
    assert.equal(memoryNeed(model, graph, 'webgpu', 'float16').weights * 2, need.weights);
    assert.ok(memoryNeed(model, graph, 'cpu', 'float32', 8).least > need.least);
    assert.match(memoryWarning(need, 'cpu', 'float32', need.least - 1) ?? '', /fewer layers/);
    assert.match(memoryWarning(need, 'cpu', 'float32', need.least + 1) ?? '', /read anew/);
    assert.equal(memoryWarning(need, 'cpu', 'float32', need.least + need.weights), undefined);
    assert.match(memoryWarning(need, 'webgpu', 'float32', need.least + 1) ?? '', /half precision needs half as much/);
    assert.doesNotMatch(memoryWarning(need, 'webgpu', 'float16', need.least + 1) ?? '', /half precision/);
    assert.equal(memoryWarning(need, 'webgpu', 'float32', need.least + need.weights), undefined);
  });
});
