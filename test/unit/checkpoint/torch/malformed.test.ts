import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ParsedFile } from '../../../../src/checkpoint/checkpoint';
import { tensorBytes } from '../../../../src/checkpoint/tensorBytes';
import { UserError } from '../../../../src/errors';
import { FIXTURES, MemorySource } from '../memorySource';
import { collect, readTorch } from './support';

const FOLDER = 'malformed/torch';

/** case,verdict of torch 2.13 with weights_only=True. */
const verdicts = new Map(readFileSync(path.join(FIXTURES, FOLDER, 'verdicts.csv'), 'utf8').trim().split('\n').slice(1).map(line => {
  const comma = line.indexOf(',');
  return [line.slice(0, comma), /^"?accept/.test(line.slice(comma + 1)) ? 'accept' : 'reject'];
}));

/** Where we decide otherwise than torch.load, and why. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  no_version: 'accepted with a warning: nothing in it depends on the version',
  pkl_long1_255: 'refused: a number holds no tensors',
  pkl_root_tensorless_dict: 'refused: an empty dict holds no tensors',
  pkl_deep_nesting_100k: 'refused: a nest of lists holds no tensors',
  pkl_billion_laughs_2e40: 'refused: a heap of references holds no tensors',
};

/** What the sentence must say, for each case that is refused. */
const MESSAGES: Readonly<Record<string, RegExp>> = {
  truncated_no_eocd: /incomplete zip archive.*download it again/,
  prefix_junk: /not a PyTorch checkpoint|stand before the archive/,
  cd_offset_past_end: /its directory lies outside the file/,
  record_size_lies: /archive\/data\/0.*1073741824 bytes.*does not fit into the file/,
  version_text: /version is "abc", which is not a number/,
  no_pkl: /no "archive\/data.pkl"/,
  two_roots: /"other\/x" is not in the one folder/,
  missing_storage: /storage "archive\/data\/0" is missing/,
  byteorder_garbage: /byte order is "middle"/,
  storage_long: /has 24 bytes where 48|has 48 bytes where 24|"archive\/data\/0" has/,
  offset_negative: /tensor "v" begins at an impossible offset/,
  stride_negative: /tensor "v" has strides/,
  shape_negative: /tensor "v" has an impossible shape/,
  key_traversal: /"archive\/data\/..\/..\/etc\/passwd" is missing/,
  storage_unknown_type: /wants Python to import "torch.NopeStorage"/,
  same_key_two_dtypes: /storage "0" once as 6 float32 elements and once as 12 float16 elements/,
  pkl_no_stop: /incomplete or damaged/,
  pkl_truncated: /incomplete or damaged/,
  pkl_os_system: /wants Python to import "(posix|os).system".*nothing was run.*safetensors/,
  pkl_stack_global_proto4: /wants Python to import "builtins.eval"/,
  pkl_inst_opcode: /wants Python to import "builtins.eval"/,
  pkl_build_setstate: /holds no tensors, only torch.Tensor/,
  pkl_pid_not_storage: /refers to something outside itself that is not a storage/,
  pkl_long1_255: /holds no tensors, only int -?\d+/,
  pkl_root_tensorless_dict: /holds no tensors, only dict of 0 values/,
  pkl_append_to_dict: /appends to something that is not a list/,
  pkl_deep_nesting_100k: /holds no tensors, only list of 1 value/,
  pkl_billion_laughs_2e40: /holds no tensors, only list/,
  legacy_truncated_keys: /incomplete or damaged/,
  legacy_bad_protocol: /protocol is int 1002, and 1001/,
  lfs_pointer: /not a PyTorch checkpoint/,
  empty: /is empty/,
  hdf5: /not a PyTorch checkpoint/,
  gguf: /not a PyTorch checkpoint/,
};

const read = (name: string): Promise<ParsedFile> => readTorch(MemorySource.fixture(`${FOLDER}/${name}.bin`));

describe('malformed PyTorch files', () => {
  for (const [name, verdict] of verdicts) {
    const message = MESSAGES[name];
    const ours = message === undefined ? 'accept' : 'reject';
    it(`${name}: ${ours === 'accept' ? 'read' : 'refused'}${DIFFERENCES[name] === undefined ? ', as torch does' : ` (${DIFFERENCES[name]})`}`, async () => {
      assert.equal(ours === verdict, DIFFERENCES[name] === undefined, 'every difference is written down');
      if (message === undefined) {
        assert.ok((await read(name)).tensors.length > 0);
        return;
      }
      await assert.rejects(read(name), error => {
        assert.ok(error instanceof UserError, String(error));
        assert.match(error.message, message);
        return true;
      });
    });
  }

  it('reads the same values stored, deflated and without a byte order', async () => {
    for (const name of ['ok_unaligned', 'ok_deflated', 'ok_no_byteorder', 'dup_record_name']) {
      const source = MemorySource.fixture(`${FOLDER}/${name}.bin`);
      const { tensors } = await readTorch(source);
      const values = await Promise.all(tensors.map(async tensor => {
        const bytes = await collect(tensorBytes(source, tensor));
        return [tensor.key, ...Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))];
      }));
      assert.deepEqual(values, [['w', 0, 1, 2, 3, 4, 5], ['v', 3, 4, 5]], name);
    }
  });

  it('of two records with one name the first counts, with a warning', async () => {
    assert.match((await read('dup_record_name')).warnings.join(), /two files called "archive\/data\/0"/);
  });

  it('a missing version is read with a warning', async () => {
    assert.match((await read('no_version')).warnings.join(), /does not say which version/);
  });

  it('a terabyte made of one value is listed with a warning and not copied', async () => {
    const source = MemorySource.fixture(`${FOLDER}/broadcast_bomb_1TB.bin`);
    const parsed = await readTorch(source);
    assert.deepEqual(parsed.tensors.map(tensor => tensor.length), [2 ** 40]);
    assert.match(parsed.warnings.join(), /claims 1.10 TB/);
    for (const tensor of parsed.tensors) {
      await assert.rejects(collect(tensorBytes(source, tensor)), error => error instanceof UserError && error.message.includes('it was not copied'));
    }
  });

  it('a small broadcast is written out', async () => {
    const source = MemorySource.fixture(`${FOLDER}/stride_zero_broadcast.bin`);
    const [tensor] = (await readTorch(source)).tensors;
    assert.ok(tensor !== undefined);
    const bytes = await collect(tensorBytes(source, tensor));
    assert.equal(bytes.length, 12000);
    assert.deepEqual(bytes.subarray(0, 12), bytes.subarray(11988));
  });

  it('a key called __proto__ is a key like any other', async () => {
    assert.deepEqual((await read('name_proto')).tensors.map(tensor => tensor.key), ['__proto__']);
  });
});
