import { t } from '@vscode/l10n';
import { DTYPES } from '../checkpoint/dtype';
import { MAX_HEADER } from '../checkpoint/safetensors';
import { UserError } from '../errors';
import { formatCount } from '../format';
import { layoutOf } from './fileLayout';
import type { FileLayout, OutputTensor } from './fileLayout';

const DTYPE_RANK = new Map(DTYPES.map((dtype, rank) => [dtype, rank]));

/**
 * The file as the reference writes it: `__metadata__` first, tensors by dtype (widest alignment first) and
 * then by key in byte order, no spaces in the JSON, the header padded with spaces to a multiple of 8.
 * The bytes equal those of `safetensors.torch.save_file(tensors, path, metadata={'format': 'pt'})`.
 * Source: https://github.com/huggingface/safetensors safetensors/src/tensor.rs, `prepare` and `serialize`.
 */
export function safetensorsLayout(tensors: readonly OutputTensor[]): FileLayout {
  const { header, order } = safetensorsHeader(tensors);
  return layoutOf([
    { kind: 'bytes', bytes: header },
    ...order.map(({ index, tensor }) => ({ kind: 'tensor' as const, index, length: tensor.length })),
  ]);
}

/**
 * The header's bytes (its 8-byte length included) and the place of each tensor.
 * `order` has the tensors in file order with their index in `tensors` and their absolute byte offset.
 * @throws UserError when the header would be longer than readers allow
 */
export function safetensorsHeader(tensors: readonly OutputTensor[], metadata: Readonly<Record<string, string>> = { format: 'pt' }): {
  header: Uint8Array;
  order: { tensor: OutputTensor; index: number; offset: number }[];
} {
  const sorted = tensors
    .map((tensor, index) => ({ tensor, index, rank: DTYPE_RANK.get(tensor.dtype) ?? DTYPES.length, name: Buffer.from(tensor.key) }))
    .sort((a, b) => a.rank - b.rank || Buffer.compare(a.name, b.name));
  const entries = [`"__metadata__":${JSON.stringify(metadata)}`];
  let end = 0;
  for (const { tensor } of sorted) {
    const start = end;
    end += tensor.length;
    entries.push(`${JSON.stringify(tensor.key)}:{"dtype":"${tensor.dtype}","shape":[${tensor.shape.join(',')}],"data_offsets":[${start},${end}]}`);
  }
  const json = Buffer.from(`{${entries.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  if (padded > MAX_HEADER) throw new UserError(t`A safetensors header for ${formatCount(tensors.length, 'tensor')} would be ${padded} bytes long, and ${MAX_HEADER} are allowed. Extract with a smaller maximum shard size.`);
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);

  let offset = header.length;
  const order = sorted.map(({ tensor, index }) => {
    const placed = { tensor, index, offset };
    offset += tensor.length;
    return placed;
  });
  return { header, order };
}
