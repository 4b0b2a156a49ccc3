import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fixture, keepFailure, openCheckpoint, openWorkbench, screenshotPath } from './fixture.mjs';
import { PreviewPage } from './previewPage.mjs';

/** A name that would run a script as HTML, and be a link to a command as Markdown or in a notification. Without dots, which split keys. */
const PAYLOAD = '<img src=x onerror=alert(1)>[x](command:undo)';
const TINY = fixture('qwen-vl-tiny-safetensors');

/** A safetensors file with one number under each key. */
function oneNumberEach(keys) {
  const header = Buffer.from(JSON.stringify({ __metadata__: { [PAYLOAD]: PAYLOAD }, ...Object.fromEntries(keys.map((key, i) => [key, { dtype: 'F32', shape: [1], data_offsets: [4 * i, 4 * i + 4] }])) }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(4 * keys.length)]);
}

/** The tiny checkpoint with hostile keys besides in a shard with a hostile name, and a hostile config. */
async function makeHostile(folder, keys) {
  await cp(TINY, folder, { recursive: true, filter: file => path.basename(file) !== 'expected.safetensors' });
  const shard = `${PAYLOAD}.safetensors`;
  await writeFile(path.join(folder, shard), oneNumberEach(keys));
  const edit = async (name, change) => {
    const file = path.join(folder, name);
    const value = JSON.parse(await readFile(file, 'utf8'));
    change(value);
    await writeFile(file, JSON.stringify(value, null, 2));
  };
  await edit('model.safetensors.index.json', ({ weight_map: map }) => { for (const key of keys) map[key] = shard; });
  await edit('config.json', config => { config.architectures = [PAYLOAD]; config._name_or_path = PAYLOAD; });
}

describe('a hostile checkpoint', function () {
  this.timeout(60_000);
  const [RUNS, BROKEN, UNKNOWN] = [PAYLOAD, `broken ${PAYLOAD}`, 'unknown'];
  const alerts = [];
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench({ settings: { 'visionEncoder.preview.device': 'cpu' }, fill: async folder => {
      await makeHostile(path.join(folder, RUNS), [`transformer.h.${PAYLOAD}`, `${PAYLOAD}.weight`]);
      await makeHostile(path.join(folder, BROKEN), [`transformer.visual.${PAYLOAD}`]);
      await mkdir(path.join(folder, UNKNOWN));
      await writeFile(path.join(folder, UNKNOWN, `${PAYLOAD}.safetensors`), oneNumberEach([PAYLOAD]));
    } });
    workbench = session.workbench;
    workbench.page.on('dialog', dialog => { alerts.push(dialog.message()); void dialog.dismiss(); });
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));
  afterEach(async () => {
    // In the workbench and in every page that it shows.
    for (const frame of workbench.page.frames()) {
      const found = await frame.evaluate(() => [...document.querySelectorAll('img[src="x"], [onerror], a[href*="command:undo"], a[data-href*="command:undo"]')].map(element => element.outerHTML));
      assert.deepEqual(found, [], frame.url());
    }
    assert.deepEqual(alerts, [], 'a script ran');
  });

  const labelled = text => workbench.view('Validation').locator(`.monaco-list-row[aria-label*=${JSON.stringify(text)}]`);
  async function hover(row) {
    await workbench.page.mouse.move(0, 0);
    await workbench.page.locator('.workbench-hover').waitFor({ state: 'hidden' });
    await row.locator('.label-name').first().hover();
    const shown = workbench.page.locator('.workbench-hover', { hasText: /\S/ }).last();
    await shown.waitFor();
    return shown.innerText();
  }

  it('is told of by its name, as text', async () => {
    await openCheckpoint(workbench, path.join(session.folder, UNKNOWN));
    const notification = workbench.page.locator('.notifications-toasts .notification-list-item', { hasText: 'No vision encoder was recognised in <img src=x onerror=alert(1)>' });
    await notification.first().waitFor();
    assert.equal(await notification.locator('.notification-list-item-message a').count(), 0);
    await workbench.screenshot(screenshotPath('hostile-opened'));
    await workbench.clearNotifications();
  });

  it('has keys whose rows and tooltips are text', async () => {
    await openCheckpoint(workbench, path.join(session.folder, RUNS));
    await workbench.row('transformer', 'Keys').first().waitFor();
    await workbench.clearNotifications();
    for (const parent of ['transformer', 'h']) await workbench.setExpanded(workbench.row(parent, 'Keys').first());
    const rows = workbench.view('Keys').locator('.monaco-list-row', { hasText: PAYLOAD });
    await rows.nth(1).waitFor();
    for (let index = 0; index < 2; index++) assert.ok((await hover(rows.nth(index))).includes(PAYLOAD));
    await workbench.screenshot(screenshotPath('hostile-keys'));
  });

  it('has a picture in its preview whose name is text', async () => {
    await workbench.command('Preview', 'visionEncoder.preview');
    const preview = new PreviewPage(workbench);
    await preview.body.waitFor();
    await preview.drop({ name: `${PAYLOAD}.png`, path: path.join(TINY, 'picture.png'), type: 'image/png' });
    await preview.waitUntilReady();
    assert.ok((await preview.body.innerHTML()).includes('&lt;img src=x onerror=alert(1)&gt;'));
    await workbench.screenshot(screenshotPath('hostile-preview'));
  });

  it('has one in which a broken picture is a sentence', async () => {
    const preview = new PreviewPage(workbench);
    await preview.drop({ name: `bad ${PAYLOAD}.png`, path: path.join(TINY, 'config.json'), type: 'image/png' });
    await preview.frame.getByText(/bad <img src=x.* is (a JSON text|no picture)/).first().waitFor();
  });

  it('has a page that looks inside it, in which keys and the file\'s own words are text', async () => {
    await workbench.command('File: Open File', 'workbench.action.files.openFile');
    await workbench.fileDialog(path.join(session.folder, RUNS, `${PAYLOAD}.safetensors`));
    const key = workbench.webview().locator('.scroller .row .key', { hasText: PAYLOAD }).first();
    await key.click();
    await workbench.webview().locator('.details h2', { hasText: PAYLOAD }).waitFor();
    await workbench.screenshot(screenshotPath('hostile-inspector'));
  });

  it('has findings and a config whose words are text, in the view and among the problems', async () => {
    await openCheckpoint(workbench, path.join(session.folder, BROKEN));
    await labelled('Does not load strictly').waitFor();
    const finding = workbench.view('Validation').locator('.monaco-list-row', { hasText: PAYLOAD }).last();
    assert.ok((await hover(finding)).includes('<img src=x onerror=alert(1)>'));
    const config = path.join(session.folder, BROKEN, 'config.json');
    const value = JSON.parse(await readFile(config, 'utf8'));
    value.visual.patch_size = PAYLOAD;
    await writeFile(config, JSON.stringify(value, null, 2));
    const row = workbench.view('Validation').locator('.monaco-list-row', { hasText: 'annot be' }).first();
    await row.waitFor();
    await hover(row);
    const problems = await workbench.problems();
    await problems.filter({ hasText: 'patch_size' }).first().waitFor();
    await workbench.screenshot(screenshotPath('hostile-problems'));
  });
});
