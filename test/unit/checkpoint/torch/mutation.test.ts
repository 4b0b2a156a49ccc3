import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { tensorBytes } from '../../../../src/checkpoint/tensorBytes';
import { readTorchLegacy } from '../../../../src/checkpoint/torch/torchLegacy';
import { readTorchZip } from '../../../../src/checkpoint/torch/torchZip';
import { UserError } from '../../../../src/errors';
import { FIXTURES, MemorySource } from '../memorySource';
import { collect } from './support';

const MAX_MILLISECONDS = 3000;
const MAX_BYTES = 1 << 20;

const files = [
  { name: 'real/torch/test_data__mixed_types.pt', read: readTorchZip },
  { name: 'malformed/torch/ok_deflated.bin', read: readTorchZip },
  { name: 'real/files/LaurentMazare+tch-rs/tests/foo.pt', read: readTorchZip },
  { name: 'malformed/torch/ok_legacy.bin', read: readTorchLegacy },
  { name: 'real/files/nlpodyssey+gopickle/pytorch/testdata/tensor_int64_proto1.pt', read: readTorchLegacy },
  { name: 'real/files/nlpodyssey+gopickle/pytorch/testdata/tensor_int64_proto4.pt', read: readTorchLegacy },
].map(file => ({ ...file, bytes: readFileSync(path.join(FIXTURES, file.name)) }));

const mutation = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  bytes: fc.uint8Array({ minLength: 0, maxLength: 9 }),
  removed: fc.integer({ min: 0, max: 9 }),
});

describe('mutated PyTorch files', () => {
  for (const { name, read, bytes } of files) {
    it(`${name} yields tensors or a sentence, soon`, async () => {
      let survived = 0;
      await fc.assert(fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 4 }), async mutations => {
        let mutated: Buffer = bytes;
        for (const { at, bytes: inserted, removed } of mutations) {
          const position = Math.floor(at * mutated.length);
          mutated = Buffer.concat([mutated.subarray(0, position), inserted, mutated.subarray(position + removed)]);
        }
        const start = performance.now();
        const source = new MemorySource(mutated);
        try {
          const { tensors } = await read(source);
          for (const tensor of tensors) {
            if (tensor.length > MAX_BYTES) continue;
            assert.equal((await collect(tensorBytes(source, tensor))).length, tensor.length);
          }
          survived++;
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          assert.ok(error.message.length > 20);
        }
        assert.ok(performance.now() - start < MAX_MILLISECONDS);
      }), { numRuns: 300, seed: 11 });
      assert.ok(survived < 300, 'some mutations break the file');
    });
  }
});
