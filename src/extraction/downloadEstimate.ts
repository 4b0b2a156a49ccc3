import type { Plan } from '../recipe/plan';

/** What extracting from a remote checkpoint takes from the network. */
export interface DownloadEstimate {
  /** Bytes of the kept tensors. Headers are here already; gaps between ranges and repeated attempts add 1% at most. */
  readonly download: number;
  /** Bytes of all the checkpoint's weight files. */
  readonly total: number;
  /** Bytes that stay where they are. */
  readonly saved: number;
}

/** Undefined when the checkpoint is on this machine. */
export function downloadEstimate({ checkpoint, kept }: Plan): DownloadEstimate | undefined {
  const remote = checkpoint.files.map(({ source }) => source.remote !== undefined);
  if (!remote.includes(true)) return undefined;
  const total = checkpoint.files.reduce((sum, { source }) => sum + (source.remote === undefined ? 0 : source.size), 0);
  const download = kept.reduce((sum, { tensor }) => sum + (remote[tensor.file] === true ? tensor.length : 0), 0);
  return { download, total, saved: Math.max(0, total - download) };
}
