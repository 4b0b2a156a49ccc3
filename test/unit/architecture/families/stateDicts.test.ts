import assert from 'node:assert/strict';
import { familyById } from '../../../../src/architecture/registry';
import { configOf, fakeCheckpoint } from '../../support/checkpoints';
import { LANGUAGE_MODEL, open, STATE_DICT_CASES as CASES, STATE_DICTS, tensorsOf } from '../../support/families';

/** In front of an encoder in whole models, wrappers and dumps; with what is beside it there. */
const PREFIXES = ['', 'module.', 'vision_tower.', 'model.vision_tower.', '_orig_mod.model.vision_tower.', 'model.vision_tower.vision_tower.', 'base_model.model.visual.', 'state_dict.visual.', 'paligemma_with_expert.paligemma.model.vision_tower.'];

describe('The state dicts of transformers', () => {
  it('are all tried', () => {
    assert.deepEqual(Object.keys(CASES).sort(), Object.keys(STATE_DICTS).sort());
  });

  for (const [name, { family: family4, family5 = family4, type, switched = {} }] of Object.entries(CASES)) {
    const dicts = STATE_DICTS[name];
    assert.ok(dicts);
    for (const version of ['4', '5'] as const) {
      const shapes = dicts[version] ?? dicts['4'];
      const id = version === '4' ? family4 : family5;
      it(`are all that ${id} expects of ${dicts.class} in version ${version}`, () => {
        const family = familyById(id);
        const config = configOf({ model_type: type, ...dicts.config });
        const hyperparameters = family.resolve(config, {}, family.observe?.(new Map(Object.entries(shapes))));
        const expected = family.expectedTensors(hyperparameters);
        assert.equal(new Set(expected.map(({ key }) => key)).size, expected.length);
        assert.deepEqual(Object.fromEntries(expected.map(({ key, shape }) => [key, shape])), shapes);
        for (const { shape, dimensions } of expected) assert.equal(shape.length, dimensions.length);
      });

      it(`make a valid ${id} encoder under every prefix, with the config and without (version ${version})`, () => {
        for (const prefix of PREFIXES) {
          const checkpoint = fakeCheckpoint([...(prefix === '' ? [] : LANGUAGE_MODEL), ...tensorsOf(shapes, prefix)]);
          // Nothing but a config or a setting can say the heads of a width that no published model has.
          for (const [config, settings] of [[configOf({ model_type: type, ...dicts.config }), {}], [undefined, { heads: 4 }], [configOf({ model_type: 'some_model' }), { heads: 4 }]] as const) {
            const { family, plan, validation } = open(checkpoint, config, { switched, settings });
            assert.equal(family.id, id, prefix);
            assert.deepEqual([validation.problem, validation.missing, validation.unexpected, validation.mismatched], [undefined, [], [], []], `${prefix} ${config === undefined ? 'without' : 'with'} config`);
            assert.ok(validation.valid);
            assert.equal(plan.kept.length, Object.keys(shapes).length);
          }
        }
      });
    }
  }
});
