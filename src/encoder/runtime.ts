/** ONNX Runtime's native library, loaded when first needed: it is large, and only the encoder's process uses it. */
export function loadRuntime(): Promise<typeof import('onnxruntime-node')> {
  return runtime ??= import('onnxruntime-node');
}

let runtime: Promise<typeof import('onnxruntime-node')> | undefined;
