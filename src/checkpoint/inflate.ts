import { Readable, pipeline } from 'node:stream';
import { createInflateRaw } from 'node:zlib';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { readBytes, type ByteSource } from './byteSource';

/** Compressed bytes of a zip entry and their size once inflated. */
export interface Deflated {
  readonly offset: number;
  readonly compressedLength: number;
  readonly length: number;
}

const READ_BYTES = 256 * 1024;
/** Deflate cannot expand further (zlib's technical notes: 1032 to 1). */
const MAX_RATIO = 1032;

/** @throws UserError when so few bytes cannot hold what they declare: for whoever makes room for it. */
export function refuseImpossible(source: ByteSource, { offset, compressedLength, length }: Deflated): void {
  if (length > compressedLength * MAX_RATIO) {
    throw new UserError(t`${source.name} is damaged: it claims that ${compressedLength} compressed bytes at ${offset} hold ${length}, which is impossible. Download it again.`);
  }
}

/**
 * Bytes `start` to `start + length` of a deflated zip entry, in chunks; everything before them has to be inflated too.
 * @throws UserError when the entry is damaged or holds another number of bytes than it declares.
 */
export async function* inflateRange(source: ByteSource, deflated: Deflated, start: number, length: number, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  refuseImpossible(source, deflated);
  const end = start + length;
  const wrong = (cause?: unknown): UserError =>
    new UserError(t`${source.name} is damaged: the compressed data at byte ${deflated.offset} do not hold the ${deflated.length} bytes that they declare. Download it again.`, { cause });
  let failure: unknown;
  const inflate = createInflateRaw();
  const input = Readable.from(compressedChunks(source, deflated, signal));
  pipeline(input, inflate, error => { failure ??= error ?? undefined; });
  let position = 0;
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      const chunkStart = position;
      position += chunk.length;
      if (position > deflated.length) throw wrong();
      const wanted = chunk.subarray(Math.max(0, start - chunkStart), Math.max(0, end - chunkStart));
      if (wanted.length > 0) yield wanted;
      // Reading on to the end of the entry only serves to check its size, so that is left to whoever wants the end.
      if (position >= end && end < deflated.length) return;
    }
    if (position !== deflated.length) throw wrong();
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('Z_')) throw wrong(error);
    throw failure instanceof UserError ? failure : error;
  } finally {
    input.destroy();
    inflate.destroy();
  }
}

async function* compressedChunks(source: ByteSource, deflated: Deflated, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < deflated.compressedLength; done += READ_BYTES) {
    yield await readBytes(source, deflated.offset + done, Math.min(READ_BYTES, deflated.compressedLength - done), signal);
  }
}
