import type { Dtype } from '../dtype';

/** What one element of a storage is. */
export interface ElementType {
  /** As PyTorch calls it. */
  readonly name: string;
  readonly bytes: number;
  /** Undefined when safetensors has no such dtype: the tensor can be described, not extracted. */
  readonly dtype: Dtype | undefined;
  /** safetensors elements in one of PyTorch's; 2 for the packed four-bit type. */
  readonly packed?: 2;
}

const type = (name: string, bytes: number, dtype?: Dtype): ElementType => ({ name, bytes, dtype });

/** Storage classes as pickles name them: https://github.com/pytorch/pytorch/blob/main/torch/__init__.py */
export const STORAGE_CLASSES: ReadonlyMap<string, ElementType> = new Map([
  ['FloatStorage', type('float32', 4, 'F32')],
  ['DoubleStorage', type('float64', 8, 'F64')],
  ['HalfStorage', type('float16', 2, 'F16')],
  ['BFloat16Storage', type('bfloat16', 2, 'BF16')],
  ['LongStorage', type('int64', 8, 'I64')],
  ['IntStorage', type('int32', 4, 'I32')],
  ['ShortStorage', type('int16', 2, 'I16')],
  ['CharStorage', type('int8', 1, 'I8')],
  ['ByteStorage', type('uint8', 1, 'U8')],
  ['BoolStorage', type('bool', 1, 'BOOL')],
  ['ComplexFloatStorage', type('complex64', 8, 'C64')],
  ['ComplexDoubleStorage', type('complex128', 16)],
  ['QInt8Storage', type('qint8', 1)],
  ['QUInt8Storage', type('quint8', 1)],
  ['QInt32Storage', type('qint32', 4)],
  ['QUInt4x2Storage', type('quint4x2', 1)],
  ['QUInt2x4Storage', type('quint2x4', 1)],
  ['UntypedStorage', type('uint8', 1, 'U8')],
]);

/** The dtypes that `_rebuild_tensor_v3` names over an untyped storage. */
export const TORCH_DTYPES: ReadonlyMap<string, ElementType> = new Map([
  ...[...STORAGE_CLASSES.values()].map((element): [string, ElementType] => [element.name, element]),
  ['uint16', type('uint16', 2, 'U16')],
  ['uint32', type('uint32', 4, 'U32')],
  ['uint64', type('uint64', 8, 'U64')],
  ['complex32', type('complex32', 4)],
  ['float8_e4m3fn', type('float8_e4m3fn', 1, 'F8_E4M3')],
  ['float8_e4m3fnuz', type('float8_e4m3fnuz', 1, 'F8_E4M3FNUZ')],
  ['float8_e5m2', type('float8_e5m2', 1, 'F8_E5M2')],
  ['float8_e5m2fnuz', type('float8_e5m2fnuz', 1, 'F8_E5M2FNUZ')],
  ['float8_e8m0fnu', type('float8_e8m0fnu', 1, 'F8_E8M0')],
  ['float4_e2m1fn_x2', { name: 'float4_e2m1fn_x2', bytes: 1, dtype: 'F4', packed: 2 }],
]);
