import { t } from '@vscode/l10n';
import type { Dtype } from '../checkpoint/dtype';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import { UserError } from '../errors';
import type { OutputTensor } from './fileLayout';

/** Dtypes with a storage class of their own, readable by every PyTorch that reads zip files. */
const STORAGE_CLASS: Partial<Record<Dtype, string>> = {
  F64: 'DoubleStorage', F32: 'FloatStorage', F16: 'HalfStorage', BF16: 'BFloat16Storage',
  I64: 'LongStorage', I32: 'IntStorage', I16: 'ShortStorage', I8: 'CharStorage', U8: 'ByteStorage',
  BOOL: 'BoolStorage', C64: 'ComplexFloatStorage',
};

/** Dtypes that PyTorch (2.1 and later) keeps in an untyped storage, under torch's names for them. */
const UNTYPED: Partial<Record<Dtype, string>> = {
  U64: 'uint64', U32: 'uint32', U16: 'uint16',
  F8_E4M3: 'float8_e4m3fn', F8_E5M2: 'float8_e5m2', F8_E4M3FNUZ: 'float8_e4m3fnuz', F8_E5M2FNUZ: 'float8_e5m2fnuz',
  F8_E8M0: 'float8_e8m0fnu', F4: 'float4_e2m1fn_x2',
};

/**
 * A state dict as PyTorch pickles it (protocol 2): an OrderedDict of `torch._utils._rebuild_tensor_v2` calls,
 * `_rebuild_tensor_v3` where the dtype has no storage class. Tensor i's storage is the record `data/i`.
 * Source: https://github.com/pytorch/pytorch torch/_tensor.py `_reduce_ex_internal`, torch/serialization.py `persistent_id`.
 * @throws UserError when PyTorch has no dtype for a tensor.
 */
export function pickleStateDict(tensors: readonly OutputTensor[]): Uint8Array {
  return Buffer.concat([
    Buffer.from([0x80, 2]), orderedDict(), MARK,
    ...tensors.flatMap((tensor, storage) => [text(tensor.key), rebuild(tensor, storage)]),
    op('u'), op('.'),
  ]);
}

function rebuild(tensor: OutputTensor, storage: number): Buffer {
  const storageClass = STORAGE_CLASS[tensor.dtype];
  if (storageClass !== undefined) {
    const common = tensorArguments(global('torch', storageClass), storage, elementCount(tensor.shape), tensor.shape);
    return call(global('torch._utils', '_rebuild_tensor_v2'), tuple([...common, FALSE, orderedDict()]));
  }
  const name = UNTYPED[tensor.dtype];
  if (name === undefined) {
    throw new UserError(t`PyTorch has no dtype for ${tensor.key}, which is ${tensor.dtype}. Extract to safetensors instead.`);
  }
  const common = tensorArguments(global('torch.storage', 'UntypedStorage'), storage, tensor.length, torchShape(tensor));
  return call(global('torch._utils', '_rebuild_tensor_v3'), tuple([...common, FALSE, orderedDict(), global('torch', name)]));
}

/** Storage, storage offset, size, stride. */
function tensorArguments(storageClass: Buffer, storage: number, storageSize: number, shape: readonly number[]): Buffer[] {
  const id = tuple([text('storage'), storageClass, text(String(storage)), text('cpu'), integer(storageSize)]);
  return [Buffer.concat([id, op('Q')]), integer(0), tuple(shape.map(integer)), tuple(contiguousStrides(shape).map(integer))];
}

/** Two 4-bit numbers make one element of `float4_e2m1fn_x2`, so the last dimension is half as long. */
function torchShape({ dtype, shape }: OutputTensor): readonly number[] {
  if (dtypeBits(dtype) !== 4 || shape.length === 0) return shape;
  return shape.map((dim, axis) => axis === shape.length - 1 ? dim / 2 : dim);
}

function contiguousStrides(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (const dim of shape.toReversed()) {
    strides.unshift(stride);
    stride *= Math.max(dim, 1);
  }
  return strides;
}

const MARK = op('(');
const FALSE = Buffer.from([0x89]);

function op(code: string): Buffer {
  return Buffer.from(code, 'latin1');
}

function global(module: string, name: string): Buffer {
  return op(`c${module}\n${name}\n`);
}

function call(callable: Buffer, args: Buffer): Buffer {
  return Buffer.concat([callable, args, op('R')]);
}

function orderedDict(): Buffer {
  return call(global('collections', 'OrderedDict'), tuple([]));
}

function tuple(items: readonly Buffer[]): Buffer {
  return items.length === 0 ? op(')') : Buffer.concat([MARK, ...items, op('t')]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const head = Buffer.alloc(5);
  head.write('X', 'latin1');
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** A non-negative integer below 2^53. */
function integer(value: number): Buffer {
  if (value < 0x100) return Buffer.from([0x4b, value]);
  if (value < 0x80000000) {
    const bytes = Buffer.from('J\0\0\0\0', 'latin1');
    bytes.writeInt32LE(value, 1);
    return bytes;
  }
  const bytes = Buffer.from('\x8a\x08\0\0\0\0\0\0\0\0', 'latin1');
  bytes.writeBigInt64LE(BigInt(value), 2);
  return bytes;
}
