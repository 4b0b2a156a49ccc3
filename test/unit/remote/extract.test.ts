import assert from 'node:assert/strict';
import { open, readFile, readdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { downloadEstimate } from '../../../src/extraction/downloadEstimate';
import { extract, findLeftover, type ExtractOptions, type ExtractResult } from '../../../src/extraction/extract';
import { discardLeftover, type Leftover } from '../../../src/extraction/outputFolder';
import { verify } from '../../../src/extraction/verify';
import { companionFiles, openJob, validated, type Job } from '../../../src/job';
import { isAbort } from '../../../src/errors';
import { ConnectionError } from '../../../src/remote/errors';
import { openLocation } from '../../../src/remote/open';
import { COMMIT, type Fault, type HubServer, type Logged } from '../../support/hubServer';
import { writeMadeModel } from '../../support/madeModel';
import { hubOptions, inFolder, TINY, userError, withServer } from './support';

async function extractFrom(job: Job, out: string, options: Partial<ExtractOptions> = {}): Promise<ExtractResult> {
  return extract(job.plan, validated(job).validation, { ...(await companionFiles(job)), out, format: 'safetensors', dtype: 'keep', ...options });
}

async function withJob<T>(location: string, server: HubServer | undefined, use: (job: Job) => Promise<T>): Promise<T> {
  const checkpoint = server === undefined ? await openCheckpoint(location) : await openLocation(location, { hub: hubOptions(server, { idleTimeout: 10_000 }) });
  try {
    return await use(await openJob(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

/** The ranges that the server's log has begin and end in kept tensors, with at most a few kilobytes between these. */
function assertOnlyKeptRanges(job: Job, server: HubServer, mark: number): void {
  for (const { file, range } of server.log.slice(mark)) {
    if (file === undefined || range === undefined) continue;
    const kept = job.plan.kept.filter(({ tensor }) => job.checkpoint.files[tensor.file]?.name === file);
    const spans = kept.map(({ tensor }) => [tensor.offset, tensor.offset + tensor.length] as const).sort((a, b) => a[0] - b[0]);
    let at = range.from;
    for (const [start, end] of spans) {
      if (end <= at || start >= range.to) continue;
      assert.ok(start - at <= (at === range.from ? 0 : 16_384), `${file} ${range.from}-${range.to}: bytes ${at} to ${start} are not wanted`);
      at = end;
    }
    assert.ok(at >= range.to, `${file} ${range.from}-${range.to}: bytes from ${at} on are not wanted`);
  }
}

describe('extraction from a remote checkpoint', () => {
  for (const [name, folder] of Object.entries(TINY)) {
    for (const options of [{}, { format: 'torch', maxShardBytes: 80_000 }, { dtype: 'f32' }] as const) {
      it(`of qwen-vl-tiny-${name} equals the local one, bit for bit: ${JSON.stringify(options)}`, () => inFolder(async out => withServer({ folder }, async server => {
        const local = await withJob(folder, undefined, job => extractFrom(job, join(out, 'local'), options));
        const before = await withJob('hf://test/tiny', server, async job => {
          const mark = server.log.length;
          const remote = await extractFrom(job, join(out, 'remote'), options);
          assert.deepEqual(remote.files, local.files);
          for (const file of remote.files.slice(0, -1)) {
            assert.deepEqual(await readFile(join(out, 'remote', file)), await readFile(join(out, 'local', file)), file);
          }
          assert.deepEqual(remote.manifest.output, local.manifest.output);
          assert.match(remote.manifest.source.location, new RegExp(`^hf://test/tiny@${COMMIT}/`));
          const estimate = downloadEstimate(job.plan)!;
          assert.equal(estimate.download, job.plan.keptBytes);
          const sent = server.sent(mark);
          assert.ok(sent <= 1.02 * job.plan.keptBytes, `${sent} bytes for ${job.plan.keptBytes}`);
          assertOnlyKeptRanges(job, server, mark);
          return remote;
        });
        assert.equal(before.manifest.validation.config, `hf://test/tiny@${COMMIT}/config.json`);
        assert.deepEqual(await readdir(join(out, 'remote')), await readdir(join(out, 'local')));
        assert.equal((await verify(join(out, 'remote'))).ok, true);
      })));
    }
  }
});

describe('a checkpoint of 1 GB', () => {
  it('costs its encoder\'s bytes and less than 2% more, headers, index and configs included', () => inFolder(async parent => {
    const { keptBytes } = await writeMadeModel(join(parent, 'model'), { width: 768, layers: 8, unwantedBytes: 860_000_000, shards: 10 });
    await withServer({ folder: join(parent, 'model') }, server => withJob('hf://test/tiny', server, async job => {
      const total = job.checkpoint.files.reduce((sum, { source }) => sum + source.size, 0);
      assert.ok(total > 0.95e9 && total < 1.1e9, `${total} bytes`);
      assert.equal(job.plan.keptBytes, keptBytes);
      const mark = server.log.length;
      await extractFrom(job, join(parent, 'out'));
      assertOnlyKeptRanges(job, server, mark);
      assert.ok(server.sent() < 1.02 * keptBytes, `${server.sent()} bytes for ${keptBytes}`);
      console.log(`      ${total} bytes, ${keptBytes} kept, ${server.sent()} downloaded in all (${(server.sent() / keptBytes).toFixed(4)}), ${server.log.length} requests`);
      assert.deepEqual((await verify(join(parent, 'out'))).differences, []);
    }));
  })).timeout(60_000);
});

describe('verification against a remote checkpoint', () => {
  it('finds what differs, however much of it there is, in few requests', () => inFolder(async parent => {
    await writeMadeModel(join(parent, 'model'), { width: 640, layers: 16, unwantedBytes: 8_000_000, shards: 2 });
    await writeMadeModel(join(parent, 'other'), { width: 640, layers: 16, unwantedBytes: 8_100_000, shards: 1 });
    await withJob(join(parent, 'model'), undefined, job => extractFrom(job, join(parent, 'out')));
    await withServer({ folder: join(parent, 'model') }, server => withJob('hf://test/tiny', server, async job => {
      const mark = server.log.length;
      assert.deepEqual((await verify(join(parent, 'out'), { source: job.checkpoint })).differences, []);
      assert.ok(server.log.length - mark < 100, `${server.log.length - mark} requests`);
    }));
    // The made tensors begin with their place in the file, which differs here.
    await withServer({ folder: join(parent, 'other') }, server => withJob('hf://test/tiny', server, async job => {
      const { differences, checkedTensors } = await verify(join(parent, 'out'), { source: job.checkpoint });
      assert.ok(differences.length > 100);
      assert.equal(differences.length + checkedTensors, job.plan.kept.length);
      assert.match(differences[0]!.message, /differs from transformer\.visual\..* in the source, first at element \d/);
    }));
  }));
});

describe('extraction from a failing server', () => {
  const folder = TINY.safetensors;
  const data = (fault: Fault) => ({ where, range }: Logged, nth: number): Fault | undefined => where === 'cdn' && range !== undefined && range.from > 0 && nth >= 2 ? fault : undefined;
  const inPlace = async (use: (job: Job, server: HubServer, parent: string) => Promise<void>): Promise<void> => inFolder(parent => withServer({ folder }, server => withJob('hf://test/tiny', server, job => use(job, server, parent))));

  it('leaves nothing when the file changes under way', () => inPlace(async (job, server, parent) => {
    server.fault = data({ etag: '"other"' });
    await assert.rejects(extractFrom(job, join(parent, 'out')), userError(/has changed on .* Open the checkpoint again/));
    assert.deepEqual(await readdir(parent), []);
  }));

  it('leaves nothing when it is cancelled', () => inPlace(async (job, server, parent) => {
    server.fault = data({ stallAfter: 100 });
    const controller = new AbortController();
    setTimeout(() => { controller.abort(); }, 100);
    await assert.rejects(extractFrom(job, join(parent, 'out'), { signal: controller.signal }), isAbort);
    assert.deepEqual(await readdir(parent), []);
  }));

  it('keeps what has arrived when the network is lost, and goes on from there', () => inFolder(async parent => {
    await writeMadeModel(join(parent, 'model'), { width: 512, layers: 6, unwantedBytes: 8_000_000, shards: 2 });
    await withServer({ folder: join(parent, 'model') }, server => withJob('hf://test/tiny', server, async job => {
      let passed = 0;
      server.fault = ({ where, range }) => where === 'cdn' && range !== undefined && range.to - range.from > 100_000 && ++passed > 6 ? { status: 503 } : undefined;
      const out = join(parent, 'out');
      await assert.rejects(extractFrom(job, out), (error: unknown) => error instanceof ConnectionError && /503 .*4 attempts failed; .*What has arrived is kept in .*vision-encoder-partial.*extract into the same folder again/.test(error.message));
      const partial = (await readdir(parent)).find(name => name.startsWith('.vision-encoder-partial'))!;
      assert.ok(partial);

      server.fault = undefined;
      // Another extraction beside it does not take it away, nor take it over.
      await extractFrom(job, join(parent, 'elsewhere'));
      assert.ok((await readdir(parent)).includes(partial));
      const mark = server.log.length;
      let resumed = 0;
      await extractFrom(job, out, { onResume: bytes => { resumed = bytes; } });
      assert.ok(resumed > 0);
      assert.ok(server.sent(mark) < job.plan.keptBytes, 'what had arrived is not fetched again');
      assert.deepEqual((await readdir(parent)).sort(), ['elsewhere', 'model', 'out']);
      assert.deepEqual(await readFile(join(out, 'model.safetensors')), await readFile(join(parent, 'elsewhere/model.safetensors')));
      assert.deepEqual((await verify(out, { source: job.checkpoint })).differences, []);
    }));
  }));

  it('keeps what a cancelled run has fetched when told to, and starts over when told to', () => inFolder(async parent => {
    await writeMadeModel(join(parent, 'model'), { width: 512, layers: 6, unwantedBytes: 8_000_000, shards: 2 });
    await withServer({ folder: join(parent, 'model') }, server => withJob('hf://test/tiny', server, async job => {
      const out = join(parent, 'out');
      const choice = { format: 'safetensors', dtype: 'keep', out } as const;
      const cancelled = async (): Promise<Leftover> => {
        const controller = new AbortController();
        let kept: Leftover | undefined;
        await assert.rejects(extractFrom(job, out, { signal: controller.signal, onProgress: ({ done }) => { if (done > 8e6) controller.abort(); }, onKept: left => { kept = left; } }), isAbort);
        return kept!;
      };
      const kept = await cancelled();
      assert.ok(kept.bytes > 0);
      assert.deepEqual(await findLeftover(job.plan, choice), kept);
      assert.equal(await findLeftover(job.plan, { ...choice, out: join(parent, 'elsewhere') }), undefined);
      assert.equal(await findLeftover(job.plan, { ...choice, format: 'torch' }), undefined);
      await discardLeftover(kept.folder);
      assert.deepEqual(await readdir(parent), ['model']);

      await cancelled();
      await extractFrom(job, out, { startOver: true, onResume: () => assert.fail('It was to start over.') });
      assert.deepEqual((await readdir(parent)).sort(), ['model', 'out']);
      assert.deepEqual((await verify(out, { source: job.checkpoint })).differences, []);
    }));
  }));

  it('does not go on from what is damaged, nor with something else', () => inFolder(async parent => {
    await writeMadeModel(join(parent, 'model'), { width: 512, layers: 6, unwantedBytes: 8_000_000, shards: 2 });
    await withServer({ folder: join(parent, 'model') }, server => withJob('hf://test/tiny', server, async job => {
      const out = join(parent, 'out');
      const interrupt = async (): Promise<string> => {
        let passed = 0;
        server.fault = ({ where, range }) => where === 'cdn' && range !== undefined && range.to - range.from > 100_000 && ++passed > 6 ? { status: 503 } : undefined;
        await assert.rejects(extractFrom(job, out), ConnectionError);
        server.fault = undefined;
        return join(parent, (await readdir(parent)).find(name => name.startsWith('.vision-encoder-partial'))!);
      };
      const partial = await interrupt();
      const file = await open(join(partial, 'model.safetensors'), 'r+');
      await file.write(Buffer.from('damaged'), 0, 7, 100_000);
      await file.close();
      await assert.rejects(extractFrom(job, out), userError(/interrupted extraction had written is damaged.*Extract again/));
      assert.deepEqual(await readdir(parent), ['model']);

      // A power cut may lose the file and leave the record of it.
      await rm(join(await interrupt(), 'model.safetensors'));
      await assert.rejects(extractFrom(job, out), userError(/interrupted extraction had written is damaged.*Extract again/));
      assert.deepEqual(await readdir(parent), ['model']);

      // Who put a link there had it written through.
      const left = await interrupt();
      await rename(join(left, 'model.safetensors'), join(parent, 'victim'));
      await symlink(join(parent, 'victim'), join(left, 'model.safetensors'));
      const before = await readFile(join(parent, 'victim'));
      await extractFrom(job, out, { onResume: () => assert.fail('It went on through a link.') });
      assert.deepEqual(await readFile(join(parent, 'victim')), before);
      assert.deepEqual((await verify(out)).differences, []);
      await rm(out, { recursive: true });
      await rm(join(parent, 'victim'));

      await interrupt();
      await extractFrom(job, out, { format: 'torch', onResume: () => assert.fail('Another format is nothing to go on from.') });
      assert.deepEqual((await readdir(parent)).sort(), ['model', 'out']);
      assert.deepEqual((await verify(out)).differences, []);
    }));
  }));
});
