import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { formatDuration } from '../format';
import { TOOL } from '../version';
import { ConnectionError, networkError, TransientError } from './errors';
import { hostFetch } from './hostFetch';
import { proxyFetch } from './proxy';
import { Slots } from './slots';

export interface HttpOptions {
  /** The editor's own, which knows its proxy; when absent one through the proxy that the environment names, or straight. */
  readonly fetch?: typeof globalThis.fetch;
  /** Requests at the same time; 8. */
  readonly connections?: number;
  /** Milliseconds without a byte after which a connection counts as dead; 30,000. */
  readonly idleTimeout?: number;
  /** Attempts in a row without any progress until a read fails; 8. */
  readonly attempts?: number;
  /** Milliseconds before the second attempt, doubled for each further one; 500. */
  readonly firstDelay?: number;
  /** Told what a person may want to know meanwhile: that the server asks to wait, where a model was found. */
  readonly onNotice?: (message: string) => void;
}

export interface HttpRequest {
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** The Authorization header: sent to the address's own origin only, never where a redirect leads. */
  readonly authorization?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Where it came from in the end. */
  readonly url: URL;
  /** The headers of the redirects on the way. */
  readonly redirects: readonly Headers[];
  /** The body; @throws TransientError when it breaks off. */
  chunks(): AsyncGenerator<Uint8Array>;
}

const MAX_REDIRECTS = 6;
const LONGEST_DELAY = 30_000;
/** A server that asks for more than this is not waited for. */
const LONGEST_WAIT = 15 * 60_000;
/** Attempts for a host that has never answered: it is probably misspelt, or there is no network. */
const FIRST_CONTACT_ATTEMPTS = 2;
const NOTICED_WAIT = 3000;
const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** GET requests with bounded concurrency, timeouts, redirects, and attempts spaced by growing, random delays. */
export class HttpClient {
  readonly #options: HttpOptions;
  readonly #slots: Slots;
  readonly #send: typeof globalThis.fetch;
  readonly #reached = new Set<string>();
  /** By host, until when it asked to be left alone. */
  readonly #pausedUntil = new Map<string, number>();

  constructor(options: HttpOptions = {}) {
    this.#options = options;
    this.#send = options.fetch ?? proxyFetch() ?? hostFetch;
    this.#slots = new Slots(options.connections ?? 8);
  }

  notice(message: string): void {
    this.#options.onNotice?.(message);
  }

