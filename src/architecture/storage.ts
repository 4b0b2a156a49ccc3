import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import type { Plan } from '../recipe/plan';

/** How weights are stored when not as they were trained: quantised, or as adapters to a base model. */
export interface Storage {
  readonly kind: 'quantised' | 'adapter';
  /** What people call it: GPTQ, LoRA. */
  readonly name: string;
}

const ADAPTER: Storage = { kind: 'adapter', name: 'LoRA' };

/** Tensors that quantisers put beside or in the place of a layer's weight, by the last segment; earlier ones are surer. */
const QUANTISED: readonly (readonly [name: string, leaves: readonly string[]])[] = [
  [t('bitsandbytes, 4 bits'), ['bitsandbytes__nf4', 'bitsandbytes__fp4', 'absmax', 'nested_absmax', 'quant_map', 'nested_quant_map']],
  [t('bitsandbytes, 8 bits'), ['SCB']],
  ['GPTQ', ['g_idx']],
  ['GPTQ or AWQ', ['qweight', 'qzeros']],
  ['compressed-tensors', ['weight_packed']],
  [t('FP8 or INT8 with scales'), ['weight_scale', 'weight_scale_inv', 'weight_scale_2', 'input_scale']],
];
const RANKS = new Map(QUANTISED.flatMap(([, leaves], rank) => leaves.map(leaf => [leaf, rank] as const)));

/** Whole checkpoints are asked about again at every edit. */
const known = new WeakMap<readonly Tensor[], Storage | undefined>();

/** How a checkpoint stores its weights, as its keys tell; undefined for plain weights. */
export function storageOf(tensors: readonly Tensor[]): Storage | undefined {
  if (!known.has(tensors)) known.set(tensors, find(tensors));
  return known.get(tensors);
}

/** How those tensors of a checkpoint are stored that a plan keeps. */
export function storageOfKept({ checkpoint, kept }: Plan): Storage | undefined {
  return storageOf(checkpoint.tensors) === undefined ? undefined : find(kept.map(({ tensor }) => tensor));
}

function find(tensors: readonly Tensor[]): Storage | undefined {
  let best = QUANTISED.length;
  for (const { key } of tensors) {
    // lora_A, lora_B, lora_embedding_A, lora_magnitude_vector
    if (key.includes('.lora_')) return ADAPTER;
    best = Math.min(best, RANKS.get(key.slice(key.lastIndexOf('.') + 1)) ?? best);
  }
  const name = QUANTISED[best]?.[0];
  return name === undefined ? undefined : { kind: 'quantised', name };
}
