import { t } from '@vscode/l10n';
import type { ByteSource, RemoteBytes } from '../checkpoint/byteSource';
import { UserError } from '../errors';
import { TransientError } from './errors';
import type { Answer, HttpClient } from './http';

/** A file at an address, as far as it is known before the first request. */
export interface RemoteFile {
  readonly name: string;
  readonly url: URL;
  /** Its content's hash where a repository gives one; a redirect's X-Linked-ETag must repeat it. */
  readonly hash?: string | undefined;
  /** Undefined when there is nothing to prove. */
  readonly authorization?: string | undefined;
  /** Why the server refuses (a status of 400 or more), as a sentence. */
  readonly explain: (answer: Answer) => UserError;
}

/** The first bytes of a file are fetched this many at once: as many as the readers ask for, so that one request serves a header. */
const READ_AHEAD = 1 << 16;
/** Smaller reads are kept: headers are read in several overlapping steps. */
const MOST_KEPT = 1 << 20;
/** A file of at most this size may come whole from a server without ranges. */
const SMALL_FILE = 4 << 20;

interface Block {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/**
 * A file behind HTTP ranges (RFC 9110, section 14). Every answer must be of the file's one version: an ETag that
 * changes, another length or another hash is an error, never a mixture. Reads that break off go on where they stopped.
 * @see HttpClient.retrying for what ends the attempts.
 */
export class HttpSource implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly remote: RemoteBytes;
  readonly #client: HttpClient;
  readonly #file: RemoteFile;
  /** The ETag (or, without one, the date) of the first answer with bytes; null when it had none. */
  #validator: string | null | undefined;
  /** Where the last redirect led: the next request goes there straight. */
  #direct: URL | undefined;
  readonly #kept: Block[] = [];
  /** Reads through the cache, one after another, so that overlapping ones share their request. */
  #turn: Promise<unknown> = Promise.resolve();

  /** For a file whose size is known. No request is made. */
  constructor(client: HttpClient, file: RemoteFile, size: number, first?: { readonly validator: string | null; readonly bytes: Uint8Array; readonly direct: URL | undefined }) {
    this.#client = client;
    this.#file = file;
    this.name = file.name;
    this.size = size;
    this.#validator = first?.validator;
    this.#direct = first?.direct;
    if (first !== undefined) this.#kept.push({ position: 0, bytes: first.bytes });
    this.remote = {
      version: file.hash ?? first?.validator ?? undefined,
      fetchInto: (target, position, signal) => this.#fetch(target, position, signal),
    };
  }

  /** Learns size and version with the request that fetches the beginning. */
  static async open(client: HttpClient, file: RemoteFile, signal?: AbortSignal): Promise<HttpSource> {
    const { url, authorization } = file;
    return client.retrying(url, () => client.exchange({ url, authorization, signal, headers: { range: `bytes=0-${READ_AHEAD - 1}` } }, async answer => {
      const direct = answer.redirects.length > 0 ? answer.url : undefined;
      const validator = validatorOf(answer);
      if (answer.status === 416 && sizeOfUnsatisfied(answer) === 0) return new HttpSource(client, file, 0, { validator, bytes: new Uint8Array(0), direct });
      if (answer.status !== 200 && answer.status !== 206) throw file.explain(answer);
      refuseEncoded(answer, file.name);
      const size = answer.status === 206 ? rangeOf(answer, file.name).size : Number(answer.headers.get('content-length') ?? NaN);
      if (size === undefined || !Number.isSafeInteger(size) || size < 0) throw new UserError(t`${url.host} does not say how long ${file.name} is, so it cannot be read in parts. Download it and open the copy.`);
      if (answer.status === 200 && size > SMALL_FILE) throw ignoresRanges(url, file.name);
      const bytes = new Uint8Array(answer.status === 200 ? size : Math.min(size, READ_AHEAD));
      await fill(bytes, answer, 0);
      return new HttpSource(client, file, size, { validator, bytes, direct });
    }), signal);
  }

