import { readFileSync } from 'node:fs';
import path from 'node:path';
import { parseConfig, type ConfigDocument } from '../../../src/architecture/config';
import { qwenVl } from '../../../src/architecture/qwenVl';
import type { Checkpoint, Tensor } from '../../../src/checkpoint/checkpoint';
import { dtypeBits, elementCount, type Dtype } from '../../../src/checkpoint/dtype';

export const FIXTURES = path.join(import.meta.dirname, '../../fixtures');

export type FakeTensor = Pick<Tensor, 'key'> & Partial<Tensor>;

/** A checkpoint in one safetensors-like file whose bytes nobody reads; BF16 and shape [1] unless told. */
export function fakeCheckpoint(tensors: readonly FakeTensor[]): Checkpoint {
  const unread = (): never => { throw new Error('A fake checkpoint has no bytes.'); };
  let offset = 0;
  return {
    name: 'fake',
    location: '/models/fake',
    store: { location: '/models/fake', list: () => Promise.resolve([]), open: unread },
    files: [{ name: 'model.safetensors', format: 'safetensors', metadata: new Map(), source: { name: 'model.safetensors', size: 0, readInto: unread, close: () => Promise.resolve() } }],
    tensors: tensors.map(tensor => {
      const { dtype = 'BF16', shape = [1] } = tensor;
      const length = Math.ceil(elementCount(shape) * dtypeBits(dtype) / 8);
      const placed: Tensor = { dtype, shape, file: 0, offset, length, ...tensor };
      offset += length;
      return placed;
    }),
    others: [],
    warnings: [],
    close: () => Promise.resolve(),
  };
}

export const FULL_SIZE = { width: 1664, layers: 48, heads: 16, patch_size: 14, mlp_size: 8192, output_dim: 4096, image_size: 448, n_queries: 256 };

/** The keys and shapes of Qwen-VL's vision encoder with its `proj`, under a prefix. */
export function qwenVlTensors(settings: Readonly<Record<string, number>> = FULL_SIZE, prefix = 'transformer.visual.', dtype: Dtype = 'BF16'): FakeTensor[] {
  const hyperparameters = qwenVl.resolve(undefined, { ...FULL_SIZE, ...settings });
  const output = hyperparameters.get('output_dim')?.value ?? 0;
  return [...qwenVl.expectedTensors(hyperparameters), { key: 'proj', shape: [output, output] }].map(({ key, shape }) => ({ key: prefix + key, shape, dtype }));
}

/** Qwen-VL-Chat whole: its language model's keys before and after the encoder's. */
export function qwenVlChat(settings: Readonly<Record<string, number>> = FULL_SIZE): Checkpoint {
  const language = Array.from({ length: 32 }, (_, layer) => ['ln_1.weight', 'attn.c_attn.weight', 'mlp.w1.weight'].map(name => ({ key: `transformer.h.${layer}.${name}`, shape: [4096] }))).flat();
  return fakeCheckpoint([{ key: 'transformer.wte.weight', shape: [151_936, 4096] }, ...language, { key: 'transformer.ln_f.weight', shape: [4096] }, ...qwenVlTensors(settings), { key: 'lm_head.weight', shape: [151_936, 4096] }]);
}

/** The keys that an index names, in its order; their shapes are not known. */
export function checkpointOfIndex(file: string): Checkpoint {
  const index = JSON.parse(readFileSync(path.join(FIXTURES, file), 'utf8')) as { weight_map: Record<string, string> };
  return fakeCheckpoint(Object.keys(index.weight_map).map(key => ({ key })));
}

export function configFixture(file: string): ConfigDocument {
  const location = path.join(FIXTURES, file);
  return parseConfig(readFileSync(location, 'utf8'), location);
}

/** A config.json of this value, written over several lines. */
export function configOf(value: unknown): ConfigDocument {
  return parseConfig(JSON.stringify(value, undefined, 2), '/models/fake/config.json');
}

/** The checkpoint with these files beside it. */
export function withFiles(checkpoint: Checkpoint, files: Readonly<Record<string, string>>): Checkpoint {
  const bytes = Object.fromEntries(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]));
  return {
    ...checkpoint,
    store: {
      location: '/models/fake',
      list: () => Promise.resolve(Object.entries(bytes).map(([name, { length }]) => ({ name, size: length }))),
      open: name => Promise.resolve({
        name,
        size: bytes[name]?.length ?? 0,
        readInto: (target: Uint8Array, offset: number) => {
          target.set(bytes[name]!.subarray(offset, offset + target.length));
          return Promise.resolve();
        },
        close: () => Promise.resolve(),
      }),
    },
  };
}
