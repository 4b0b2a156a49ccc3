/** Fills `target` with the bytes from `start` on, counted from the view's first element. */
export type ReadRange = (target: Uint8Array, start: number) => Promise<void>;

export interface StridedView {
  readonly shape: readonly number[];
  /** In elements, not negative. */
  readonly strides: readonly number[];
  readonly elementBytes: number;
}

/** Elements are copied from pieces of the file of at most this size. */
const WINDOW_BYTES = 1 << 20;
/** Output is put together in blocks of this size: the rows of a transposed matrix that one pass over its columns serves. */
const BLOCK_BYTES = 16 << 20;

/**
 * The elements of a view in row-major order, in chunks of at most `chunkBytes` (a multiple of the
 * element's size). The output is made block by block; for each block, the dimensions with the
 * smallest strides are read together in one window, and the others are stepped through. A
 * transposed matrix is thus read in runs of `BLOCK_BYTES / row bytes` elements, not one by one.
 */
export async function* gather(view: StridedView, read: ReadRange, chunkBytes: number, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  for (const block of blocks(view)) {
    signal?.throwIfAborted();
    const bytes = await gatherBlock(block, view.elementBytes, read, signal);
    for (let done = 0; done < bytes.length; done += chunkBytes) yield bytes.subarray(done, done + chunkBytes);
  }
}

/** One dimension of a block: its size and what one step means in the source and in the output, in elements. */
interface Axis {
  readonly size: number;
  readonly source: number;
  readonly output: number;
}

interface Block {
  /** Of its first element, in the source. */
  readonly start: number;
  readonly axes: readonly Axis[];
  readonly elements: number;
}

/** Cuts the view along its outer dimensions into blocks that follow each other in the output. */
function* blocks({ shape, strides, elementBytes }: StridedView): Generator<Block> {
  const limit = Math.floor(BLOCK_BYTES / elementBytes);
  // Dimensions from `split + 1` on fit into a block whole; of `split` itself, `step` indices do.
  let inner = 1;
  let split = shape.length - 1;
  while (split > 0 && inner * (shape[split] ?? 1) <= limit) inner *= shape[split--] ?? 1;
  const size = shape[split] ?? 1;
  const stride = strides[split] ?? 0;
  const step = Math.max(1, Math.floor(limit / inner));
  const whole = rowMajorAxes(shape.slice(split + 1), strides.slice(split + 1));
  for (const outer of positions(rowMajorAxes(shape.slice(0, Math.max(0, split)), strides.slice(0, Math.max(0, split))))) {
    for (let first = 0; first < size; first += step) {
      const count = Math.min(step, size - first);
      yield { start: outer.source + first * stride, axes: [{ size: count, source: stride, output: inner }, ...whole], elements: count * inner };
    }
  }
}

function rowMajorAxes(shape: readonly number[], strides: readonly number[]): Axis[] {
  let output = 1;
  return shape.map((size, i): [number, number] => [size, strides[i] ?? 0]).reverse().map(([size, source]) => {
    const axis = { size, source, output };
    output *= size;
    return axis;
  }).reverse();
}

async function gatherBlock({ start, axes, elements }: Block, elementBytes: number, read: ReadRange, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const target = new Uint8Array(elements * elementBytes);
  const { window, outer } = splitIntoWindows(axes.filter(axis => axis.size > 1), Math.floor(WINDOW_BYTES / elementBytes));
  const buffer = new Uint8Array(window.reduce((span, axis) => span + (axis.size - 1) * axis.source, 1) * elementBytes);
  for (const { source, output, axis } of outerPositions(outer, window)) {
    signal?.throwIfAborted();
    const span = axis.reduce((sum, { size, source }) => sum + (size - 1) * source, 1) * elementBytes;
    const piece = buffer.subarray(0, span);
    await read(piece, (start + source) * elementBytes);
    scatter(piece, target, output, axis, elementBytes);
  }
  return target;
}

