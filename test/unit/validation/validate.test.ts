import assert from 'node:assert/strict';
import type { ConfigDocument } from '../../../src/architecture/config';
import { qwenVl } from '../../../src/architecture/qwenVl';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint';
import { applyMark, setSetting } from '../../../src/recipe/edit';
import { makePlan } from '../../../src/recipe/plan';
import type { Recipe } from '../../../src/recipe/recipe';
import { validate } from '../../../src/validation/validate';
import type { Fix, Validation } from '../../../src/validation/validation';
import { checkpointOfIndex, configFixture, configOf, fakeCheckpoint, FULL_SIZE, qwenVlChat, qwenVlTensors } from '../support/checkpoints';

const PRESET = qwenVl.recipe('transformer.visual');
const BIG_G = configFixture('real/models/qwen-vl-deepspeed-visualchat/config.json');
const VISUAL = { heads: 16, image_size: 448, layers: 48, mlp_ratio: 4.9231, output_dim: 4096, patch_size: 14, width: 1664 };

function check(checkpoint: Checkpoint, config: ConfigDocument | undefined, recipe: Recipe = PRESET): Validation {
  return validate(makePlan(checkpoint, recipe), qwenVl, config);
}

function findings(validation: Validation): Validation['missing'][number][] {
  return [...validation.missing, ...validation.unexpected, ...validation.mismatched].map(finding => ({ nearest: '', ...finding, shape: [] }));
}

/** The recipe with every setting that the findings offer. */
function accept(recipe: Recipe, fixes: readonly Fix[]): Recipe {
  return fixes.reduce((edited, fix) => {
    if (fix.kind === 'mark') return applyMark(edited, [{ key: fix.key }], fix.mark, fix.prefix);
    return Object.entries(fix.settings).reduce((set, [name, value]) => setSetting(set, name, value), edited);
  }, recipe);
}

