import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { OutputTensor } from './fileLayout';
import { weightsLayout, type OutputFormat } from './weightsLayout';

/** A file of an output that is made here, and not copied out of a checkpoint. */
export interface ExtraFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Its bytes, front to back; each is used before the next is made. */
  readonly chunks: () => Iterable<Uint8Array>;
}

export function textFile(name: string, text: string): ExtraFile {
  const bytes = Buffer.from(text);
  return { name, size: bytes.length, chunks: () => [bytes] };
}

export function jsonFile(name: string, value: unknown): ExtraFile {
  return textFile(name, `${JSON.stringify(value, null, 2)}\n`);
}

/**
 * A file of weights.
 * @param bytesOf the bytes of a tensor, by its place in `tensors`: little-endian, row-major; may be asked for in any order
 */
export function weightsFile(name: string, tensors: readonly OutputTensor[], format: OutputFormat, bytesOf: (index: number) => Iterable<Uint8Array>): ExtraFile {
  const layout = weightsLayout(name, tensors, format);
  return {
    name,
    size: layout.size,
    *chunks() {
      const crcs = new Map<number, number>();
      for (const part of layout.parts) {
        if (part.kind === 'bytes') yield part.bytes;
        else if (part.kind === 'tensor') {
          let crc = 0;
          for (const chunk of bytesOf(part.index)) {
            crc = crc32(chunk, crc);
            yield chunk;
          }
          crcs.set(part.index, crc);
        } else {
          const bytes = Buffer.from(part.bytes);
          for (const { at, index } of part.crcs) bytes.writeUInt32LE(crcs.get(index) ?? 0, at);
          yield bytes;
        }
      }
    },
  };
}

/**
 * Writes a file's bytes to where the handle stands.
 * @returns their SHA-256, in hexadecimal
 */
export async function writeExtraFile(handle: FileHandle, { chunks }: ExtraFile, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  await handle.truncate();
  for (const chunk of chunks()) {
    signal?.throwIfAborted();
    hash.update(chunk);
    await handle.writeFile(chunk);
  }
  return hash.digest('hex');
}