interface Windows {
  /** Read together. */
  readonly window: readonly Axis[];
  /** Stepped through; the first `step` of `partial` are in the window. */
  readonly outer: { readonly whole: readonly Axis[]; readonly partial: { readonly axis: Axis; readonly step: number } | undefined };
}

/** The axes with the smallest strides as far as their span fits `limit` elements; of the first that does not, as many indices as do. */
function splitIntoWindows(axes: readonly Axis[], limit: number): Windows {
  const sorted = axes.slice().sort((a, b) => a.source - b.source);
  const window: Axis[] = [];
  let span = 1;
  for (const [i, axis] of sorted.entries()) {
    const room = limit - span;
    if ((axis.size - 1) * axis.source <= room) {
      window.push(axis);
      span += (axis.size - 1) * axis.source;
      continue;
    }
    const step = Math.floor(room / axis.source) + 1;
    return { window: [...window, { ...axis, size: step }], outer: { whole: sorted.slice(i + 1), partial: { axis, step } } };
  }
  return { window, outer: { whole: [], partial: undefined } };
}

function* outerPositions({ whole, partial }: Windows['outer'], window: readonly Axis[]): Generator<{ source: number; output: number; axis: readonly Axis[] }> {
  for (const { source, output } of positions(whole)) {
    if (partial === undefined) {
      yield { source, output, axis: window };
      continue;
    }
    const { axis, step } = partial;
    for (let first = 0; first < axis.size; first += step) {
      const size = Math.min(step, axis.size - first);
      yield { source: source + first * axis.source, output: output + first * axis.output, axis: [...window.slice(0, -1), { ...axis, size }] };
    }
  }
}

/** Every combination of indices along `axes`, the last axis fastest. */
function* positions(axes: readonly Axis[]): Generator<{ source: number; output: number }> {
  const index = axes.map(() => 0);
  let source = 0;
  let output = 0;
  for (;;) {
    yield { source, output };
    let i = axes.length - 1;
    for (; i >= 0; i--) {
      const axis = axes[i];
      const next = (index[i] ?? 0) + 1;
      if (axis === undefined) return;
      if (next < axis.size) {
        index[i] = next;
        source += axis.source;
        output += axis.output;
        break;
      }
      index[i] = 0;
      source -= (axis.size - 1) * axis.source;
      output -= (axis.size - 1) * axis.output;
    }
    if (i < 0) return;
  }
}

/** Copies a window's elements to their places; the longest axis is the inner loop. */
function scatter(piece: Uint8Array, target: Uint8Array, output: number, axes: readonly Axis[], elementBytes: number): void {
  const sorted = axes.slice().sort((a, b) => a.size - b.size);
  const inner = sorted.pop() ?? { size: 1, source: 0, output: 0 };
  const copyElements = elementCopier(piece, target, elementBytes);
  for (const position of positions(sorted)) copyElements(position.source, output + position.output, inner);
}

type CopyElements = (from: number, to: number, axis: Axis) => void;

/** Buffers begin at multiples of 8, so that elements can be moved as numbers of their size. */
function elementCopier(piece: Uint8Array, target: Uint8Array, elementBytes: number): CopyElements {
  const [from, to] = elementBytes === 8 ? [new BigUint64Array(piece.buffer, 0, piece.length / 8), new BigUint64Array(target.buffer)]
    : elementBytes === 4 ? [new Uint32Array(piece.buffer, 0, piece.length / 4), new Uint32Array(target.buffer)]
      : elementBytes === 2 ? [new Uint16Array(piece.buffer, 0, piece.length / 2), new Uint16Array(target.buffer)]
        : [piece, target];
  return (source, output, axis) => {
    if (axis.source === 1 && axis.output === 1) {
      target.set(piece.subarray(source * elementBytes, (source + axis.size) * elementBytes), output * elementBytes);
      return;
    }
    for (let i = 0; i < axis.size; i++) {
      const element = from[source + i * axis.source];
      if (element !== undefined) to[output + i * axis.output] = element;
    }
  };
}
