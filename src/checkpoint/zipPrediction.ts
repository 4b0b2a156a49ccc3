import type { ZipEntry } from './zip';

const LOCAL_HEADER = 30;
/** PyTorch's writer starts every record's data at a multiple of this (kFieldAlignment in caffe2/serialize/inline_container.h). */
const ALIGNMENT = 64;
/** A data descriptor's possible lengths: with or without signature, sizes of 4 or 8 bytes (APPNOTE 4.3.9). */
const DESCRIPTORS = [12, 16, 20, 24];

/**
 * Where each entry's data begins, computed from the directory alone, for archives without gaps whose data is aligned
 * as PyTorch aligns it: between header and data lies what aligns the data, and behind the data a descriptor if the
 * flags say so. Entries follow each other, so that the sum of the two is known, and only one split of it aligns.
 * Undefined when not all entries fit this rule.
 */
export function predictDataOffsets(entries: readonly ZipEntry[]): Map<ZipEntry, number> | undefined {
  const offsets = new Map<ZipEntry, number>();
  for (const entry of entries) {
    const nameEnd = entry.headerOffset + LOCAL_HEADER + Buffer.byteLength(entry.name);
    const fitting = (entry.sizesInHeader ? [0] : DESCRIPTORS)
      .map(descriptor => entry.end - descriptor - entry.compressedLength)
      .filter(offset => offset >= nameEnd && offset % ALIGNMENT === 0 && offset - nameEnd < 4 * ALIGNMENT);
    const [offset] = fitting;
    if (offset === undefined || fitting.length > 1) return undefined;
    offsets.set(entry, offset);
  }
  return offsets;
}
