// Starts VS Code's server on 127.0.0.1 with all its state in one temporary folder, and ends it without a trace.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { ensureVsCode } from './install.mjs';

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/** No first-run pages, no network, no surprises; dialogs inside the page so that they can be driven. */
const SETTINGS = {
  'workbench.startupEditor': 'none',
  'workbench.tips.enabled': false,
  'workbench.enableExperiments': false,
  'workbench.welcomePage.walkthroughs.openOnInstall': false,
  'workbench.colorTheme': 'Default Dark Modern',
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'security.workspace.trust.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'update.showReleaseNotes': false,
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'chat.disableAIFeatures': true,
  'window.dialogStyle': 'custom',
  'window.confirmBeforeClose': 'never',
  'window.restoreWindows': 'none',
  'git.openRepositoryInParentFolders': 'never',
  'files.simpleDialog.enable': true,
};

/** What tests want on top: nothing that moves, and the keyboard taken as a person's. */
export const TEST_SETTINGS = { 'workbench.reduceMotion': 'on', 'editor.accessibilitySupport': 'off' };

/** A TCP port of 127.0.0.1 that is free at this moment. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => { resolve(port); });
    });
  });
}

/** The profile's list of installed extensions, naming folders where they lie: nothing is packaged or copied. */
async function listExtensions(extensionsDir, folders) {
  const entries = folders.map(folder => {
    const { publisher, name, version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    return { identifier: { id: `${publisher}.${name}` }, version, location: { $mid: 1, path: folder, scheme: 'file' } };
  });
  await mkdir(extensionsDir, { recursive: true });
  await writeFile(path.join(extensionsDir, 'extensions.json'), JSON.stringify(entries));
}

/** Installs packaged extensions as a person does. */
function installPackages({ node, codeServer }, args, env, files) {
  for (const file of files) {
    const { status, stdout, stderr } = spawnSync(node, [codeServer, ...args, '--install-extension', file], { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`VS Code did not install ${file} (exit code ${status}):\n${stdout}${stderr}`);
  }
}

/**
 * Starts the server and waits until it answers. It ends with `stop()`, and with this process however that ends (short of SIGKILL).
 * @param {object} options
 * @param {string[]} [options.extensions] folders of extensions, or VSIX files, to have installed besides VS Code's own
 * @param {Record<string, unknown>} [options.settings] user settings on top of the quiet ones
 * @param {Record<string, string>} [options.env] environment of the server and so of the extension host
 * @param {number} [options.port] 0 or absent: any free one
 */
export async function startServer({ extensions = [], settings = {}, env = {}, port: wantedPort = 0 } = {}) {
  const { node, codeServer } = await ensureVsCode();
  const port = wantedPort || await freePort();
  const state = await mkdtemp(path.join(os.tmpdir(), 'vscode-'));
  const home = path.join(state, 'home');
  const userData = path.join(state, 'user-data');
  const extensionsDir = path.join(state, 'extensions');
  const logFile = path.join(state, 'server.log');
  const readLog = () => readFileSync(logFile, 'utf8');
  const packages = extensions.filter(extension => extension.endsWith('.vsix'));
  await Promise.all([
    mkdir(home), mkdir(path.join(userData, 'User'), { recursive: true }),
    listExtensions(extensionsDir, extensions.filter(extension => !packages.includes(extension))),
  ]);
  await writeFile(path.join(userData, 'User/settings.json'), JSON.stringify({ ...SETTINGS, ...settings }, null, 2));
  await writeFile(path.join(state, 'code-server.yaml'), 'auth: none\n');

  const folders = ['--user-data-dir', userData, '--extensions-dir', extensionsDir];
  const environment = {
    PATH: process.env.PATH, LANG: 'C.UTF-8', HOME: home, TMPDIR: state, EXTENSIONS_GALLERY: '{}',
    XDG_RUNTIME_DIR: state, XDG_CONFIG_HOME: path.join(home, '.config'), XDG_DATA_HOME: path.join(home, '.local/share'),
    ...env,
  };
  installPackages({ node, codeServer }, folders, environment, packages);

  const log = openSync(logFile, 'w');
  const child = spawn(node, [
    codeServer, '--config', path.join(state, 'code-server.yaml'), '--auth', 'none', '--bind-addr', `127.0.0.1:${port}`, ...folders,
    '--disable-telemetry', '--disable-update-check', ...settings['security.workspace.trust.enabled'] ? [] : ['--disable-workspace-trust'], '--disable-getting-started-override', '--ignore-last-opened',
  ], {
    stdio: ['ignore', log, log],
    detached: true, // a process group of its own, so that the extension host ends with it
    env: environment,
  });
  closeSync(log);
  const exited = new Promise(resolve => child.once('exit', resolve));

  const killGroup = signal => {
    try {
      process.kill(-child.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error; // the whole group has ended already
    }
  };
  const removeState = () => { rmSync(state, { recursive: true, force: true, maxRetries: 5 }); };
  const onExit = () => { killGroup('SIGKILL'); removeState(); };
  process.once('exit', onExit); // for a process that ends without stop()
  const onSignal = () => process.exit(process.exitCode ?? 130); // a signal alone would skip the exit handler
  for (const signal of SIGNALS) process.once(signal, onSignal);

  const stop = async () => {
    process.off('exit', onExit);
    for (const signal of SIGNALS) process.off(signal, onSignal);
    killGroup('SIGTERM');
    await Promise.race([exited, delay(STOP_TIMEOUT_MS)]);
    killGroup('SIGKILL');
    removeState();
  };

  const started = Date.now();
  while (!await isHealthy(port)) {
    if (child.exitCode !== null || Date.now() - started > START_TIMEOUT_MS) {
      const text = readLog();
      await stop();
      throw new Error(`VS Code's server did not start on port ${port}:\n${text.slice(-3000)}`);
    }
    await delay(50);
  }
  return {
    port,
    /** Resolves when the server has ended, whoever ended it. */
    exited,
    /** The address at which `folder` is open. */
    url: folder => `http://127.0.0.1:${port}/?folder=${encodeURI(folder)}`,
    readLog,
    stop,
  };
}

async function isHealthy(port) {
  try {
    return (await fetch(`http://127.0.0.1:${port}/healthz`)).ok;
  } catch {
    return false; // not listening yet
  }
}

function delay(milliseconds) {
  return new Promise(resolve => { setTimeout(resolve, milliseconds).unref(); });
}
