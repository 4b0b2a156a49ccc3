// Takes the pictures of the README and the walkthrough from a real VS Code with the demo checkpoint: `node test/demo/takeScreenshots.mjs`, after a build.
import path from 'node:path';
import sharp from 'sharp';
import { DEMO, openCheckpoint, openWorkbench } from '../e2e/fixture.mjs';
import { PreviewPage } from '../e2e/previewPage.mjs';

const folder = path.resolve(import.meta.dirname, '../../media/readme');
const session = await openWorkbench({ viewport: { width: 1280, height: 800 } });
const { workbench } = session;
const { page } = workbench;

/** Few colours are on the screen: a palette makes the file a quarter of its size. */
async function shoot(name) {
  await sharp(await page.screenshot()).png({ palette: true, quality: 95, effort: 10 }).toFile(path.join(folder, `${name}.png`));
}

const walkthrough = path.resolve(import.meta.dirname, '../../media/walkthrough');

/** The side bar alone, or a part of it, for a step of the walkthrough. */
async function step(name, clip) {
  await sharp(await page.screenshot({ clip })).png({ palette: true, quality: 90, effort: 10 }).toFile(path.join(walkthrough, `${name}.png`));
}

async function widenSideBar(by) {
  const { x, width, y, height } = await page.locator('.part.sidebar').boundingBox();
  await page.mouse.move(x + width, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width + by, y + height / 2, { steps: 5 });
  await page.mouse.up();
}

/** The preview with the room that it has beside a side bar: the picture, and what the last block makes of it. */
async function shootPreview() {
  const preview = new PreviewPage(workbench);
  await workbench.command('Hide Panel', 'workbench.action.closePanel');
  await workbench.viewAction('Keys', 'Preview Features');
  await preview.drop({ name: 'picture.png', path: path.join(session.folder, DEMO, 'picture.png'), type: 'image/png' });
  await preview.waitUntilReady();
  await workbench.command('Toggle Primary Side Bar Visibility', 'workbench.action.toggleSidebarVisibility');
  await preview.slide('Layer', 3, 'block 3 of 0…3');
  await preview.frame.locator('.legend .component').first().waitFor();
  await preview.point(20, 8);
  await preview.canvas().press('Enter');
  await preview.frame.locator('.section', { hasText: 'row 20, column 8' }).waitFor();
  await shoot('preview');
  await workbench.command('Toggle Primary Side Bar Visibility', 'workbench.action.toggleSidebarVisibility');
}

try {
  await widenSideBar(220);
  await openCheckpoint(workbench, path.join(session.folder, DEMO));
  await workbench.notification('Qwen-VL recognised').waitFor();
  await workbench.setExpanded(workbench.row('attn_pool', 'Keys'));
  await workbench.row('attn_pool', 'Keys').hover();
  await shoot('overview');
  const sideBar = await page.locator('.part.sidebar').boundingBox();
  await step('open', sideBar);
  const row = await workbench.row('attn_pool', 'Keys').boundingBox();
  await step('mark', { ...sideBar, y: row.y - 120, height: 300 });
  await workbench.clearNotifications();

  await workbench.inlineAction(workbench.row('Config', 'Validation'), 'Choose Config');
  await workbench.quickPick('encoder-config.json').click();
  const cause = workbench.view('Validation').locator('.monaco-list-row[aria-label*="output_dim is 128"]');
  await workbench.setExpanded(cause);
  await cause.hover();
  await page.locator('.workbench-hover', { hasText: 'Quick fix' }).waitFor();
  await shoot('validation');
  const view = await workbench.view('Validation').boundingBox();
  await step('validate', { x: view.x, y: view.y, width: Math.min(1280 - view.x, view.width + 260), height: view.height });

  await page.mouse.move(900, 300);
  await workbench.setExpanded(cause, false);
  const problem = (await workbench.problems()).filter({ hasText: 'output_dim is 128' });
  await problem.dblclick();
  await workbench.showQuickFix('Use output_dim 128');
  await shoot('problems');
  await workbench.takeQuickFix('Use output_dim 128');

  await workbench.row('Loads strictly', 'Validation').waitFor();
  await workbench.command('Close All Editors', 'workbench.action.closeAllEditors');
  await shootPreview();
  await workbench.command('Close All Editors', 'workbench.action.closeAllEditors');
  await workbench.command('Hide Panel', 'workbench.action.closePanel');
  await workbench.viewAction('Keys', 'Extract Vision Encoder');
  await workbench.quickInput.getByText('into this folder').waitFor();
  await workbench.quickInputBox().press('Enter');
  await workbench.notification('extracted to').waitFor();
  await workbench.openViewContainer('Explorer');
  const explorer = name => page.locator('.explorer-folders-view .monaco-list-row', { has: page.locator('.label-name', { hasText: name }) });
  await workbench.setExpanded(explorer(`${DEMO}-vision-encoder`));
  await explorer('manifest.json').dblclick();
  await page.locator('.editor-instance .view-line', { hasText: 'vision-encoder-extractor' }).waitFor();
  await shoot('extracted');
  await step('extract', { x: 0, y: 36, width: 1000, height: 460 });

  await workbench.command('Close All Editors', 'workbench.action.closeAllEditors');
  await workbench.command('Preview Features', 'visionEncoder.preview');
  const panel = page.frameLocator('iframe.webview.ready').frameLocator('iframe#active-frame');
  await panel.getByText(/^Sample/).first().click();
  await panel.locator('.legend .component').first().waitFor({ timeout: 60_000 });
  const editor = await page.locator('.editor-group-container').boundingBox();
  await step('preview', editor);
} finally {
  await session.close();
}