  async readInto(target: Uint8Array, position: number, signal?: AbortSignal): Promise<void> {
    this.#checkRange(target, position);
    if (target.length >= MOST_KEPT) return this.#fetch(target, position, signal);
    const read = this.#turn.then(() => this.#readThroughCache(target, position, signal));
    this.#turn = read.catch(() => undefined);
    return read;
  }

  /** Nothing is held open between requests. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  async #readThroughCache(target: Uint8Array, position: number, signal: AbortSignal | undefined): Promise<void> {
    const end = position + target.length;
    let block = this.#kept.find(kept => kept.position <= position && end <= kept.position + kept.bytes.length);
    if (block === undefined) {
      const until = Math.min(this.size, Math.max(end, position < READ_AHEAD ? READ_AHEAD : 0));
      block = { position, bytes: new Uint8Array(until - position) };
      await this.#fetch(block.bytes, position, signal);
      this.#keep(block);
    }
    target.set(block.bytes.subarray(position - block.position, end - block.position));
  }

  #keep(block: Block): void {
    this.#kept.push(block);
    let bytes = this.#kept.reduce((sum, kept) => sum + kept.bytes.length, 0);
    while (bytes > MOST_KEPT) bytes -= this.#kept.shift()?.bytes.length ?? bytes;
  }

  async #fetch(target: Uint8Array, position: number, signal: AbortSignal | undefined): Promise<void> {
    this.#checkRange(target, position);
    let done = 0;
    await this.#client.retrying(this.#file.url, async () => {
      if (done === target.length) return;
      const bytes = await this.#request(target.subarray(done), position + done, signal, broken => { done += broken; });
      done += bytes;
    }, signal, () => done);
  }

  /**
   * One request for all of `target`. `arrived` counts what a broken answer brought.
   * @returns The bytes that a whole answer brought.
   */
  async #request(target: Uint8Array, position: number, signal: AbortSignal | undefined, arrived: (bytes: number) => void): Promise<number> {
    const direct = this.#direct;
    const headers = {
      range: `bytes=${position}-${position + target.length - 1}`,
      ...(isStrong(this.#validator) ? { 'if-match': this.#validator } : {}),
    };
    const { url, authorization } = this.#file;
    return this.#client.exchange({ signal, headers, url: direct ?? url, authorization: direct === undefined || direct.origin === url.origin ? authorization : undefined }, async answer => {
      if (direct !== undefined && answer.status >= 400 && answer.status !== 412 && answer.status !== 416) {
        // Addresses that redirects lead to are signed for a time; the original one gives a new one.
        this.#direct = undefined;
        throw new TransientError(t`${direct.host} answers ${answer.status}`);
      }
      this.#checkAnswer(answer, position, target.length);
      this.#direct = answer.redirects.length > 0 || direct !== undefined ? answer.url : undefined;
      return fill(target, answer, answer.status === 200 ? position : 0, arrived);
    });
  }

  /** @throws UserError unless the answer has the bytes from `position` on, of this version. */
  #checkAnswer(answer: Answer, position: number, length: number): void {
    const { name, url } = this.#file;
    if (answer.status === 412) throw this.#changed(t('its ETag is another'));
    if (answer.status === 416) {
      const size = sizeOfUnsatisfied(answer);
      throw size === this.size ? new UserError(t`${url.host} refuses bytes ${position} to ${position + length} of ${name}, which is ${this.size} bytes long. Download the file and open the copy.`)
        : this.#changed(size === undefined ? t('it is shorter') : t`it is ${size} bytes long, and was ${this.size}`);
    }
    if (answer.status !== 200 && answer.status !== 206) throw this.#file.explain(answer);
    refuseEncoded(answer, name);
    const validator = validatorOf(answer);
    if (this.#validator !== undefined && validator !== this.#validator) throw this.#changed(t('its ETag is another'));
    for (const hop of answer.redirects) {
      const hash = hop.get('x-linked-etag')?.replace(/^(?:W\/)?"|"$/g, '');
      // Hashes of another kind (Git's, SHA-256) do not compare.
      if (hash?.length === this.#file.hash?.length && hash !== this.#file.hash) throw this.#changed(t('its hash is not the one that its repository lists'));
    }
    if (answer.status === 200) {
      if (this.size > SMALL_FILE) throw ignoresRanges(url, name);
      const size = answer.headers.get('content-length');
      if (size !== null && Number(size) !== this.size) throw this.#changed(t`it is ${size} bytes long, and was ${this.size}`);
    } else {
      const range = rangeOf(answer, name);
      if (range.size !== undefined && range.size !== this.size) throw this.#changed(t`it is ${range.size} bytes long, and was ${this.size}`);
      if (range.start !== position || range.end > position + length) {
        throw new UserError(t`${answer.url.host} answers with other bytes of ${name} than were asked for (${range.start} to ${range.end} instead of ${position} to ${position + length}). Download the file and open the copy.`);
      }
    }
    this.#validator = validator;
  }

  #checkRange(target: Uint8Array, position: number): void {
    if (position < 0 || position + target.length > this.size) {
      throw new UserError(t`Bytes ${position} to ${position + target.length} lie outside ${this.name}, which is ${this.size} bytes long.`);
    }
  }

  #changed(how: string): UserError {
    return new UserError(t`${this.name} has changed on ${this.#file.url.host} since it was opened: ${how}. Nothing of the two versions was mixed. Open the checkpoint again.`);
  }
}

