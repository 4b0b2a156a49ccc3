import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import os, { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { isAbort, UserError } from '../../../src/errors';
import { extract } from '../../../src/extraction/extract';
import { processIdentity } from '../../../src/extraction/processIdentity';
import { makePlan } from '../../../src/recipe/plan';
import { inFolder, KEEP_ALL, madeCase, noise, TINY, tinyCase, to, VALID, type Case } from './support';

const BIG = { key: 'big', dtype: 'U8', shape: [12 << 20], bytes: noise(12 << 20) } as const;

/** Everything below a folder. */
async function tree(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).sort();
}

async function refuses(run: Promise<unknown>, ...patterns: RegExp[]): Promise<void> {
  await assert.rejects(run, (error: unknown) => {
    assert.ok(error instanceof UserError, String(error));
    for (const pattern of patterns) assert.match(error.message, pattern);
    return true;
  });
}

async function withTiny(use: (tiny: Case) => Promise<void>): Promise<void> {
  const tiny = await tinyCase(TINY.safetensors);
  try {
    await use(tiny);
  } finally {
    await tiny.checkpoint.close();
  }
}

/** Skips the test, saying why, where processes have no identity. */
function needProc(test: Mocha.Context): void {
  if (processIdentity(process.pid) !== undefined) return;
  console.log('      skipped: this system has no /proc');
  test.skip();
}

