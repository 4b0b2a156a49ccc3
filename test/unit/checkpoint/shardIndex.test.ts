import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseShardIndex } from '../../../src/checkpoint/shardIndex';
import { FIXTURES, userError } from './support';

const parse = (text: string): ReturnType<typeof parseShardIndex> => parseShardIndex(Buffer.from(text), 'model.safetensors.index.json');

describe('parseShardIndex', () => {
  for (const [path, keys, shards] of [
    ['qwen-vl-tiny-safetensors/model.safetensors.index.json', undefined, 4],
    ['real/models/qwen2-vl-olmocr/model.safetensors.index.json', 730, 4],
    ['real/models/llava-lisa-7b/pytorch_model.bin.index.json', undefined, 2],
    ['real/models/gemma3-medgemma-27b/model.safetensors.index.json', undefined, 12],
    ['real/models/qwen3-vl-reason2/model.safetensors.index.json', undefined, 4],
    ['real/files/FluxML+SafeTensors.jl/test/sharded/model.safetensors.index.json', 36, 6],
  ] as const) {
    it(`reads ${path}`, () => {
      const bytes = readFileSync(join(FIXTURES, path));
      const index = parseShardIndex(bytes, path);
      const { weight_map: expected } = JSON.parse(bytes.toString()) as { weight_map: Record<string, string> };
      assert.deepEqual(Object.fromEntries(index.weightMap), expected);
      if (keys !== undefined) assert.equal(index.weightMap.size, keys);
      assert.equal(index.shards.length, shards);
    });
  }

  it('keeps every key and names the shards as they come', () => {
    const index = parse('\ufeff{"weight_map":{"__proto__":"b.safetensors","constructor":"unet/a.safetensors","x":"b.safetensors"},"other":1}');
    assert.deepEqual([...index.weightMap], [['__proto__', 'b.safetensors'], ['constructor', 'unet/a.safetensors'], ['x', 'b.safetensors']]);
    assert.deepEqual(index.shards, ['b.safetensors', 'unet/a.safetensors']);
  });

  it('keeps the order of keys that look like numbers, and the last of two that are equal', () => {
    const index = parse('{"metadata":{"total_size":12.5e3,"n":[null,true,-0]},"weight_map":{"layers.1":"a","7":"b","3":"a","layers.1":"b"}}');
    assert.deepEqual([...index.weightMap], [['layers.1', 'b'], ['7', 'b'], ['3', 'a']]);
  });

  it('reads a name as it is spelt, also after one that looks like it', () => {
    // The name before is looked for in the bytes: escapes and UTF-8 must not make two names one, nor bad JSON good.
    const names = ['a', '\\u00e9', '\u00e9', '\u00c3\u00a9', 'c', 'c'];
    const index = parse(`{"weight_map":{${names.map((name, i) => `"${i}":"${name}"`).join(',')}}}`);
    assert.deepEqual([...index.weightMap.values()], ['a', '\u00e9', '\u00e9', '\u00c3\u00a9', 'c', 'c']);
    assert.throws(() => parse('{"weight_map":{"0":"a\\"b","1":"a"b"}}'), userError(/"," or "\}" is expected/));
  });

  it('says what is wrong', () => {
    const faulty: readonly (readonly [text: string, reason: RegExp])[] = [
      ['{"weight_map":{"a":"b"}', /is damaged: "," or "}" is expected \(at its byte 23\)\. Download or export the file again\.$/],
      ['{"weight_map":{"a":"b', /is damaged: it ends inside a string/],
      ['{"weight_map":{"a":"b"}} }', /is damaged: more follows after the end/],
      ['{"weight_map":{"a":"b"},"metadata":{"total_size":01}}', /is damaged/],
      ['{"architectures":["X"]}', /no "weight_map" object/],
      ['{"weight_map":["a"]}', /no "weight_map" object/],
      ['{"weight_map":{}}', /names no tensors/],
      ['{"weight_map":{"a":1}}', /no file name for the key "a"/],
      ['{"weight_map":{"a":"../b.bin"}}', /puts the key "a" into "\.\.\/b\.bin", which does not lie inside/],
      ['{"weight_map":{"a":"/etc/passwd"}}', /does not lie inside/],
      ['{"weight_map":{"a":"x\\\\..\\\\b"}}', /does not lie inside/],
      ['{"weight_map":{"a":""}}', /does not lie inside/],
      ['version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 56470\n', /Git LFS pointer.*56470 bytes.*git lfs pull/],
      ['<html>Sign in</html>', /web page/],
      ['null', /no "weight_map" object/],
    ];
    for (const [text, reason] of faulty) assert.throws(() => parse(text), userError(/^(The shard index )?model\.safetensors\.index\.json /, reason), text);
    assert.throws(() => parseShardIndex(Buffer.from([0xff, 0x00]), 'index.json'), userError(/not UTF-8/));
  });
});
