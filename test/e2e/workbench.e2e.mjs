import assert from 'node:assert/strict';
import { EXTENSION_TITLE, keepFailure, openWorkbench, screenshotPath } from './fixture.mjs';

describe('the workbench with the extension', function () {
  this.timeout(90_000);
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench();
    workbench = session.workbench;
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  it('shows its view container before anything is open', async () => {
    await workbench.openViewContainer(EXTENSION_TITLE);
    await workbench.view('Keys').getByText('Open Folder…').waitFor();
    assert.equal(await workbench.rows('Keys').count(), 0);
  });

  it('opens a checkpoint from the command palette', async () => {
    await workbench.command('Open Checkpoint Folder', 'visionEncoder.openFolder');
    await workbench.fileDialog(session.folder);
    await workbench.row('visual', 'Keys').waitFor();
    await workbench.row('Loads strictly', 'Validation').waitFor();
  });

  it('lists the modules below a group when it is expanded', async () => {
    await workbench.setExpanded(workbench.row('attn_pool', 'Keys'));
    await workbench.row('pos_embed', 'Keys').waitFor();
    await workbench.setExpanded(workbench.row('attn_pool', 'Keys'), false);
    assert.equal(await workbench.row('pos_embed', 'Keys').count(), 0);
  });

  for (const theme of ['Light Modern', 'Dark High Contrast', 'Dark Modern']) {
    it(`can be looked at in ${theme}`, async () => {
      await workbench.theme(theme);
      await workbench.screenshot(screenshotPath(`keys-${theme.toLowerCase().replaceAll(' ', '-')}`));
    });
  }

  it('asks nothing of any other machine', () => {
    assert.deepEqual(session.external, []);
  });
});
