import assert from 'node:assert/strict';
import { cp, mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { copyDemo, DEMO, EXTENSION_TITLE, fixture, keepFailure, openCheckpoint, openWorkbench } from './fixture.mjs';

/** Folders and files that are no checkpoints, and one that is two. */
async function fillWorkspace(folder) {
  await copyDemo(folder);
  await cp(fixture('qwen-vl-tiny-bin'), path.join(folder, 'tiny-bin'), { recursive: true });
  await rm(path.join(folder, 'tiny-bin/expected.safetensors'));
  const two = path.join(folder, 'two');
  await mkdir(two);
  for (const name of ['first', 'second']) await cp(fixture('qwen-vl-tiny-safetensors/expected.safetensors'), path.join(two, `${name}.safetensors`));
  await cp(fixture('real/models/qwen2-vl-olmocr'), path.join(folder, 'lfs'), { recursive: true });
  await mkdir(path.join(folder, 'html'));
  await cp(fixture('malformed/safetensors/html_error_page.safetensors'), path.join(folder, 'html/model.safetensors'));
  await mkdir(path.join(folder, 'cut'));
  const cut = path.join(folder, 'cut/model.safetensors');
  await cp(fixture('qwen-vl-tiny-safetensors/expected.safetensors'), cut);
  await truncate(cut, 150_000);
  await mkdir(path.join(folder, 'pickle'));
  await cp(fixture('malformed/torch/pkl_os_system.bin'), path.join(folder, 'pickle/pytorch_model.bin'));
  await cp(path.join(folder, DEMO), path.join(folder, 'broken-config'), { recursive: true });
  await cp(fixture('real/models/llava-lisa-7b/config.json'), path.join(folder, 'broken-config/config.json'));
  await mkdir(path.join(folder, 'training'));
  await cp(fixture('real/torch/test_data__checkpoint.pt'), path.join(folder, 'training/checkpoint.pt'));
  await mkdir(path.join(folder, 'empty'));
  await writeFile(path.join(folder, 'empty/notes.txt'), 'nothing');
}

describe('opening a checkpoint', function () {
  this.timeout(60_000);
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench({ fill: fillWorkspace });
    workbench = session.workbench;
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));
  afterEach(async () => { await workbench.clearNotifications(); });

  const explorerRow = name => workbench.page.locator('.explorer-folders-view .monaco-list-row', { has: workbench.page.locator('.label-name', { hasText: new RegExp(`^${name}$`) }) });
  const open = name => workbench.command('Open Checkpoint Folder', 'visionEncoder.openFolder').then(() => workbench.fileDialog(path.join(session.folder, name)));
  const keysTitle = name => workbench.view('Keys').locator('.pane-header', { hasText: name });

  it('offers to open a folder, a file and the sample before anything is open', async () => {
    await workbench.openViewContainer(EXTENSION_TITLE);
    for (const title of ['Open Folder…', 'Open File…', 'Open Sample Checkpoint']) await workbench.view('Keys').getByText(title).waitFor();
    assert.equal(await workbench.rows('Keys').count(), 0);
  });

  it('opens what is dragged from the Explorer onto the view', async () => {
    const { page } = workbench;
    await workbench.row('Drop a folder or a weights file', 'Drop Here').waitFor();
    await workbench.openViewContainer('Explorer');
    const from = await explorerRow(DEMO).boundingBox();
    await page.mouse.move(from.x + 60, from.y + 10);
    await page.mouse.down();
    const tab = await workbench.viewContainer(EXTENSION_TITLE).boundingBox();
    await page.mouse.move(tab.x + 20, tab.y + 10, { steps: 10 });
    // Resting on the activity bar while dragging brings the views to the front.
    const target = workbench.row('Drop a folder or a weights file', 'Drop Here');
    for (let moved = 0; !await target.isVisible() && moved < 100; moved++) {
      await page.mouse.move(tab.x + 20 + moved % 2, tab.y + 12);
      await page.waitForTimeout(50);
    }
    const to = await target.boundingBox();
    await page.mouse.move(to.x + 80, to.y + 10, { steps: 10 });
    await page.mouse.up();
    await workbench.row('visual', 'Keys').waitFor();
    await keysTitle(DEMO).waitFor();
  });

  it('says which preset it picked and why, and how much goes into the encoder', async () => {
    await open(DEMO);
    await workbench.waitForNotification('Qwen-VL recognised: The keys under transformer.visual are those of Qwen-VL\'s vision encoder, and config.json has its "visual" object. 65 of 101 tensors go into the encoder.');
    await workbench.view('Keys').getByText('Qwen-VL vision encoder: 65 of 101 tensors, 789 KB').waitFor();
    assert.match(await workbench.statusBar.locator('.statusbar-item', { hasText: DEMO }).getAttribute('aria-label'), /loads strictly/);
  });

  it('closes it again', async () => {
    await workbench.command('Close Checkpoint', 'visionEncoder.close');
    await workbench.view('Keys').getByText('Open Folder…').waitFor();
    assert.equal(await workbench.statusBar.locator('.statusbar-item', { hasText: DEMO }).count(), 0);
  });

  it('opens a folder from the Explorer\'s context menu', async () => {
    await workbench.openViewContainer('Explorer');
    await workbench.contextMenu(explorerRow('tiny-bin'), 'Open as Checkpoint');
    await keysTitle('tiny-bin').waitFor();
    await workbench.row('Loads strictly', 'Validation').waitFor();
  });

  it('opens a single file from the Explorer\'s context menu', async () => {
    await workbench.openViewContainer('Explorer');
    await workbench.setExpanded(explorerRow('two'));
    await workbench.contextMenu(explorerRow('first.safetensors'), 'Open as Checkpoint');
    await keysTitle('first.safetensors').waitFor();
    await workbench.row('attn_pool.weights', 'Keys').waitFor(); // the checkpoint before has no such row
  });

  it('asks which, where a folder holds several', async () => {
    await open('two');
    await workbench.quickPick('first.safetensors').waitFor();
    await workbench.quickPick('second.safetensors').click();
    await keysTitle('second.safetensors').waitFor();
  });

  it('shows what a training checkpoint holds beside its tensors', async () => {
    await open('training');
    await keysTitle('checkpoint.pt').waitFor();
    await workbench.row('Not validated', 'Validation').waitFor();
    await workbench.setExpanded(workbench.row('Beside the Tensors', 'Validation'));
    await workbench.view('Validation').locator('.monaco-list-row[aria-label*="epoch int 42"]').waitFor();
  });

  it('opens the sample that comes with the extension', async () => {
    await workbench.command('Open Sample Checkpoint', 'visionEncoder.openSample');
    await workbench.view('Keys').getByText('Qwen-VL vision encoder: 41 of').waitFor();
    await workbench.row('Loads strictly', 'Validation').waitFor();
  });

  it('suggests the workspace for the sample\'s encoder', async () => {
    await workbench.viewAction('Keys', 'Extract Vision Encoder');
    await workbench.quickInputBox().waitFor();
    assert.equal(await workbench.quickInputBox().inputValue(), path.join(session.folder, 'sample-vision-encoder'));
    await workbench.page.keyboard.press('Escape');
  });

  for (const { folder, sentence } of [
    { folder: 'lfs', sentence: /is a Git LFS pointer.*git lfs pull/ },
    { folder: 'html', sentence: /model\.safetensors is a web page, not the file itself.*Download it again/ },
    { folder: 'cut', sentence: /model\.safetensors is 150000 bytes, its header needs 202224: the download is incomplete/ },
    { folder: 'pickle', sentence: /pytorch_model\.bin wants Python to import "posix\.system".*nothing was run/ },
    { folder: 'empty', sentence: /empty holds no checkpoint/ },
  ]) {
    it(`says in a sentence what is wrong with a checkpoint that is "${folder}", and leaves the open one open`, async () => {
      await open(folder);
      await workbench.waitForNotification(sentence);
      await keysTitle('sample').waitFor();
    });
  }

  it('lists the keys beside a config with trailing garbage, and says where it breaks', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'broken-config'));
    await workbench.row('The config cannot be used', 'Validation').waitFor();
    const [label] = await workbench.rowLabels('Validation');
    assert.match(label, /config\.json.*(line|:)\s*\d+/);
    await workbench.row('visual', 'Keys').waitFor();
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });

  it('logs no error of its own', () => { assert.doesNotMatch(session.readLog(), /vision-encoder-extractor.*(TypeError|ReferenceError)/); });
});
