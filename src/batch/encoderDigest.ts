import { createHash } from 'node:crypto';
import type { ByteSource } from '../checkpoint/byteSource';
import { openFile } from '../checkpoint/fileSource';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { storedBytes, type EncoderModel } from '../encoder/model';
import type { RunOptions } from '../progress';

/**
 * SHA-256, hexadecimal, of all that an encoder computes with: its forward pass, and the keys, dtypes, shapes and bytes of
 * its weights. Equal wherever these lie: in the full model, extracted, or renamed. Progress counts bytes.
 * @throws UserError when a file cannot be read; AbortError when cancelled
 */
export async function encoderDigest(model: EncoderModel, { signal, onProgress }: RunOptions = {}): Promise<string> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(model.graph));
  const progress = { done: 0, total: storedBytes(model), label: 'hashing' };
  const sources = new Map<string, ByteSource>();
  try {
    for (const [key, stored] of [...model.weights].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const source = sources.get(stored.path) ?? await openFile(stored.path);
      sources.set(stored.path, source);
      hash.update(JSON.stringify([key, stored.dtype, stored.shape]));
      for await (const chunk of tensorBytes(source, stored, { ...(signal && { signal }) })) {
        hash.update(chunk);
        progress.done += chunk.length;
        onProgress?.({ ...progress });
      }
    }
  } finally {
    for (const source of sources.values()) await source.close();
  }
  return hash.digest('hex');
}
