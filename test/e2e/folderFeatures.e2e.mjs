import assert from 'node:assert/strict';
import { cp, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { eventually, EXTENSION_TITLE, fixture, keepFailure, openCheckpoint, openWorkbench, screenshotPath } from './fixture.mjs';
import { encoderProcesses, readTensors } from './previewPage.mjs';

const PICTURES = 300;
/** Of `picture.png` as the tiny checkpoint's reference has it: relative error. */
const CLOSE = 1e-5;

describe('features of a folder', function () {
  this.timeout(120_000);
  let session;
  let workbench;
  let out;
  before(async () => {
    session = await openWorkbench({
      settings: { 'visionEncoder.preview.device': 'cpu' },
      fill: async folder => {
        const filter = file => path.basename(file) !== 'expected.safetensors';
        for (const name of ['safetensors', 'bin']) await cp(fixture(`qwen-vl-tiny-${name}`), path.join(folder, name), { recursive: true, filter });
        await mkdir(path.join(folder, 'album', 'more'), { recursive: true });
        const picture = await readFile(fixture('qwen-vl-tiny-safetensors/picture.png'));
        for (let index = 0; index < PICTURES; index++) await writeFile(path.join(folder, 'album', index < 10 ? 'more' : '.', `${index}.png`), picture);
        await writeFile(path.join(folder, 'album', 'page.jpg'), '<html>');
        await mkdir(path.join(folder, 'empty'));
      },
    });
    workbench = session.workbench;
    out = path.join(session.folder, 'album-features');
    await openCheckpoint(workbench, path.join(session.folder, 'safetensors'));
    await workbench.clearNotifications();
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const index = async () => JSON.parse(await readFile(path.join(out, 'index.json'), 'utf8'));
  const ended = encoder => eventually(async () => {
    const { metadata } = await index().catch(() => ({}));
    return metadata?.encoder.name === encoder && metadata.complete;
  }, 'The end of the run', 90_000);
  const explorerMenu = async name => {
    await workbench.openViewContainer('Explorer');
    const row = workbench.page.locator('.explorer-folders-view .monaco-list-row', { has: workbench.page.locator('.label-name', { hasText: new RegExp(`^${name}$`) }) });
    await row.waitFor();
    await workbench.page.waitForTimeout(500); // rows move in the Explorer's first moments, and the click hits the next one
    await workbench.contextMenu(row, 'Extract Features of a Folder…');
  };
  /** The OK button of a list of which several can be chosen. */
  const accept = () => workbench.quickInput.locator('.quick-input-action a.monaco-button', { hasText: 'OK' }).click();
  const cancelled = /Cancelled\. The features of \d+ of 301 pictures are kept in album-features\./;

  it('asks for the folder, where to write, and which features, with what they take', async () => {
    await workbench.command('Extract Features of a Folder', 'visionEncoder.folderFeatures');
    await workbench.fileDialog(path.join(session.folder, 'album'));
    await workbench.quickInput.getByText('301 pictures. Safetensors shards and an index of them come into this folder.').waitFor();
    assert.equal(await workbench.quickInputBox().inputValue(), out);
    await workbench.quickInputBox().press('Enter');
    await workbench.quickPick('features').getByText('4×64 · 1.02 KB a picture, 308 KB in all').waitFor();
    await workbench.quickPick('Hidden state after block 1').locator('.monaco-checkbox, input[type=checkbox]').first().click();
    await workbench.screenshot(screenshotPath('folder-features-outputs'));
    await accept();
  });

  it('says how far it is while one works, and keeps what is done when cancelled', async () => {
    await workbench.waitForNotification(/Features of album: .*\d+ of 301 pictures · .* · .* left/);
    await workbench.screenshot(screenshotPath('folder-features-progress'));
    await workbench.row('transformer').waitFor(); // the tree answers
    await workbench.notificationButton('Features of album', 'Cancel');
    await workbench.waitForNotification(cancelled);
    await workbench.screenshot(screenshotPath('folder-features-cancelled'));
    const { metadata, pictures } = await index();
    const done = Object.keys(pictures).length;
    assert.ok(done > 0 && done < PICTURES && metadata.complete === false, `${done}`);
    assert.deepEqual((await readdir(out)).filter(name => !/^features-\d{5}\.safetensors$|^index\.json$/.test(name)), []);
  });

  it('goes on where it stopped, from the folder\'s menu, without asking for the features again', async () => {
    await workbench.clearNotifications();
    const before = Object.keys((await index()).pictures).length;
    await workbench.command('Extract Features of a Folder', 'visionEncoder.folderFeatures');
    await workbench.quickPick('Resume album').getByText(`${before} of 301 pictures are done and stay in album-features`).waitFor();
    await workbench.screenshot(screenshotPath('folder-features-resume-pick'));
    await workbench.quickInputBox().press('Escape');
    await explorerMenu('album');
    await workbench.quickInput.getByText('301 pictures.').waitFor();
    await workbench.quickInputBox().press('Enter');
    await workbench.dialog.getByText(`album-features holds the features of ${before} pictures already.`).waitFor();
    await workbench.dialog.getByText('Of safetensors: features, hidden_states.1.').waitFor();
    await workbench.screenshot(screenshotPath('folder-features-resume'));
    await workbench.dialogButton('Resume');
    await ended('safetensors');
    await workbench.waitForNotification(`Features of ${PICTURES} pictures in album-features, ${PICTURES - before} of them new. 1 picture could not be read.`);
    await workbench.screenshot(screenshotPath('folder-features-done'));
    const { metadata, pictures, skipped } = await index();
    assert.deepEqual([metadata.complete, Object.keys(pictures).length, Object.keys(skipped)], [true, PICTURES, ['page.jpg']]);

    const expected = await readTensors(fixture('qwen-vl-tiny-safetensors/expected.safetensors'));
    for (const name of ['more/3.png', `${PICTURES - 1}.png`]) {
      const shard = await readTensors(path.join(out, pictures[name].shard));
      assert.deepEqual([...shard.keys()].sort(), ['features', 'hidden_states.1']);
      for (const [key, { shape, data }] of shard) {
        const size = data.length / shape[0];
        const row = data.subarray(pictures[name].row * size, (pictures[name].row + 1) * size);
        const reference = expected.get(key).data;
        assert.equal(row.length, reference.length);
        assert.ok(Math.hypot(...row.map((value, at) => value - reference[at])) <= CLOSE * Math.hypot(...reference), `${key} of ${name}`);
      }
    }
    await workbench.notificationButton('Features of 300 pictures', 'Show in Folder');
    await workbench.page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'index.json' }).first().waitFor();
  });

  it('says that another encoder\'s features are there, and leaves them unless told to start over', async () => {
    await workbench.clearNotifications();
    await openCheckpoint(workbench, path.join(session.folder, 'bin'));
    await workbench.view('Keys').locator('.pane-header', { hasText: 'bin' }).waitFor();
    await workbench.clearNotifications();
    const before = await readFile(path.join(out, 'index.json'));
    await explorerMenu('album');
    await workbench.quickInput.getByText('301 pictures.').waitFor();
    await workbench.quickInputBox().press('Enter');
    await workbench.dialogButton('Resume');
    await workbench.dialog.getByText('holds features of another encoder (safetensors). Choose another folder, or start over').waitFor();
    await workbench.dialogButton('Cancel');
    assert.ok(before.equals(await readFile(path.join(out, 'index.json'))));
  });

  it('starts over when told to', async () => {
    await explorerMenu('album');
    await workbench.quickInput.getByText('301 pictures.').waitFor();
    await workbench.quickInputBox().press('Enter');
    await workbench.dialogButton('Start Over');
    await workbench.quickPick('features').waitFor();
    await accept();
    await ended('bin');
    await workbench.waitForNotification(/Features of 300 pictures in album-features, done in \d+ s\. 1 picture could not be read\./);
    const { metadata } = await index();
    assert.deepEqual([metadata.encoder.name, metadata.outputs, metadata.pictures], ['bin', ['features'], PICTURES]);
  });

  /** Closes the window in the middle of a run, and opens it again. */
  const cutOff = async () => {
    await workbench.waitForNotification(/Features of album: .*[1-9]\d* of 301 pictures/);
    assert.equal(encoderProcesses().length, 2); // the encoder's, and the one that decodes
    const reloaded = workbench.page.waitForEvent('load');
    await workbench.command('Developer: Reload Window', 'workbench.action.reloadWindow');
    await reloaded;
    await workbench.statusBar.waitFor();
    await eventually(() => encoderProcesses().length === 0, 'The end of the encoder\'s process');
    await workbench.openViewContainer(EXTENSION_TITLE);
  };

  it('ends with its window, says so in the next one, and goes on there with its checkpoint', async () => {
    await workbench.clearNotifications();
    await explorerMenu('album');
    await workbench.quickInput.getByText('301 pictures.').waitFor();
    await workbench.quickInputBox().press('Enter');
    await workbench.dialogButton('Start Over');
    await workbench.quickPick('features').waitFor();
    await accept();
    await cutOff();
    // What it was to replace is there still, and counts for nothing unless a new shard is in its place.
    const cutOffAt = Date.now();
    await workbench.waitForNotification(/Extracting the features of album was cut off when its window closed: \d{1,2} of 301 pictures are done and stay in album-features\./);
    await workbench.screenshot(screenshotPath('folder-features-cut-off'));
    await workbench.notificationButton('was cut off', 'Resume');
    await ended('bin');
    await eventually(async () => (await stat(path.join(out, 'index.json'))).mtimeMs > cutOffAt, 'A new index', 60_000);
    await workbench.waitForNotification(/Features of 300 pictures in album-features/);
    await workbench.row('transformer').waitFor(); // its checkpoint is open again
    await eventually(async () => (await readdir(out)).every(name => /^features-\d{5}\.safetensors$|^index\.json$/.test(name)), 'Nothing but shards and the index');
    assert.equal(Object.keys((await index()).pictures).length, PICTURES);
  });

  it('says that a folder has no pictures', async () => {
    await explorerMenu('empty');
    await workbench.waitForNotification('There is no picture in empty or in the folders below.');
    await eventually(async () => await workbench.notification('Looking for pictures').count() === 0, 'The progress leaving');
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
