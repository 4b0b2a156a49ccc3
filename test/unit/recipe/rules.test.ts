import assert from 'node:assert/strict';
import fc from 'fast-check';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { makePlan } from '../../../src/recipe/plan';
import type { Rule } from '../../../src/recipe/recipe';
import { compilePattern, compileRecipe, outputKey } from '../../../src/recipe/rules';
import { fakeCheckpoint, qwenVlChat } from '../support/checkpoints';

/** The key in the encoder, or undefined. */
function apply(rules: Rule[], key: string): string | undefined {
  const decision = compileRecipe({ rules, overrides: [] })(key);
  return decision && outputKey(decision.rule, key);
}

describe('rules', () => {
  it('match modules at whole segments', () => {
    const rules: Rule[] = [{ mark: 'strip', module: 'transformer.visual' }];
    assert.equal(apply(rules, 'transformer.visual.conv1.weight'), 'conv1.weight');
    assert.equal(apply(rules, 'transformer.visual_model.conv1.weight'), undefined);
    assert.equal(apply(rules, 'model.transformer.visual.conv1.weight'), undefined);
    assert.equal(apply([{ mark: 'keep', module: 'a' }], 'a'), 'a');
  });

  it('match keys exactly, whatever characters they hold', () => {
    for (const key of ['a.*.b', '**', '', '.', 'a..b', '__proto__', 'constructor', 'ключ.重']) {
      assert.equal(apply([{ mark: 'keep', key }], key), key);
      assert.equal(apply([{ mark: 'keep', key }], `${key}x`), undefined);
    }
    assert.equal(apply([{ mark: 'keep', key: 'a.*.b' }], 'a.c.b'), undefined);
  });

  it('match patterns by segment', () => {
    const matches = (pattern: string, key: string): boolean => compilePattern(pattern)(key);
    assert.ok(matches('a.*.c', 'a.b.c'));
    assert.ok(!matches('a.*.c', 'a.b.b.c'));
    assert.ok(!matches('a.*', 'a'));
    assert.ok(matches('a.**', 'a'));
    assert.ok(matches('**.c', 'c'));
    assert.ok(matches('a.**.c', 'a.x.y.c'));
    assert.ok(!matches('a.**.c', 'a.x.y.cc'));
    assert.ok(matches('**', 'anything.at.all'));
    assert.ok(matches('*.resblocks.1*.ln_*.weight', 'transformer.resblocks.12.ln_1.weight'));
    assert.ok(matches('a.b**c', 'a.bxyc') && !matches('a.b**c', 'a.b.c'));
    assert.ok(matches('a.(b|c)+', 'a.(b|c)+') && !matches('a.(b|c)+', 'a.b'));
  });

  it('match patterns as the plain definition does', () => {
    const plain = (parts: string[], segments: string[]): boolean => {
      const [part, ...rest] = parts;
      if (part === undefined) return segments.length === 0;
      if (part === '**') return plain(rest, segments) || (segments.length > 0 && plain(parts, segments.slice(1)));
      const wanted = new RegExp(`^${part.split('*').join('.*')}$`);
      return segments[0] !== undefined && wanted.test(segments[0]) && plain(rest, segments.slice(1));
    };
    const segment = fc.array(fc.constantFrom('a', 'b'), { maxLength: 3 }).map(chars => chars.join(''));
    const part = fc.oneof(fc.constant('**'), fc.array(fc.constantFrom('a', 'b', '*'), { maxLength: 3 }).map(chars => chars.join('')));
    fc.assert(fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), fc.array(segment, { minLength: 1, maxLength: 5 }), (parts, segments) => {
      assert.equal(compilePattern(parts.join('.'))(segments.join('.')), plain(parts, segments));
    }), { numRuns: 2000 });
  });

  it('take a hostile pattern in their stride', () => {
    const matches = compilePattern(`${'**.*a*.'.repeat(40)}b`);
    const start = performance.now();
    assert.equal(matches('aaaaaaaa.'.repeat(200) + 'c'), false);
    assert.ok(performance.now() - start < 500);
  });

  it('are looked at in order, overrides first, and the first that can be applied decides', () => {
    const decide = compileRecipe({
      overrides: [{ mark: 'exclude', key: 'v.a.w' }],
      rules: [{ mark: 'strip', pattern: '**.w', prefix: 'v.' }, { mark: 'keep', module: 'v.a' }, { mark: 'keep', key: 'x.w' }],
    });
    assert.deepEqual([decide('v.a.w')?.source, decide('v.a.w')?.index], ['override', 0]);
    assert.deepEqual([decide('v.b.w')?.source, decide('v.b.w')?.index], ['rule', 0]);
    assert.equal(decide('v.a.b')?.index, 1);
    assert.equal(decide('x.w')?.index, 2, 'the strip rule does not match what lacks its prefix');
    assert.equal(decide('x.b'), undefined);
  });

  it('leave no key empty', () => {
    assert.equal(apply([{ mark: 'strip', pattern: '**', prefix: 'a.' }], 'a.'), undefined);
    assert.equal(apply([{ mark: 'strip', module: 'a', prefix: 'a' }, { mark: 'keep', key: 'a' }], 'a'), 'a');
  });
});

describe('makePlan', () => {
  it('keeps the 593 tensors of a full-size Qwen-VL-Chat and excludes proj', () => {
    const plan = makePlan(qwenVlChat(), qwenVl.recipe('transformer.visual'));
    assert.equal(plan.kept.length, 593);
    assert.equal(plan.keptBytes, 2 * 1_918_833_408);
    const excluded = plan.tensors.filter(({ mark, decision }) => mark === 'exclude' && decision !== undefined);
    assert.deepEqual(excluded.map(({ tensor }) => [tensor.key, tensor.length / 2]), [['transformer.visual.proj', 16_777_216]]);
    assert.equal(plan.kept[0]?.outputKey, 'positional_embedding');
    assert.deepEqual(plan.tensors.map(({ tensor }) => tensor), plan.checkpoint.tensors);
  });

  it('plans 100,000 keys under a thousand edits anew in a fraction of a second', () => {
    const checkpoint = fakeCheckpoint(Array.from({ length: 100_000 }, (_, index) => ({ key: `model.layers.${Math.floor(index / 100)}.experts.${index % 100}.mlp.down_proj.weight` })));
    const overrides: Rule[] = Array.from({ length: 500 }, (_, index): Rule[] => [{ mark: 'keep', module: `model.layers.${index}.experts.7` }, { mark: 'exclude', key: `model.layers.${index}.experts.8.mlp.down_proj.weight` }]).flat();
    const recipe = { ...qwenVl.recipe('model.layers'), overrides };
    makePlan(checkpoint, recipe);
    const start = performance.now();
    const plan = makePlan(checkpoint, recipe);
    const took = performance.now() - start;
    assert.equal(plan.kept.length, 100_000 - 500);
    assert.ok(took < 1000, `${took} ms`);
    if (process.env.SHOW_TIMES === '1') console.log(`      planned in ${took.toFixed(0)} ms`);
  });
});
