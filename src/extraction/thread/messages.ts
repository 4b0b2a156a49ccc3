import type { Dtype } from '../../checkpoint/dtype';

/** A tensor's bytes (row-major, little-endian) as a thread reads them, from the first to the last. */
export interface ThreadSource {
  /** Names it when its bytes are asked for. */
  readonly id: number;
  readonly length: number;
  /** The open file that has them as one range from `offset` on; undefined when only the host can read them. */
  readonly file: { readonly fd: number; readonly offset: number } | undefined;
}

/** Bytes of the output that are not a tensor's, with CRC-32s of tensors of the same run to be put in, little-endian. */
export interface Frame {
  readonly kind: 'frame';
  readonly bytes: Uint8Array;
  readonly crcs: readonly { readonly at: number; readonly index: number }[];
}

export interface TensorPart {
  readonly kind: 'tensor';
  readonly index: number;
  readonly source: ThreadSource;
  /** The dtype of the source, and that of the output. */
  readonly from: Dtype;
  readonly to: Dtype;
}

/** To write one run of an output file, whole tensors in it. */
export interface CopyJob {
  readonly kind: 'copy';
  /** The output file's descriptor, and where in it the run goes. */
  readonly out: number;
  readonly position: number;
  readonly parts: readonly (Frame | TensorPart)[];
  /** The file's beginning that is written already: read back instead, and checked. Its end lies in this run or behind it. */
  readonly written: { readonly bytes: number; readonly crc: number } | undefined;
  /** CRC-32 of the file up to `position`; undefined when nobody needs it. */
  readonly fileCrc: number | undefined;
  readonly tensorCrcs: boolean;
}

/** To hash one tensor and, with an original, to compare it with that, cast as it was cast. */
export interface CheckJob {
  readonly kind: 'check';
  readonly tensor: ThreadSource;
  readonly original: { readonly source: ThreadSource; readonly from: Dtype; readonly to: Dtype } | undefined;
}

export type Job = CopyJob | CheckJob;

export interface Copied {
  readonly tensors: readonly { readonly index: number; readonly sha256: string; readonly sourceSha256: string; readonly crc: number }[];
  readonly fileCrc: number | undefined;
}

export interface Checked {
  readonly sha256: string;
  /** Where the first byte is that differs from the original's; undefined when none does. */
  readonly differsAt: number | undefined;
}

export interface Advance {
  /** Bytes since the last report. */
  readonly bytes: number;
  /** The tensor being worked on, if any. */
  readonly id: number | undefined;
  /** The file's bytes up to here are written, of a run in file order. */
  readonly end: number;
  readonly fileCrc: number | undefined;
}

/** Bytes that the thread cannot read itself; it sleeps until they are in `space`. */
export interface Pull {
  readonly id: number;
  readonly from: number;
  readonly space: SharedArrayBuffer;
  readonly start: number;
  readonly length: number;
}

export type Message =
  | { readonly kind: 'advance'; readonly advance: Advance }
  | { readonly kind: 'pull'; readonly pull: Pull }
  | { readonly kind: 'done'; readonly result: Copied | Checked }
  | { readonly kind: 'failed'; readonly failure: Failure };

/** Errors lose their code between threads. */
export type Failure =
  | { readonly kind: 'stopped' | 'pull' | 'damaged' }
  | { readonly kind: 'error'; readonly message: string; readonly code: string | undefined; readonly stack: string | undefined };

/** The words that host and thread share. */
export const CONTROL = { stop: 0, pull: 1 } as const;
export const PULL = { pending: 0, arrived: 1, failed: 2 } as const;
