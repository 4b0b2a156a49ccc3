import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
/** Small files come from the Hub itself, by way of this. */
const RESOLVE_CACHE = '/api/resolve-cache/';
const LARGE = /\.(?:safetensors|bin|pt|pth)$/;

/** What the server saw and did. */
export interface Logged {
  /** `hub` answers for the API and redirects; `cdn` has the large files. */
  readonly where: 'hub' | 'cdn';
  readonly url: string;
  /** The file that was asked for, when it was one. */
  readonly file: string | undefined;
  /** The range that was asked for; `to` is exclusive. */
  readonly range: { readonly from: number; readonly to: number } | undefined;
  readonly headers: IncomingMessage['headers'];
  status: number;
  /** Bytes of the body that were handed to the socket. */
  sent: number;
}

/** How one answer deviates from what it should be. */
export interface Fault {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Breaks the connection off after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Sends so many bytes of the body and then nothing more, with the connection open. */
  readonly stallAfter?: number;
  /** Sends only so many bytes and ends the (chunked) body as if it were whole. */
  readonly endAfter?: number;
  /** Sends this many bytes more than there are, chunked. */
  readonly tooMany?: number;
  /** Answers with all of the file. */
  readonly ignoreRange?: true;
  /** Milliseconds before the answer. */
  readonly delay?: number;
  readonly location?: string;
  readonly etag?: string;
}

export interface HubServerOptions {
  /** The repository's files. */
  readonly folder: string;
  readonly repo?: string;
  readonly commit?: string;
  /** What its names stand for since a push; the repository's files stay those of `commit`. */
  moved?: string;
  /** Names that a commit can be asked for by; `main` when absent. */
  readonly revisions?: readonly string[];
  /** The files need this token; `gated` says why. */
  readonly token?: string;
  readonly gated?: boolean;
  readonly isPrivate?: boolean;
  readonly search?: readonly object[];
  /** Asked before every answer. `nth` counts the requests to this file (or address) from 1. */
  readonly fault?: (request: Logged, nth: number) => Fault | undefined;
}

/** The Hugging Face Hub, as far as this project uses it, on 127.0.0.1: an API, and redirects to another port for large files. */
export class HubServer {
  readonly log: Logged[] = [];
  readonly #hub: Server;
  readonly #cdn: Server;
  readonly #counts = new Map<string, number>();
  readonly #hashes = new Map<string, string>();
  fault: HubServerOptions['fault'];

  private constructor(readonly options: HubServerOptions) {
    this.fault = options.fault;
    this.#hub = createServer((request, response) => { void this.#handle('hub', request, response); });
    this.#cdn = createServer((request, response) => { void this.#handle('cdn', request, response); });
  }

