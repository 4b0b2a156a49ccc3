import type { Checkpoint } from '../checkpoint/checkpoint';
import { elementCount } from '../checkpoint/dtype';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { castDtype, makeCast } from '../extraction/cast';

/**
 * The temperature that a contrastive model was trained to, from its `logit_scale`, which holds ln(1 / temperature)
 * (https://github.com/openai/CLIP/blob/main/clip/model.py); undefined where the checkpoint has none.
 */
export async function trainedTemperature({ tensors, files }: Checkpoint): Promise<number | undefined> {
  const scale = tensors.find(({ key, shape }) => /(^|\.)logit_scale$/.test(key) && elementCount(shape) === 1);
  if (scale === undefined) return undefined;
  const source = files[scale.file]?.source;
  if (source === undefined || castDtype(scale.dtype, 'f32') !== 'F32') return undefined;
  const value = new Float32Array(1);
  const bytes = new Uint8Array(value.buffer);
  for await (const chunk of tensorBytes(source, scale)) {
    const cast = makeCast(scale.dtype, 'F32');
    // The bytes are valid until the next chunk only, and need not be aligned.
    if (cast === undefined) bytes.set(chunk);
    else cast(chunk.slice(), bytes);
  }
  const temperature = Math.exp(-(value[0] ?? NaN));
  return temperature > 0 && Number.isFinite(temperature) ? temperature : undefined;
}
