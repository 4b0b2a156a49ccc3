// Makes the VSIX of each platform: `node package.mjs [TARGET ...]`, all of them without one; they come to lie in dist/vsix.
import { spawn } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { packageReadme } from './package.readme.mjs';

const root = import.meta.dirname;

/** What VS Code calls a platform, and what Node calls it. */
export const TARGETS = {
  'linux-x64': { os: 'linux', cpu: 'x64' },
  'linux-arm64': { os: 'linux', cpu: 'arm64' },
  'darwin-arm64': { os: 'darwin', cpu: 'arm64' },
  'win32-x64': { os: 'win32', cpu: 'x64' },
  'win32-arm64': { os: 'win32', cpu: 'arm64' },
};

/** What goes into the stage, besides the packages that npm installs there. */
const SHIPPED = ['package.json', 'package-lock.json', '.npmrc', '.vscodeignore', 'CHANGELOG.md', 'LICENSE', 'media', 'dist', 'l10n'];

/** @returns {Promise<string>} the VSIX file */
export async function packageFor(target) {
  const platform = TARGETS[target];
  if (platform === undefined) throw new Error(`${target} is no platform to package for: choose of ${Object.keys(TARGETS).join(', ')}.`);
  const stage = path.join(root, '.cache/package', target);
  await rm(stage, { recursive: true, force: true });
  await mkdir(stage, { recursive: true });
  const localised = (await readdir(root)).filter(name => /^package\.nls.*\.json$/.test(name));
  for (const name of [...SHIPPED, ...localised]) {
    await cp(path.join(root, name), path.join(stage, name), { recursive: true, filter: source => !source.includes(path.join('dist', 'vsix')) })
      .catch(error => { if (error.code !== 'ENOENT') throw error; });
  }
  await writeFile(path.join(stage, 'README.md'), packageReadme(await readFile(path.join(root, 'README.md'), 'utf8')));
  // npm picks sharp's libraries by platform; the lock file holds those of every one, with their digests.
  await run('npm', ['ci', '--omit=dev', '--ignore-scripts', '--loglevel=error', `--os=${platform.os}`, `--cpu=${platform.cpu}`, ...(platform.os === 'linux' ? ['--libc=glibc'] : [])], stage);
  await keepRuntimeOf(platform, path.join(stage, 'node_modules/onnxruntime-node/bin'));

  const file = path.join(root, 'dist/vsix', `${JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')).name}-${target}.vsix`);
  await mkdir(path.dirname(file), { recursive: true });
  await run(process.execPath, [path.join(root, 'node_modules/@vscode/vsce/vsce'), 'package', '--target', target, '--out', file, '--allow-missing-repository', '--no-rewrite-relative-links'], stage);
  await rm(stage, { recursive: true, force: true });
  return file;
}

/** ONNX Runtime's package holds the libraries of all platforms, and on macOS one library under two names of which its binding loads one. */
async function keepRuntimeOf({ os, cpu }, bin) {
  for (const api of await readdir(bin)) {
    const wanted = path.join(bin, api, os, cpu);
    for (const system of await readdir(path.join(bin, api))) {
      for (const processor of await readdir(path.join(bin, api, system))) {
        const folder = path.join(bin, api, system, processor);
        if (folder !== wanted) await rm(folder, { recursive: true });
      }
    }
    const binding = await readFile(path.join(wanted, 'onnxruntime_binding.node'));
    for (const name of await readdir(wanted)) {
      if (name.endsWith('.dylib') && !binding.includes(`/${name}\0`)) await rm(path.join(wanted, name));
    }
  }
}

/** Runs a program quietly; its output is shown when it fails. npm's own variables, inherited from `npm run`, would point it at this folder. */
function run(program, args, cwd) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle|command|config_local_prefix)/.test(name)));
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { output = (output + chunk).slice(-8000); });
    child.once('error', reject);
    child.once('close', code => {
      if (code === 0) resolve();
      else reject(new Error(`${path.basename(program)} ${args[0]} failed (exit code ${code}):\n${output}`));
    });
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await run(process.execPath, [path.join(root, 'esbuild.mjs'), '--production'], root);
  const given = process.argv.slice(2);
  for (const target of given.length > 0 ? given : Object.keys(TARGETS)) {
    const file = await packageFor(target);
    console.log(`${path.relative(process.cwd(), file)}  ${((await stat(file)).size / 1e6).toFixed(1)} MB`);
  }
}
