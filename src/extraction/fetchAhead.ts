import { Prefetch } from '../remote/prefetch';
import type { PlannedRead } from '../remote/prefetch';
import type { TensorCopy } from './copy';
import { partLength } from './fileLayout';
import type { FileLayout } from './fileLayout';
import type { Located } from './thread/sources';

/**
 * The same copies, with those from remote files reading what is fetched ahead of them, in the order in which the file
 * is written. Tensors that are not one byte range are read as they are gathered.
 * @param written bytes of the file that are there already: what they hold is not fetched.
 */
export function fetchAhead(layout: FileLayout, copies: readonly TensorCopy[], written: number): { readonly copies: readonly TensorCopy[]; close(): Promise<void> } {
  const reads: PlannedRead[] = [];
  const planned = new Map<number, number>();
  let position = 0;
  for (const part of layout.parts) {
    const copy = part.kind === 'tensor' ? copies[part.index] : undefined;
    if (part.kind === 'tensor' && copy?.source.remote !== undefined && copy.tensor.indirect === undefined) {
      const { source, tensor } = copy;
      const skipped = Math.min(tensor.length, Math.max(0, written - position));
      planned.set(part.index, reads.length);
      reads.push({ source, position: tensor.offset + skipped, length: tensor.length - skipped });
    }
    position += partLength(part);
  }
  if (reads.length === 0) return { copies, close: () => Promise.resolve() };
  const prefetch = new Prefetch(reads);
  return {
    copies: copies.map((copy, index) => {
      const read = planned.get(index);
      return read === undefined ? copy : { ...copy, source: prefetch.source(read) };
    }),
    close: () => prefetch.close(),
  };
}

/**
 * Tensors that outputs are compared with, one after the other; remote ones read what is fetched ahead.
 * After each comparison `leave` must be told, which may not have read all.
 */
export function originalsAhead(tensors: readonly (Located | undefined)[]): { readonly originals: readonly (Located | undefined)[]; leave(index: number): void; close(): Promise<void> } {
  const reads: PlannedRead[] = [];
  const planned = new Map<number, number>();
  for (const [index, original] of tensors.entries()) {
    if (original?.source.remote === undefined || original.tensor.indirect !== undefined) continue;
    planned.set(index, reads.length);
    reads.push({ source: original.source, position: original.tensor.offset, length: original.tensor.length });
  }
  const prefetch = new Prefetch(reads);
  return {
    originals: tensors.map((original, index) => {
      const read = planned.get(index);
      return original === undefined || read === undefined ? original : { ...original, source: prefetch.source(read) };
    }),
    leave(index) {
      const read = planned.get(index);
      if (read !== undefined) prefetch.drop(read);
    },
    close: () => prefetch.close(),
  };
}
