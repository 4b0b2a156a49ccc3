import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { TORCH_DTYPES, type ElementType } from './elementType';
import { dictEntries, isSequence, PickleGlobal, PickleObject, PicklePersistent, PickleTuple, type PickleValue } from './pickleValue';
import { isSize, type Storage } from './storage';
import { quoted } from '../wording';

/** A tensor as the pickle rebuilds it; everything counts elements of its storage's type. */
export interface RebuiltTensor {
  readonly kind: 'tensor';
  readonly storage: Storage;
  readonly element: ElementType;
  /** From the start of the storage. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** A tensor whose bytes cannot be taken as they are. */
export interface OpaqueTensor {
  readonly kind: 'opaque';
  /** "a sparse tensor, which ..." */
  readonly description: string;
}

const PARAMETERS = new Set(['torch._utils._rebuild_parameter', 'torch._utils._rebuild_parameter_with_state', 'torch.nn.parameter.Parameter', 'torch.nn.parameter.Buffer']);
const TENSORS = new Set(['torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_tensor_v3']);
const FROM_TYPE = 'torch._tensor._rebuild_from_type_v2';
const OPAQUE: ReadonlyMap<string, string> = new Map(Object.entries({
  'torch._utils._rebuild_qtensor': t('a quantised tensor, whose scale and zero point have no place in a safetensors file'),
  'torch._utils._rebuild_sparse_tensor': t('a sparse tensor, which has no byte layout of its own'),
  'torch._utils._rebuild_nested_tensor': t('a nested tensor, whose parts differ in shape'),
  'torch._utils._rebuild_meta_tensor_no_storage': t('a tensor on the meta device, which has no values'),
  'torch._utils._rebuild_wrapper_subclass': t('a tensor subclass without values of its own'),
  'torch._utils._rebuild_device_tensor_from_numpy': t('a tensor saved as a NumPy array'),
  'torch._utils._rebuild_device_tensor_from_cpu_tensor': t('a tensor saved for an accelerator'),
}));
/** Parameters wrap a tensor once or twice; more is nonsense that would only cost time. */
const MAX_WRAPPING = 8;

/** `value` when it stands for a tensor of any kind. */
export function asTensor(value: PickleValue | undefined): PickleObject | undefined {
  if (!(value instanceof PickleObject)) return undefined;
  const path = value.callable.path;
  return TENSORS.has(path) || PARAMETERS.has(path) || path === FROM_TYPE || OPAQUE.has(path) ? value : undefined;
}

/**
 * Interprets what torch._utils would have rebuilt
 * (https://github.com/pytorch/pytorch/blob/main/torch/_utils.py).
 * @throws UserError when arguments are of the wrong kind or the view leaves its storage.
 */
export function rebuildTensor(name: string, key: string, value: PickleObject, storages: ReadonlyMap<PicklePersistent, Storage>): RebuiltTensor | OpaqueTensor {
  const wrong = (problem: string): UserError => new UserError(t`${name} is damaged: its tensor ${quoted(key)} ${problem}. Download it again.`);
  let { callable, args } = value;
  for (let depth = 0; !TENSORS.has(callable.path); depth++) {
    const opaque = OPAQUE.get(callable.path);
    if (opaque !== undefined) return { kind: 'opaque', description: opaque };
    const inner = asTensor(callable.path === FROM_TYPE ? fromType(args) : args[0]);
    if (depth > MAX_WRAPPING || inner === undefined) throw wrong(t('is wrapped around something that is not a tensor'));
    ({ callable, args } = inner);
  }
  const [persistent, rawOffset, size, stride] = args;
  const storage = persistent instanceof PicklePersistent ? storages.get(persistent) : undefined;
  if (storage === undefined) throw wrong(t('has no storage'));

  const element = elementType(callable, args, storage);
  if (element === undefined) return { kind: 'opaque', description: t('a tensor of a dtype that is not known here') };
  const lazy = lazyBit(callable, args);
  if (lazy !== undefined) return { kind: 'opaque', description: t`a tensor that is the ${lazy} of what is stored` };

  const shape = sizes(size);
  const strides = sizes(stride);
  if (shape === undefined) throw wrong(t('has an impossible shape'));
  if (strides?.length !== shape.length) throw wrong(t('has strides that do not fit its shape'));
  if (!isSize(rawOffset)) throw wrong(t('begins at an impossible offset in its storage'));
  refuseOutside({ storage, element, offset: rawOffset, shape, strides }, wrong);
  return { kind: 'tensor', storage, element, offset: rawOffset + storage.view.start * storage.element.bytes / element.bytes, shape, strides };
}

/** (func, type, args, state): func(*args), with another class put on the result. */
function fromType(args: readonly PickleValue[]): PickleObject | undefined {
  const [func, , inner] = args;
  return func instanceof PickleGlobal && inner instanceof PickleTuple ? new PickleObject(func, inner.items) : undefined;
}

/** Version 3 names the dtype itself, over an untyped storage. */
function elementType(callable: PickleGlobal, args: readonly PickleValue[], storage: Storage): ElementType | undefined {
  if (!callable.name.endsWith('_v3')) return storage.element;
  const dtype = args[6];
  return dtype instanceof PickleGlobal && dtype.module === 'torch' ? TORCH_DTYPES.get(dtype.name) : undefined;
}

/** Conjugation and negation may be pending: {'conj': True} in the metadata that follows the other arguments. */
function lazyBit(callable: PickleGlobal, args: readonly PickleValue[]): string | undefined {
  const metadata = dictEntries(args[callable.name.endsWith('_v3') ? 7 : 6] ?? null);
  if (metadata?.get('conj') === true) return t('complex conjugate');
  if (metadata?.get('neg') === true) return t('negative');
  return undefined;
}

/** A tuple of sizes; torch.Size(...) and TorchScript's build_intlist([...]) wrap one. */
function sizes(value: PickleValue | undefined): number[] | undefined {
  const sequence = value instanceof PickleObject ? value.args[0] : value;
  if (!isSequence(sequence)) return undefined;
  const items: readonly PickleValue[] = sequence.items;
  const numbers = items.filter(isSize);
  return numbers.length === items.length ? numbers : undefined;
}

/** torch.load refuses a view that leaves its storage; a tensor without elements reaches nothing. */
function refuseOutside(tensor: Omit<RebuiltTensor, 'kind'>, wrong: (problem: string) => UserError): void {
  const { storage, element, offset, shape, strides } = tensor;
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    if (!isSize(elements * element.bytes)) throw wrong(t('has a shape whose product is too large'));
  }
  if (elements === 0) return;
  const last = shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] ?? 0), offset);
  const available = storage.view.count * storage.element.bytes;
  if (!isSize(last) || (last + 1) * element.bytes > available) {
    throw wrong(t`reaches up to element ${last}, and its storage ${quoted(storage.key)} has ${Math.floor(available / element.bytes)}`);
  }
}
