import { t } from '@vscode/l10n';
import type { ByteSource } from '../checkpoint/byteSource';
import type { Tensor } from '../checkpoint/checkpoint';
import { dtypeBits } from '../checkpoint/dtype';
import { tensorBytes } from '../checkpoint/tensorBytes';
import { UserError } from '../errors';
import type { RunOptions } from '../progress';

/** A stretch of a tensor's elements, counted row by row over the whole tensor. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** Of a request to another machine. */
const REMOTE_CHUNK_BYTES = 4 << 20;

/**
 * The bytes of a stretch of elements, piece by piece; of a tensor that is one plain byte range only they are read; over a network in larger requests.
 * Progress counts bytes.
 * @throws UserError when elements are no whole bytes, or cannot be read
 */
export async function* elementBytes(source: ByteSource, tensor: Tensor, { start, end }: Stretch, { signal, onProgress }: RunOptions = {}): AsyncGenerator<Uint8Array> {
  const bits = dtypeBits(tensor.dtype);
  if (bits % 8 !== 0) throw new UserError(t`${tensor.key} is ${tensor.dtype}: several elements share a byte, so its values cannot be shown. Its bytes can be extracted all the same.`);
  const width = bits / 8;
  const direct = tensor.indirect === undefined;
  const read = direct ? { ...tensor, offset: tensor.offset + start * width, length: (end - start) * width } : tensor;
  const skipped = direct ? 0 : start * width;
  const last = direct ? read.length : end * width;
  let done = 0;
  for await (const chunk of tensorBytes(source, read, { ...(signal && { signal }), ...(source.remote && { chunkBytes: REMOTE_CHUNK_BYTES }) })) {
    const from = Math.max(0, skipped - done);
    const to = Math.min(chunk.length, last - done);
    if (from < to) yield chunk.subarray(from, to);
    done += chunk.length;
    onProgress?.({ done: Math.min(done, last), total: last, label: tensor.key });
    if (done >= last) return;
  }
}