  /**
   * One attempt. `use` has the answer while the connection is open; what it leaves of the body is not read.
   * @throws TransientError when another attempt may help, UserError when none will, the signal's reason when aborted.
   */
  async exchange<T>(request: HttpRequest, use: (answer: Answer) => Promise<T>): Promise<T> {
    const { signal } = request;
    // Many requests at once listen to one signal, which is no leak.
    if (signal !== undefined) setMaxListeners(0, signal);
    await this.#pause(request.url.host, signal);
    await this.#slots.acquire(signal);
    const attempt = new AbortController();
    const cancel = (): void => { attempt.abort(signal?.reason); };
    const idleTimeout = this.#options.idleTimeout ?? 30_000;
    const timer = setTimeout(() => { attempt.abort(new TransientError(t`it sent nothing for ${formatDuration(idleTimeout / 1000)}`)); }, idleTimeout);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      signal?.throwIfAborted();
      const answer = await this.#follow(request, attempt.signal, () => timer.refresh());
      return await use(answer);
    } catch (error) {
      signal?.throwIfAborted();
      if (attempt.signal.aborted) throw attempt.signal.reason;
      throw networkError(error, request.url.host);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cancel);
      // Ends a body that was not read to its end; does nothing to one that was.
      attempt.abort();
      this.#slots.release();
    }
  }

  /**
   * Runs `run` until it succeeds or fails for good. Attempts count anew whenever `progress` has moved in between.
   * @throws ConnectionError when the attempts are used up.
   */
  async retrying<T>(url: URL, run: () => Promise<T>, signal?: AbortSignal, progress: () => number = () => 0): Promise<T> {
    const { attempts = 8, firstDelay = 500 } = this.#options;
    let before = progress();
    for (let failures = 1; ; failures++) {
      signal?.throwIfAborted();
      try {
        return await run();
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        if (progress() !== before) failures = 1;
        before = progress();
        const most = this.#reached.has(url.host) ? attempts : Math.min(attempts, FIRST_CONTACT_ATTEMPTS);
        if (failures >= most) throw new ConnectionError(t`${url.host} cannot be read: ${error.message}. ${failures} attempts failed; check the network and try again.`, { cause: error });
        const growing = Math.min(LONGEST_DELAY, firstDelay * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
        const delay = error.retryAfter ?? growing;
        if (delay > LONGEST_WAIT) throw new ConnectionError(t`${url.host} asks to wait ${formatDuration(delay / 1000)} before the next request. Try again then.`, { cause: error });
        if (delay >= NOTICED_WAIT) this.notice(t`${url.host}: ${error.message}; trying again in ${formatDuration(delay / 1000)}.`);
        // All requests to a host that asked for a pause wait, not only the one that was told.
        if (error.retryAfter !== undefined) this.#pausedUntil.set(url.host, Date.now() + error.retryAfter);
        await pause(delay, signal);
      }
    }
  }

  /** The JSON at an address and the answer's headers. `explain` turns other statuses than 2xx into a sentence. */
  async json(request: HttpRequest, explain: (answer: Answer) => UserError): Promise<{ value: unknown; headers: Headers }> {
    const { url } = request;
    return this.retrying(url, () => this.exchange(request, async answer => {
      if (answer.status < 200 || answer.status > 299) throw explain(answer);
      const parts: Uint8Array[] = [];
      let length = 0;
      for await (const chunk of answer.chunks()) {
        parts.push(chunk);
        length += chunk.length;
        if (length > MAX_JSON) throw new UserError(t`${url.host} answers with more than ${MAX_JSON} bytes where a short list was expected.`);
      }
      try {
        return { value: JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown, headers: answer.headers };
      } catch (cause) {
        throw new UserError(t`${url.host} does not answer with JSON but perhaps with a page to sign in. Check the address, and whether your network asks for a login.`, { cause });
      }
    }), request.signal);
  }

  async #follow(request: HttpRequest, signal: AbortSignal, alive: () => void): Promise<Answer> {
    const send = this.#send;
    const redirects: Headers[] = [];
    let { url } = request;
    for (;;) {
      const headers = new Headers({ 'user-agent': `${TOOL.name}/${TOOL.version}`, 'accept-encoding': 'identity', ...request.headers });
      if (request.authorization !== undefined && url.origin === request.url.origin) headers.set('authorization', request.authorization);
      const response = await send(url, { headers, redirect: 'manual', signal });
      alive();
      this.#reached.add(url.host);
      if (RETRIED.has(response.status)) throw new TransientError(t`it answers ${response.status}${response.statusText === '' ? '' : ` ${response.statusText}`}`, { retryAfter: waitAsked(response.headers) });
      if (!REDIRECTS.has(response.status)) {
        return { status: response.status, headers: response.headers, url, redirects, chunks: () => chunksOf(response, alive) };
      }
      redirects.push(response.headers);
      await response.body?.cancel();
      url = redirectTarget(response.headers.get('location'), url);
      if (redirects.length > MAX_REDIRECTS) throw new UserError(t`${request.url.host} redirects in a circle. Check the address.`);
    }
  }

  async #pause(host: string, signal: AbortSignal | undefined): Promise<void> {
    const rest = (this.#pausedUntil.get(host) ?? 0) - Date.now();
    if (rest > 0) await pause(rest, signal);
  }
}

const MAX_JSON = 64 << 20;

async function* chunksOf(response: Response, alive: () => void): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  for (;;) {
    const part = await reader.read();
    alive();
    if (part.done) return;
    yield part.value;
  }
}

function redirectTarget(location: string | null, from: URL): URL {
  const target = location !== null && URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (target === undefined || !/^https?:$/.test(target.protocol)) throw new UserError(t`${from.host} redirects to nowhere. Check the address.`);
  if (from.protocol === 'https:' && target.protocol === 'http:') throw new UserError(t`${from.host} redirects to ${target.host} without encryption, which is refused. Check the address.`);
  return target;
}

/** Milliseconds, from Retry-After: seconds or a date (RFC 9110, 10.2.3). */
function waitAsked(headers: Headers): number | undefined {
  const value = headers.get('retry-after')?.trim();
  if (value === undefined || value === '') return undefined;
  const wait = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(wait) ? Math.max(0, wait) : undefined;
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(milliseconds, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