  static async start(options: HubServerOptions): Promise<HubServer> {
    const server = new HubServer(options);
    await Promise.all([server.#hub, server.#cdn].map(one => new Promise<void>(done => { one.listen(0, '127.0.0.1', done); })));
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get cdn(): string {
    return `http://127.0.0.1:${(this.#cdn.address() as AddressInfo).port}`;
  }

  /** Where the folder's files are served plainly, without API and redirects. */
  get plain(): string {
    return `${this.cdn}/plain`;
  }

  get repo(): string {
    return this.options.repo ?? 'test/tiny';
  }

  get commit(): string {
    return this.options.commit ?? COMMIT;
  }

  /** Bytes of files' bodies sent since the log's entry `from`. */
  sent(from = 0): number {
    return this.log.slice(from).filter(({ file }) => file !== undefined).reduce((sum, { sent }) => sum + sent, 0);
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise(done => { server.close(done); });
    }
  }

  async #handle(where: Logged['where'], request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = request.url ?? '';
    const path = decodeURIComponent(url.split('?', 1)[0] ?? '');
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const isFile = path.startsWith(`/${this.repo}/resolve/`) || path.startsWith(RESOLVE_CACHE) || path.startsWith('/lfs/') || path.startsWith('/plain/');
    const logged: Logged = {
      where, url, headers: request.headers, status: 0, sent: 0,
      file: isFile ? path.replace(new RegExp(`^/(?:${this.repo}/resolve/[^/]+|api/resolve-cache|lfs|plain)/`), '') : undefined,
      range: from === undefined || to === undefined ? undefined : { from: Number(from), to: Number(to) + 1 },
    };
    this.log.push(logged);
    const key = `${where} ${logged.file ?? path}`;
    const nth = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, nth);
    const fault = this.fault?.(logged, nth) ?? {};
    if (fault.delay !== undefined) await sleep(fault.delay);
    const end = (status: number, headers: Record<string, string> = {}, body: string | Buffer = ''): void => {
      logged.status = status;
      logged.sent = Buffer.byteLength(body);
      response.writeHead(status, { 'content-length': logged.sent, ...headers, ...fault.headers }).end(body);
    };
    if (fault.location !== undefined) { end(302, { location: fault.location }); return; }
    if (fault.status !== undefined) { end(fault.status, {}, 'no'); return; }
    if (where === 'cdn') { await this.#sendFile(logged, fault, response, end); return; }
    const refused = this.#refusal(request, logged);
    if (refused !== undefined) { end(refused.status, { 'x-error-code': refused.code }); return; }
    if (path.startsWith(RESOLVE_CACHE)) { await this.#sendFile(logged, fault, response, end); return; }
    if (path.startsWith('/api/')) { await this.#api(path, url, end); return; }
    await this.#resolve(path, logged, end);
  }

  #refusal({ headers }: IncomingMessage, { file, url }: Logged): { status: number; code: string } | undefined {
    const { token, gated, isPrivate } = this.options;
    const given = headers.authorization?.replace(/^Bearer /, '');
    if (token === undefined || given === token) return undefined;
    if (given !== undefined && given !== 'other') return { status: 401, code: '' };
    // A gated model's names are public, its files are not.
    if (gated === true) return file === undefined && !url.includes('/whoami-v2') ? undefined : { status: given === undefined ? 401 : 403, code: 'GatedRepo' };
    return isPrivate === true ? { status: given === undefined ? 401 : 404, code: 'RepoNotFound' } : undefined;
  }

  async #api(path: string, url: string, end: (status: number, headers?: Record<string, string>, body?: string) => void): Promise<void> {
    const json = (value: unknown): void => { end(200, { 'content-type': 'application/json' }, JSON.stringify(value)); };
    const base = `/api/models/${this.repo}`;
    if (path === '/api/whoami-v2') {
      // Only who shows the token gets here when one is needed.
      json({ name: 'tester' });
      return;
    }
    if (path === `${base}/refs`) {
      const branches = this.options.revisions ?? ['main'];
      json({ branches: branches.map(name => ({ name, ref: `refs/heads/${name}`, targetCommit: this.commit })), tags: [], converts: [] });
      return;
    }
    if (path === '/api/models') { json(this.options.search ?? []); return; }
    if (!path.startsWith(`${base}/`)) { end(404, { 'x-error-code': 'RepoNotFound' }); return; }
    const [kind, ...rest] = path.slice(base.length + 1).split('/');
    if (kind === 'revision') {
      const known = [this.commit, ...(this.options.revisions ?? ['main'])].includes(rest.join('/'));
      if (known) json({ id: this.repo, sha: this.options.moved ?? this.commit });
      else end(404, { 'x-error-code': 'RevisionNotFound' });
      return;
    }
    if (kind !== 'tree' || rest[0] !== this.commit) { end(404, { 'x-error-code': 'EntryNotFound' }); return; }
    const below = rest.slice(1).join('/');
    const entries = await readdir(join(this.options.folder, below), { withFileTypes: true });
    const tree = entries.map(({ name }) => this.#treeEntry(below === '' ? name : `${below}/${name}`));
    // In two pages, as a long list would come.
    const second = url.includes('cursor=2');
    const half = Math.ceil(tree.length / 2);
    const next = `<${this.endpoint}${base}/tree/${rest.join('/')}?cursor=2>; rel="next"`;
    end(200, second || tree.length < 20 ? {} : { link: next }, JSON.stringify(tree.length < 20 ? tree : second ? tree.slice(half) : tree.slice(0, half)));
  }

  #treeEntry(path: string): object {
    const stats = statSync(join(this.options.folder, path));
    if (stats.isDirectory()) return { type: 'directory', path, size: 0, oid: 'd' };
    const hash = this.hash(path);
    return LARGE.test(path)
      ? { type: 'file', path, size: stats.size, oid: 'p', lfs: { oid: hash, size: stats.size, pointerSize: 135 } }
      : { type: 'file', path, size: stats.size, oid: hash };
  }

  /** A stand-in for the SHA-256: large made files are not read for it. */
  hash(path: string): string {
    const known = this.#hashes.get(path);
    if (known !== undefined) return known;
    const full = join(this.options.folder, path);
    const hash = createHash('sha256').update(path).update(String(statSync(full).size)).digest('hex');
    this.#hashes.set(path, hash);
    return hash;
  }

  async #resolve(path: string, logged: Logged, end: (status: number, headers?: Record<string, string>, body?: string | Buffer) => void): Promise<void> {
    const { file = '' } = logged;
    if (!path.startsWith(`/${this.repo}/resolve/${this.commit}/`) || !(await exists(join(this.options.folder, file)))) {
      end(404, { 'x-error-code': 'EntryNotFound' });
      return;
    }
    if (!LARGE.test(file)) { end(307, { location: `${RESOLVE_CACHE}${encodeURIComponent(file)}`, 'x-repo-commit': this.commit }); return; }
    end(302, {
      location: `${this.cdn}/lfs/${encodeURIComponent(file)}?signature=secret`,
      'x-repo-commit': this.commit,
      'x-linked-etag': `"${this.hash(file)}"`,
      'x-linked-size': String(statSync(join(this.options.folder, file)).size),
    });
  }

