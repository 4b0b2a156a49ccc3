import assert from 'node:assert/strict';
import { cp, open, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { copyDemo, DEMO, fixture, keepFailure, openCheckpoint, openWorkbench, screenshotPath } from './fixture.mjs';

const SHARD = 'model-00002-of-00003.safetensors';

/** The header of a safetensors file, and where its data begins. */
async function headerOf(file) {
  const bytes = await readFile(file);
  const length = Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.toString('utf8', 8, 8 + length)), data: bytes.subarray(8 + length) };
}

/** The bfloat16 values of a tensor, read without the product's code. */
function bfloats({ header, data }, key) {
  const [start, end] = header[key].data_offsets;
  return Array.from({ length: (end - start) / 2 }, (_, i) => {
    const word = Buffer.alloc(4);
    word.writeUInt16LE(data.readUInt16LE(start + 2 * i), 2);
    return word.readFloatLE(0);
  });
}

/** A safetensors file with one number under `key`. */
function oneTensorFile(key) {
  const header = Buffer.from(JSON.stringify({ [key]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(4)]);
}

describe('looking inside a weights file', function () {
  this.timeout(60_000);
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench({ viewport: { width: 1280, height: 900 }, fill: async folder => {
      await copyDemo(folder);
      await cp(fixture('qwen-vl-tiny-bin'), path.join(folder, 'tiny-bin'), { recursive: true });
      await rm(path.join(folder, 'tiny-bin/expected.safetensors'));
      await writeFile(path.join(folder, 'pointer.safetensors'), 'version https://git-lfs.github.com/spec/v1\noid sha256:4665\nsize 4976698672\n');
      await writeFile(path.join(folder, 'html.safetensors'), oneTensorFile('<img src=x onerror=document.title=1>'));
    } });
    workbench = session.workbench;
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const page = () => workbench.page.frameLocator('iframe.webview.ready').frameLocator('iframe#active-frame');
  const row = key => page().locator('.scroller .row', { has: workbench.page.locator('.key', { hasText: new RegExp(`^${key.replaceAll('.', '\\.')}$`) }) });
  const fact = name => page().locator('.details tr', { has: workbench.page.locator('th', { hasText: new RegExp(`^${name}$`) }) }).locator('td');
  const openFile = async name => {
    await workbench.command('File: Open File', 'workbench.action.files.openFile');
    await workbench.fileDialog(path.join(session.folder, name));
  };

  it('opens from any safetensors file, with all tensors and where the bytes are', async () => {
    await openFile(path.join(DEMO, SHARD));
    const { header } = await headerOf(path.join(session.folder, DEMO, SHARD));
    const tensors = Object.keys(header).filter(key => key !== '__metadata__').length;
    await page().locator('.facts', { hasText: `${tensors} tensors` }).waitFor();
    assert.ok(await page().locator('.area .box').count() > 3);
    await workbench.screenshot(screenshotPath('inspect-opened'));
  });

  it('filters as one types and sorts by size', async () => {
    await page().locator('.search').fill('visual c_fc weight');
    await page().locator('.found', { hasText: / of / }).waitFor();
    for (const text of await page().locator('.scroller .row .key').allTextContents()) assert.match(text, /visual.*c_fc\.weight$/);
    await page().locator('.search').fill('');
    await page().locator('.head .bytes button').click();
    const file = await headerOf(path.join(session.folder, DEMO, SHARD));
    const sizes = Object.entries(file.header).filter(([key]) => key !== '__metadata__').map(([key, { data_offsets: [start, end] }]) => [key, end - start]);
    const largest = Math.max(...sizes.map(([, size]) => size));
    const first = await page().locator('.scroller .row .key').first().textContent();
    assert.equal(sizes.find(([key]) => key === first)?.[1], largest);
  });

  it('tells the statistics of a tensor, which are those of its bytes', async () => {
    const key = 'transformer.visual.conv1.weight';
    await page().locator('.search').fill(key);
    await row(key).click();
    const values = bfloats(await headerOf(path.join(session.folder, DEMO, SHARD)), key);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    await fact('mean').waitFor();
    assert.equal(Number(await fact('mean').textContent()), Number(mean.toPrecision(4)));
    assert.equal(Number(await fact('max').textContent()), Number(Math.max(...values).toPrecision(4)));
    assert.equal(Number(await fact('std').textContent()), Number(Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length).toPrecision(4)));
    await page().locator('.heat canvas').waitFor();
    assert.equal(await page().locator('.histogram .bar').count(), 64);
  });

  it('goes through the matrices of a tensor, and closer into one', async () => {
    await page().locator('.chooser input').fill('5');
    await page().locator('.chooser input').press('Enter');
    const caption = page().locator('.heat .hint').first();
    await caption.getByText('14 × 14').waitFor();
    await page().locator('.heat canvas').click({ position: { x: 5, y: 5 } });
    await page().locator('.heat canvas').hover({ position: { x: 3, y: 3 } });
    await page().locator('.heat .readout', { hasText: /^\[0, 0\] = -?[\d.]/ }).waitFor();
    await caption.getByText('rows 0 to 7, columns 0 to 7').waitFor();
  });

  it('goes into a module in the map of bytes, and the list with it', async () => {
    await page().locator('.search').fill('');
    await page().locator('.area .box', { hasText: /^visual$/ }).first().click({ position: { x: 5, y: 5 } });
    await page().locator('.path button[aria-current]', { hasText: 'visual' }).waitFor();
    for (const text of await page().locator('.scroller .row .key').allTextContents()) assert.match(text, /^transformer\.visual\./);
    await page().locator('.path button').first().click();
    await page().locator('.found').getByText('of').waitFor({ state: 'hidden' });
  });

  it('moves with the keyboard', async () => {
    await page().locator('.scroller').press('Home');
    const first = await page().locator('.details h2').textContent();
    await page().locator('.scroller').press('ArrowDown');
    await page().locator('.scroller').press('ArrowDown');
    await page().locator('.row.chosen').waitFor();
    assert.notEqual(await page().locator('.details h2').textContent(), first);
    assert.equal(await page().locator('.scroller').getAttribute('aria-activedescendant'), await page().locator('.row.chosen').getAttribute('id'));
  });

  for (const theme of ['Light Modern', 'Dark High Contrast', 'Light High Contrast', 'Dark Modern']) {
    it(`can be looked at in ${theme}`, async () => {
      await workbench.theme(theme);
      await workbench.screenshot(screenshotPath(`inspect-${theme.toLowerCase().replaceAll(' ', '-')}`));
    });
  }

  it('fits a narrow editor', async () => {
    await workbench.page.setViewportSize({ width: 760, height: 900 });
    await page().locator('.facts').waitFor();
    await workbench.screenshot(screenshotPath('inspect-narrow'));
    await workbench.page.setViewportSize({ width: 1280, height: 900 });
  });

  it('says when the file has changed, and reads it anew', async () => {
    const file = path.join(session.folder, DEMO, SHARD);
    const handle = await open(file, 'r+');
    const { size } = await handle.stat();
    await handle.write(Buffer.from([0, 0]), 0, 2, size - 2);
    await handle.close();
    await page().getByText('The file has changed on the disk.').waitFor();
    await page().getByText('Reload').click();
    await page().getByText('The file has changed on the disk.').waitFor({ state: 'hidden' });
  });

  it('says what a file is that holds no weights', async () => {
    await openFile('pointer.safetensors');
    await page().locator('.banner', { hasText: 'git lfs pull' }).waitFor();
  });

  it('shows keys as text', async () => {
    await openFile('html.safetensors');
    await page().locator('.scroller .row .key', { hasText: '<img src=x onerror=document.title=1>' }).waitFor();
    assert.equal(await page().locator('.scroller img').count(), 0);
  });

  it('opens on demand from the key in the tree, at that tensor, of a PyTorch file too', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'tiny-bin'));
    await workbench.clearNotifications();
    await workbench.command('Go to Key', 'visionEncoder.goToKey');
    await workbench.fillQuickInput('transformer.visual.ln_pre.weight');
    await workbench.contextMenu(workbench.row('ln_pre.weight', 'Keys').or(workbench.row('weight', 'Keys')).first(), 'Look Inside');
    await page().locator('.details h2').waitFor();
    assert.match(await page().locator('.details h2').textContent(), /ln_pre/);
    await page().locator('.facts', { hasText: 'torch-zip' }).waitFor();
  });
});
