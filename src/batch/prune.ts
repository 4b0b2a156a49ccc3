import { join } from 'node:path';
import { t } from '@vscode/l10n';
import { readBytes } from '../checkpoint/byteSource';
import { openFile } from '../checkpoint/fileSource';
import { readSafetensors } from '../checkpoint/safetensors';
import type { Array32 } from '../encoder/encoder';
import { UserError } from '../errors';
import { pictureAt, type Place } from './indexFile';
import { keyPrefix, type Shard, type ShardPicture } from './shard';

/** Whether a shard holds features that nothing leads to: of pictures that have changed since, or are gone. */
export function hasStale(shard: Shard, places: ReadonlyMap<string, Place>): boolean {
  return shard.pictures.length > livePositions(shard, places).length;
}

/** The places in a shard that `places` leads to. */
export function livePositions(shard: Shard, places: ReadonlyMap<string, Place>): number[] {
  return shard.pictures.flatMap(({ name }, position) => {
    const place = places.get(name);
    return place?.shard === shard && place.position === position ? [position] : [];
  });
}

export interface StoredFeatures {
  readonly picture: ShardPicture;
  /** By output, of one picture: (1, ...). */
  readonly values: ReadonlyMap<string, Array32>;
}

/**
 * The features at some places of a shard, one picture after the other.
 * @throws UserError when the shard cannot be read, or does not hold what it says; AbortError when cancelled
 */
export async function* storedFeatures(out: string, shard: Shard, positions: readonly number[], signal?: AbortSignal): AsyncGenerator<StoredFeatures> {
  const path = join(out, shard.name);
  const source = await openFile(path);
  try {
    const { tensors } = await readSafetensors(source, signal);
    const byKey = new Map(tensors.map(tensor => [tensor.key, tensor]));
    for (const position of positions) {
      const picture = pictureAt({ shard, position });
      const row = shard.layout === 'apart' ? 0 : position;
      const values = new Map<string, Array32>();
      for (const output of shard.settings.outputs) {
        const tensor = byKey.get(keyPrefix(shard.layout, position) + output);
        const [rows = 0, ...shape] = tensor?.shape ?? [];
        if (tensor?.dtype !== 'F32' || row >= rows) throw new UserError(t`${path} does not hold ${output} of ${picture.name}, as it says. Delete it and run again: its pictures are then done anew.`);
        const length = tensor.length / rows;
        const bytes = await readBytes(source, tensor.offset + row * length, length, signal);
        values.set(output, { shape: [1, ...shape], data: new Float32Array(bytes.buffer, bytes.byteOffset, length / 4) });
      }
      yield { picture, values };
    }
  } finally {
    await source.close();
  }
}
