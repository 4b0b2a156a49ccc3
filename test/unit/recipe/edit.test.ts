import assert from 'node:assert/strict';
import fc from 'fast-check';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { applyMark, resetMark, setSetting, type Target } from '../../../src/recipe/edit';
import { makePlan } from '../../../src/recipe/plan';
import { markSchema, parseRecipe, recipeToJson, type Recipe, type Rule } from '../../../src/recipe/recipe';
import { fakeCheckpoint } from '../support/checkpoints';

const PRESET = qwenVl.recipe('transformer.visual');

describe('applyMark', () => {
  it('leaves an override in front, and none when the recipe says so anyway', () => {
    const one = applyMark(PRESET, [{ key: 'lm_head.weight' }], 'keep');
    assert.deepEqual(one.overrides, [{ mark: 'keep', key: 'lm_head.weight' }]);
    assert.deepEqual(applyMark(one, [{ key: 'lm_head.weight' }], 'exclude').overrides, []);
    assert.deepEqual(applyMark(PRESET, [{ key: 'transformer.visual.ln_pre.bias' }], 'strip').overrides, []);
    assert.deepEqual(applyMark(PRESET, [{ module: 'transformer.visual.attn_pool' }], 'strip').overrides, []);
    assert.deepEqual(applyMark(PRESET, [{ module: 'transformer.h' }], 'exclude').overrides, []);
    assert.deepEqual(PRESET.overrides, [], 'the old recipe stays as it was');
  });

  it('drops the overrides that a new one covers, and those only', () => {
    let recipe = applyMark(PRESET, [{ key: 'transformer.visual.ln_pre.bias' }, { key: 'transformer.visual_model.x' }], 'keep');
    recipe = applyMark(recipe, [{ module: 'transformer.visual.attn_pool' }], 'exclude');
    recipe = applyMark(recipe, [{ module: 'transformer.visual' }], 'exclude');
    assert.deepEqual(recipe.overrides, [{ mark: 'exclude', module: 'transformer.visual' }, { mark: 'keep', key: 'transformer.visual_model.x' }]);
  });

  it('merges targets that lie in one another', () => {
    const { overrides } = applyMark(PRESET, [{ key: 'lm.a.b' }, { module: 'lm.a' }, { module: 'lm' }, { key: 'lm.c' }], 'keep');
    assert.deepEqual(overrides, [{ mark: 'keep', module: 'lm' }]);
  });

  it('strips the prefix of the recipe, else a module\'s own path, else asks', () => {
    assert.deepEqual(applyMark(PRESET, [{ key: 'transformer.visual.proj' }], 'strip').overrides, [{ mark: 'strip', key: 'transformer.visual.proj', prefix: 'transformer.visual.' }]);
    const all = applyMark(PRESET, [{ module: 'transformer.visual' }], 'strip');
    assert.deepEqual(all.overrides, [{ mark: 'strip', module: 'transformer.visual' }], 'proj is to be stripped too');
    assert.deepEqual(applyMark(PRESET, [{ module: 'lm_head' }], 'strip').overrides, [{ mark: 'strip', module: 'lm_head' }]);
    assert.throws(() => applyMark(PRESET, [{ key: 'lm_head.weight' }], 'strip'), /No strip rule of the recipe fits lm_head\.weight\. Say which prefix/);
    assert.deepEqual(applyMark(PRESET, [{ key: 'lm_head.weight' }], 'strip', 'lm_').overrides, [{ mark: 'strip', key: 'lm_head.weight', prefix: 'lm_' }]);
    assert.throws(() => applyMark(PRESET, [{ key: 'lm_head.weight' }], 'strip', 'visual.'), /does not start with it/);
    assert.throws(() => applyMark(PRESET, [{ key: 'lm_head.weight' }], 'strip', 'lm_head.weight'), /would have no name left/);
  });

  it('marks ten thousand single keys at once without delay', () => {
    const targets = Array.from({ length: 10_000 }, (_, index) => ({ key: `transformer.h.${index}.w` }));
    const start = performance.now();
    const recipe = applyMark(applyMark(PRESET, targets, 'keep'), targets.slice(1), 'exclude');
    assert.ok(performance.now() - start < 1000);
    assert.deepEqual(recipe.overrides, [{ mark: 'keep', key: 'transformer.h.0.w' }]);
  });
});

