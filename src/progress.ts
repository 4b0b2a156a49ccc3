/** What a long call reports while it runs. */
export interface Progress {
  /** Units done so far and in all; bytes unless the call says otherwise. */
  done: number;
  total: number;
  /** What is being worked on, for a person: a shard's name, a tensor's key. */
  label?: string;
}

/** How every long call is watched and stopped. */
export interface RunOptions {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}
