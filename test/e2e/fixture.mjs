// What every end-to-end test starts from: the extension installed in a real VS Code, with a folder open.
import { rmSync } from 'node:fs';
import { cp, mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { makeDemo } from '../demo/makeDemo.mjs';
import { openBrowser } from '../vscode/browser.mjs';
import { startServer, TEST_SETTINGS } from '../vscode/server.mjs';
import { Workbench } from '../vscode/workbench.mjs';

const root = path.resolve(import.meta.dirname, '../..');
export const EXTENSION_TITLE = 'Vision Encoder';

/**
 * A workbench open on a copy of `folder` (the demo checkpoint when absent), which the test may change at will.
 * @returns {Promise<{ workbench: Workbench, folder: string, external: string[], readLog: () => string, close: () => Promise<void> }>}
 */
export async function openWorkbench({ folder, settings = {}, viewport } = {}) {
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'e2e-'));
  const removeScratch = () => { rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }); };
  process.once('exit', removeScratch); // for a run that ends without close()
  const copy = path.join(scratch, path.basename(folder ?? 'qwen-vl-demo'));
  await cp(folder ?? await makeDemo(), copy, { recursive: true });
  const server = await startServer({ extensions: [root], settings: { ...TEST_SETTINGS, ...settings } });
  const browser = await openBrowser(viewport ? { viewport } : {}).catch(async error => { await server.stop(); throw error; });
  const close = async () => {
    await browser.close();
    await server.stop();
    process.off('exit', removeScratch);
    removeScratch();
  };
  const workbench = new Workbench(browser.page);
  try {
    await workbench.open(server.url(copy));
  } catch (error) {
    await close();
    throw error;
  }
  return { workbench, folder: copy, external: browser.external, readLog: server.readLog, close };
}

/** Where a test's pictures go. */
export const screenshotPath = name => path.join(root, 'test-results', `${name}.png`);

/** A mocha hook: keeps what was on the screen when a test failed. */
export function keepFailure(getWorkbench) {
  return async function () {
    if (this.currentTest?.state === 'failed') await getWorkbench()?.screenshot(screenshotPath(`failed-${this.currentTest.title.replace(/\W+/g, '-')}`));
  };
}
