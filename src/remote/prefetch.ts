import { t } from '@vscode/l10n';
import type { ByteSource } from '../checkpoint/byteSource';
import { UserError } from '../errors';

/** A byte range that will be read from its first byte to its last, or nearly in that order. */
export interface PlannedRead {
  readonly source: ByteSource;
  readonly position: number;
  readonly length: number;
}

/** One request asks for at most this much; several are under way at once. */
const REQUEST_BYTES = 4 << 20;
/** Ranges this near to each other in the plan are fetched together when they are neighbours in their file. */
const WINDOW_BYTES = 16 << 20;
const WINDOW_PIECES = 512;
/** Bytes fetched and not yet read. More than two windows, so that the window that is being read is always all under way. */
const MEMORY_BYTES = 48 << 20;
/** Bytes between two ranges that are fetched and thrown away rather than making another request... */
const MOST_GAP = 16 << 10;
/** ...as long as all of them together are less than this part of what is wanted. */
const WASTE = 0.01;

/** A part of a planned read, and the request that brings it. */
interface Piece {
  readonly read: number;
  readonly position: number;
  readonly length: number;
}

interface Block {
  readonly position: number;
  readonly bytes: Uint8Array;
  readonly arrived: Promise<void>;
  readonly pieces: readonly Piece[];
  /** Bytes of its pieces that nobody has taken yet. */
  untaken: number;
}

interface Requested {
  readonly piece: Piece;
  readonly block: Block;
  taken: number;
}

/**
 * Fetches ranges ahead of their reader: known reads of remote files become few requests, several at once, while memory
 * stays below some 50 MB. What is near in the plan and in the file travels in one request, whatever the order.
 */
export class Prefetch {
  readonly #reads: readonly PlannedRead[];
  readonly #groups: Iterator<Piece[], undefined>;
  /** By read, the blocks that have been requested for it. */
  readonly #pieces: Requested[][];
  /** Reads whose bytes nobody wants any more. */
  readonly #dropped = new Set<number>();
  readonly #stopped = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  #next: Piece[] | undefined;
  #held = 0;
  #wake: () => void = () => undefined;
  #started: Promise<void> = Promise.resolve();

  constructor(reads: readonly PlannedRead[]) {
    this.#reads = reads;
    this.#pieces = reads.map(() => []);
    this.#groups = groups(reads);
    this.#renew();
    this.#pump();
  }

  /** Reads planned range `index`: a source of the same positions, for this range alone. Each byte can be read once. */
  source(index: number): ByteSource {
    const read = this.#reads[index];
    if (read === undefined) throw new RangeError(`There is no planned read ${index}.`);
    const { name, size } = read.source;
    return {
      name,
      size,
      readInto: (target, position, signal) => this.#take(index, target, position, signal),
      close: () => Promise.resolve(),
    };
  }

