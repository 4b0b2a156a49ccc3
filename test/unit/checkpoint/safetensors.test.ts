import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import type { Dtype } from '../../../src/checkpoint/dtype';
import { dtypeBits, DTYPES, elementCount } from '../../../src/checkpoint/dtype';
import { openFile } from '../../../src/checkpoint/fileSource';
import { readSafetensors } from '../../../src/checkpoint/safetensors';
import { isAbort, UserError } from '../../../src/errors';
import { fileWith, FIXTURES, memorySource, safetensorsFile, userError } from './support';

const read = (bytes: Uint8Array): ReturnType<typeof readSafetensors> => readSafetensors(memorySource(bytes));
const readText = (header: string, dataBytes = 0): ReturnType<typeof readSafetensors> => read(safetensorsFile(header, dataBytes));

/** What each broken fixture must be told to be. */
const REASONS: Readonly<Record<string, RegExp>> = {
  zero_size_offset_in_middle_of_other: /overlap/,
  metadata_number: /metadata value ".*" is not a string/,
  metadata_nested: /metadata value ".*" is not a string/,
  metadata_as_tensor: /metadata value ".*" is not a string/,
  metadata_twice: /"__metadata__" stands there twice/,
  dup_tensor_diff_ranges: /before "a" belong to no tensor/,
  missing_dtype: /"a" has no dtype/,
  missing_shape: /"a" has no shape/,
  dtype_unknown: /dtype "F31", which safetensors does not define/,
  dtype_lowercase: /dtype "f32"/,
  dtype_C128: /dtype "C128"/,
  f4_odd_count: /does not fill whole bytes/,
  f6_not_multiple_of_8_bits: /does not fill whole bytes/,
  shape_exp: /whole number, written with digits alone/,
  shape_null: /shape of "a" is not a list/,
  shape_scalar_int: /shape of "a" is not a list/,
  shape_overflow_mul: /more than 64 bits can count|greater than 2\^53/,
  shape_gt_u64: /greater than 2\^53/,
  shape_vs_len_mismatch: /takes \d+ bytes, but has \d+/,
  offsets_three: /more than two numbers/,
  offsets_one: /one number instead of two/,
  offsets_float: /whole number, written with digits alone/,
  overlap_full_same: /overlap/,
  no_body: /is 65 bytes, its header needs \d+: the download is incomplete/,
  seven_bytes: /only 7 bytes long/,
  len_only: /its header alone needs \d+: the download is incomplete/,
  len_zero_with_body: /object .* is expected/,
  len_100MB_plus1: /length of 100000001 bytes; safetensors allows 100000000/,
  len_u64max: /length of 18446744073709551615 bytes/,
  len_gt_file: /its header alone needs \d+: the download is incomplete/,
  not_utf8: /not UTF-8/,
  json_null: /object .* is expected/,
  json_two_objects: /more follows after the end/,
  json_trailing_comma: /a comma stands before the closing bracket/,
  json_comment: /a name in quotes is expected/,
  json_nesting_bomb: /dtype of "a" is not a string/,
  name_lone_surrogate: /half of a surrogate pair/,
  name_control_raw: /control character/,
  tensor_string: /entry of "a" is not an object/,
  html_error_page: /not a safetensors file/,
};

interface Verdict { readonly name: string; readonly accepted: boolean; readonly keys: readonly string[] }