describe('extract refuses', () => {
  it('to write an encoder of nothing', async () => {
    await inFolder(async folder => {
      const { checkpoint, validation } = madeCase([BIG]);
      const plan = makePlan(checkpoint, { ...KEEP_ALL, name: 'Other model', rules: [{ mark: 'keep', module: 'visual' }] });
      await refuses(extract(plan, validation, to(join(folder, 'out'))), /"Other model" keeps none of the 1 tensors of made/);
      assert.deepEqual(await tree(folder), []);
    });
  });

  it('what a strict load would refuse, counting the findings', async () => {
    await inFolder(async folder => {
      const { plan } = madeCase([BIG]);
      const missing = [{ key: 'ln_post.bias', shape: [4], fixes: [] }];
      await refuses(extract(plan, { ...VALID, valid: false, missing }, to(join(folder, 'out'))), /1 missing/, /ln_post\.bias/);
      await refuses(extract(plan, { ...VALID, valid: false, problem: { message: 'There is no config.' } }, to(join(folder, 'out'))), /There is no config\./);
      assert.deepEqual(await tree(folder), []);
    });
  });

  it('two tensors of one name', async () => {
    const { checkpoint } = madeCase([{ ...BIG, key: 'a.x' }, { ...BIG, key: 'b.x' }]);
    const plan = makePlan(checkpoint, { ...KEEP_ALL, rules: [{ mark: 'strip', module: 'a' }, { mark: 'strip', module: 'b' }] });
    await refuses(extract(plan, VALID, to(join(tmpdir(), 'never'))), /a\.x and b\.x would both become x/);
  });

  it('a dtype that PyTorch does not have, for .bin', async () => {
    const { plan } = madeCase([{ key: 'six', dtype: 'F6_E2M3', shape: [4], bytes: noise(3) }]);
    await refuses(extract(plan, VALID, to(join(tmpdir(), 'never'), { format: 'torch' })), /no dtype for six/, /safetensors/);
  });

  it('to replace an output unless told to, and then replaces its own files only', async () => {
    await inFolder(async folder => {
      const out = join(folder, 'out');
      const { plan } = madeCase([{ ...BIG, shape: [1000], bytes: noise(1000) }, { key: 'b', dtype: 'U8', shape: [1000], bytes: noise(1000, 2) }]);
      await extract(plan, VALID, to(out, { maxShardBytes: 1000 }));
      await writeFile(join(out, 'README.md'), 'mine');
      const before = await tree(out);
      await refuses(extract(plan, VALID, to(out)), /already has/, /config\.json/, /replace what is there/);
      assert.deepEqual(await tree(out), before);

      await extract(plan, VALID, to(out, { format: 'torch', overwrite: true }));
      assert.deepEqual(await tree(out), ['README.md', 'config.json', 'manifest.json', 'preprocessor_config.json', 'pytorch_model.bin']);
      assert.equal(await readFile(join(out, 'README.md'), 'utf8'), 'mine');
    });
  });

  it('the folder of the checkpoint itself, also by way of a link, and takes one inside it', async () => {
    await inFolder(async folder => {
      const source = join(folder, 'source');
      await mkdir(source);
      for (const name of await readdir(dirname(TINY.safetensors))) await copyFile(join(TINY.safetensors, '..', name), join(source, name));
      const before = await tree(source);
      const tiny = await tinyCase(join(source, 'model.safetensors.index.json'));
      try {
        await symlink(source, join(folder, 'link'));
        for (const out of [source, join(folder, 'link')]) {
          await refuses(extract(tiny.plan, tiny.validation, to(out, { overwrite: true })), /holds the checkpoint itself/);
        }
        assert.deepEqual(await tree(source), before);
        await extract(tiny.plan, tiny.validation, to(join(source, 'encoder')));
        assert.ok((await readdir(source)).includes('encoder'));
      } finally {
        await tiny.checkpoint.close();
      }
    });
  });

  it('the folder of a checkpoint whose shards lie in a folder inside it', async () => {
    await inFolder(async folder => {
      const { checkpoint } = madeCase([BIG]);
      const below = { ...checkpoint, store: { ...checkpoint.store, location: folder } };
      await refuses(extract(makePlan(below, KEEP_ALL), VALID, to(folder, { overwrite: true })), /holds the checkpoint itself/);
    });
  });

  it('a link to a folder that is not there, before anything is copied', async () => {
    await inFolder(async folder => {
      await symlink(join(folder, 'gone'), join(folder, 'out'));
      await refuses(extract(madeCase([BIG], () => assert.fail('was read')).plan, VALID, to(join(folder, 'out'))), /out is a symbolic link to a folder that does not exist/);
      assert.deepEqual(await tree(folder), ['out']);
    });
  });

  it('names that no file of weights can give a tensor', async () => {
    for (const key of ['__metadata__', 'half \ud800']) {
      await refuses(extract(madeCase([{ ...BIG, key }]).plan, VALID, to(join(tmpdir(), 'never'))), /would become "(__metadata__|half \\ud800)", a name that no file/);
    }
  });

  it('a header longer than safetensors readers take', async () => {
    const tensors = Array.from({ length: 101 }, (_, index) => ({ key: `${index}${'k'.repeat(1_000_000)}`, dtype: 'U8', shape: [1], bytes: noise(1) } as const));
    await refuses(extract(madeCase(tensors).plan, VALID, to(join(tmpdir(), 'never'))), /header for 101 tensors would be 1010\d+ bytes long, and 100000000 are allowed/, /smaller maximum shard size/);
  });

  it('a file system that takes no folders, saying so', async function () {
    needProc(this);
    for (const out of ['/proc/x', '/proc/x/y']) await refuses(extract(madeCase([BIG]).plan, VALID, to(out)), /^No folder can be made at \/proc\/[.x]/);
  });

  it('a place where a file stands, and a disk without room', async () => {
    await inFolder(async folder => {
      await writeFile(join(folder, 'file'), '');
      const { checkpoint, plan } = madeCase([BIG]);
      await refuses(extract(plan, VALID, to(join(folder, 'file'))), /is a file/);
      await refuses(extract(plan, VALID, to(join(folder, 'file/below'))), /is a file/);
      const huge = { key: 'huge', dtype: 'U8', shape: [2 ** 50], file: 0, offset: 0, length: 2 ** 50 } as const;
      const planned = { ...plan, kept: [{ tensor: huge, mark: 'keep', outputKey: 'huge', decision: undefined } as const], checkpoint };
      await refuses(extract(planned, VALID, to(join(folder, 'deep/er/out'))), /free, and the output needs 1\.13 PB/);
      assert.deepEqual(await tree(folder), ['file']);
    });
  });
});

