import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect, type AddressInfo, type Server as NetServer } from 'node:net';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream';
import { HttpClient } from '../../../src/remote/http';
import { HttpSource } from '../../../src/remote/httpSource';
import { proxyFetch } from '../../../src/remote/proxy';
import { fileBytes } from '../../support/hubServer';
import { inFolder, TINY, userError, withServer } from './support';

const AUTHORIZATION = `Basic ${Buffer.from('me:secret').toString('base64')}`;

async function listening<T extends NetServer>(server: T): Promise<{ server: T; port: number }> {
  await new Promise<void>(done => { server.listen(0, '127.0.0.1', done); });
  return { server, port: (server.address() as AddressInfo).port };
}

/** A proxy that wants a password, with what it was asked for. */
async function startProxy(): Promise<{ server: Server; port: number; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((incoming, response) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    if (incoming.headers['proxy-authorization'] !== AUTHORIZATION) { response.writeHead(407).end(); return; }
    request(incoming.url!, { headers: incoming.headers }, answer => { pipeline(answer, response.writeHead(answer.statusCode!, answer.headers), () => undefined); }).end();
  });
  server.on('connect', (incoming, socket) => {
    asked.push(`CONNECT ${incoming.url}`);
    if (incoming.headers['proxy-authorization'] !== AUTHORIZATION) { socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'); return; }
    const [host, port] = incoming.url!.split(':');
    const target = connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      target.pipe(socket).pipe(target);
    });
    for (const end of [target, socket]) end.on('error', () => { target.destroy(); socket.destroy(); });
  });
  return { ...(await listening(server)), asked };
}

function stop(server: Server): void {
  server.closeAllConnections();
  server.close();
}

describe('proxyFetch', () => {
  it('goes through the proxy for http, with ranges and broken connections as without', () => withServer({ folder: TINY.bin, fault: (_, nth) => nth === 2 ? { cutAfter: 100_000 } : undefined }, async server => {
    const { server: proxy, port, asked } = await startProxy();
    try {
      const url = new URL(`${server.plain}/pytorch_model-00001-of-00003.bin`);
      const fetch = proxyFetch({ HTTP_PROXY: `http://me:secret@127.0.0.1:${port}` })!;
      const source = await HttpSource.open(new HttpClient({ fetch, firstDelay: 1 }), { name: 'x', url, explain: () => assert.fail() });
      const bytes = new Uint8Array(400_000);
      await source.remote.fetchInto(bytes, 10);
      assert.equal(Buffer.compare(bytes, fileBytes(server, 'pytorch_model-00001-of-00003.bin').subarray(10, 400_010)), 0);
      assert.deepEqual(asked, Array.from({ length: 3 }, () => `GET ${url.href}`));
      // NO_PROXY: straight.
      const straight = proxyFetch({ HTTP_PROXY: `http://me:secret@127.0.0.1:${port}`, NO_PROXY: 'example.org, 127.0.0.1' })!;
      assert.equal((await straight(url)).status, 200);
      assert.equal(asked.length, 3);
    } finally {
      stop(proxy);
    }
  }));

  it('opens a tunnel for https, whose certificate is checked', function () {
    this.timeout(60_000);
    if (spawnSync('openssl', ['version']).status !== 0) {
      console.log('      skipped: there is no openssl to make a certificate with');
      this.skip();
    }
    return inFolder(folder => withServer({ folder: TINY.bin }, async server => {
      const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
      execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', certificate, '-days', '2', '-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'ignore' });
      const secure = await listening(createHttpsServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (incoming, response) => {
        request(server.cdn + incoming.url!, { headers: incoming.headers }, answer => { answer.pipe(response.writeHead(answer.statusCode!, answer.headers)); }).end();
      }));
      const { server: proxy, port, asked } = await startProxy();
      const keys = (env: Record<string, string>): Promise<{ code: number | null; out: string }> => new Promise(done => {
        const child = spawn(process.execPath, ['--import', 'tsx', resolve('src/cli.ts'), 'keys', `https://127.0.0.1:${secure.port}/plain/pytorch_model-00001-of-00003.bin`], { env: { PATH: process.env.PATH, HOME: folder, ...env } });
        let out = '';
        for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { out += chunk.toString(); });
        child.once('close', code => { done({ code, out }); });
      });
      try {
        const [right, untrusted, refused] = await Promise.all([
          keys({ HTTPS_PROXY: `http://me:secret@127.0.0.1:${port}`, NODE_EXTRA_CA_CERTS: certificate }),
          keys({ HTTPS_PROXY: `http://me:secret@127.0.0.1:${port}` }),
          keys({ HTTPS_PROXY: `http://me:wrong@127.0.0.1:${port}`, NODE_EXTRA_CA_CERTS: certificate }),
        ]);
        assert.equal(right.code, 0, right.out);
        assert.match(right.out, /transformer\./);
        assert.match(untrusted.out, /has a certificate that is not trusted \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
        assert.match(refused.out, /The proxy 127\.0\.0\.1:\d+ answers 407 .*Check HTTPS_PROXY/);
        assert.doesNotMatch(right.out + untrusted.out + refused.out, /me:|secret|wrong/);
        assert.ok(asked.every(line => line === `CONNECT 127.0.0.1:${secure.port}`));
      } finally {
        stop(proxy);
        stop(secure.server);
      }
    }));
  });

  it('is not needed without a proxy, and refuses what is none', () => {
    assert.equal(proxyFetch({}), undefined);
    assert.throws(() => proxyFetch({ HTTPS_PROXY: 'socks5://me:secret@x:1' }), (error: unknown) => userError(/HTTPS_PROXY is "socks5:\/\/x:1", which is not/)(error));
  });
});
