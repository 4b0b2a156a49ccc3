import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dtypeBits, elementCount } from '../../src/checkpoint/dtype';
import { qwenVlChat } from '../unit/support/checkpoints';

export interface MadeModel {
  readonly width: number;
  readonly layers: number;
  /** Bytes of the language model's tensors, which nobody wants; they are a hole in the file. */
  readonly unwantedBytes: number;
  readonly shards: number;
}

/**
 * Writes a checkpoint with Qwen-VL-Chat's keys and layout, the encoder between the two halves of the language model,
 * and the encoder's bytes noise. Large ones are quickly made: what is not wanted is a hole.
 */
export async function writeMadeModel(folder: string, { width, layers, unwantedBytes, shards }: MadeModel): Promise<{ keptBytes: number }> {
  const visual = { heads: 8, image_size: 448, layers, mlp_ratio: 4, output_dim: width, patch_size: 14, width };
  const { tensors } = qwenVlChat({ width, layers, heads: 8, patch_size: 14, mlp_size: width * 4, output_dim: width, image_size: 448, n_queries: 256 });
  const unwanted = tensors.filter(({ key }) => !key.includes('visual')).length;
  const placed = tensors.map(({ key, shape }) => {
    const wanted = key.includes('visual');
    const dims = wanted ? shape : [Math.floor(unwantedBytes / unwanted / 2)];
    return { key, wanted, shape: dims, length: elementCount(dims) * dtypeBits('BF16') / 8 };
  });
  const total = placed.reduce((sum, { length }) => sum + length, 0);
  const groups: (typeof placed)[] = [];
  let filled = 0;
  for (const tensor of placed) {
    const shard = Math.min(shards - 1, Math.floor(filled / total * shards));
    (groups[shard] ??= []).push(tensor);
    filled += tensor.length;
  }
  await mkdir(folder, { recursive: true });
  const weightMap: Record<string, string> = {};
  const noise = Buffer.alloc(1 << 20);
  for (let i = 0, state = 1; i < noise.length; i++) noise[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  let keptBytes = 0;
  for (const [index, group] of groups.entries()) {
    const name = `model-${String(index + 1).padStart(5, '0')}-of-${String(groups.length).padStart(5, '0')}.safetensors`;
    let end = 0;
    const entries = group.map(({ key, shape, length }) => {
      weightMap[key] = name;
      const start = end;
      end += length;
      return `${JSON.stringify(key)}:{"dtype":"BF16","shape":[${shape.join(',')}],"data_offsets":[${start},${end}]}`;
    });
    const json = Buffer.from(`{${entries.join(',')}}`);
    const header = Buffer.alloc(8 + json.length);
    header.writeBigUInt64LE(BigInt(json.length));
    json.copy(header, 8);
    const file = await open(join(folder, name), 'w');
    await file.write(header);
    await file.truncate(header.length + end);
    let position = header.length;
    for (const { key, wanted, length } of group) {
      if (wanted) {
        if (!key.endsWith('visual.proj')) keptBytes += length;
        for (let done = 0; done < length; done += noise.length) await file.write(noise, 0, Math.min(noise.length, length - done), position + done);
        // Unlike its neighbours.
        if (length >= 8) await file.write(Buffer.from(String(position).padStart(8, '0').slice(-8)), 0, 8, position);
      }
      position += length;
    }
    await file.close();
  }
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }));
  await writeFile(join(folder, 'config.json'), JSON.stringify({ architectures: ['QWenLMHeadModel'], model_type: 'qwen', hidden_size: width, visual }));
  return { keptBytes };
}
