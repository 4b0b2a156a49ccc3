/**
 * Random access to the bytes of one file, wherever it is. Local files, HTTP ranges and
 * in-memory buffers look alike to every reader.
 */
export interface ByteSource {
  /** What to call it in a message: a path or an address. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /** The local path, when there is one: copies and the ONNX graph need it. */
  readonly path?: string;
  /** The open file's descriptor, when there is one: other threads read by it. Good until `close`. */
  readonly fd?: number;
  /** Set when every read is a request over a network. */
  readonly remote?: RemoteBytes;
  /**
   * Fills `target` with the bytes from `position` on.
   * @throws UserError when the range lies outside the file or the file ends early.
   */
  readInto(target: Uint8Array, position: number, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** What is particular to a file at the other end of a network. */
export interface RemoteBytes {
  /** Identifies the content: its repository's hash, or the server's ETag. Undefined when there is neither. */
  readonly version: string | undefined;
  /** As `readInto`, but exactly these bytes are requested, and none are kept: for reads that were planned. */
  fetchInto(target: Uint8Array, position: number, signal?: AbortSignal): Promise<void>;
}

/** The `length` bytes at `position`, in a buffer of their own. */
export async function readBytes(source: ByteSource, position: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
  const target = new Uint8Array(length);
  await source.readInto(target, position, signal);
  return target;
}

export interface StoredFile {
  /** Relative to the store, with forward slashes. */
  readonly name: string;
  readonly size: number;
}

/** A folder of files: on this disk, in a Hub repository, below an HTTP address. */
export interface FileStore {
  /** What to call it in a message: a path or an address. */
  readonly location: string;
  /** For titles, when the location's last part is not fit for one. */
  readonly title?: string;
  /** The files directly inside, sorted by name. */
  list(signal?: AbortSignal): Promise<StoredFile[]>;
  /** @throws UserError when `name` does not exist, cannot be read, or would leave the store. */
  open(name: string, signal?: AbortSignal): Promise<ByteSource>;
}