describe('validate', () => {
  it('passes the full-size Qwen-VL layout with the CLIP bigG config and no settings', () => {
    const validation = check(qwenVlChat(), BIG_G);
    assert.equal(validation.valid, true);
    assert.deepEqual([validation.expectedCount, validation.matchedCount], [593, 593]);
    assert.deepEqual(validation.warnings, []);
    assert.equal(validation.config, BIG_G.location);
    assert.deepEqual(validation.hyperparameters.get('output_dim')?.origin, { kind: 'default' });
  });

  it('passes an extracted encoder with the config that is written beside it', () => {
    const tensors = qwenVlTensors({ output_dim: 128, n_queries: 4 }, '').filter(({ key }) => key !== 'proj');
    const hyperparameters = qwenVl.resolve(undefined, { ...FULL_SIZE, output_dim: 128, n_queries: 4 });
    assert.equal(check(fakeCheckpoint(tensors), configOf(qwenVl.encoderConfig(hyperparameters, undefined)), qwenVl.recipe('')).valid, true);
  });

  describe('blames the one field that disagrees, and its fix makes the result valid:', () => {
    const cases: readonly [name: string, checkpoint: Record<string, number>, config: ConfigDocument, line: string | undefined, message: RegExp][] = [
      ['fewer layers in the config', {}, configOf({ vision_config: { hidden_size: 1664, num_hidden_layers: 24, num_attention_heads: 16, intermediate_size: 8192, patch_size: 14 } }), '"num_hidden_layers"', /^The checkpoint has 48 blocks; config\.json says vision_config\.num_hidden_layers 24\.$/],
      ['more layers in the config', { layers: 24 }, BIG_G, '"num_hidden_layers": 48', /^The checkpoint has 24 blocks; config\.json says vision_config\.num_hidden_layers 48\.$/],
      ['one layer less', { layers: 47 }, BIG_G, '"num_hidden_layers": 48', /has 47 blocks/],
      ['the width', { width: 1280 }, BIG_G, '"hidden_size": 1664', /^The checkpoint's width is 1280; config\.json says vision_config\.hidden_size 1664\.$/],
      ['a width from which the MLP size is derived', {}, configOf({ visual: { ...VISUAL, width: 1600 } }), '"width"', /width is 1664; config\.json says visual\.width 1600\.$/],
      ['the MLP ratio', {}, configOf({ visual: { ...VISUAL, mlp_ratio: 4 } }), '"mlp_ratio"', /^The checkpoint's mlp_size is 8192; config\.json says visual\.mlp_ratio 4, which gives mlp_size 6656\.$/],
      ['the default output width', { output_dim: 128 }, BIG_G, undefined, /^The checkpoint's output_dim is 128; no config or setting gives output_dim, and the default of Qwen-VL is 4096\.$/],
      ['an output width equal to the width', { output_dim: 1664 }, BIG_G, undefined, /output_dim is 1664/],
      ['the patch size', { patch_size: 16 }, BIG_G, '"patch_size": 14', /patch_size is 16/],
      ['the number of queries', { n_queries: 64 }, configOf({ visual: { ...VISUAL, n_queries: 256 } }), '"n_queries"', /n_queries is 64/],
    ];
    for (const [name, settings, config, text, message] of cases) {
      it(name, () => {
        const checkpoint = qwenVlChat(settings);
        const validation = check(checkpoint, config);
        assert.equal(validation.valid, false);
        const all = findings(validation);
        assert.ok(all.length > 0);
        for (const { key, blame, nearest } of all) {
          assert.match(blame?.message ?? `no blame for ${key}`, message);
          assert.equal(blame?.place === undefined ? undefined : config.text.split('\n')[blame.place.range.startLine]?.includes(text ?? 'nothing'), text === undefined ? undefined : true);
          assert.equal(nearest, '', 'what is explained needs no guess');
        }
        assert.equal(new Set(all.map(({ blame }) => blame)).size, 1);
        const fixes = all[0]?.fixes ?? [];
        assert.equal(fixes[0]?.kind, 'setting');
        assert.deepEqual(findings(check(checkpoint, config, accept(PRESET, fixes.slice(0, 1)))), []);
      });
    }

    it('two fields at once, each for its own findings', () => {
      const checkpoint = qwenVlChat({ layers: 12, output_dim: 1024 });
      const all = findings(check(checkpoint, BIG_G));
      assert.deepEqual(new Set(all.map(({ blame }) => blame?.hyperparameter)), new Set(['layers', 'output_dim']));
      assert.equal(check(checkpoint, BIG_G, accept(PRESET, all.flatMap(({ fixes }) => fixes.filter(fix => fix.kind === 'setting')))).valid, true);
    });

    it('a wrong setting', () => {
      const blame = check(qwenVlChat(), BIG_G, setSetting(PRESET, 'layers', 40)).unexpected[0]?.blame;
      assert.deepEqual(blame, { hyperparameter: 'layers', message: 'The checkpoint has 48 blocks; the setting layers says 40.' });
    });

    it('a number that cannot be built is blamed but not offered', () => {
      const { tensors } = qwenVlChat();
      const odd = fakeCheckpoint(tensors.map(tensor => (/attn_pool\.(query|pos_embed)/.test(tensor.key) ? { ...tensor, shape: [200, 4096] } : tensor)));
      const { mismatched } = check(odd, BIG_G);
      assert.deepEqual(mismatched.map(({ blame, fixes }) => [blame?.hyperparameter, fixes.length]), [['n_queries', 0], ['n_queries', 0]]);
    });
  });

  it('does not explain away what no single number explains', () => {
    const { tensors } = qwenVlChat();
    const broken = fakeCheckpoint(tensors.filter(({ key }) => !key.includes('resblocks.7.')).map(tensor => (tensor.key.endsWith('ln_post.bias') ? { ...tensor, shape: [7, 7] } : tensor)));
    const validation = check(broken, BIG_G);
    assert.equal(validation.missing.length, 12);
    assert.deepEqual(validation.mismatched.map(({ key, expected, found, blame }) => [key, expected, found, blame]), [['ln_post.bias', [4096], [7, 7], undefined]]);
    assert.ok(validation.missing.every(({ blame }) => blame === undefined));
  });

  it('names the nearest key and offers to leave the extra one out', () => {
    const { tensors } = qwenVlChat();
    const renamed = fakeCheckpoint(tensors.map(tensor => ({ ...tensor, key: tensor.key.replace('resblocks.3.attn.in_proj.weight', 'resblocks.3.attn.in_proj_weight') })));
    const { missing, unexpected } = check(renamed, BIG_G);
    assert.deepEqual(missing.map(({ key, nearest }) => [key, nearest]), [['transformer.resblocks.3.attn.in_proj.weight', 'transformer.visual.transformer.resblocks.3.attn.in_proj_weight']]);
    assert.deepEqual(unexpected.map(({ nearest }) => nearest), ['transformer.resblocks.3.attn.in_proj.weight']);
    assert.deepEqual(unexpected.flatMap(({ fixes }) => fixes).map(fix => fix.kind === 'mark' && [fix.key, fix.mark]), [['transformer.visual.transformer.resblocks.3.attn.in_proj_weight', 'exclude']]);
  });

  it('offers to take in what the recipe leaves behind, and to leave out what is too much', () => {
    const narrow = applyMark(PRESET, [{ module: 'transformer.visual.ln_pre' }, { key: 'transformer.visual.conv1.weight' }], 'exclude');
    const wide = applyMark(narrow, [{ key: 'lm_head.weight' }], 'keep');
    const validation = check(qwenVlChat(), BIG_G, wide);
    assert.deepEqual(validation.missing.map(({ nearest }) => nearest), ['conv1.weight', 'ln_pre.weight', 'ln_pre.bias'].map(key => `transformer.visual.${key}`));
    const fixes = findings(validation).flatMap(finding => finding.fixes);
    assert.equal(fixes.length, 4);
    assert.equal(check(qwenVlChat(), BIG_G, accept(wide, fixes)).valid, true);
  });

  it('offers to strip what was kept with its prefix', () => {
    const kept = applyMark(PRESET, [{ module: 'transformer.visual.ln_pre' }], 'keep');
    const validation = check(qwenVlChat(), BIG_G, kept);
    assert.deepEqual(validation.unexpected.map(({ nearest }) => nearest), ['ln_pre.weight', 'ln_pre.bias']);
    const repaired = accept(kept, validation.unexpected.flatMap(({ fixes }) => fixes.slice(0, 1)));
    assert.equal(check(qwenVlChat(), BIG_G, repaired).valid, true);
  });

  it('takes proj, when it is not excluded, for unexpected', () => {
    const { unexpected, valid } = check(qwenVlChat(), BIG_G, applyMark(PRESET, [{ key: 'transformer.visual.proj' }], 'strip'));
    assert.equal(valid, false);
    assert.deepEqual(unexpected.map(({ key, sourceKey }) => [key, sourceKey]), [['proj', 'transformer.visual.proj']]);
  });

  it('reports tensors that would get one name', () => {
    const twice = fakeCheckpoint([...qwenVlChat().tensors, { key: 'ema.visual.conv1.weight', shape: [1664, 3, 14, 14] }]);
    const recipe = applyMark(PRESET, [{ module: 'ema.visual' }], 'strip');
    const validation = check(twice, BIG_G, recipe);
    assert.deepEqual(validation.duplicates.map(({ key, sourceKeys }) => [key, sourceKeys]), [['conv1.weight', ['transformer.visual.conv1.weight', 'ema.visual.conv1.weight']]]);
    assert.equal(validation.valid, false);
    assert.equal(check(twice, BIG_G, accept(recipe, validation.duplicates[0]?.fixes.slice(1) ?? [])).valid, true);
  });

  describe('says why nothing can be compared', () => {
    it('without a config', () => {
      const validation = check(qwenVlChat(), undefined);
      assert.equal(validation.valid, false);
      assert.match(validation.problem?.message ?? '', /no config\.json to say the encoder's width/);
    });

    it('with an impossible value, at its line', () => {
      const config = configOf({ visual: { ...VISUAL, layers: 0 } });
      const { problem } = check(qwenVlChat(), config);
      assert.match(problem?.message ?? '', /visual\.layers 0/);
      assert.match(config.text.split('\n')[problem?.place?.range.startLine ?? 0] ?? '', /"layers": 0/);
    });
  });

  describe('warns', () => {
    const warningsOf = (edit: (tensor: Checkpoint['tensors'][number]) => Partial<Checkpoint['tensors'][number]>): string[] =>
      check(fakeCheckpoint(qwenVlChat().tensors.map(tensor => ({ ...tensor, ...edit(tensor) }))), BIG_G).warnings.map(({ message }) => message);

    it('of mixed, integer and float8 dtypes', () => {
      assert.match(warningsOf(({ key }) => (key.endsWith('visual.ln_post.bias') ? { dtype: 'F32' } : {})).join(), /mixes dtypes: BF16 \(592\), F32 \(1\)/);
      assert.match(warningsOf(({ key }) => (key.endsWith('mlp.c_fc.weight') ? { dtype: 'F8_E4M3' } : {})).at(-1) ?? '', /c_fc\.weight and 47 more: F8_E4M3/);
      assert.match(warningsOf(({ key }) => (key.endsWith('visual.conv1.weight') ? { dtype: 'I8' } : {})).at(-1) ?? '', /visual\.conv1\.weight: I8/);
    });

    it('of shells that sharded training leaves', () => {
      assert.match(warningsOf(({ key }) => (key.endsWith('conv1.weight') ? { shape: [0], length: 0 } : {})).join(), /visual\.conv1\.weight: no elements\..*ZeRO-3/);
    });

    it('of tied and of expanded tensors', () => {
      const tied = warningsOf(({ key }) => (key.endsWith('attn_pool.query') || key.endsWith('attn_pool.pos_embed') ? { offset: 64 } : {}));
      assert.match(tied.join(), /attn_pool\.pos_embed and transformer\.visual\.attn_pool\.query share the same bytes\. Each key gets a copy/);
      const bomb = warningsOf(({ key }) => (key.endsWith('visual.ln_pre.bias') ? { indirect: { strides: [0] } } : {}));
      assert.match(bomb.join(), /ln_pre\.bias: expanded from fewer stored elements and written in full, 3\.33 KB/);
    });

    it('of a rule that asks for tensors and gets none', () => {
      const { warnings } = check(qwenVlChat(), BIG_G, { ...PRESET, rules: [...PRESET.rules, { mark: 'keep', module: 'transformer.visuel' }] });
      assert.deepEqual(warnings.map(({ message }) => message), ['The recipe\'s rule to keep the module transformer.visuel decides about no tensor.']);
    });

    it('of nothing kept, with the modules that there are and where the tower is', () => {
      const checkpoint = checkpointOfIndex('real/models/llava-lisa-7b/pytorch_model.bin.index.json');
      const { valid, warnings } = check(checkpoint, configOf({ ...BIG_G.value, mm_vision_tower: 'openai/clip-vit-large-patch14' }));
      assert.equal(valid, false);
      assert.match(warnings[0]?.message ?? '', /Nothing would be kept.*model\.visual_model \(594\), model\.layers \(320\)/);
      assert.match(warnings[1]?.message ?? '', /names "openai\/clip-vit-large-patch14" as the vision tower/);
    });
  });

  it('compares and explains within a hundred thousand keys in a fraction of a second', () => {
    const others = Array.from({ length: 100_000 }, (_, index) => ({ key: `transformer.h.${Math.floor(index / 100)}.experts.${index % 100}.mlp.down_proj.weight`, shape: [64] }));
    const { tensors } = qwenVlChat();
    const checkpoint = fakeCheckpoint([...others, ...tensors.map(tensor => ({ ...tensor, key: tensor.key.replace('in_proj.', 'inproj.') }))]);
    const plan = makePlan(checkpoint, PRESET);
    const start = performance.now();
    const { missing } = validate(plan, qwenVl, BIG_G);
    const took = performance.now() - start;
    assert.equal(missing.length, 96);
    assert.ok(missing.every(({ nearest }) => nearest !== undefined));
    assert.ok(took < 1500, `${took} ms`);
  });
});
