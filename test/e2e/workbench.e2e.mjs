import assert from 'node:assert/strict';
import { EXTENSION_TITLE, keepFailure, openWorkbench, screenshotPath } from './fixture.mjs';

describe('the workbench with the extension', function () {
  this.timeout(90_000);
  let session;
  before(async () => { session = await openWorkbench(); });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => session?.workbench));

  it('shows the view container on a folder with a checkpoint', async () => {
    await session.workbench.openViewContainer(EXTENSION_TITLE);
    await session.workbench.screenshot(screenshotPath('view-container'));
  });

  it('asks nothing of any other machine', () => {
    assert.deepEqual(session.external, []);
  });
});