  /** Says that the rest of a planned range will not be read; otherwise what waits for its reader holds up the others. */
  drop(index: number): void {
    this.#dropped.add(index);
    for (const requested of this.#pieces[index] ?? []) this.#count(requested, requested.piece.length - requested.taken);
    this.#pump();
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#stopped.abort(new UserError(t('The download was ended.')));
    await Promise.allSettled(this.#underWay);
  }

  async #take(index: number, target: Uint8Array, position: number, signal: AbortSignal | undefined): Promise<void> {
    for (let done = 0; done < target.length;) {
      signal?.throwIfAborted();
      const at = position + done;
      const found = this.#pieces[index]?.find(({ piece }) => piece.position <= at && at < piece.position + piece.length);
      if (found === undefined) {
        await unlessAborted(this.#started, signal);
        continue;
      }
      const { piece, block } = found;
      await unlessAborted(block.arrived, signal);
      const length = Math.min(target.length - done, piece.position + piece.length - at);
      target.set(block.bytes.subarray(at - block.position, at - block.position + length), done);
      done += length;
      this.#count(found, length);
      this.#pump();
    }
  }

  /** Counts bytes of a piece as taken; a block that is taken whole is let go. */
  #count(requested: Requested, bytes: number): void {
    const { block } = requested;
    requested.taken += bytes;
    block.untaken -= bytes;
    if (bytes === 0 || block.untaken > 0) return;
    this.#held -= block.bytes.length;
    for (const { read } of block.pieces) this.#pieces[read] = this.#pieces[read]?.filter(entry => entry.block !== block) ?? [];
  }

  /** Starts requests as far as the memory goes. */
  #pump(): void {
    for (;;) {
      if (this.#stopped.signal.aborted) return;
      if (this.#next === undefined) {
        const next = this.#groups.next();
        if (next.done === true) return;
        this.#next = next.value;
      }
      const first = this.#next[0];
      if (first === undefined) return;
      const end = this.#next.reduce((last, piece) => Math.max(last, piece.position + piece.length), 0);
      const length = end - first.position;
      if (this.#held > 0 && this.#held + length > MEMORY_BYTES) return;
      // A request in which nobody is interested any more is not made.
      if (this.#next.some(({ read }) => !this.#dropped.has(read))) this.#start(this.#next, first, length);
      this.#next = undefined;
    }
  }

  #start(pieces: readonly Piece[], first: Piece, length: number): void {
    const source = this.#reads[first.read]?.source;
    if (source === undefined) return;
    const bytes = new Uint8Array(length);
    this.#held += length;
    const { signal } = this.#stopped;
    const arrived = source.remote?.fetchInto(bytes, first.position, signal) ?? source.readInto(bytes, first.position, signal);
    this.#underWay.add(arrived);
    const ended = (): void => { this.#underWay.delete(arrived); };
    // A failure is thrown where the bytes are read.
    arrived.then(ended, ended);
    const block: Block = { position: first.position, bytes, arrived, pieces, untaken: pieces.reduce((sum, piece) => sum + piece.length, 0) };
    for (const piece of pieces) {
      const requested = { piece, block, taken: 0 };
      this.#pieces[piece.read]?.push(requested);
      if (this.#dropped.has(piece.read)) this.#count(requested, piece.length);
    }
    this.#renew();
  }

  /** Wakes those who wait for a request to be started, and makes the next promise to wait for. */
  #renew(): void {
    this.#wake();
    this.#started = new Promise(resolve => { this.#wake = resolve; });
  }
}

/** The pieces of one request each, in the order in which they will be needed. */
function* groups(reads: readonly PlannedRead[]): Generator<Piece[], undefined> {
  let waste = WASTE * reads.reduce((sum, { length }) => sum + length, 0);
  for (const window of windows(reads)) {
    const order = new Map<ByteSource, number>();
    const source = (piece: Piece): ByteSource | undefined => reads[piece.read]?.source;
    const rank = (piece: Piece): number => {
      const of = source(piece);
      if (of === undefined) return 0;
      order.set(of, order.get(of) ?? order.size);
      return order.get(of) ?? 0;
    };
    const sorted = window.map(piece => ({ piece, rank: rank(piece) })).sort((a, b) => a.rank - b.rank || a.piece.position - b.piece.position);
    let group: Piece[] = [];
    let start = 0;
    let end = 0;
    for (const { piece } of sorted) {
      const gap = piece.position - end;
      const first = group[0];
      const fits = first !== undefined && source(first) === source(piece) && gap <= Math.min(MOST_GAP, waste)
        && Math.max(end, piece.position + piece.length) - start <= REQUEST_BYTES;
      if (fits) {
        waste -= Math.max(0, gap);
        end = Math.max(end, piece.position + piece.length);
        group.push(piece);
        continue;
      }
      if (first !== undefined) yield group;
      group = [piece];
      start = piece.position;
      end = piece.position + piece.length;
    }
    if (group.length > 0) yield group;
  }
}

/** The plan in pieces of at most one request, and these in windows. */
function* windows(reads: readonly PlannedRead[]): Generator<Piece[]> {
  let window: Piece[] = [];
  let bytes = 0;
  for (const [read, { position, length }] of reads.entries()) {
    for (let done = 0; done < length;) {
      if (bytes === WINDOW_BYTES || window.length === WINDOW_PIECES) {
        yield window;
        window = [];
        bytes = 0;
      }
      const piece = { read, position: position + done, length: Math.min(length - done, REQUEST_BYTES, WINDOW_BYTES - bytes) };
      window.push(piece);
      bytes += piece.length;
      done += piece.length;
    }
  }
  if (window.length > 0) yield window;
}

/** Waits no longer than until the signal is aborted. */
async function unlessAborted(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  let stop = (): void => undefined;
  const aborted = new Promise<void>(resolve => { stop = resolve; });
  signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.race([promise, aborted]);
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
