// Bundles everything that ships: `node esbuild.mjs [--production] [--watch]`.
import { chmod, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import path from 'node:path';
import esbuild from 'esbuild';
import { commandLine, copyThread, node } from './esbuild.node.mjs';

const root = import.meta.dirname;
const production = process.argv.includes('--production');
const watch = process.argv.includes('--watch');

const browser = { platform: 'browser', format: 'esm', target: 'es2022', inject: ['src/zodSettings.ts'] };

/** Entry below src or webview, what comes out below dist, and for whom. */
const bundles = [
  { entry: 'src/extension.ts', out: 'extension.js', options: node },
  { entry: 'src/cli.ts', out: 'cli.js', options: commandLine, executable: true },
  { entry: 'src/encoder/process.ts', out: 'encoder.js', options: node },
  { entry: copyThread.entry, out: copyThread.name, options: node },
  { entry: 'webview/main.ts', out: 'webview/main.js', options: browser },
  { entry: 'webview/inspector/main.ts', out: 'webview/inspector.js', options: browser },
].filter(bundle => existsSync(path.join(root, bundle.entry)));

if (bundles.length === 0) throw new Error('There is nothing to build: no entry of esbuild.mjs exists.');

const makeExecutable = file => ({
  name: 'executable',
  setup: build => { build.onEnd(result => result.errors.length === 0 ? chmod(file, 0o755) : undefined); },
});

await rm(path.join(root, 'dist'), { recursive: true, force: true });
const contexts = await Promise.all(bundles.map(({ entry, out, options, executable }) => {
  const outfile = path.join(root, 'dist', out);
  return esbuild.context({
    ...options,
    absWorkingDir: root,
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: production,
    sourcemap: !production,
    logLevel: 'info',
    plugins: executable ? [makeExecutable(outfile)] : [],
  });
}));

if (watch) {
  await Promise.all(contexts.map(context => context.watch()));
} else {
  await Promise.all(contexts.map(context => context.rebuild()));
  await Promise.all(contexts.map(context => context.dispose()));
}
