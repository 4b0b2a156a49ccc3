// Bundles a program as `npm run build` does: `node test/cli/build.mjs FILE [ENTRY]`, the command line unless told.
import path from 'node:path';
import esbuild from 'esbuild';
import { commandLine, copyThread } from '../../esbuild.node.mjs';

const root = path.join(import.meta.dirname, '../..');
const [file, entry = 'src/cli.ts'] = process.argv.slice(2);
const build = (from, to) => esbuild.build({ ...commandLine, absWorkingDir: root, entryPoints: [from], outfile: path.resolve(to), minify: true, logLevel: 'warning' });
await build(entry, file);
await build(copyThread.entry, path.join(path.dirname(file), copyThread.name));
