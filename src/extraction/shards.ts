import type { OutputTensor } from './fileLayout';

/** Where the weights of one output format lie: `stem.extension`, or shards and `stem.extension.index.json`. */
export interface WeightNames {
  readonly stem: string;
  readonly extension: string;
}

export interface Shard {
  readonly name: string;
  /** Indices of its tensors in the list that was split. */
  readonly tensors: readonly number[];
}

/**
 * Splits a state dict in its order into files of at most `maxBytes` of tensor bytes, as
 * huggingface_hub's `split_state_dict_into_shards_factory` does; a tensor larger than that gets a shard of its own.
 * One shard has the plain name, several are numbered: `model-00001-of-00003.safetensors`.
 */
export function splitIntoShards(tensors: readonly OutputTensor[], maxBytes: number, { stem, extension }: WeightNames): Shard[] {
  const groups: number[][] = [];
  let group: number[] = [];
  let bytes = 0;
  tensors.forEach(({ length }, index) => {
    if (group.length === 0 || bytes + length > maxBytes) {
      group = [];
      bytes = 0;
      groups.push(group);
    }
    group.push(index);
    bytes += length;
  });
  const number = (value: number): string => String(value).padStart(5, '0');
  return groups.map((indices, shard) => ({
    name: groups.length === 1 ? `${stem}.${extension}` : `${stem}-${number(shard + 1)}-of-${number(groups.length)}.${extension}`,
    tensors: indices,
  }));
}

/** The JSON that tells which shard holds which key: `model.safetensors.index.json`, `pytorch_model.bin.index.json`. */
export function shardIndex(tensors: readonly OutputTensor[], shards: readonly Shard[]): Record<string, unknown> {
  const file = new Map(shards.flatMap(shard => shard.tensors.map(index => [index, shard.name])));
  return {
    metadata: { total_size: tensors.reduce((size, tensor) => size + tensor.length, 0) },
    weight_map: Object.fromEntries(tensors.map((tensor, index) => [tensor.key, file.get(index)])),
  };
}
