import { HttpClient } from '../../src/remote/http';
import { HttpSource } from '../../src/remote/httpSource';
import { Hub } from '../../src/remote/hub';
import { UserError } from '../../src/errors';
import { VALUES_OF_HEADERS } from './headerValues';
import { jsonToken } from './mutate';
import type { Random } from './random';

/** What a server says, one answer after another; the last is repeated. Written as JSON, so that an input is a file. */
interface Script {
  readonly call: 'open' | 'files' | 'commit' | 'search';
  readonly answers: readonly { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly body: string }[];
}

const BODY = 'x'.repeat(2000);
const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const LISTS = [
  JSON.stringify([{ type: 'file', path: 'model.safetensors', size: 10, oid: 'a', lfs: { oid: 'b', size: 2000 } }, { type: 'directory', path: 'sub' }, { type: 'file', path: 'x/../../config.json', size: 3 }]),
  JSON.stringify({ sha: COMMIT, id: 'a/b' }),
  JSON.stringify([{ id: 'a/b', downloads: 3, likes: 2, gated: 'auto', private: false }]),
];

/** An answer that a well-behaved server might give to the call, with some of it exchanged for something else. */
export function makeScript(random: Random): Buffer {
  const call = random.pick(['open', 'open', 'open', 'files', 'commit', 'search'] as const);
  const answers = Array.from({ length: 1 + random.below(4) }, () => {
    const partial = call === 'open';
    const headers: Record<string, string> = partial
      ? { 'content-range': `bytes 0-1999/2000`, 'content-length': '2000', 'etag': '"v1"', 'last-modified': 'Thu, 01 Jan 1970 00:00:00 GMT' }
      : { 'content-type': 'application/json' };
    for (let i = random.below(4); i > 0; i--) {
      const name = random.pick(Object.keys(VALUES_OF_HEADERS));
      headers[name] = random.pick(VALUES_OF_HEADERS[name] ?? ['']);
      if (random.chance(0.3)) { const gone = random.pick(Object.keys(headers)); headers[gone] = ''; }
    }
    let body = partial ? BODY : random.pick(LISTS);
    if (!partial && random.chance(0.7)) body = jsonToken(random, Buffer.from(body), LISTS.map(text => Buffer.from(text))).toString('utf8');
    if (random.chance(0.2)) body = body.slice(0, random.below(body.length + 1));
    if (random.chance(0.1)) body += body;
    return { status: random.chance(0.6) ? partial ? 206 : 200 : random.pick([200, 201, 204, 206, 301, 302, 307, 400, 401, 403, 404, 409, 412, 416, 418, 451, 499, 500, 503]), headers, body };
  });
  return Buffer.from(JSON.stringify({ call, answers } satisfies Script));
}

/** Reads what the script's server offers. @returns false when the client refused with a sentence. */
export async function readAnswers(bytes: Buffer): Promise<void> {
  const script = JSON.parse(bytes.toString('utf8')) as Script;
  let turn = 0;
  const fetch = (): Promise<Response> => {
    const answer = script.answers[Math.min(turn++, script.answers.length - 1)] ?? { status: 200, headers: {}, body: '' };
    const headers = new Headers();
    for (const [name, value] of Object.entries(answer.headers)) if (value !== '') headers.set(name, value);
    const bodyless = answer.status === 204 || answer.status === 304;
    return Promise.resolve(new Response(bodyless ? null : answer.body, { status: answer.status, headers }));
  };
  const options = { fetch, attempts: 2, firstDelay: 0, idleTimeout: 60_000 };
  if (script.call === 'open') {
    const url = new URL('https://host.example/model.safetensors');
    const file = await HttpSource.open(new HttpClient(options), { name: 'model.safetensors', url, explain: answer => new UserError(`host.example answers ${answer.status}.`) });
    for (const [position, length] of [[0, Math.min(8, file.size)], [Math.max(0, file.size - 100), Math.min(100, file.size)]] as const) await file.readInto(new Uint8Array(length), position);
    return;
  }
  const hub = await Hub.connect({ ...options, token: '', cache: false, endpoint: 'https://hub.example' });
  if (script.call === 'files') await hub.files('a/b', COMMIT, '');
  else if (script.call === 'commit') await hub.commitOf('a/b', 'main');
  else await hub.search('qwen');
}