describe('extract leaves nothing behind', () => {
  it('when it is cancelled at any moment', async () => {
    await inFolder(async folder => {
      const { plan } = madeCase([BIG]);
      for (let moment = 0; moment < 12; moment++) {
        const controller = new AbortController();
        let calls = 0;
        const run = extract(plan, VALID, to(join(folder, 'new/out'), {
          signal: controller.signal,
          format: moment % 2 === 0 ? 'safetensors' : 'torch',
          onProgress: () => { if (calls++ === moment) controller.abort(); },
        }));
        await assert.rejects(run, isAbort);
        assert.deepEqual(await tree(folder), [], `cancelled at write ${moment}`);
      }
      const { plan: slow } = madeCase([BIG], (_, signal) => new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, 60_000);
        signal?.addEventListener('abort', () => { clearTimeout(timer); reject(signal.reason as Error); });
      }));
      await assert.rejects(extract(slow, VALID, to(join(folder, 'out'), { signal: AbortSignal.timeout(30) })), { name: 'TimeoutError' });
      assert.deepEqual(await tree(folder), []);
    });
  });

  it('and an existing folder as it was', async () => {
    await inFolder(async folder => {
      const out = join(folder, 'out');
      await extract(madeCase([{ ...BIG, key: 'old', shape: [8], bytes: noise(8) }]).plan, VALID, to(out));
      const before = await Promise.all((await tree(out)).map(async name => [name, await readFile(join(out, name), 'utf8')]));
      const controller = new AbortController();
      await assert.rejects(extract(madeCase([BIG]).plan, VALID, to(out, { overwrite: true, signal: controller.signal, onProgress: () => { controller.abort(); } })), isAbort);
      assert.deepEqual(await Promise.all((await tree(out)).map(async name => [name, await readFile(join(out, name), 'utf8')])), before);
    });
  });

  it('and what somebody else put into the folder meanwhile as it is', async () => {
    for (const exists of [true, false]) {
      await inFolder(async folder => {
        const out = join(folder, 'out');
        if (exists) await mkdir(out);
        let put: Promise<void> | undefined;
        const intrude = async (): Promise<void> => {
          await mkdir(out, { recursive: true });
          await writeFile(join(out, 'config.json'), 'precious');
        };
        const { plan } = madeCase([BIG]);
        const run = (async () => {
          await extract(plan, VALID, to(out, { onProgress: () => { put ??= intrude(); } }));
        })();
        await refuses(run, /out already has config\.json\. Choose another folder/);
        await put;
        assert.deepEqual(await tree(folder), ['out', 'out/config.json']);
        assert.equal(await readFile(join(out, 'config.json'), 'utf8'), 'precious');
      });
    }
  });

  it('when the source cannot be read any more', async () => {
    await inFolder(async folder => {
      const { plan } = madeCase([BIG], position => { if (position > 5 << 20) throw new UserError('made cannot be read (EIO).'); });
      await refuses(extract(plan, VALID, to(join(folder, 'out'))), /made cannot be read \(EIO\)/);
      assert.deepEqual(await tree(folder), []);
    });
  });

  it('when a source file changes under way, or changed before', async () => {
    await inFolder(async folder => {
      const path = join(folder, 'model.safetensors');
      await extract(madeCase([BIG]).plan, VALID, to(join(folder, 'first')));
      await rename(join(folder, 'first/model.safetensors'), path);
      await rm(join(folder, 'first'), { recursive: true });
      const checkpoint = await openCheckpoint(path);
      try {
        const plan = makePlan(checkpoint, KEEP_ALL);
        let touched = Promise.resolve();
        await refuses(extract(plan, VALID, to(join(folder, 'out'), { onProgress: () => { touched = utimes(path, 1, 1); } })), /model\.safetensors changed while it was in use/);
        await touched;
        const handle = await open(path, 'r+');
        await handle.truncate(1000);
        await handle.close();
        await refuses(extract(plan, VALID, to(join(folder, 'out'))), /changed while it was in use/);
        await rm(path);
        await refuses(extract(plan, VALID, to(join(folder, 'out'))), /can no longer be read \(ENOENT\)/);
        assert.deepEqual(await tree(folder), []);
      } finally {
        await checkpoint.close();
      }
    });
  });

  it('when the disk fills up', async function () {
    this.timeout(60_000);
    const disk = await mkdtemp(join(tmpdir(), 'disk-'));
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', disk]).status === 0;
    try {
      if (!mounted) {
        console.log('      skipped: a small disk can only be mounted by root');
        this.skip();
      }
      let ballast: Promise<void> | undefined;
      const { plan } = madeCase([BIG], () => ballast ??= writeFile(join(disk, 'ballast'), noise(35 << 20)));
      await refuses(extract(plan, VALID, to(join(disk, 'out'))), /The disk is full: .*model\.safetensors/);
      assert.deepEqual(await tree(disk), ['ballast']);
      await refuses(extract(plan, VALID, to(join(disk, 'out'))), /free, and the output needs/);
      assert.deepEqual(await tree(disk), ['ballast']);
    } finally {
      if (mounted) spawnSync('umount', [disk]);
      await rm(disk, { recursive: true });
    }
  });

  it('in a folder without permission', async () => {
    await inFolder(async folder => {
      await chmod(folder, 0o555);
      const root = process.geteuid?.() === 0;
      // Root may write everywhere, so it is nobody for a moment.
      if (root) process.seteuid?.(65534);
      try {
        await refuses(extract(madeCase([BIG]).plan, VALID, to(join(folder, 'out'))), /no permission to write .*out/);
        await refuses(extract(madeCase([BIG]).plan, VALID, to(folder)), /no permission to write/);
      } finally {
        if (root) process.seteuid?.(0);
        await chmod(folder, 0o700);
      }
      assert.deepEqual(await tree(folder), []);
    });
  });

  it('of a killed run, once the next one goes to the same place', async () => {
    await inFolder(async folder => {
      const host = hostname().replace(/[^A-Za-z0-9]/g, '_').slice(0, 60);
      const dead = spawnSync(process.execPath, ['-e', '']).pid;
      const left = `.vision-encoder-partial-${host}-${dead}-0123456789ab`;
      const running = `.vision-encoder-partial-${host}-${process.ppid}-0123456789ab`;
      for (const name of [left, running]) {
        await mkdir(join(folder, name));
        await writeFile(join(folder, name, 'model.safetensors'), 'half');
      }
      await extract(madeCase([BIG]).plan, VALID, to(join(folder, 'out')));
      assert.deepEqual((await readdir(folder)).sort(), [running, 'out'].sort());
    });
  });

  it('of a run whose number another process has by now, and all of one that runs, whatever the clock says', async function () {
    needProc(this);
    await inFolder(async folder => {
      const host = hostname().replace(/[^A-Za-z0-9]/g, '_').slice(0, 60);
      const reused = `.vision-encoder-partial-${host}-${process.ppid}-0123456789abcdef-0123456789ab`;
      const running = `.vision-encoder-partial-${host}-${process.ppid}-${processIdentity(process.ppid)}-0123456789ab`;
      for (const name of [reused, running]) await mkdir(join(folder, name));
      const { uptime } = os;
      // As when the clock was put on by a day: the machine seems to have started after the folder was made.
      os.uptime = () => -86_400;
      syncBuiltinESMExports();
      try {
        await extract(madeCase([BIG]).plan, VALID, to(join(folder, 'out')));
      } finally {
        os.uptime = uptime;
        syncBuiltinESMExports();
      }
      assert.deepEqual((await readdir(folder)).sort(), [running, 'out'].sort());
    });
  });

  it('of the killed run itself', async function () {
    this.timeout(60_000);
    await inFolder(async folder => {
      const program = `
        const { madeCase, noise, to, VALID } = require(${JSON.stringify(join(__dirname, 'support.ts'))});
        const { extract } = require(${JSON.stringify(join(__dirname, '../../../src/extraction/extract.ts'))});
        const { plan } = madeCase([{ key: 'big', dtype: 'U8', shape: [1 << 23], bytes: noise(1 << 23) }]);
        void extract(plan, VALID, to(${JSON.stringify(join(folder, 'out'))}, { onProgress: () => process.kill(process.pid, 'SIGKILL') }));
      `;
      const { signal, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '-e', program], { encoding: 'utf8', cwd: join(__dirname, '../../..') });
      assert.equal(signal, 'SIGKILL', stderr);
      const left = await readdir(folder);
      assert.equal(left.length, 1);
      assert.match(left[0]!, /^\.vision-encoder-partial-/);
      await withTiny(async ({ plan, validation }) => { await extract(plan, validation, to(join(folder, 'out'))); });
      assert.deepEqual(await readdir(folder), ['out']);
    });
  });
});
