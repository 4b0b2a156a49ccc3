import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import path from 'node:path';
import { fixture, keepFailure, openCheckpoint, openWorkbench, screenshotPath } from './fixture.mjs';
import { PreviewPage } from './previewPage.mjs';

const PICTURE = { name: 'picture.png', path: fixture('qwen-vl-tiny-safetensors/picture.png'), type: 'image/png' };
/** Of the patch embedding and each block. */
const SIDES = [192, 192, 96, 48, 48, 24];
const WIDTHS = [8, 8, 12, 16, 16, 24];
const HEADS = [2, 2, 3, 4, 4, 6];
const sayLayer = layer => (layer < 0 ? 'patch embedding' : `block ${layer} of 0…4`);

describe('the preview of an encoder in stages', function () {
  this.timeout(90_000);
  let session;
  let workbench;
  let preview;
  before(async () => {
    session = await openWorkbench({
      settings: { 'visionEncoder.preview.device': 'cpu' },
      viewport: { width: 1400, height: 1000 },
      fill: folder => cp(fixture('families/florence2'), path.join(folder, 'florence2'), { recursive: true, filter: file => path.basename(file) !== 'expected' }),
    });
    workbench = session.workbench;
    preview = new PreviewPage(workbench);
    await openCheckpoint(workbench, path.join(session.folder, 'florence2'));
    await workbench.viewAction('Keys', 'Preview Features');
    await preview.frame.getByText('See what the encoder sees').waitFor();
    await workbench.clearNotifications();
    await preview.drop(PICTURE);
    await preview.waitUntilReady('Ready on CPU', 60_000);
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const labelled = side => preview.frame.locator(`canvas[aria-label^="picture.png, ${side} by ${side} patches."]`).first();

  it('says the sizes of the first stage and the last', async () => {
    assert.match(await preview.frame.locator('header .facts').innerText(), /5 blocks · 2–6 heads · width 8–24$/);
    assert.equal(await preview.fact('Run', 'patches'), '192 × 192 → 24 × 24');
  });

  it('shows every layer on its own grid, with its own channels', async () => {
    await preview.overlay('Channel');
    for (const [index, side] of SIDES.entries()) {
      await preview.slide('Layer', index - 1, sayLayer(index - 1));
      await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(index - 1)}` }).waitFor();
      await labelled(side).waitFor();
      assert.equal(await preview.fact('Features', 'shape'), `1 × ${side * side} × ${WIDTHS[index]}`);
      assert.equal(await preview.frame.getByRole('slider', { name: 'Channel', exact: true }).getAttribute('max'), String(WIDTHS[index] - 1));
    }
  });

  it('keeps the place of a chosen patch from grid to grid', async () => {
    await preview.overlay('Similarity');
    await preview.point(5, 3);
    await preview.canvas().press('Enter');
    const place = text => preview.frame.locator('td', { hasText: new RegExp(`^${text}$`) }).waitFor();
    await place('row 5, column 3');
    for (const [layer, row, column] of [[2, 11, 7], [0, 44, 28], [1, 22, 14], [4, 5, 3]]) {
      await preview.slide('Layer', layer, sayLayer(layer));
      await place(`row ${row}, column ${column}`);
    }
    assert.ok(Math.abs(await preview.valueAt(5, 3) - 1) < 1e-3);
  });

  it('shows the attention of a patch within its window, by the heads of the layer', async () => {
    await preview.overlay('Attention');
    for (const layer of [4, 2, 0]) {
      await preview.slide('Layer', layer, sayLayer(layer));
      assert.equal(await preview.frame.getByRole('slider', { name: 'Head', exact: true }).getAttribute('max'), String(HEADS[layer + 1] - 1));
    }
    await preview.slide('Layer', 4, sayLayer(4));
    // Windows of 5 x 5: the patch at 5, 3 looks at rows 5 to 9 and columns 0 to 4.
    assert.ok(await preview.valueAt(9, 4) > 0);
    assert.equal(await preview.valueAt(10, 4), 0);
    assert.equal(await preview.valueAt(9, 5), 0);
    await workbench.screenshot(screenshotPath('stages-attention'));
  });
});
