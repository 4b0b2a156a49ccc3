/*
 * What the preview's page and the host both count on. Apart from the schemas, so that the page need not carry zod.
 */

/** Where an encoder can be asked to run, by ONNX Runtime's names for its providers. */
export const DEVICE_CHOICES = ['auto', 'cpu', 'webgpu', 'cuda', 'dml', 'coreml'] as const;

/** A dropped or pasted picture is at most this large. */
export const MAX_PICTURE_BYTES = 64 * 1024 * 1024;
