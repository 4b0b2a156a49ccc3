import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseRecipe } from '../../src/recipe/recipe';
import { BIN, fails, FIXTURES, inFolder, run, runJson, SAFETENSORS } from './support';

const UNKNOWN = join(FIXTURES, 'real/torch/test_data__state_dict.pt');
const CLIP_STYLE = join(BIN, 'encoder-config.json');

describe('vision-encoder validate', () => {
  it('accepts both checkpoints against their own config', async () => {
    for (const [fixture, count] of [[BIN, 53], [SAFETENSORS, 52]] as const) {
      const { code, stdout } = await run(['validate', fixture]);
      assert.deepEqual([code, stdout], [0, `Valid: all ${count} tensors that qwen-vl with ${join(fixture, 'config.json')} expects are there, with the right shapes.\n`]);
    }
  });

  it('says of a CLIP style config which setting is missing, as it is given on this command line', async () => {
    const { code, stdout } = await run(['validate', BIN, '--config', CLIP_STYLE]);
    assert.equal(code, 1);
    assert.match(stdout, /^Invalid for qwen-vl with .*encoder-config\.json: 13 size mismatches; 40 of 53 tensors match\.\n/);
    assert.match(stdout, /no config or setting gives output_dim, and the default of Qwen-VL is 4096\.\n {2}This explains 13 findings\. To accept it, give --set output_dim=128\.\n/);
    assert.match(stdout, /\n {2}attn_pool\.query: the checkpoint has \[256, 128\], the encoder needs \[256, 4096\]\n/);
    const corrected = await run(['validate', BIN, '--config', CLIP_STYLE, '--set', 'output_dim=128']);
    assert.deepEqual([corrected.code, corrected.stdout.slice(0, 6)], [0, 'Valid:']);
    const two = await run(['validate', SAFETENSORS, '--config', join(SAFETENSORS, 'encoder-config.json'), '--set', 'output_dim=64', '--set', 'n_queries=4']);
    assert.equal(two.code, 0, two.stdout);
  });

  it('points at the line of the config that disagrees', () => inFolder(async folder => {
    const config = join(folder, 'config.json');
    const text = (await readFile(join(BIN, 'config.json'), 'utf8')).replace('"layers": 3', '"layers": 4');
    await writeFile(config, text);
    const line = text.split('\n').findIndex(one => one.includes('"layers"')) + 1;
    const { code, stdout } = await run(['validate', BIN, '--config', config]);
    assert.equal(code, 1);
    assert.ok(stdout.includes(`The checkpoint has 3 blocks; config.json says visual.layers 4. (${config}:${line}:5)`), stdout);
    assert.ok(stdout.includes('Missing key(s) in state_dict:\n  transformer.resblocks.3.ln_1.weight\n'), stdout);
  }));

  it('gives machines valid, missing, unexpected and mismatched', () => inFolder(async folder => {
    const valid = await runJson(['validate', BIN]);
    assert.deepEqual([valid.valid, valid.missing, valid.unexpected, valid.mismatched, valid.expectedCount, valid.matchedCount], [true, [], [], [], 53, 53]);

    const recipe = join(folder, 'recipe.json');
    await writeFile(recipe, JSON.stringify({
      version: 1, name: 'Wrong', family: 'qwen-vl',
      rules: [{ mark: 'exclude', module: 'transformer.visual.ln_pre' }, { mark: 'strip', module: 'transformer.visual' }],
    }));
    const invalid = await runJson(['validate', BIN, '--recipe', recipe, '--set', 'patch_size=16', '--set', 'image_size=448'], 1);
    assert.equal(invalid.valid, false);
    assert.equal(invalid.recipe, 'Wrong');
    const keys = (list: unknown): unknown[] => (list as { key: string }[]).map(({ key }) => key);
    assert.deepEqual([keys(invalid.missing), keys(invalid.unexpected), keys(invalid.mismatched)], [['ln_pre.weight', 'ln_pre.bias'], ['proj'], ['conv1.weight']]);
    assert.deepEqual((invalid.mismatched as { expected: unknown; found: unknown }[]).map(({ expected, found }) => ({ expected, found })), [{ expected: [64, 3, 16, 16], found: [64, 3, 14, 14] }]);
  }));

  it('cannot say anything without a family, a config, or with an impossible setting', () => inFolder(async folder => {
    const nothing = join(folder, 'recipe.json');
    await writeFile(nothing, JSON.stringify({ version: 1, name: 'Nothing', family: 'qwen-vl', rules: [] }));
    const kept = await run(['validate', BIN, '--recipe', nothing]);
    assert.equal(kept.code, 1);
    assert.match(kept.stdout, /Nothing would be kept/);
    await fails(['validate', join(BIN, 'pytorch_model-00001-of-00003.bin'), '--set', 'depth=3'], ['"depth" is not known', 'layers']);
    await fails(['validate', BIN, '--set', 'layers=0'], ['layers is 0', 'whole number from 1']);
    await fails(['validate', BIN, '--set', 'layers=1e9'], ['whole number from 1 to 1024']);
    await fails(['validate', UNKNOWN], ['state_dict.pt is not recognised', 'qwen-vl', 'recipe']);
    assert.deepEqual(await runJson(['validate', BIN, '--set', 'layers=0'], 2), { error: 'The setting layers is 0, but it must be a whole number from 1 to 1024.' });
  }));
});

describe('vision-encoder recipe', () => {
  it('prints what can be saved, edited and given back', () => inFolder(async folder => {
    const { code, stdout, stderr } = await run(['recipe', BIN, '--set', 'output_dim=128']);
    assert.equal(code, 0, stderr);
    const recipe = parseRecipe(stdout, 'stdout');
    assert.deepEqual([recipe.name, recipe.family, recipe.settings], ['Qwen-VL vision encoder', 'qwen-vl', { output_dim: 128 }]);
    const file = join(folder, 'mine.json');
    await writeFile(file, stdout);
    const given = await run(['validate', BIN, '--recipe', file, '--config', CLIP_STYLE]);
    assert.equal(given.code, 0, given.stdout);
    assert.equal((await run(['recipe', BIN, '--recipe', file])).stdout, stdout);
    assert.deepEqual((await runJson(['keys', BIN, '--recipe', file])).recipe, recipe);
  }));

  it('has none for a checkpoint that it does not know', () => fails(['recipe', UNKNOWN], ['No rule marks these keys', 'state_dict.pt is not recognised', 'Choose a recipe']));
});