function verdicts(folder: string): Verdict[] {
  return readFileSync(join(folder, 'verdicts.csv'), 'utf8').trim().split(/\r?\n/).slice(1).map(line => {
    const [, name = '', verdict = ''] = /^([^,]+),\d+,"?(accept.*?\]|REJECT)/.exec(line) ?? [];
    return { name, accepted: verdict.startsWith('accept'), keys: [...verdict.matchAll(/'([^']*)'/g)].map(match => match[1] ?? '') };
  });
}

describe('readSafetensors', () => {
  describe('gives the verdict of the reference', () => {
    const folder = join(FIXTURES, 'malformed/safetensors');
    const cases = verdicts(folder);

    it('knows every fixture', () => {
      const files = readdirSync(folder).filter(name => name.endsWith('.safetensors')).map(name => basename(name, '.safetensors'));
      assert.deepEqual(cases.map(({ name }) => name).sort(), [...files, 'json_nesting_bomb'].sort());
      assert.deepEqual(cases.filter(({ accepted }) => !accepted).map(({ name }) => name).sort(), Object.keys(REASONS).sort());
    });

    for (const { name, accepted, keys } of cases) {
      it(`${accepted ? 'accepts' : 'rejects'} ${name}`, async () => {
        const bytes = name === 'json_nesting_bomb' ? safetensorsFile(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`) : readFileSync(join(folder, `${name}.safetensors`));
        if (accepted) {
          assert.deepEqual((await read(bytes)).tensors.map(({ key }) => key).sort(), [...keys].sort());
        } else {
          await assert.rejects(read(bytes), userError(/model\.safetensors/, REASONS[name] ?? /never/));
        }
      });
    }
  });

  describe('reads real files', () => {
    const files: readonly (readonly [path: string, tensors: number, metadata: Readonly<Record<string, string>>])[] = [
      ['real/files/huggingface+candle/candle-examples/examples/csm/voices.safetensors', 2, {}],
      ['real/files/huggingface+candle/candle-examples/examples/encodec/jfk-codes.safetensors', 1, {}],
      ['real/files/FluxML+SafeTensors.jl/test/non_sharded/model.numpy.safetensors', 27, {}],
      ['real/files/FluxML+SafeTensors.jl/test/non_sharded/model.safetensors', 36, {}],
      ['real/files/FluxML+SafeTensors.jl/test/non_sharded/model.with_metadata.safetensors', 36, { test: 'metadata', version: '2.2' }],
      ['real/files/FluxML+SafeTensors.jl/test/sharded/model-00001-of-00006.safetensors', 19, { format: 'pt' }],
      ['real/files/FluxML+SafeTensors.jl/test/sharded/model-00002-of-00006.safetensors', 1, { format: 'pt' }],
      ['real/files/FluxML+SafeTensors.jl/test/sharded/model-00003-of-00006.safetensors', 2, { format: 'pt' }],
      ['real/files/FluxML+SafeTensors.jl/test/sharded/model-00004-of-00006.safetensors', 4, { format: 'pt' }],
      ['real/files/FluxML+SafeTensors.jl/test/sharded/model-00005-of-00006.safetensors', 7, { format: 'pt' }],
      ['real/files/FluxML+SafeTensors.jl/test/sharded/model-00006-of-00006.safetensors', 3, { format: 'pt' }],
      ['real/torch/multi_layer__multi_layer.safetensors', 9, {}],
      ['real/torch/weights__mnist.safetensors', 20, {}],
    ];
    for (const [path, tensors, metadata] of files) {
      it(path, async () => {
        const source = await openFile(join(FIXTURES, path));
        try {
          const parsed = await readSafetensors(source);
          assert.equal(parsed.tensors.length, tensors);
          assert.deepEqual(Object.fromEntries(parsed.metadata), metadata);
          assert.deepEqual(parsed.warnings, []);
          // An independent reading of the same header.
          const bytes = readFileSync(join(FIXTURES, path));
          const dataStart = 8 + Number(bytes.readBigUInt64LE(0));
          const header = JSON.parse(bytes.toString('utf8', 8, dataStart)) as Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
          for (const { key, dtype, shape, offset, length } of parsed.tensors) {
            assert.deepEqual({ dtype, shape, data_offsets: [offset - dataStart, offset - dataStart + length] }, header[key]);
          }
        } finally {
          await source.close();
        }
      });
    }
  });

  describe('reads what the reference tolerates, with a warning', () => {
    const entry = (start: number, end: number): string => `{"dtype":"U8","shape":[${end - start}],"data_offsets":[${start},${end}]}`;

    it('a tensor listed twice: the last entry counts', async () => {
      const parsed = await readText(`{"a":${entry(5, 9)},"b":${entry(0, 2)},"a":${entry(2, 4)}}`, 4);
      assert.deepEqual(parsed.tensors.map(({ key, length }) => [key, length]), [['a', 2], ['b', 2]]);
      assert.match(parsed.warnings.join(), /lists "a" more than once; the last entry counts/);
    });

    it('an unknown field, metadata null, a repeated metadata value', async () => {
      const parsed = await readText(`{"__metadata__":null,"a":{"note":[{"x":-1.5e3,"x":null}],"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1);
      assert.match(parsed.warnings.join(), /"__metadata__" is null.*does not define: "note"/s);
      const twice = await readText('{"__metadata__":{"k":"1","k":"2"}}');
      assert.equal(twice.metadata.get('k'), '2');
      assert.match(twice.warnings.join(), /holds "k" more than once/);
    });

    it('an entry written as a list, without a warning', async () => {
      const parsed = await readText('{"a":["F32",[2,2],[0,16]]}', 16);
      assert.deepEqual(parsed.tensors[0], { key: 'a', dtype: 'F32', shape: [2, 2], file: 0, offset: 34, length: 16 });
      await assert.rejects(readText('{"a":["F32",[2,2]],"b":["F32",[2,2],[0,16]]}', 16), userError(/"a" has no data_offsets/));
      await assert.rejects(readText('{"a":["F32",[2,2],[0,16],1]}', 16), userError(/more than dtype, shape and data_offsets/));
    });
  });

  it('takes names as they are, whatever JavaScript makes of them', async () => {
    const names = ['__proto__', 'constructor', '', 'toString', '../../etc/passwd', 'ключ', '\u{1f600}', 'tab\there', '\u007f', 'a"b\\c'];
    const parsed = await read(fileWith(names));
    assert.deepEqual(parsed.tensors.map(({ key }) => key), names);
    assert.deepEqual([...(await readText('{"__metadata__":{"__proto__":"x"}}')).metadata], [['__proto__', 'x']]);
  });

  it('accepts white space before and after the header, and sizes that overflow 2^53 before a zero', async () => {
    assert.equal((await readText('\n\t {} \r\n ')).tensors.length, 0);
    const parsed = await readText('{"a":{"dtype":"U8","shape":[1073741824,1073741824,0],"data_offsets":[0,0]}}');
    assert.equal(parsed.tensors[0]?.length, 0);
    await assert.rejects(readText('{"a":{"dtype":"U8","shape":[1099511627776,1099511627776,0],"data_offsets":[0,0]}}'), userError(/more than 64 bits/));
    assert.equal((await readText('{"a":{"dtype":"U8","shape":[0,1099511627776,1099511627776],"data_offsets":[0,0]}}')).tensors.length, 1);
  });

  it('rejects, each for its own reason', async () => {
    const tensor = '"dtype":"U8","shape":[1],"data_offsets":[0,1]';
    const rejected: readonly (readonly [header: string | Uint8Array, reason: RegExp])[] = [
      [Buffer.from([0xef, 0xbb, 0xbf, 0x7b, 0x7d]), /byte order mark/],
      ['{}\0', /more follows/],
      ['[]', /object .* is expected/],
      [`{"a":{${tensor},"dtype":"U8"}}`, /two dtypes/],
      [`{"a":{${tensor},"shape":[1]}}`, /two shapes/],
      [`{"a":{${tensor},"data_offsets":[0,1]}}`, /two data_offsets/],
      [`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, /negative/],
      [`{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}`, /leading zero/],
      [`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, /whole number/],
      [`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, /end before they begin/],
      [`{"a":{"dtype":"U8","shape":[1],"data_offsets":[]}}`, /data_offsets of "a" are empty/],
      [`{"a":{${tensor},"x":1e999}}`, /number is too great/],
      [`{"a":{${tensor},"x":tru}}`, /a value is expected/],
      [`{"a":{${tensor},"x":"\\ud800\\u0041"}}`, /surrogate/],
      [`{"a":{${tensor},"x":"\\x"}}`, /invalid escape/],
      [`{"a":{${tensor}`, /"," or "}" is expected/],
      [`{"a`, /ends inside a string/],
      [`{"a\\`, /ends inside a string/],
      [`{"a":${'{"a":'.repeat(126)}{${'}'.repeat(127)}}`, /nested more than 127/],
    ];
    for (const [header, reason] of rejected) await assert.rejects(read(safetensorsFile(header, 1)), userError(reason));
    await assert.rejects(readText(`{"a":{${tensor}}}`, 2), userError(/1 byte after the end of its last tensor/));
  });

  it('parses back every header that a writer can write', async () => {
    const tensor = fc.record({
      dtype: fc.constantFrom(...DTYPES),
      shape: fc.array(fc.nat(5), { maxLength: 3 }),
      pad: fc.constantFrom('', ' ', '\n'),
    });
    const whole = ({ dtype, shape }: { dtype: Dtype; shape: number[] }): boolean => elementCount(shape) * dtypeBits(dtype) % 8 === 0;
    const names = fc.string({ unit: 'binary' }).filter(name => name !== '__metadata__' && !/\p{Cs}/u.test(name));
    await fc.assert(fc.asyncProperty(
      fc.uniqueArray(fc.tuple(names, tensor.filter(whole)), { selector: ([name]) => name, maxLength: 12 }),
      fc.dictionary(names, names, { maxKeys: 3 }),
      async (tensors, metadata) => {
        let end = 0;
        const expected = tensors.map(([key, { dtype, shape }]) => {
          const offset = end;
          end += elementCount(shape) * dtypeBits(dtype) / 8;
          return { key, dtype, shape, offset, length: end - offset };
        });
        const entries = expected.map(({ key, dtype, shape, offset, length }, index) => {
          const pad = tensors[index]?.[1].pad ?? '';
          return `${JSON.stringify(key)}${pad}:${pad}${JSON.stringify({ shape, data_offsets: [offset, offset + length], dtype })}${pad}`;
        });
        const header = `{${[`"__metadata__":${JSON.stringify(metadata)}`, ...entries].join(',')}}`;
        const parsed = await readText(header, end);
        const dataStart = 8 + Buffer.byteLength(header);
        assert.deepEqual(parsed.tensors, expected.map(one => ({ ...one, file: 0, offset: one.offset + dataStart })));
        assert.deepEqual([...parsed.metadata], Object.entries(metadata));
      },
    ), { numRuns: 300 });
  });

  it('either reads or explains any damage to a valid file', async () => {
    const valid = readFileSync(join(FIXTURES, 'real/files/FluxML+SafeTensors.jl/test/sharded/model-00004-of-00006.safetensors'));
    await fc.assert(fc.asyncProperty(fc.nat(700), fc.nat(255), fc.option(fc.nat(valid.length)), async (at, byte, cut) => {
      const damaged = Buffer.from(valid.subarray(0, cut ?? valid.length));
      if (at < damaged.length) damaged[at] = byte;
      try {
        const { tensors } = await read(damaged);
        for (const { offset, length } of tensors) assert.ok(offset + length <= damaged.length);
      } catch (error) {
        assert.ok(error instanceof UserError, String(error));
      }
    }), { numRuns: 500 });
  });

  it('reads a small header in one request and a long one in two', async () => {
    const small = memorySource(fileWith(['a', 'b'], 100_000));
    await readSafetensors(small);
    assert.equal(small.reads, 1);
    const long = memorySource(fileWith(Array.from({ length: 2000 }, (_, index) => `model.layers.${index}.weight`)));
    assert.equal((await readSafetensors(long)).tensors.length, 2000);
    assert.equal(long.reads, 2);
  });

  it('reads 100,000 keys without holding up the event loop, and stops when told', async () => {
    const keys = Array.from({ length: 100_000 }, (_, index) => `model.layers.${index}.self_attn.q_proj.weight`);
    const bytes = fileWith(keys);
    const controller = new AbortController();
    let turns = 0;
    const timer = setInterval(() => { turns++; }, 1);
    const parsed = await readSafetensors(memorySource(bytes), controller.signal);
    clearInterval(timer);
    assert.equal(parsed.tensors.length, keys.length);
    assert.equal(parsed.tensors[99_999]?.key, keys[99_999]);
    assert.ok(turns > 3, `other work had ${turns} turns`);
    const reading = readSafetensors(memorySource(bytes), controller.signal);
    setImmediate(() => { controller.abort(); });
    await assert.rejects(reading, isAbort);
  });
});