  async #sendFile(logged: Logged, fault: Fault, response: ServerResponse, end: (status: number, headers?: Record<string, string>, body?: string | Buffer) => void): Promise<void> {
    const { file = '', range, headers } = logged;
    const path = join(this.options.folder, file);
    if (!(await exists(path))) { end(404); return; }
    const { size } = await stat(path);
    const etag = fault.etag ?? `"etag-${basename(path)}-${size}"`;
    if (headers['if-match'] !== undefined && headers['if-match'] !== etag) { end(412); return; }
    const whole = range === undefined || fault.ignoreRange === true;
    const from = whole ? 0 : range.from;
    const to = whole ? size : Math.min(range.to, size);
    if (from >= size && !whole) { end(416, { 'content-range': `bytes */${size}` }); return; }
    const length = to - from;
    const chunked = fault.endAfter !== undefined || fault.tooMany !== undefined;
    logged.status = whole ? 200 : 206;
    response.on('error', () => undefined);
    response.writeHead(logged.status, {
      etag, 'accept-ranges': 'bytes',
      ...(chunked ? {} : { 'content-length': String(length) }),
      ...(whole ? {} : { 'content-range': `bytes ${from}-${to - 1}/${size}` }),
      ...fault.headers,
    });
    response.flushHeaders();
    const limit = fault.cutAfter ?? fault.stallAfter ?? fault.endAfter ?? Infinity;
    const closed = new Promise<void>(done => response.once('close', done));
    const send = async (chunk: Buffer): Promise<void> => {
      logged.sent += chunk.length;
      if (!response.write(chunk)) await Promise.race([new Promise<void>(done => response.once('drain', done)), closed]);
    };
    if (length > 0) {
      for await (const chunk of createReadStream(path, { start: from, end: to - 1, highWaterMark: 1 << 18 })) {
        const bytes = (chunk as Buffer).subarray(0, Math.max(0, limit - logged.sent));
        if (bytes.length > 0) await send(bytes);
        if (response.destroyed || logged.sent >= limit) break;
      }
    }
    if (response.destroyed) return;
    if (fault.tooMany !== undefined) await send(Buffer.alloc(fault.tooMany, 1));
    if (fault.cutAfter !== undefined) response.destroy();
    else if (fault.stallAfter === undefined) response.end();
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(stats => stats.isFile(), () => false);
}

/** The bytes of a file of the folder, for comparison. */
export function fileBytes(server: HubServer, name: string): Buffer {
  return readFileSync(join(server.options.folder, name));
}
