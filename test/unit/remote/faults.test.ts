import assert from 'node:assert/strict';
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import { readBytes } from '../../../src/checkpoint/byteSource';
import { isAbort } from '../../../src/errors';
import { ConnectionError } from '../../../src/remote/errors';
import { Hub } from '../../../src/remote/hub';
import type { HubOptions } from '../../../src/remote/hubOptions';
import { hubStore } from '../../../src/remote/hubStore';
import { openLocation } from '../../../src/remote/open';
import { COMMIT, HubServer, type Fault, type Logged } from '../../support/hubServer';
import { hubOptions, inFolder, userError, withServer } from './support';

const NAME = 'model.safetensors';
const SIZE = 6 << 20;
const CONTENT = Buffer.alloc(SIZE);
for (let i = 0, state = 7; i < SIZE; i++) CONTENT[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;

type FaultOf = (request: Logged, nth: number) => Fault | undefined;

/** A server with one file of noise, and that file's source. */
async function withFile<T>(fault: FaultOf | undefined, use: (source: Awaited<ReturnType<ReturnType<typeof hubStore>['open']>>, server: HubServer) => Promise<T>, options: HubOptions = {}): Promise<T> {
  let result: T | undefined;
  await inFolder(async folder => {
    await writeFile(join(folder, NAME), CONTENT);
    await withServer({ folder, ...(fault === undefined ? {} : { fault }) }, async server => {
      const hub = await Hub.connect(hubOptions(server, options));
      result = await use(await hubStore(hub, 'test/tiny', COMMIT).open(NAME), server);
    });
  });
  return result as T;
}

const onCdn = (fault: FaultOf): FaultOf => (request, nth) => request.where === 'cdn' ? fault(request, nth) : undefined;

describe('HttpSource', () => {
  /** Each read of 5 MB meets these faults and ends right all the same. */
  const MENDED: Readonly<Record<string, FaultOf>> = {
    'no fault': () => undefined,
    'a connection that is cut in the middle': onCdn((_, nth) => nth === 1 ? { cutAfter: 2_000_000 } : undefined),
    'a connection that is cut every megabyte': onCdn(() => ({ cutAfter: 1_000_000 })),
    'a connection that is cut before the first byte': onCdn((_, nth) => nth === 1 ? { cutAfter: 0 } : undefined),
    'an answer that ends early as if it were whole': onCdn((_, nth) => nth === 1 ? { endAfter: 3_000_000 } : undefined),
    'an answer with too many bytes': onCdn((_, nth) => nth === 1 ? { tooMany: 10 } : undefined),
    'a server that stops sending': onCdn((_, nth) => nth === 1 ? { stallAfter: 1_500_000 } : undefined),
    'a server that does not answer': onCdn((_, nth) => nth === 1 ? { delay: 1000 } : undefined),
    '429 with Retry-After': onCdn((_, nth) => nth === 1 ? { status: 429, headers: { 'retry-after': '0' } } : undefined),
    '429 from the Hub': ({ where, file }, nth) => where === 'hub' && file !== undefined && nth < 3 ? { status: 429 } : undefined,
    '503 twice': onCdn((_, nth) => nth < 3 ? { status: 503 } : undefined),
    '500, 502 and 504': onCdn((_, nth) => nth < 4 ? { status: [500, 502, 504][nth - 1]! } : undefined),
    'a signed address that expires': onCdn((_, nth) => nth === 2 ? { status: 403 } : undefined),
    'a shorter range than was asked for': onCdn((request, nth) => nth === 1 && request.range !== undefined ? { headers: { 'content-range': `bytes ${request.range.from}-${request.range.from + 999}/${SIZE}`, 'content-length': '1000' }, cutAfter: 1000 } : undefined),
  };
  for (const [what, fault] of Object.entries(MENDED)) {
    it(`reads the right bytes in spite of ${what}`, () => withFile(fault, async (source, server) => {
      const bytes = await readBytes(source, 1000, 5 << 20);
      assert.equal(Buffer.compare(bytes, CONTENT.subarray(1000, 1000 + (5 << 20))), 0);
      const more = await readBytes(source, 5_500_000, 100);
      assert.equal(Buffer.compare(more, CONTENT.subarray(5_500_000, 5_500_100)), 0);
      assert.ok(server.log.length < 20);
    }));
  }

  /** Faults that no attempt mends end in a sentence. */
  const REFUSED: Readonly<Record<string, readonly [FaultOf, RegExp]>> = {
    'another ETag': [onCdn((_, nth) => nth === 2 ? { etag: '"new"' } : undefined), /^model\.safetensors has changed on .* since it was opened/],
    'another ETag at a server that ignores If-Match': [onCdn((_, nth) => nth === 2 ? { headers: { etag: '"new"' } } : undefined), /has changed on .*ETag is another/],
    'a file that grew': [onCdn(() => ({ headers: { 'content-range': 'bytes 0-65535/7000000' } })), /has changed on .*7000000 bytes long, and was 6291456/],
    'a file that shrank': [onCdn(() => ({ status: 416, headers: { 'content-range': 'bytes */1000' } })), /has changed on .*1000 bytes long/],
    'a status that HTTP does not have': [onCdn(() => ({ status: 999 })), /answers with the status 999, which HTTP does not have/],
    'a status that has no body': [onCdn(() => ({ status: 205 })), /answers 205/],
    'a range refused for no reason': [onCdn(() => ({ status: 416 })), /has changed on .*it is shorter/],
    'another range': [onCdn(() => ({ headers: { 'content-range': `bytes 1-65536/${SIZE}` } })), /answers with other bytes .*1 to 65537 instead of 0 to 65536/],
    'no Content-Range': [onCdn(() => ({ headers: { 'content-range': '' } })), /does not say which bytes/],
    'a server that ignores ranges': [onCdn(() => ({ ignoreRange: true })), /ignores requests for a part/],
    'a compressed answer': [onCdn(() => ({ headers: { 'content-encoding': 'gzip' } })), /compressed/],
    'a redirect with another hash': [({ where, url }) => where === 'hub' && url.includes('resolve') ? { headers: { 'x-linked-etag': `"${'0'.repeat(64)}"` } } : undefined, /has changed on .*its hash is not the one that its repository lists/],
    'a redirect in a circle': [({ where, url }) => where === 'hub' && url.includes('resolve') ? { location: url } : undefined, /redirects in a circle/],
    'a redirect to nowhere': [({ where, url }) => where === 'hub' && url.includes('resolve') ? { location: 'ftp://x/' } : undefined, /redirects to nowhere/],
    'a page that is not there': [({ where, url }) => where === 'hub' && url.includes('resolve') ? { status: 404, headers: { 'x-error-code': 'EntryNotFound' } } : undefined, /has no file "model\.safetensors" in this revision/],
    'an address that is always refused': [onCdn(() => ({ status: 403 })), /refuses access/],
  };
  for (const [what, [fault, message]] of Object.entries(REFUSED)) {
    it(`ends in a sentence for ${what}`, () => withFile(fault, async source => {
      await assert.rejects(async () => {
        await readBytes(source, 0, 1000);
        await readBytes(source, 1 << 20, 2 << 20);
      }, userError(message));
    }));
  }

  it('gives up after some attempts, with a sentence that tells them', () => withFile(onCdn(() => ({ status: 503 })), async source => {
    await assert.rejects(readBytes(source, 0, 10), (error: unknown) => error instanceof ConnectionError && error.message.includes('cannot be read: it answers 503 Service Unavailable. 4 attempts failed'));
  }));

  it('does not wait for hours because a server says so', () => withFile(onCdn(() => ({ status: 429, headers: { 'retry-after': '7200' } })), async source => {
    await assert.rejects(readBytes(source, 0, 10), userError(/asks to wait 2 h 0 min/));
  }));

  it('waits as long as the server asks', async () => {
    const notices: string[] = [];
    await withFile(onCdn((_, nth) => nth === 1 ? { status: 429, headers: { 'retry-after': '3' } } : undefined), async source => {
      const started = Date.now();
      await readBytes(source, 0, 10);
      assert.ok(Date.now() - started >= 2900);
    }, { onNotice: message => { notices.push(message); } });
    assert.match(notices.join(), /it answers 429 Too Many Requests; trying again in 3 s\./);
  });

  it('stops at once when told', () => withFile(onCdn(() => ({ stallAfter: 100 })), async source => {
    const controller = new AbortController();
    const read = readBytes(source, 0, 2 << 20, controller.signal);
    setTimeout(() => { controller.abort(); }, 100);
    await assert.rejects(read, isAbort);
  }, { idleTimeout: 60_000 }));

  it('sends the token to the Hub only, not where it redirects to', () => withFile(undefined, async (source, server) => {
    await readBytes(source, 0, 10);
    await readBytes(source, 1 << 20, 2 << 20);
    assert.equal(server.log.filter(({ where }) => where === 'cdn').length, 2);
    for (const { where, headers } of server.log) assert.equal(headers.authorization, where === 'hub' ? 'Bearer hf_secret' : undefined);
  }, { token: 'hf_secret' }));

  it('asks for overlapping beginnings once, and never with more connections than allowed', () => withFile(onCdn(() => ({ delay: 20 })), async (source, server) => {
    await Promise.all([readBytes(source, 0, 1024), readBytes(source, 0, 65_536), readBytes(source, 8, 20_000)]);
    assert.equal(server.log.filter(({ where }) => where === 'cdn').length, 1);
    await Promise.all(Array.from({ length: 6 }, (_, i) => source.remote!.fetchInto(new Uint8Array(1000), i << 20)));
    assert.equal(server.log.filter(({ where }) => where === 'cdn').length, 7);
  }));
});

describe('access to a model', () => {
  const folder = join(__dirname, '../../fixtures/qwen-vl-tiny-safetensors');
  const cases: readonly (readonly [string, object, HubOptions, string, RegExp])[] = [
    ['gated, without a token', { token: 'good', gated: true }, {}, 'hf://test/tiny', /test\/tiny is gated\. Accept its licence at http.*\/test\/tiny\. Give a token .*HF_TOKEN/],
    ['gated, not accepted yet', { token: 'good', gated: true }, { token: 'other' }, 'hf://test/tiny', /token's account may not read it yet/],
    ['private, without a token', { token: 'good', isPrivate: true }, {}, 'hf://test/tiny', /has no public model test\/tiny\. .*a private one needs a token\. Give a token/],
    ['private, with another token', { token: 'good', isPrivate: true }, { token: 'other' }, 'hf://test/tiny', /has no model test\/tiny that the token may read/],
    ['a wrong token', { token: 'good', isPrivate: true }, { token: 'bad' }, 'hf://test/tiny', /refuses the token: it is wrong or has expired/],
    ['no such model', {}, {}, 'hf://test/none', /has no public model test\/none/],
    ['no such revision', {}, {}, 'hf://test/tiny@v9', /test\/tiny has no such revision/],
    ['no such file', {}, {}, 'hf://test/tiny/none.safetensors', /none\.safetensors does not exist in hf:\/\/test\/tiny@0123/],
  ];
  for (const [what, server, options, location, message] of cases) {
    it(`is explained: ${what}`, () => withServer({ folder, ...server }, async running => {
      await assert.rejects(openLocation(location, { hub: hubOptions(running, options) }), (error: unknown) => {
        assert.doesNotMatch(String(error), /good|other\b|Bearer/);
        return userError(message)(error);
      });
    }));
  }

  it('is given with the right token', () => withServer({ folder, token: 'good', gated: true }, async server => {
    const checkpoint = await openLocation('hf://test/tiny', { hub: hubOptions(server, { token: 'good' }) });
    assert.equal(checkpoint.files.length, 4);
    // Where the Hub redirects to itself, the token goes along, each time.
    const config = await checkpoint.store.open('config.json');
    for (const position of [0, 100]) await config.remote!.fetchInto(new Uint8Array(50), position);
    const requests = server.log.filter(({ file }) => file === 'config.json');
    assert.deepEqual(requests.map(({ status, headers }) => [status, headers.authorization]), [[307, 'Bearer good'], [206, 'Bearer good'], [206, 'Bearer good']]);
  }));
});
