import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { isIP, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { quoted } from '../checkpoint/wording';

/**
 * `fetch` through the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name, as curl reads them; Node's own
 * looks at them from version 24 on only, and when NODE_USE_ENV_PROXY is set. Undefined when none is named.
 * Only what HttpClient needs: GET without a body, no redirects followed.
 * @throws UserError when a variable is not the address of an HTTP proxy.
 */
export function proxyFetch(env: Readonly<Record<string, string | undefined>> = process.env): typeof globalThis.fetch | undefined {
  const proxies = { 'https:': proxyOf(env, 'https_proxy'), 'http:': proxyOf(env, 'http_proxy') };
  if (proxies['https:'] === undefined && proxies['http:'] === undefined) return undefined;
  const agents = new Map<string, HttpsAgent>();
  const plain = new HttpAgent({ keepAlive: true });
  return (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const proxy = isExempt(url, env) ? undefined : proxies[url.protocol === 'https:' ? 'https:' : 'http:'];
    if (proxy === undefined) return globalThis.fetch(input, init);
    const headers = Object.fromEntries(new Headers(init?.headers));
    const signal = init?.signal ?? undefined;
    if (url.protocol === 'http:') {
      // The whole address goes to the proxy (RFC 9112, 3.2.2).
      const authorization = authorizationOf(proxy);
      return send(httpRequest, {
        host: proxy.hostname, port: proxy.port || 80, path: url.href, agent: plain, signal,
        headers: { host: url.host, ...headers, ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }) },
      });
    }
    const agent = agents.get(proxy.href) ?? new TunnelAgent(proxy);
    agents.set(proxy.href, agent);
    return send(httpsRequest, { host: url.hostname, port: url.port || 443, path: `${url.pathname}${url.search}`, agent, signal, headers });
  };
}

/** Reaches each host through a tunnel that the proxy opens (RFC 9110, 9.3.6). */
class TunnelAgent extends HttpsAgent {
  readonly #proxy: URL;

  constructor(proxy: URL) {
    super({ keepAlive: true });
    this.#proxy = proxy;
  }

  override createConnection(options: RequestOptions, callback?: (error: Error | null, socket: Socket) => void): undefined {
    const { hostname, port } = this.#proxy;
    const target = `${options.host ?? ''}:${options.port ?? 443}`;
    const authorization = authorizationOf(this.#proxy);
    const fail = (error: Error): void => {
      // The types want a socket with the error; Node looks at the error alone.
      Reflect.apply(callback ?? (() => undefined), undefined, [error]);
    };
    httpRequest({
      host: hostname, port: port || 80, method: 'CONNECT', path: target,
      headers: { host: target, ...(authorization === undefined ? {} : { 'proxy-authorization': authorization }) },
    })
      .on('connect', (response, socket) => {
        if (response.statusCode === 200) {
          const host = options.host ?? '';
          callback?.(null, tlsConnect({ socket, host, ...(isIP(host) === 0 ? { servername: host } : {}) }));
          return;
        }
        socket.destroy();
        fail(new UserError(t`The proxy ${this.#proxy.host} answers ${response.statusCode ?? 0} when asked for ${target}. Check HTTPS_PROXY, and the user and password in it.`));
      })
      .on('error', fail)
      .end();
    return undefined;
  }
}

/** Statuses of which fetch's Response takes no body, not even an empty one. */
const WITHOUT_BODY = new Set([204, 205, 304]);

/** A GET request by Node's own client, answered as fetch answers. */
export function send(request: typeof httpRequest, { signal, ...options }: RequestOptions): Promise<Response> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let answer: IncomingMessage | undefined;
    const sent = request(options, message => {
      answer = message;
      try {
        resolve(toResponse(message));
      } catch (cause) {
        message.destroy();
        reject(new UserError(t`${options.host ?? ''} answers with the status ${message.statusCode ?? 0}, which HTTP does not have. Check the address.`, { cause }));
      }
    });
    // Not Node's own `signal`: it destroys with an error, which nobody hears when a body is left before its end.
    const abort = (): void => {
      reject(signal?.reason instanceof Error ? signal.reason : new Error('Aborted.'));
      answer?.destroy();
      sent.destroy();
    };
    signal?.addEventListener('abort', abort, { once: true });
    sent.on('close', () => { signal?.removeEventListener('abort', abort); });
    // As fetch reports it.
    sent.on('error', error => { reject(error instanceof UserError ? error : new TypeError('fetch failed', { cause: error })); });
    sent.end();
  });
}

function toResponse(message: IncomingMessage): Response {
  const headers = new Headers();
  for (let i = 0; i < message.rawHeaders.length; i += 2) headers.append(message.rawHeaders[i] ?? '', message.rawHeaders[i + 1] ?? '');
  const status = message.statusCode ?? 502;
  return new Response(WITHOUT_BODY.has(status) ? null : bodyOf(message), { status, statusText: message.statusMessage ?? '', headers });
}

/** The body as a stream whose failures look as fetch's do. */
function bodyOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  // A failure is thrown where the body is read; one that nobody reads to its end is broken off without a word.
  message.on('error', () => undefined);
  const chunks = Readable.prototype[Symbol.asyncIterator].call(message);
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const next: IteratorResult<unknown> = await chunks.next();
        if (next.done === true) controller.close();
        else if (next.value instanceof Uint8Array) controller.enqueue(next.value);
      } catch (error) {
        controller.error(error instanceof Error && error.name !== 'AbortError' ? new TypeError('terminated', { cause: error }) : error);
      }
    },
    cancel() {
      message.destroy();
    },
  }, { highWaterMark: 0 });
}

function proxyOf(env: Readonly<Record<string, string | undefined>>, name: 'https_proxy' | 'http_proxy'): URL | undefined {
  const text = [name, name.toUpperCase(), 'all_proxy', 'ALL_PROXY'].map(variable => env[variable]).find(value => value !== undefined && value !== '');
  if (text === undefined) return undefined;
  const address = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(address) || new URL(address).protocol !== 'http:') {
    throw new UserError(t`${name.toUpperCase()} is ${quoted(address.replace(/\/\/[^@/]*@/, '//'))}, which is not the address of an HTTP proxy. Set it to http://host:port.`);
  }
  return new URL(address);
}

/** NO_PROXY: hosts and the domains above them, `*` for all; with a port it counts for that port. */
function isExempt({ hostname, port, protocol }: URL, env: Readonly<Record<string, string | undefined>>): boolean {
  const rules = (env.no_proxy ?? env.NO_PROXY ?? '').split(',').map(rule => rule.trim().toLowerCase()).filter(rule => rule !== '');
  const host = hostname.replace(/^\[|\]$/g, '');
  return rules.some(rule => {
    const [, name = '', only] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(rule) ?? [];
    if (only !== undefined && only !== (port || (protocol === 'https:' ? '443' : '80'))) return false;
    return rule === '*' || host === name || host.endsWith(`.${name}`);
  });
}

function authorizationOf({ username, password }: URL): string | undefined {
  return username === '' ? undefined : `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`;
}
