import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DEMO, fixture, keepFailure, openCheckpoint, openWorkbench } from './fixture.mjs';
import { PreviewPage } from './previewPage.mjs';

describe('a workspace that is not trusted', function () {
  this.timeout(90_000);
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench({
      settings: { 'visionEncoder.preview.device': 'cpu', 'security.workspace.trust.enabled': true, 'security.workspace.trust.startupPrompt': 'never', 'security.workspace.trust.banner': 'never' },
    });
    workbench = session.workbench;
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  it('is one for VS Code', async () => {
    await workbench.statusBar.getByText('Restricted Mode').waitFor();
  });

  it('lets a checkpoint be browsed and validated', async () => {
    await openCheckpoint(workbench, path.join(session.folder, DEMO));
    await workbench.row('Loads strictly', 'Validation').waitFor();
    await workbench.clearNotifications();
  });

  it('lets it be extracted and verified', async () => {
    await workbench.inlineAction(workbench.row('Loads strictly', 'Validation'), 'Extract Vision Encoder');
    await workbench.fillQuickInput(path.join(session.folder, 'encoder'));
    const extracted = /65 tensors, \d{3} KB, extracted to encoder/;
    await workbench.waitForNotification(extracted);
    assert.ok((await readdir(path.join(session.folder, 'encoder'))).includes('config.json'));
    await workbench.notificationButton(extracted, 'Verify');
    await workbench.waitForNotification(/Verified: 65 tensors, \d{3} KB, equal to the source/);
    await workbench.clearNotifications();
  });

  it('lets the encoder be previewed', async () => {
    await workbench.command('Preview Features', 'visionEncoder.preview');
    const page = new PreviewPage(workbench);
    await page.drop({ name: 'rgb.jpg', path: fixture('pictures/rgb.jpg'), type: 'image/jpeg' });
    await page.waitUntilReady('Ready on CPU');
  });

  it('stays untrusted through all of it', async () => {
    await workbench.statusBar.getByText('Restricted Mode').waitFor();
  });
});