describe('resetMark', () => {
  it('takes edits back, also a single one inside an edited module', () => {
    const recipe = applyMark(PRESET, [{ module: 'transformer.visual' }], 'exclude');
    assert.deepEqual(resetMark(recipe, [{ module: 'transformer.visual' }]).overrides, []);
    assert.deepEqual(resetMark(recipe, [{ key: 'transformer.visual.conv1.weight' }]).overrides[0], { mark: 'strip', key: 'transformer.visual.conv1.weight', prefix: 'transformer.visual.' });
    assert.deepEqual(resetMark(recipe, [{ module: 'transformer.visual.attn_pool' }]).overrides[0], { mark: 'strip', module: 'transformer.visual.attn_pool', prefix: 'transformer.visual.' });
    const above = applyMark(PRESET, [{ module: 'transformer' }], 'keep');
    assert.throws(() => resetMark(above, [{ module: 'transformer.visual' }]), /was edited as part of the module transformer/);
  });
});

describe('setSetting', () => {
  it('gives and takes a value', () => {
    const given = setSetting(PRESET, 'output_dim', 128);
    assert.deepEqual(given.settings, { output_dim: 128 });
    assert.deepEqual(setSetting(given, 'output_dim', undefined), PRESET);
  });
});

describe('edits in any order', () => {
  const LEAVES = ['w', 'b'];
  const MODULES = ['v', 'v.a', 'v.a.x', 'v.ab', 't', 't.v', 't.v.a'];
  const KEYS = [...MODULES.flatMap(module => LEAVES.map(leaf => `${module}.${leaf}`)), 'top'];
  const checkpoint = fakeCheckpoint(KEYS.map(key => ({ key })));
  const PLAIN = { noNullPrototype: true };
  const rule: fc.Arbitrary<Rule> = fc.oneof(
    fc.record({ mark: fc.constantFrom('keep' as const, 'exclude' as const), key: fc.constantFrom(...KEYS) }, PLAIN),
    fc.record({ mark: anyMark(), module: fc.constantFrom(...MODULES) }, PLAIN),
    fc.record({ mark: fc.constantFrom('keep' as const, 'exclude' as const), pattern: fc.constantFrom('**', 'v.*', '**.w', 't.**.b', 'v.a*.**') }, PLAIN),
    fc.record({ mark: fc.constant('strip' as const), prefix: fc.constantFrom('v.', 't.v.', 't'), pattern: fc.constantFrom('**', 'v.**', '**.b') }, PLAIN),
  );
  const recipe: fc.Arbitrary<Recipe> = fc.record({ rules: fc.array(rule, { maxLength: 4 }), overrides: fc.array(rule, { maxLength: 3 }) }, PLAIN)
    .map(parts => ({ version: 1, name: 'any', family: 'any', settings: {}, ...parts }));
  const target: fc.Arbitrary<Target> = fc.oneof(fc.constantFrom(...KEYS).map(key => ({ key })), fc.constantFrom(...MODULES).map(module => ({ module })));
  const targets = fc.array(target, { minLength: 1, maxLength: 3 });
  const isTarget = (key: string, chosen: readonly Target[]): boolean => chosen.some(one => ('key' in one ? one.key === key : key.startsWith(`${one.module}.`)));

  it('mark exactly the targets, leave all others as they were, and keep the recipe valid', () => {
    fc.assert(fc.property(recipe, targets, anyMark(), (before, chosen, mark) => {
      const copy = structuredClone(before);
      let after: Recipe;
      try {
        after = applyMark(before, chosen, mark);
      } catch (error) {
        assert.match(String(error), /Say which prefix/);
        fc.pre(false);
        return;
      }
      const old = makePlan(checkpoint, before).tensors;
      makePlan(checkpoint, after).tensors.forEach((planned, index) => {
        const { key } = planned.tensor;
        if (isTarget(key, chosen)) assert.equal(planned.mark, mark, key);
        else assert.deepEqual([planned.mark, planned.outputKey], [old[index]?.mark, old[index]?.outputKey], key);
      });
      assert.deepEqual(before, copy, 'the old recipe is there to go back to');
      assert.deepEqual(parseRecipe(recipeToJson(after), 'r'), after);
      assert.deepEqual(applyMark(after, chosen, mark), after, 'twice is the same as once');
    }), { numRuns: 1000 });
  });

  it('reset to what the rules alone say', () => {
    fc.assert(fc.property(recipe, targets, (before, chosen) => {
      let after: Recipe;
      try {
        after = resetMark(before, chosen);
      } catch (error) {
        assert.match(String(error), /was edited as part of/);
        fc.pre(false);
        return;
      }
      const old = makePlan(checkpoint, before).tensors;
      const bare = makePlan(checkpoint, { ...before, overrides: [] }).tensors;
      makePlan(checkpoint, after).tensors.forEach((planned, index) => {
        const wanted = (isTarget(planned.tensor.key, chosen) ? bare : old)[index];
        assert.deepEqual([planned.mark, planned.outputKey], [wanted?.mark, wanted?.outputKey], planned.tensor.key);
      });
    }), { numRuns: 1000 });
  });
});

function anyMark(): fc.Arbitrary<Rule['mark']> {
  return fc.constantFrom(...markSchema.options);
}
