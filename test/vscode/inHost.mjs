// Runs a test program inside the extension host of a real VS Code.
import { openBrowser } from './browser.mjs';
import { startServer, TEST_SETTINGS } from './server.mjs';

/** What the test program puts before each line of its own, so that it can be told from VS Code's log. */
const TEST_MARK = '[test]';

/**
 * Opens `folder` in an extension development window: VS Code activates the extension at `extension` and calls
 * `run()` of the module at `tests`, whose promise decides. What it logs after the mark `[test]` goes to `log`.
 * @returns {Promise<boolean>} whether `run()` resolved
 * @throws Error when it has not settled after `timeoutMs`
 */
export async function runInHost({ extension, tests, folder, env = {}, timeoutMs, log = console.log }) {
  const server = await startServer({ settings: TEST_SETTINGS, env });
  try {
    const browser = await openBrowser();
    try {
      const exitCode = await runTests(browser.page, server, { extension, tests, folder, timeoutMs, log });
      if (browser.external.length > 0) throw new Error(`Requests left the machine: ${browser.external.join(', ')}`);
      return exitCode === 0;
    } finally {
      await browser.close();
    }
  } finally {
    await server.stop();
  }
}

/** The workbench reports through two functions of the page that its test mode looks for. */
async function runTests(page, server, { extension, tests, folder, timeoutMs, log }) {
  const url = server.url(folder);
  const remote = file => ({ scheme: 'vscode-remote', authority: new URL(url).host, path: file });
  await page.addInitScript(addDevelopmentOptions, { extensions: [remote(extension)], extensionTestsPath: remote(tests) });

  const ownLog = []; // what VS Code itself logs, which matters only when something fails
  await page.exposeFunction('codeAutomationLog', (type, args) => {
    const [first, ...rest] = args;
    if (typeof first === 'string' && first.startsWith(TEST_MARK)) log(first.slice(TEST_MARK.length), ...rest);
    else ownLog.push(`[${type}] ${args.join(' ')}`);
  });
  const lastWords = () => [...ownLog.slice(-30), server.readLog().slice(-3000)].join('\n');
  let timer;
  const exited = new Promise((resolve, reject) => {
    timer = setTimeout(() => { reject(new Error(`The tests in the extension host did not end within ${timeoutMs / 1000} s. VS Code's last words:\n${lastWords()}`)); }, timeoutMs);
    page.exposeFunction('codeAutomationExit', resolve).catch(reject);
  });
  try {
    await page.goto(url);
    const exitCode = await exited;
    if (exitCode !== 0) log(ownLog.filter(line => line.startsWith('[error]')).join('\n'));
    return exitCode;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs in the page before its own scripts: completes the `developmentOptions` that the page hands to the workbench
 * (IDevelopmentOptions in https://github.com/microsoft/vscode src/vs/workbench/browser/web.api.ts).
 * A released VS Code does not take them from its address.
 */
function addDevelopmentOptions(developmentOptions) {
  const observer = new MutationObserver(() => {
    const meta = document.getElementById('vscode-workbench-web-configuration');
    if (!meta) return;
    observer.disconnect();
    const configuration = JSON.parse(meta.getAttribute('data-settings'));
    configuration.developmentOptions = { ...configuration.developmentOptions, ...developmentOptions };
    meta.setAttribute('data-settings', JSON.stringify(configuration));
  });
  observer.observe(document, { childList: true, subtree: true });
}
