import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { formatBytes } from '../../format';
import type { ParsedFile, Tensor } from '../checkpoint';
import { isContiguous, isExpansionBomb } from '../layout';
import type { PicklePersistent, PickleValue } from './pickleValue';
import { rebuildTensor, type RebuiltTensor } from './rebuild';
import { findStateDict } from './stateDict';
import type { Storage, StorageLocation } from './storage';
import { quoted } from '../wording';

export interface TensorSources {
  /** What to call the file in a message. */
  readonly name: string;
  /** What its tensors give as the index of their file. */
  readonly file: number;
  /** What its pickle holds. */
  readonly root: PickleValue;
  readonly storages: ReadonlyMap<PicklePersistent, Storage>;
  /** By storage key. */
  readonly locations: ReadonlyMap<string, StorageLocation>;
  readonly bigEndian: boolean;
}

/**
 * The tensors of a PyTorch file, each with the place of its bytes. Tensors that share a storage
 * keep sharing the offset. What safetensors cannot express is described in `others`, with a warning.
 * @throws UserError when there are none or one of them is impossible.
 */
export function listTensors(sources: TensorSources): Pick<ParsedFile, 'tensors' | 'others' | 'warnings'> {
  const { name, root, storages } = sources;
  const stateDict = findStateDict(name, root);
  const others = stateDict.others.slice();
  const warnings = stateDict.warnings.slice();
  const tensors: Tensor[] = [];
  const skip = (key: string, description: string): void => {
    others.push({ key, description });
    warnings.push(t`${key} in ${name} is ${description}: it can be seen but not extracted.`);
  };
  for (const { key, value } of stateDict.tensors) {
    const rebuilt = rebuildTensor(name, key, value, storages);
    if (rebuilt.kind === 'opaque') {
      skip(key, rebuilt.description);
      continue;
    }
    const tensor = place(sources, key, rebuilt);
    if (typeof tensor === 'string') {
      skip(key, tensor);
      continue;
    }
    tensors.push(tensor);
    if (isExpansionBomb(tensor.dtype, tensor.length, rebuilt)) {
      warnings.push(t`${key} in ${name} repeats a few stored elements until it claims ${formatBytes(tensor.length)}: it is listed but cannot be extracted.`);
    }
  }
  return { tensors, others, warnings };
}

/** The tensor, or why it cannot be expressed. */
function place({ name, file, locations, bigEndian }: TensorSources, key: string, { element, storage, offset, shape, strides }: RebuiltTensor): Tensor | string {
  if (element.dtype === undefined) return t`a tensor of ${element.name} values, a dtype that safetensors does not have`;
  const location = locations.get(storage.key);
  if (location === undefined) throw new UserError(t`${name} is damaged: the storage ${quoted(storage.key)} of its tensor ${quoted(key)} is missing. Download it again.`);
  const empty = shape.includes(0);
  const contiguous = isContiguous({ shape, strides });
  const last = shape.at(-1);
  if (element.packed !== undefined && (!contiguous || last === undefined)) return t`a tensor of packed ${element.name} values that is not contiguous`;
  const deflate = empty ? undefined : location.deflate;
  const swapped = bigEndian && element.bytes > 1 && !empty;
  const tensor: Tensor = {
    key,
    dtype: element.dtype,
    shape: element.packed === undefined || last === undefined ? shape : [...shape.slice(0, -1), last * element.packed],
    file,
    // A tensor without elements may begin anywhere; its storage is a place that exists.
    offset: location.offset + (empty ? 0 : offset * element.bytes),
    length: empty ? 0 : shape.reduce((product, size) => product * size, element.bytes),
  };
  if (contiguous && deflate === undefined && !swapped) return tensor;
  return { ...tensor, indirect: { ...(!contiguous && { strides }), ...(deflate !== undefined && { deflate }), ...(swapped && { bigEndian: true as const }) } };
}
