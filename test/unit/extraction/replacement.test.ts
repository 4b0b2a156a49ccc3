import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { OutputFolder, recover } from '../../../src/extraction/outputFolder';

const OLD = { 'model.safetensors': 'old', 'model-2.safetensors': 'stale', 'manifest.json': 'old manifest', 'notes.txt': 'somebody\'s' };
const NEW = { 'model.safetensors': 'new', 'config.json': 'new config', 'manifest.json': 'new manifest', 'notes.txt': 'somebody\'s' };

/** Replaces the output in a process that ends, as by kill -9, instead of renaming for the `at`-th time. */
const DYING = (out: string, at: number): string => `
  import fs from 'node:fs/promises';
  import { syncBuiltinESMExports } from 'node:module';
  import { writeFileSync } from 'node:fs';
  import { join } from 'node:path';
  const rename = fs.rename;
  let renames = 0;
  fs.rename = (...args) => ++renames === ${at} ? process.kill(process.pid, 'SIGKILL') : rename(...args);
  syncBuiltinESMExports();
  const module = await import(${JSON.stringify(resolve('src/extraction/outputFolder.ts'))});
  const { OutputFolder } = module.default ?? module;
  const folder = await OutputFolder.prepare(${JSON.stringify(out)});
  for (const [name, text] of ${JSON.stringify(Object.entries(NEW).filter(([name]) => name !== 'notes.txt'))}) writeFileSync(join(folder.staging, name), text);
  await folder.commit(['model.safetensors', 'config.json', 'manifest.json'], ['model-2.safetensors']);
`;

function contents(folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder, { withFileTypes: true }).filter(entry => entry.isFile()).map(({ name }) => name).sort().filter(name => !name.startsWith('.')).map(name => [name, readFileSync(join(folder, name), 'utf8')]));
}

const sorted = (files: Record<string, string>): Record<string, string> => Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)));

describe('replacing an earlier output', function () {
  this.timeout(60_000);

  function inFolder(task: (out: string) => Promise<void>): Promise<void> {
    const out = mkdtempSync(join(tmpdir(), 'replacement-'));
    for (const [name, text] of Object.entries(OLD)) writeFileSync(join(out, name), text);
    return task(out).finally(() => { rmSync(out, { recursive: true }); });
  }

  // Three files move away and three move in; the seventh rename does not come.
  for (const at of [1, 2, 3, 4, 5, 6, 7]) {
    it(at < 7 ? `is taken back when the process is killed before rename ${at}` : 'leaves the new output and no other trace when nothing happens', () => inFolder(async out => {
      const { signal, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', DYING(out, at)], { encoding: 'utf8' });
      assert.equal(signal, at < 7 ? 'SIGKILL' : null, stderr);
      await recover(out);
      assert.deepEqual(contents(out), sorted(at < 7 ? OLD : NEW));
      // Whatever is left goes with the next run, which succeeds.
      const folder = await OutputFolder.prepare(out);
      await folder.discard();
      assert.deepEqual(readdirSync(out).sort(), Object.keys(sorted(at < 7 ? OLD : NEW)));
    }));
  }

  it('is taken back where the folder is now, also when another has its old place', () => inFolder(async out => {
    spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', DYING(out, 5)]);
    assert.notDeepEqual(contents(out), sorted(OLD));
    const moved = `${out}-moved`;
    renameSync(out, moved);
    try {
      mkdirSync(out);
      writeFileSync(join(out, 'model.safetensors'), 'another\'s');
      await recover(moved);
      assert.deepEqual(contents(moved), sorted(OLD));
      assert.deepEqual(contents(out), { 'model.safetensors': 'another\'s' });
    } finally {
      rmSync(moved, { recursive: true });
    }
  }));

  // A folder may come from a stranger, with what looks like the leftover of a run on this machine.
  it('moves nothing that lies outside the folder, whatever a record and links in it say', () => inFolder(async out => {
    const victim = `${out}-victim`;
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    const partial = (parent: string, number: number): string => join(parent, `.vision-encoder-partial-${hostname().replace(/[^A-Za-z0-9]/g, '_').slice(0, 60)}-${dead}-00000000000${number}`);
    const leave = (folder: string, record: unknown): void => {
      mkdirSync(join(folder, 'replaced'), { recursive: true });
      writeFileSync(join(folder, 'waits'), '');
      writeFileSync(join(folder, 'replacing.json'), JSON.stringify(record));
    };
    try {
      mkdirSync(victim);
      writeFileSync(join(victim, 'key'), 'secret');
      // The record of another place, names that lead out, a link in place of what was replaced, and one in place of all.
      leave(partial(out, 1), { out: victim, names: ['key', 'waits'], before: [] });
      leave(partial(out, 2), { names: ['waits', '../key'], before: [`../../${victim.split('/').at(-1)}/key`] });
      leave(partial(out, 3), { names: ['waits'], before: ['key'] });
      rmSync(join(partial(out, 3), 'replaced'), { recursive: true });
      symlinkSync(victim, join(partial(out, 3), 'replaced'));
      leave(join(victim, 'left'), { names: ['waits'], before: [] });
      symlinkSync(join(victim, 'left'), partial(out, 4));
      await recover(out);
      await (await OutputFolder.prepare(out)).discard();
      assert.deepEqual(contents(victim).key, 'secret');
      assert.deepEqual(readdirSync(join(victim, 'left')).sort(), ['replaced', 'replacing.json', 'waits']);
      assert.deepEqual(contents(out), sorted(OLD));
    } finally {
      rmSync(victim, { recursive: true });
    }
  }));
});
