/*
 * What the preview's page and the host both count on.
 */

/** Where an encoder can be asked to run, by ONNX Runtime's names for its providers. */
export const DEVICE_CHOICES = ['auto', 'cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;

/** A dropped or pasted picture is at most this large. */
export const MAX_PICTURE_BYTES = 64 * 1024 * 1024;

/** The temperature of CLIP's softmax before training, which models without a `logit_scale` are compared at. */
export const DEFAULT_TEMPERATURE = 0.07;
