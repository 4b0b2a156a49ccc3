/*
 * What the preview's page and the host both count on.
 */

/** Where an encoder can be asked to run, by ONNX Runtime's names for its providers. */
export const DEVICE_CHOICES = ['auto', 'cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;

/**
 * Which blocks' hidden states are kept of a picture: all; a quarter of them where memory is short; or the first ones, after which
 * the run ends: then there is no output, and the other blocks' weights are never read.
 */
export const KEPT_LAYERS = ['all', 'quarter', 'firstHalf', 'firstQuarter'] as const;
type Kept = (typeof KEPT_LAYERS)[number];

/** The blocks of `layers` that are kept; the last that runs is always among them. */
export function keptLayers(layers: number, kept: Kept): number[] {
  const every = Array.from({ length: layers }, (_, layer) => layer);
  switch (kept) {
    case 'all': return every;
    case 'quarter': return every.filter(layer => (layers - 1 - layer) % 4 === 0);
    case 'firstHalf': return every.slice(0, Math.ceil(layers / 2));
    case 'firstQuarter': return every.slice(0, Math.ceil(layers / 4));
  }
}

/** Whether the encoder runs to its end, so that its output and its pool are there. */
export function runsToEnd(kept: Kept): boolean {
  return kept === 'all' || kept === 'quarter';
}

/** The sections beside the pictures, from above. */
export const SIDE_SECTIONS = ['view', 'features', 'patch', 'compare', 'run', 'save', 'keyboard'] as const;

/** So many pictures are dropped by their addresses at once, at most. */
export const MAX_ADDRESSES = 64;

/** Characters that are copied at once, at most: a patch of a hundred thousand channels. */
export const MAX_COPIED = 1 << 21;

/** A dropped or pasted picture is at most this large. */
export const MAX_PICTURE_BYTES = 64 * 1024 * 1024;

/** The temperature of CLIP's softmax before training, which models without a `logit_scale` are compared at. */
export const DEFAULT_TEMPERATURE = 0.07;