/**
 * Copies the body, without its first `skip` bytes, into `target`.
 * @throws TransientError when the body ends early or goes on after its end.
 */
async function fill(target: Uint8Array, answer: Answer, skip: number, arrived?: (bytes: number) => void): Promise<number> {
  const whole = answer.status === 200;
  let left = skip;
  let done = 0;
  try {
    for await (const chunk of answer.chunks()) {
      const bytes = chunk.subarray(Math.min(left, chunk.length));
      left -= chunk.length - bytes.length;
      if (bytes.length > target.length - done && !whole) {
        done = 0;
        throw new TransientError(t('it sends more bytes than were asked for'));
      }
      const wanted = bytes.subarray(0, target.length - done);
      target.set(wanted, done);
      done += wanted.length;
      if (whole && done === target.length) break;
    }
    if (done < target.length) throw new TransientError(t`it sent ${done} of ${target.length} bytes and then stopped`);
  } catch (error) {
    arrived?.(done);
    throw error;
  }
  return done;
}

/** `bytes 0-99/1000`; `end` is exclusive, `size` undefined for `*`. */
function rangeOf(answer: Answer, name: string): { start: number; end: number; size: number | undefined } {
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.headers.get('content-range')?.trim() ?? '') ?? [];
  if (first === undefined || last === undefined) throw new UserError(t`${answer.url.host} does not say which bytes of ${name} it sends. Download the file and open the copy.`);
  return { start: Number(first), end: Number(last) + 1, size: size === '*' ? undefined : Number(size) };
}

function sizeOfUnsatisfied(answer: Answer): number | undefined {
  const [, size] = /^bytes \*\/(\d+)$/.exec(answer.headers.get('content-range')?.trim() ?? '') ?? [];
  return size === undefined ? undefined : Number(size);
}

function validatorOf({ headers }: Answer): string | null {
  return headers.get('etag') ?? headers.get('last-modified');
}

/** If-Match compares strongly: weak ETags and dates never match there. */
function isStrong(validator: string | null | undefined): validator is string {
  return validator?.startsWith('"') === true;
}

function refuseEncoded({ headers, url }: Answer, name: string): void {
  const encoding = headers.get('content-encoding');
  if (encoding !== null && encoding !== 'identity') throw new UserError(t`${url.host} sends ${name} compressed (${encoding}), so that parts of it cannot be told apart. Download it and open the copy.`);
}

function ignoresRanges(url: URL, name: string): UserError {
  return new UserError(t`${url.host} ignores requests for a part of ${name} and sends all of it. A server that serves byte ranges is needed; or download the file and open the copy.`);
}
