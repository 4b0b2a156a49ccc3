import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Family } from '../../src/architecture/family';
import { qwenVl } from '../../src/architecture/qwenVl';
import { elementCount } from '../../src/checkpoint/dtype';

/**
 * Writes an encoder, Qwen-VL's unless told, with random bfloat16 weights, scaled so that values neither grow nor vanish on their way.
 * @param settings the hyperparameters
 */
export async function writeRandomCheckpoint(folder: string, settings: Readonly<Record<string, number>>, family: Family = qwenVl): Promise<void> {
  const hyperparameters = family.resolve(undefined, settings);
  const tensors = family.expectedTensors(hyperparameters);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(family.encoderConfig(hyperparameters, undefined)));
  let end = 0;
  const header = JSON.stringify(Object.fromEntries(tensors.map(({ key, shape }) => {
    const start = end;
    end += elementCount(shape) * 2;
    return [key, { dtype: 'BF16', shape, data_offsets: [start, end] }];
  })));
  const handle = await open(join(folder, 'model.safetensors'), 'w');
  try {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    await handle.write(Buffer.concat([length, Buffer.from(header)]));
    const random = normals();
    for (const { key, shape } of tensors) {
      const count = elementCount(shape);
      const matrix = shape.length > 1;
      const scale = !matrix ? 0.1 : /pos|query/.test(key) ? 0.5 : 0.7 / Math.sqrt(elementCount(shape.slice(1)));
      const shift = !matrix && key.endsWith('weight') ? 1 : 0;
      const floats = Float32Array.from({ length: Math.min(count, random.length) }, (_, i) => (random[i] ?? 0) * scale + shift);
      const bits = new Uint32Array(floats.buffer);
      const values = new Uint16Array(count);
      // One table of normals, at an odd stride, stands for all weights: what is measured does not depend on more.
      for (let i = 0; i < count; i++) values[i] = (bits[(i * 7919 + key.length) % bits.length] ?? 0) >>> 16;
      await handle.write(new Uint8Array(values.buffer));
    }
  } finally {
    await handle.close();
  }
}

/** A table of normal deviates (Box and Muller) from a fixed seed. */
function normals(): Float32Array {
  let seed = 1;
  const uniform = (): number => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return (seed + 1) / 4294967297;
  };
  return Float32Array.from({ length: 1_000_003 }, () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}
