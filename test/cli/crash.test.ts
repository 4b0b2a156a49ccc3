import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { cliPath } from './support';

describe('vision-encoder extract, killed', () => {
  // The script asserts after every kill: the output is whole and verifies, or is what was there before; the next run succeeds
  // and leaves nothing beside it. `npm run crash` does the same a hundred times.
  it('leaves all or nothing, of whatever format and over an earlier output too', function () {
    this.timeout(60_000);
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(__dirname, '../crash/kills.mjs'), '--kills', '6', '--megabytes', '30', '--cli', cliPath()], { encoding: 'utf8' });
    assert.equal(status, 0, `${stdout}\n${stderr}`);
    const { killed, whole, before, betweenRenames } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Record<string, number>;
    assert.ok((killed ?? 0) >= 2, stdout); // the others ended before their moment came, or were asked to
    assert.equal((whole ?? 0) + (before ?? 0) + (betweenRenames ?? 0), 6);
  });
});
