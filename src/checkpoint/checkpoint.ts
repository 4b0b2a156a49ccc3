import type { ByteSource, FileStore } from './byteSource';
import type { Dtype } from './dtype';

/** One tensor of a state dict, as headers describe it. Its bytes are not loaded. */
export interface Tensor {
  readonly key: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Index into `Checkpoint.files`. */
  readonly file: number;
  /** Byte offset of the first element within the file (within the inflated storage when `indirect.deflate` is set). */
  readonly offset: number;
  /** Bytes of the tensor when written row-major: elements x bits / 8. */
  readonly length: number;
  /** Set when the tensor is not simply `length` row-major little-endian bytes at `offset`. */
  readonly indirect?: Indirect;
}

/** How a PyTorch tensor's elements lie in its file when they are not one plain byte range. */
export interface Indirect {
  /** Elements to step per dimension, when the tensor is a view that is not contiguous (transposed, expanded, sliced). */
  readonly strides?: readonly number[];
  /** The zip entry that must be inflated to reach the storage: where its compressed bytes lie, and its inflated size. */
  readonly deflate?: { readonly offset: number; readonly compressedLength: number; readonly length: number };
  /** Elements are stored most significant byte first. */
  readonly bigEndian?: true;
}

/** A file that holds tensors: one shard, or the whole checkpoint. */
export interface CheckpointFile {
  /** Relative to the checkpoint's folder, with forward slashes. */
  readonly name: string;
  readonly format: 'safetensors' | 'torch-zip' | 'torch-legacy';
  readonly source: ByteSource;
  /** safetensors `__metadata__`; empty for PyTorch files. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** A multimodal model's (or an encoder's) weights on disk: the one list that everything else works on. */
export interface Checkpoint {
  /** The folder's or file's name, for titles. */
  readonly name: string;
  /** Where it was opened from: an absolute path or an address. */
  readonly location: string;
  /** The folder that holds it: its config.json and preprocessor_config.json lie there too. */
  readonly store: FileStore;
  readonly files: readonly CheckpointFile[];
  /** In state-dict order: numbered shards by number, others as the index names them; in each as its header or pickle lists them. */
  readonly tensors: readonly Tensor[];
  /** Values in a pickle that are not tensors (training arguments, step counts), shown but never called. */
  readonly others: readonly { readonly key: string; readonly description: string }[];
  /** What a person should know and that does not prevent reading: a duplicate key, a stray shard, a `(0,)` tensor. */
  readonly warnings: readonly string[];
  /** Closes every file. */
  close(): Promise<void>;
}

/** What a reader of one file format finds in it. */
export interface ParsedFile {
  readonly format: CheckpointFile['format'];
  readonly tensors: readonly Tensor[];
  readonly metadata: ReadonlyMap<string, string>;
  readonly others: Checkpoint['others'];
  readonly warnings: readonly string[];
}
