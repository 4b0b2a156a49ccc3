import { partLength } from './fileLayout';
import type { FileLayout, FilePart } from './fileLayout';

/** Parts in one run at most: of tiny tensors many fit into a run, and a thread's memory is small. */
const MOST_PARTS = 4096;

/** Whole parts of an output file that one thread writes, one after the other. */
export interface Run {
  /** Byte offset in the output file. */
  readonly position: number;
  readonly parts: readonly FilePart[];
  /** Whether it needs the CRC-32 of tensors in earlier runs. */
  readonly waits: boolean;
}

/**
 * Cuts a file into runs of about `size` bytes: a tensor is never cut, since its digest is made front to back, and what
 * needs only the CRC-32s of tensors right before it stays with them.
 */
export function* runs(layout: FileLayout, size: number): Generator<Run> {
  let position = 0;
  let parts: FilePart[] = [];
  let bytes = 0;
  let inside = new Set<number>();
  const flush = (waits: boolean): Run => {
    const run = { position, parts, waits };
    position += bytes;
    parts = [];
    bytes = 0;
    inside = new Set();
    return run;
  };
  for (const part of layout.parts) {
    const own = part.kind === 'late' && part.crcs.every(({ index }) => inside.has(index));
    if ((bytes >= size || parts.length >= MOST_PARTS) && !own) yield flush(false);
    if (part.kind === 'late' && !own) {
      if (parts.length > 0) yield flush(false);
      parts.push(part);
      bytes += partLength(part);
      yield flush(true);
      continue;
    }
    parts.push(part);
    bytes += partLength(part);
    if (part.kind === 'tensor') inside.add(part.index);
  }
  if (parts.length > 0) yield flush(false);
}
