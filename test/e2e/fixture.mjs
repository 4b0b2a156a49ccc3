// What every end-to-end test starts from: the extension installed in a real VS Code, with a folder open.
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { cp, mkdir, mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makeDemo } from '../demo/makeDemo.mjs';
import { openBrowser } from '../vscode/browser.mjs';
import { startServer, TEST_SETTINGS } from '../vscode/server.mjs';
import { Workbench } from '../vscode/workbench.mjs';

const root = path.resolve(import.meta.dirname, '../..');
/** What is tested: this folder, or the VSIX that VISION_ENCODER_VSIX names. */
const EXTENSION = process.env.VISION_ENCODER_VSIX ? path.resolve(process.env.VISION_ENCODER_VSIX) : root;
export const EXTENSION_TITLE = 'Vision Encoder';

/** High enough that no row that a test looks for is scrolled away: lists are virtual. */
const TALL = { width: 1280, height: 1200 };

/**
 * A workbench open on an empty folder, which `fill` writes to first; the test may change what is in it at will.
 * @returns {Promise<{ workbench: Workbench, folder: string, external: string[], readLog: () => string, close: () => Promise<void> }>}
 * `language`: another than English, with the extension's title and the drop view's row in it.
 */
export async function openWorkbench({ fill = copyDemo, settings = {}, viewport = TALL, extension = EXTENSION, env = {}, language } = {}) {
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'e2e-'));
  const removeScratch = () => { rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }); };
  process.once('exit', removeScratch); // for a run that ends without close()
  const folder = path.join(scratch, 'workspace');
  await mkdir(folder);
  await fill(folder);
  const server = await startServer({ extensions: [extension], settings: { ...TEST_SETTINGS, ...settings }, env });
  const browser = await openBrowser({ viewport }).catch(async error => { await server.stop(); throw error; });
  const close = async () => {
    await browser.close();
    await server.stop();
    process.off('exit', removeScratch);
    removeScratch();
  };
  const workbench = new Workbench(browser.page);
  try {
    if (language !== undefined) await browser.page.addInitScript(setLanguage, language.code);
    await workbench.open(server.url(folder));
    await workbench.openViewContainer(language?.title ?? EXTENSION_TITLE);
    await workbench.row(language?.ready ?? 'Drop a folder or a weights file').waitFor(); // the extension runs
  } catch (error) {
    await close();
    throw error;
  }
  return { workbench, folder, external: browser.external, readLog: server.readLog, close };
}

/**
 * Runs in the page before its own scripts: VS Code's display language, which it hands on to the server and to extensions. A language pack's
 * file of messages sets the same variable (https://github.com/microsoft/vscode src/vs/nls.ts); without the pack VS Code's own words stay English.
 */
function setLanguage(code) {
  globalThis._VSCODE_NLS_LANGUAGE = code;
}

/** The name that the demo checkpoint's copy has in the workspace. */
export const DEMO = 'qwen-vl-demo';

export async function copyDemo(workspace) {
  await cp(await makeDemo(), path.join(workspace, DEMO), { recursive: true });
}

/** A fixture's path. */
export const fixture = name => path.join(root, 'test/fixtures', name);

/** Opens a checkpoint through the command palette and waits until its keys are there. */
export async function openCheckpoint(workbench, folder) {
  await workbench.command('Open Checkpoint Folder', 'visionEncoder.openFolder');
  await workbench.fileDialog(folder);
  await workbench.rows('Validation').first().waitFor();
}

/** The built command line, run to its end. @returns {Promise<{ code: number, stdout: string, stderr: string }>} */
export function runCli(...args) {
  return new Promise(resolve => {
    execFile(process.execPath, [path.join(root, 'dist/cli.js'), ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => { resolve({ code: error === null ? 0 : error.code, stdout, stderr }); });
  });
}

/** Waits until `check` gives something true, and returns it: for what is on the disk, where nothing tells of a change. */
export async function eventually(check, what, timeoutMs = 15_000) {
  for (const started = Date.now(); Date.now() - started < timeoutMs;) {
    const result = await check();
    if (result) return result;
    await new Promise(resolve => { setTimeout(resolve, 100); });
  }
  throw new Error(`${what} did not happen within ${timeoutMs / 1000} s.`);
}

/** Where a test's pictures go. */
export const screenshotPath = name => path.join(root, 'test-results', `${name}.png`);

/** A mocha hook: keeps what was on the screen when a test failed. */
export function keepFailure(getWorkbench) {
  return async function () {
    if (this.currentTest?.state === 'failed') await getWorkbench()?.screenshot(screenshotPath(`failed-${this.currentTest.title.replace(/\W+/g, '-')}`));
  };
}
