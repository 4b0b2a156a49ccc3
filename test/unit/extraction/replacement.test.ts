import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
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
  return Object.fromEntries(readdirSync(folder).sort().filter(name => !name.startsWith('.')).map(name => [name, readFileSync(join(folder, name), 'utf8')]));
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
});
