import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { UserError } from '../../../../src/errors';
import { FIXTURES, MemorySource } from '../memorySource';
import { describeTensors, readTorch, type Described } from './support';

/** What PyTorch 1.13 reads from each file; see torch_expectations.py. */
const expectations = JSON.parse(readFileSync(path.join(FIXTURES, 'torch_expectations.json'), 'utf8')) as Record<string, Record<string, Described>>;

/** Files in which PyTorch finds no tensors either: what the sentence says instead. */
const WITHOUT_TENSORS: readonly [RegExp, RegExp][] = [
  [/tch-rs\/tests\/foo[1-8]\.pt$/, /holds no tensors/],
  [/numpy_array/, /holds no tensors/],
  [/ordered_dict/, /holds no tensors, only OrderedDict with 2 values/],
  [/storage_view/, /holds no tensors, only tuple of 2 values/],
  [/broken\.pt$/, /is not a PyTorch checkpoint/],
];

describe('PyTorch files that real tools wrote', () => {
  for (const [name, expected] of Object.entries(expectations)) {
    if (Object.keys(expected).length === 0) {
      it(`${name}: no tensors, and a sentence that says so`, async () => {
        const [, message] = WITHOUT_TENSORS.find(([file]) => file.test(name)) ?? assert.fail(`no expectation for ${name}`);
        await assert.rejects(readTorch(MemorySource.fixture(name)), error => error instanceof UserError && message.test(error.message));
      });
      continue;
    }
    it(`${name}: keys, dtypes, shapes and bytes as PyTorch has them`, async () => {
      const source = MemorySource.fixture(name);
      const parsed = await readTorch(source);
      const extractable = Object.entries(expected).filter(([, tensor]) => tensor.dtype !== null);
      assert.deepEqual(await describeTensors(source, parsed), Object.fromEntries(extractable));
      assert.deepEqual(parsed.tensors.map(tensor => tensor.key), extractable.map(([key]) => key), 'in the order of the file');
      for (const [key, tensor] of Object.entries(expected)) {
        if (tensor.dtype !== null) continue;
        assert.match(parsed.others.find(other => other.key === key)?.description ?? '', /complex128/);
        assert.ok(parsed.warnings.some(warning => warning.startsWith(`${key} `)));
      }
    });
  }

  // The values differ: the two files come from different moments of a training (num_batches_tracked 3752 and 7504).
  it('mnist.pt has the keys and shapes of mnist.safetensors', async () => {
    const parsed = await readTorch(MemorySource.fixture('real/torch/weights__mnist.pt'));
    const bytes = readFileSync(path.join(FIXTURES, 'real/torch/weights__mnist.safetensors'));
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0)))) as Record<string, { dtype: string; shape: number[] }>;
    const expected = Object.entries(header).filter(([key]) => key !== '__metadata__').map(([key, { dtype, shape }]) => [key, dtype, shape] as const);
    const byKey = (a: readonly unknown[], b: readonly unknown[]): number => String(a[0]).localeCompare(String(b[0]));
    assert.deepEqual(parsed.tensors.map(({ key, dtype, shape }) => [key, dtype, shape]).sort(byKey), expected.sort(byKey));
  });

  it('the state dict is found inside a training checkpoint, the rest is shown', async () => {
    const parsed = await readTorch(MemorySource.fixture('real/torch/test_data__checkpoint.pt'));
    assert.ok(parsed.tensors.every(tensor => !/^(model|state_dict|optim)/.test(tensor.key)), parsed.tensors.map(t => t.key).join());
    assert.ok(parsed.others.some(other => other.key === 'epoch' && other.description.startsWith('int ')), JSON.stringify(parsed.others));
  });

  it('a shard is listed with few requests', async () => {
    const source = MemorySource.fixture('qwen-vl-tiny-bin/pytorch_model-00001-of-00003.bin');
    const parsed = await readTorch(source);
    assert.equal(parsed.tensors.length, 11);
    assert.ok(source.reads <= 17, `${source.reads} requests for ${parsed.tensors.length} tensors`);
  });
});
