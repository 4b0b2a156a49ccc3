import { partLength } from './fileLayout';
import type { FileLayout, FilePart } from './fileLayout';

/** How many bytes one element takes in the source and in the output; 1 and 1 when the tensor is not cast. */
export interface ElementSizes {
  readonly source: number;
  readonly output: number;
}

export type Segment =
  /** Bytes of the file that are not a tensor's: `length` bytes of `part` from `from` on. */
  | { readonly kind: 'frame'; readonly part: Exclude<FilePart, { kind: 'tensor' }>; readonly from: number; readonly start: number; readonly length: number }
  | {
    readonly kind: 'tensor';
    readonly index: number;
    /** Where in the tensor's source bytes the segment starts, how long it is there, and where it is read to. */
    readonly from: number;
    readonly rawLength: number;
    readonly rawStart: number;
    /** Where it goes in the batch's output bytes. */
    readonly start: number;
    readonly length: number;
    /** Whether the tensor ends here. */
    readonly last: boolean;
  };

/** A run of an output file's bytes that fits one buffer. */
export interface Batch {
  /** Byte offset in the output file. */
  readonly position: number;
  readonly length: number;
  readonly segments: readonly Segment[];
}

/**
 * Cuts a file into batches of at most `capacity` bytes, counted in the output and in the source, so that the buffers
 * of a copy are bounded (`capacity` is a multiple of 8). Many small tensors share a batch; a large tensor spans many, cut between elements.
 */
export function* batches(layout: FileLayout, elementSizes: (index: number) => ElementSizes, capacity: number): Generator<Batch> {
  let position = 0;
  let length = 0;
  let raw = 0;
  let segments: Segment[] = [];
  const flush = (): Batch => {
    const batch = { position, length, segments };
    position += length;
    length = 0;
    raw = 0;
    segments = [];
    return batch;
  };

  for (const part of layout.parts) {
    const sizes = part.kind === 'tensor' ? elementSizes(part.index) : { source: 1, output: 1 };
    const elements = partLength(part) / sizes.output;
    let done = 0;
    do {
      const room = Math.floor(Math.min((capacity - length) / sizes.output, (capacity - raw) / sizes.source));
      const count = Math.min(room, elements - done);
      if (count <= 0 && elements > 0) {
        yield flush();
        continue;
      }
      const outputLength = count * sizes.output;
      if (part.kind === 'tensor') {
        const rawLength = count * sizes.source;
        segments.push({ kind: 'tensor', index: part.index, from: done * sizes.source, rawLength, rawStart: raw, start: length, length: outputLength, last: done + count === elements });
        // A cast reads elements of up to 8 bytes as typed arrays, which must be aligned.
        raw = Math.ceil((raw + rawLength) / 8) * 8;
      } else {
        segments.push({ kind: 'frame', part, from: done, start: length, length: outputLength });
      }
      length += outputLength;
      done += count;
    } while (done < elements);
  }
  if (segments.length > 0) yield flush();
}
