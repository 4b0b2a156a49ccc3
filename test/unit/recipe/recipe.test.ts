import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { UserError } from '../../../src/errors';
import { parseRecipe, recipeToJson } from '../../../src/recipe/recipe';
import { recipeJsonSchema } from '../../../src/recipe/schema';

const MINIMAL = { version: 1, name: 'mine', family: 'qwen-vl', rules: [] as unknown[] };

function fails(value: unknown, message: RegExp): void {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  assert.throws(() => parseRecipe(text, 'team/recipe.json'), (error: unknown) => {
    assert.ok(error instanceof UserError, String(error));
    assert.match(error.message, message);
    assert.match(error.message, /team\/recipe\.json/);
    return true;
  });
}

describe('parseRecipe', () => {
  it('reads back what recipeToJson writes, and that is stable', () => {
    const recipe = { ...qwenVl.recipe('transformer.visual'), overrides: [{ key: 'lm_head.weight', mark: 'strip' as const, prefix: 'lm_head.' }], settings: { output_dim: 128 } };
    const text = recipeToJson(recipe);
    assert.deepEqual(parseRecipe(text, 'recipe.json'), recipe);
    assert.equal(recipeToJson(parseRecipe(text, 'recipe.json')), text);
    assert.ok(text.endsWith('}\n'));
  });

  it('fills in what may be left out', () => {
    assert.deepEqual(parseRecipe(JSON.stringify(MINIMAL), 'r'), { ...MINIMAL, overrides: [], settings: {} });
  });

  it('names the file, the place inside and what is expected', () => {
    const withRule = (rule: unknown): unknown => ({ ...MINIMAL, rules: [{ mark: 'keep', key: 'a' }, rule] });
    fails({ ...MINIMAL, version: 2 }, /version must be 1, not 2/);
    fails({ ...MINIMAL, name: undefined }, /name must be a string, not absent/);
    fails({ ...MINIMAL, preset: 'x', rule: 1 }, /the file has "preset", "rule", which recipes do not know/);
    fails(withRule({ mark: 'drop', key: 'a' }), /rules\[1\]\.mark must be "keep" or "strip" or "exclude", not "drop"/);
    fails(withRule({ mark: 'keep' }), /rules\[1\] must say with one of "key", "module" or "pattern"/);
    fails(withRule({ mark: 'keep', key: 'a', module: 'b' }), /rules\[1\] has "key" and "module".*only one/);
    fails(withRule({ mark: 'keep', key: 'a', module: 'b', pattern: 'c' }), /"key" and "module" and "pattern"/);
    fails(withRule({ mark: 'keep', key: 'a', comment: '' }), /rules\[1\] has "comment"/);
    fails(withRule({ mark: 'keep', module: '' }), /rules\[1\]\.module must not be empty/);
    fails(withRule('a'), /rules\[1\] must be an object, not "a"/);
    fails(withRule({ mark: 'strip', key: 'a.b' }), /rules\[1\] strips by key or pattern and must say with "prefix"/);
    fails(withRule({ mark: 'exclude', key: 'a.b', prefix: 'a.' }), /rules\[1\] has a prefix, which only strip rules take/);
    fails({ ...MINIMAL, settings: { layers: '48' } }, /settings\.layers must be a finite number, not "48"/);
    fails(JSON.stringify(MINIMAL).replace('[]', '[],"settings":{"layers":1e999}'), /settings\.layers must be a finite number/);
    fails([], /the file must be an object, not \[\]/);
    fails(`${JSON.stringify(MINIMAL)}\n}`, /line 2, column 1: the JSON has ended, yet "}" follows/);
  });
});

describe('recipe.schema.json', () => {
  it('is what the code makes of its own schema (UPDATE_SCHEMA=1 writes it)', () => {
    const file = path.join(import.meta.dirname, '../../../media/recipe.schema.json');
    const made = JSON.stringify(recipeJsonSchema(), undefined, 2) + '\n';
    if (process.env.UPDATE_SCHEMA === '1') writeFileSync(file, made);
    assert.equal(readFileSync(file, 'utf8'), made);
  });

  it('describes every field of a recipe and of its rules', () => {
    const undescribed: string[] = [];
    const visit = (node: unknown, at: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [name, child] of Object.entries(node)) {
        if (name === 'properties' && !/\.(if|then|else)$/.test(at)) {
          for (const [field, schema] of Object.entries(child as Record<string, { description?: string }>)) {
            if (schema.description === undefined) undescribed.push(`${at}.${field}`);
          }
        }
        visit(child, `${at}.${name}`);
      }
    };
    visit(recipeJsonSchema(), '');
    assert.deepEqual(undescribed, []);
  });
});
