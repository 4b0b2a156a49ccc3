import { createHash } from 'node:crypto';

/**
 * A file's tree hash: SHA-256 of the file in which each tensor's bytes are replaced by their own SHA-256 (32 bytes).
 * Every byte of the file is hashed once, on many threads at a time, and the result changes with any of them, as the
 * plain SHA-256 would: the frame around the tensors (a safetensors header, a zip's records) says where each one lies.
 * Tensors without bytes leave nothing.
 */
export function treeHash(): { frame(bytes: Uint8Array): void; tensor(length: number, sha256: string): void; digest(): string } {
  const hash = createHash('sha256');
  return {
    frame: bytes => { hash.update(bytes); },
    tensor: (length, sha256) => { if (length > 0) hash.update(sha256, 'hex'); },
    digest: () => hash.digest('hex'),
  };
}
