// Bundles the command line as `npm run build` does: `node test/cli/build.mjs FILE`.
import path from 'node:path';
import esbuild from 'esbuild';
import { commandLine } from '../../esbuild.node.mjs';

const root = path.join(import.meta.dirname, '../..');
await esbuild.build({ ...commandLine, absWorkingDir: root, entryPoints: ['src/cli.ts'], outfile: path.resolve(process.argv[2]), minify: true, logLevel: 'warning' });
