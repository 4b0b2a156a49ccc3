// `npm run test:vsix [FILE ...]`: the end-to-end tests on this platform's package, installed as a person does, in place of the folder.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { packageFor } from '../package.mjs';

const root = path.resolve(import.meta.dirname, '..');

function runNode(args, env = {}) {
  const { status, error } = spawnSync(process.execPath, args, { cwd: root, env: { ...process.env, ...env }, stdio: 'inherit' });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

runNode(['esbuild.mjs', '--production']);
const vsix = await packageFor(`${process.platform}-${process.arch}`);
console.log(`Testing ${path.relative(root, vsix)}`);
runNode(['test/run.mjs', 'e2e', ...process.argv.slice(2)], { VISION_ENCODER_VSIX: vsix });
