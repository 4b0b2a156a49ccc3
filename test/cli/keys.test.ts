import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { openCheckpoint } from '../../src/checkpoint/open';
import { BIN, fails, FIXTURES, inFolder, run, runJson, SAFETENSORS } from './support';

/** A file of one byte for each key. */
function safetensors(keys: readonly string[]): Buffer {
  const header = Buffer.from(JSON.stringify(Object.fromEntries(keys.map((key, index) => [key, { dtype: 'U8', shape: [1], data_offsets: [index, index + 1] }]))));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(keys.length)]);
}

describe('vision-encoder keys', () => {
  it('lists every tensor with its mark, dtype, shape, size and new name, and sums up beside it', async () => {
    const { code, stdout, stderr } = await run(['keys', BIN]);
    assert.equal(code, 0);
    const lines = stdout.trimEnd().split('\n');
    assert.equal(lines.length, 73);
    assert.match(stdout, /^- lm_head\.weight +BF16 +512×128 +131 KB$/m);
    assert.match(stdout, /^~ transformer\.visual\.conv1\.weight +BF16 +64×3×14×14 +75\.3 KB {2}→ conv1\.weight$/m);
    assert.match(stdout, /^- transformer\.visual\.proj +BF16 .* KB {2}\(exclude key transformer\.visual\.proj\)$/m, 'what a rule excluded says so');
    assert.match(stderr, /73 tensors in 3 files, 1\.60 MB\n\+ keep 0 {3}~ strip 53 {3}- exclude 20 {3}into the encoder: 53 tensors, 643 KB\nRecipe: Qwen-VL vision encoder \(preset; /);
    assert.match(stderr, /"expected\.safetensors", which was not opened/);
  });

  it('filters by text and by mark', async () => {
    const both = await run(['keys', BIN, '--filter', 'VISUAL.ATTN_POOL', '--mark', 'strip']);
    const lines = both.stdout.trimEnd().split('\n');
    assert.ok(lines.length > 5 && lines.every(line => line.startsWith('~ transformer.visual.attn_pool.')), both.stdout);
    assert.match(both.stderr, new RegExp(`73 tensors in 3 files, 1\\.60 MB; ${lines.length} shown`));
    const none = await run(['keys', BIN, '--mark', 'keep']);
    assert.deepEqual([none.code, none.stdout], [0, '']);
  });

  for (const fixture of [BIN, SAFETENSORS]) {
    it(`gives machines the facts of ${basename(fixture)} tensor by tensor`, async () => {
      const json = await runJson(['keys', fixture]);
      const tensors = json.tensors as Record<string, unknown>[];
      const checkpoint = await openCheckpoint(fixture);
      try {
        assert.deepEqual(tensors.map(({ key, dtype, shape, file, offset, length }) => ({ key, dtype, shape, file, offset, length })),
          checkpoint.tensors.map(({ key, dtype, shape, file, offset, length }) => ({ key, dtype, shape, file: checkpoint.files[file]?.name, offset, length })));
      } finally {
        await checkpoint.close();
      }
      for (const tensor of tensors) assert.deepEqual(Object.keys(tensor), ['key', 'outputKey', 'mark', 'rule', 'dtype', 'shape', 'file', 'offset', 'length']);
      const facts = (wanted: string): unknown[] => tensors.filter(({ key }) => key === wanted).map(({ outputKey, mark, rule }) => ({ outputKey, mark, rule }));
      assert.deepEqual(facts('transformer.visual.ln_post.bias'), [{ outputKey: 'ln_post.bias', mark: 'strip', rule: 'strip module transformer.visual' }]);
      assert.deepEqual(facts('transformer.visual.proj'), [{ outputKey: null, mark: 'exclude', rule: 'exclude key transformer.visual.proj' }]);
      assert.deepEqual(facts('lm_head.weight'), [{ outputKey: null, mark: 'exclude', rule: null }]);
      assert.equal(json.family, 'qwen-vl');
      assert.equal(json.config, join(fixture, 'config.json'));
    });
  }

  it('reads a checkpoint of a family that it does not know', async () => {
    const file = join(FIXTURES, 'real/torch/test_data__state_dict.pt');
    const { code, stdout, stderr } = await run(['keys', file]);
    assert.equal(code, 0);
    assert.match(stdout, /^- /);
    assert.match(stderr, /No rule marks these keys\. test_data__state_dict\.pt is not recognised .*Choose a recipe that names its family\./);
    const json = await runJson(['keys', file]);
    assert.deepEqual([json.family, json.detection, json.config], [null, null, null]);
  });

  it('lists the keys although the config is broken or lacks something, and says so', () => inFolder(async folder => {
    const config = join(folder, 'config.json');
    await writeFile(config, '{"visual": {"width": 64, "layers": 3}}');
    const { code, stdout, stderr } = await run(['keys', BIN, '--config', config]);
    assert.deepEqual([code, stdout.trimEnd().split('\n').length], [0, 73]);
    assert.match(stderr, /warning: config\.json lacks visual\.heads/);
    assert.match((await run(['keys', BIN, '--set', 'depth=3'])).stderr, /warning: The setting "depth" is not known\. Known are: width, layers/);
  }));

  it('lists 150,000 keys', () => inFolder(async folder => {
    const keys = Array.from({ length: 150_000 }, (_, index) => `model.layers.${index}`);
    await writeFile(join(folder, 'model.safetensors'), safetensors(keys));
    const { code, stdout, stderr } = await run(['keys', folder]);
    assert.deepEqual([code, stdout.trimEnd().split('\n').length], [0, keys.length], stderr.slice(0, 1000));
  }));

  it('shows keys that would steer a terminal as text, each on one line', () => inFolder(async folder => {
    await writeFile(join(folder, 'model.safetensors'), safetensors(['\u001b[31mred\nfake\u202e']));
    const { code, stdout } = await run(['keys', folder]);
    assert.equal(code, 0);
    assert.match(stdout, /^- \\u001b\[31mred\\u000afake\\u202e +U8 +1 +1 B\n$/);
  }));

  it('refuses options that mean nothing', async () => {
    await fails(['keys', BIN, '--mark', 'gone'], ['--mark', 'keep, strip, exclude']);
    await fails(['keys', BIN, '--set', 'output_dim=wide'], ['--set', 'output_dim=128']);
    await fails(['keys', BIN, '--set', 'output_dim='], ['--set', 'output_dim=128']);
    await fails(['keys', BIN, '--family', 'clap'], ['"clap" is not known', 'qwen-vl']);
    await fails(['keys', BIN, '--family', 'qwen-vl', '--recipe', 'mine.json'], ['--family', '--recipe']);
    await fails(['keys', ''], ['empty', 'path']);
    await fails(['keys'], ['missing required argument']);
    await fails(['keys', BIN, '--colour'], ['unknown option', '--colour']);
    await fails(['kyes', BIN], ['unknown command', 'kyes']);
  });
});
