import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { verify } from '../../../src/extraction/verify';
import type { HubServer } from '../../support/hubServer';
import { writeMadeModel } from '../../support/madeModel';
import { inFolder, withServer } from './support';

interface Ended {
  readonly code: number | null;
  readonly out: string;
}

function cli(server: HubServer, folder: string, ...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, ['--import', 'tsx', resolve('src/cli.ts'), ...args], {
    env: { PATH: process.env.PATH, HOME: folder, HF_ENDPOINT: server.endpoint, HF_TOKEN: 'hf_secret', NO_COLOR: '1' },
  });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => { out += chunk.toString(); });
  return { child, ended: new Promise(done => child.once('close', code => { done({ code, out }); })) };
}

const partials = async (folder: string): Promise<string[]> => (await readdir(folder)).filter(name => name.startsWith('.vision-encoder-partial'));

describe('the command line on a remote checkpoint', function () {
  this.timeout(120_000);

  it('goes on after kill -9 with what had arrived, and the result verifies', () => inFolder(async folder => {
    const { keptBytes } = await writeMadeModel(join(folder, 'model'), { width: 512, layers: 10, unwantedBytes: 240_000_000, shards: 3 });
    await withServer({ folder: join(folder, 'model'), repo: 'test/made', fault: ({ range }) => range !== undefined && range.to - range.from > 1 << 20 ? { delay: 300 } : undefined }, async server => {
      const first = cli(server, folder, 'extract', 'hf://test/made', '--out', join(folder, 'out'));
      while (server.sent() < 0.8 * keptBytes) await sleep(5);
      first.child.kill('SIGKILL');
      await first.ended;
      assert.equal((await partials(folder)).length, 1);
      await assert.rejects(stat(join(folder, 'out')));

      const mark = server.log.length;
      server.fault = undefined;
      const second = await cli(server, folder, 'extract', 'hf://test/made', '--out', join(folder, 'out')).ended;
      assert.equal(second.code, 0, second.out);
      assert.match(second.out, /Downloading 6\d\.\d MB of 30\d MB; the other 2\d\d MB are not needed\./);
      assert.match(second.out, /Going on from \d\d\.\d MB that an interrupted run left\./);
      const again = server.sent(mark);
      assert.ok(again < 0.7 * keptBytes, `${again} of ${keptBytes} bytes were fetched again`);
      assert.deepEqual(await partials(folder), []);
      assert.deepEqual((await readdir(join(folder, 'out'))).sort(), ['config.json', 'manifest.json', 'model.safetensors', 'preprocessor_config.json']);
      const report = await verify(join(folder, 'out'));
      assert.deepEqual([report.ok, report.differences], [true, []]);
      assert.doesNotMatch(second.out + await readFile(join(folder, 'out/manifest.json'), 'utf8'), /hf_secret/);
      const compared = await cli(server, folder, 'verify', join(folder, 'out'), '--source', 'hf://test/made').ended;
      assert.match(compared.out, /equal to the source, tensor for tensor/);
      assert.equal(compared.code, 0);
    });
  }));
});
