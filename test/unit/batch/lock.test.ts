import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { lockFolder } from '../../../src/batch/lock';
import { processIdentity } from '../../../src/extraction/processIdentity';

const LOCK = '.vision-encoder-lock';

/** Skips the test, saying why, where processes have no identity. */
function needProc(test: Mocha.Context): void {
  if (processIdentity(process.pid) !== undefined) return;
  console.log('      skipped: this system has no /proc');
  test.skip();
}

describe('the lock of a folder of features', () => {
  let folder: string;

  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'lock-')); });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  for (const [whose, text] of [['of a run before a restart', JSON.stringify({ host: hostname(), pid: process.pid, booted: 0 })], ['of a run that died before it wrote it', '']] as const) {
    it(`${whose} is taken over by one of two that come at once`, async () => {
      for (let round = 0; round < 5; round++) {
        await writeFile(join(folder, LOCK), text);
        const attempts = await Promise.allSettled([lockFolder(folder), setTimeout(round).then(() => lockFolder(folder))]);
        const won = attempts.flatMap(attempt => (attempt.status === 'fulfilled' ? [attempt.value] : []));
        for (const attempt of attempts) if (attempt.status === 'rejected') assert.match(String(attempt.reason), /Another run is writing into/);
        assert.equal(won.length, 1);
        assert.deepEqual(await readdir(folder), [LOCK]);
        await won[0]?.();
        assert.deepEqual(await readdir(folder), []);
      }
    });
  }

  it('is nobody else\'s to delete when it says what no run would', async () => {
    for (const text of ['not JSON', '{"pid": "many"}', JSON.stringify({ host: 'elsewhere', pid: 1, booted: 0 })]) {
      await writeFile(join(folder, LOCK), text);
      await assert.rejects(lockFolder(folder), /if you are sure that there is none, delete .*vision-encoder-lock/);
      assert.deepEqual(await readdir(folder), [LOCK]);
    }
  });

  it('is a running process\'s whatever the clock says, and not another\'s that got its number', async function () {
    needProc(this);
    const booted = Math.round(Date.now() - uptime() * 1000);
    const held = (pid: number, identity: string | undefined, when: number): Promise<void> => writeFile(join(folder, LOCK), JSON.stringify({ host: hostname(), pid, booted: when, process: identity }));
    // The clock was set by a day since that run began.
    await held(process.ppid, processIdentity(process.ppid), booted - 86_400_000);
    await assert.rejects(lockFolder(folder), /Another run is writing into/);
    // The number went to another process, within the same minute.
    await held(process.ppid, '0123456789abcdef', booted);
    await (await lockFolder(folder))();
    assert.deepEqual(await readdir(folder), []);
    assert.notEqual(processIdentity(process.ppid), processIdentity(process.pid));
  });
});
