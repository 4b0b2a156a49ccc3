import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { lockFolder } from '../../../src/batch/lock';

const LOCK = '.vision-encoder-lock';

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
});
