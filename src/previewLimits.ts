/*
 * What the preview's page and the host both count on.
 */

/** Where an encoder can be asked to run, by ONNX Runtime's names for its providers. */
export const DEVICE_CHOICES = ['auto', 'cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;

/** Which blocks' hidden states are kept of a picture: all, or a quarter of them where memory is short. */
export const KEPT_LAYERS = ['all', 'quarter'] as const;

/** The blocks of `layers` that are kept; the last is always among them. */
export function keptLayers(layers: number, kept: (typeof KEPT_LAYERS)[number]): number[] {
  const every = Array.from({ length: layers }, (_, layer) => layer);
  return kept === 'all' ? every : every.filter(layer => (layers - 1 - layer) % 4 === 0);
}

/** A dropped or pasted picture is at most this large. */
export const MAX_PICTURE_BYTES = 64 * 1024 * 1024;

/** The temperature of CLIP's softmax before training, which models without a `logit_scale` are compared at. */
export const DEFAULT_TEMPERATURE = 0.07;
