// Bundles a program as `npm run build` does: `node test/cli/build.mjs FILE [ENTRY]`, the command line unless told.
import path from 'node:path';
import esbuild from 'esbuild';
import { commandLine } from '../../esbuild.node.mjs';

const root = path.join(import.meta.dirname, '../..');
const [file, entry = 'src/cli.ts'] = process.argv.slice(2);
await esbuild.build({ ...commandLine, absWorkingDir: root, entryPoints: [entry], outfile: path.resolve(file), minify: true, logLevel: 'warning' });
