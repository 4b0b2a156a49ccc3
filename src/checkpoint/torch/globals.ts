import type { PickleGlobal } from './pickleValue';
import { STORAGE_CLASSES } from './elementType';

/**
 * The globals that a checkpoint may name. None of them is ever imported or called, whatever it is;
 * the list decides which files are refused because they are out to run something.
 *
 * The first part is what torch.load(weights_only=True) accepts
 * (https://github.com/pytorch/pytorch/blob/main/torch/_weights_only_unpickler.py); the second what
 * training scripts commonly put beside the weights, plain data all of it, shown as a value that
 * was not loaded.
 */
const TENSOR_GLOBALS = [
  'collections.OrderedDict', 'collections.Counter',
  'torch.nn.parameter.Parameter', 'torch.nn.parameter.Buffer', 'torch.serialization._get_layout',
  'torch.Size', 'torch.Tensor', 'torch.device', '_codecs.encode',
  'builtins.bytearray', 'builtins.set', 'builtins.complex',
  'torch.storage.TypedStorage', 'torch.storage._TypedStorage', 'torch.storage.UntypedStorage', 'torch.storage._UntypedStorage',
  'torch.per_tensor_affine', 'torch.per_tensor_symmetric', 'torch.per_channel_affine', 'torch.per_channel_symmetric', 'torch.per_channel_affine_float_qparams',
  'torch._utils._rebuild_parameter', 'torch._utils._rebuild_parameter_with_state', 'torch._utils._rebuild_qtensor',
  'torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_tensor_v3',
  'torch._utils._rebuild_sparse_tensor', 'torch._utils._rebuild_meta_tensor_no_storage', 'torch._utils._rebuild_wrapper_subclass',
  'torch._utils._rebuild_nested_tensor', 'torch._utils._rebuild_device_tensor_from_numpy', 'torch._utils._rebuild_device_tensor_from_cpu_tensor',
  'torch._tensor._rebuild_from_type_v2',
];

const DATA_GLOBALS = [
  'argparse.Namespace', 'types.SimpleNamespace', 'collections.defaultdict', 'collections.deque', 'copyreg._reconstructor',
  'builtins.object', 'builtins.int', 'builtins.float', 'builtins.str', 'builtins.bool', 'builtins.bytes',
  'builtins.list', 'builtins.dict', 'builtins.tuple', 'builtins.frozenset', 'builtins.slice', 'builtins.range', 'builtins.Ellipsis',
  'datetime.datetime', 'datetime.date', 'datetime.time', 'datetime.timedelta', 'datetime.timezone',
  'decimal.Decimal', 'fractions.Fraction', 'uuid.UUID', 'typing.Any',
  'pathlib.Path', 'pathlib.PurePath', 'pathlib.PosixPath', 'pathlib.PurePosixPath', 'pathlib.WindowsPath', 'pathlib.PureWindowsPath', 'pathlib._local.PosixPath', 'pathlib._local.WindowsPath',
  'numpy.dtype', 'numpy.ndarray',
  ...['numpy.core.multiarray', 'numpy._core.multiarray'].flatMap(module => [`${module}.scalar`, `${module}._reconstruct`]),
  'numpy.core.numeric._frombuffer', 'numpy._core.numeric._frombuffer',
  ...['bool_', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64', 'float16', 'float32', 'float64'].map(name => `numpy.${name}`),
  'omegaconf.dictconfig.DictConfig', 'omegaconf.listconfig.ListConfig', 'omegaconf.base.ContainerMetadata', 'omegaconf.base.Metadata',
  ...['AnyNode', 'BooleanNode', 'FloatNode', 'IntegerNode', 'StringNode'].map(name => `omegaconf.nodes.${name}`),
  'pytorch_lightning.utilities.parsing.AttributeDict', 'lightning.fabric.utilities.data.AttributeDict', 'lightning_fabric.utilities.data.AttributeDict',
  'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint', 'pytorch_lightning.callbacks.early_stopping.EarlyStopping',
  'transformers.training_args.TrainingArguments', 'transformers.training_args.OptimizerNames',
  ...['IntervalStrategy', 'HubStrategy', 'SchedulerType', 'SaveStrategy', 'EvaluationStrategy'].map(name => `transformers.trainer_utils.${name}`),
  'deepspeed.runtime.fp16.loss_scaler.LossScaler', 'deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler',
];

/** TorchScript's own helpers, which its archives use for lists. */
const SCRIPT_GLOBALS = ['build_intlist', 'build_doublelist', 'build_boollist', 'build_tensorlist', 'restore_type_tag'].map(name => `torch.jit._pickle.${name}`);

const STORAGE_MODULES = ['torch', 'torch.cuda', 'torch.storage'];
const ALLOWED = new Set([
  ...TENSOR_GLOBALS, ...DATA_GLOBALS, ...SCRIPT_GLOBALS,
  ...STORAGE_MODULES.flatMap(module => [...STORAGE_CLASSES.keys()].map(name => `${module}.${name}`)),
]);

/** torch.float32 and the like, and the tensor types: names of data types that do nothing. */
const TYPE_NAME = /^(?:(?:b?float|complex|q?u?int|bits|bool)[0-9a-z_]*|half|double|short|long|(?:Float|Double|Half|BFloat16|Long|Int|Short|Char|Byte|Bool|ComplexFloat|ComplexDouble)Tensor)$/;
const TYPE_MODULES = new Set(['torch', 'torch.cuda', 'torch.sparse', 'torch.cuda.sparse']);

export function isAllowedGlobal(global: PickleGlobal): boolean {
  return ALLOWED.has(global.path) || (TYPE_MODULES.has(global.module) && TYPE_NAME.test(global.name));
}

/** Classes compiled into a TorchScript archive; Python has no such modules to import. */
export function isScriptClass(global: PickleGlobal): boolean {
  return global.module === '__torch__' || global.module.startsWith('__torch__.');
}
