import type { Grid } from '../architecture/positions';

/** A value on its way between stages: float32, row-major. */
export interface Array32 {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** How a long call is watched: between stages it reports, hands out what is ready, and may be stopped. */
export interface StageHooks {
  onProgress: (done: number, total: number, label: string) => void;
  /** Throws when the call was cancelled. */
  check: () => void;
}

export interface RunHooks extends StageHooks {
  onOutput: (name: string, value: Array32) => Promise<void>;
}

/** An encoder on a device, for every size of picture that it takes. */
export interface LoadedEncoder {
  /**
   * @param pixels (batch, 3, height, width)
   * @param outputs names as `wantedOutputs` knows them; handed out as soon as each is ready
   */
  run(pixels: Array32, outputs: readonly string[], hooks: RunHooks): Promise<void>;
  /**
   * The attention map of one head, as the graph has it.
   * @param hidden the hidden state that goes into the block, (batch, tokens, width)
   * @param grid the patches that it came of
   */
  attention(layer: number, head: number, hidden: Array32, grid: Grid): Promise<Array32>;
  close(): Promise<void>;
}
