// Bundles the fuzzing harness and runs it: `npm run fuzz -- --count 100000 --target pickle --seed 7`.
import { spawn } from 'node:child_process';
import path from 'node:path';
import esbuild from 'esbuild';
import { node } from '../../esbuild.node.mjs';

const root = path.resolve(import.meta.dirname, '../..');
const outdir = path.join(root, '.cache/fuzz');
await esbuild.build({ ...node, absWorkingDir: root, entryPoints: ['test/fuzz/main.ts', 'test/fuzz/worker.ts'], outdir, sourcemap: 'inline', logLevel: 'error' });
spawn(process.execPath, ['--enable-source-maps', path.join(outdir, 'main.js'), ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' }).once('exit', code => { process.exitCode = code ?? 1; });
