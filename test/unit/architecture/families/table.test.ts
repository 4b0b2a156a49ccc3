import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { forwardGraph } from '../../../../src/architecture/forwardGraphs';
import { wantedOutputs } from '../../../../src/architecture/outputs';
import { FAMILIES } from '../../../../src/architecture/registry';
import { openCheckpoint } from '../../../../src/checkpoint/open';
import { openJob, validated } from '../../../../src/job';
import { segmentModel } from '../../../../src/onnx/encoderGraph';
import { readFloats } from '../../encoder/fixture';
import { configOf, fakeCheckpoint, FIXTURES } from '../../support/checkpoints';
import { LANGUAGE_MODEL, open, STATE_DICT_CASES, STATE_DICTS, tensorsOf } from '../../support/families';

const README = path.join(import.meta.dirname, '../../../../README.md');

interface Row {
  readonly title: string;
  readonly models: string;
  readonly id: string;
  readonly preview: string;
  readonly parts: string;
}

async function rowsOfReadme(): Promise<Row[]> {
  const text = await readFile(README, 'utf8');
  const [, table = ''] = /<!-- families -->\n([\s\S]*?)\n<!-- \/families -->/.exec(text) ?? [];
  return table.split('\n').slice(2).map(line => {
    const [title = '', models = '', id = '', preview = '', parts = ''] = line.split('|').slice(1, -1).map(cell => cell.trim());
    return { title, models, id: id.replaceAll('`', ''), preview, parts };
  });
}

/** By family, the tiny checkpoints that are recognised as its, load strictly, and have a reference for every hidden state. */
async function referenced(): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const name of await readdir(path.join(FIXTURES, 'families'))) {
    const checkpoint = await openCheckpoint(path.join(FIXTURES, 'families', name));
    try {
      const job = await openJob(checkpoint);
      const { family, validation } = validated(job);
      assert.ok(validation.valid, name);
      const outputs = await readFloats(path.join(FIXTURES, 'families', name, 'expected/outputs.safetensors'));
      const layers = forwardGraph(family.graph?.(validation.hyperparameters, job.config) ?? assert.fail(`${name} has no forward pass`)).layers;
      for (let layer = 0; layer < layers; layer++) assert.ok(outputs.has(`hidden_states.${layer}`), `${name} has no reference for block ${layer}`);
      assert.ok(layers > 0 && outputs.has('features') && outputs.has('pixel_values'), name);
      found.set(family.id, [...found.get(family.id) ?? [], name]);
    } finally {
      await checkpoint.close();
    }
  }
  return found;
}

describe('The README\'s table of families', () => {
  it('has the registry\'s families in its order, with their parts', async () => {
    const rows = await rowsOfReadme();
    assert.deepEqual(rows.map(({ id, title, models }) => ({ id, title, models })), FAMILIES.map(({ id, title, models }) => ({ id, title, models })));
    assert.deepEqual(rows.map(({ parts }) => parts), FAMILIES.map(({ switches = [] }) => switches.map(({ id, kept }) => `${id} (${kept ? 'in' : 'out'})`).join(', ')));
  });

  it('ticks the preview of exactly the families that a checkpoint with a reference is recognised as', async () => {
    const tiny = await referenced();
    for (const { id, preview } of await rowsOfReadme()) assert.equal(preview, tiny.has(id) ? 'yes' : 'no', `${id}: ${tiny.get(id)?.join() ?? 'no reference'}`);
  });
});

/** Tensors of a class that no pass uses: masks are for training; the adapter of Llama 4's small config does not take the width of four patches, so the class cannot run it either. */
const UNUSED = /(^|\.)mask_token$|^vision_adapter\./;
/** What the small configs leave to defaults that are for larger encoders. */
const ALSO: Readonly<Record<string, Readonly<Record<string, unknown>>>> = { mllama_vision: { intermediate_layers_indices: [1] } };

describe('The forward passes of transformers\' own state dicts', () => {
  for (const [name, { type, switched = {} }] of Object.entries(STATE_DICT_CASES)) {
    for (const version of ['4', '5'] as const) {
      const dicts = STATE_DICTS[name];
      const shapes = dicts?.[version];
      if (dicts === undefined || shapes === undefined) continue;
      it(`use every tensor of ${name} (${dicts.class}, version ${version}), and no other`, () => {
        const config = configOf({ model_type: type, ...dicts.config, ...ALSO[name] });
        const { family, plan, validation } = open(fakeCheckpoint([...LANGUAGE_MODEL, ...tensorsOf(shapes, 'model.visual.')]), config, { switched });
        const graph = forwardGraph(family.graph?.(validation.hyperparameters, config) ?? assert.fail(`${family.id} has no forward pass`));
        const derived = new Map(graph.derivedTables.map(({ key, from }) => [key, from]));
        const used = new Set<string>();
        const names = ['embeddings', ...Array.from({ length: graph.layers }, (_, layer) => `hidden_states.${layer}`), ...graph.blockOutputs.map(one => one.name), ...graph.poolShapes.keys()];
        segmentModel(graph, {
          segment: { from: 0, to: graph.layers }, wanted: wantedOutputs(graph, names), handOn: false, products: 'F32',
          locate: ({ key, shape }) => {
            used.add(derived.get(key) ?? key);
            return { type: 'F32', data: { location: 'weights', offset: 0, length: 4 * shape.reduce((product, side) => product * side, 1) } };
          },
        });
        const kept = new Set(plan.kept.flatMap(({ outputKey }) => outputKey ?? []));
        assert.deepEqual([...used].filter(key => !kept.has(key)), []);
        assert.deepEqual([...kept].filter(key => !used.has(key) && !UNUSED.test(key)), []);
      });
    }
  }
});
