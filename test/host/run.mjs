// Bundles the tests of this folder and runs them inside a real VS Code's extension host.
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import esbuild from 'esbuild';
import { node } from '../../esbuild.node.mjs';
import { makeDemo } from '../demo/makeDemo.mjs';
import { runInHost } from '../vscode/inHost.mjs';

const root = path.resolve(import.meta.dirname, '../..');
const bundles = path.join(root, '.cache/host-tests');

await rm(bundles, { recursive: true, force: true });
await esbuild.build({
  ...node,
  absWorkingDir: root,
  entryPoints: readdirSync(import.meta.dirname).filter(name => name === 'index.ts' || name.endsWith('.test.ts')).map(name => `test/host/${name}`),
  outdir: bundles,
  sourcemap: 'inline',
  external: [...node.external, 'mocha'],
});

const passed = await runInHost({
  extension: root,
  tests: path.join(bundles, 'index.js'),
  folder: await makeDemo(),
  env: { TEST_REPORT: process.env.TEST_REPORT ?? path.join(root, 'test-results/host.json') },
  timeoutMs: 300_000,
});
process.exitCode = passed ? 0 : 1;
