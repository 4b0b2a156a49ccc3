// Takes the pictures of the README and the walkthrough, and the animated tour, from a real VS Code with the demo checkpoint:
// `npm run screenshots`.
import path from 'node:path';
import sharp from 'sharp';
import { DEMO, openCheckpoint, openWorkbench } from '../e2e/fixture.mjs';
import { PreviewPage } from '../e2e/previewPage.mjs';

const media = path.resolve(import.meta.dirname, '../../media');
const session = await openWorkbench({ viewport: { width: 1280, height: 800 } });
const { workbench } = session;
const { page } = workbench;
const preview = new PreviewPage(workbench);
const checkpoint = path.join(session.folder, DEMO);

/** The animated tour's pictures, each with the milliseconds that it stays. */
const frames = [];

async function frame(stays) {
  frames.push({ stays, picture: await page.screenshot() });
}

/** A palette makes a picture of a screen a quarter of its size; dithering would undo some of that. */
const FEW_COLOURS = { palette: true, quality: 95, dither: 0, effort: 10 };

/** A picture of the README, and of the tour when it is to stay there. */
async function shoot(name, stays) {
  if (stays !== undefined) await frame(stays);
  await sharp(await page.screenshot()).png(FEW_COLOURS).toFile(path.join(media, 'readme', `${name}.png`));
}

/** A part of the window, for a step of the walkthrough. */
async function step(name, clip) {
  await sharp(await page.screenshot({ clip })).png(FEW_COLOURS).toFile(path.join(media, 'walkthrough', `${name}.png`));
}

async function widenSideBar(by) {
  const { x, width, y, height } = await page.locator('.part.sidebar').boundingBox();
  await page.mouse.move(x + width, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + width + by, y + height / 2, { steps: 5 });
  await page.mouse.up();
}

/** Where nothing answers the pointer with a tip: low in the editor. */
const pointNowhere = () => page.mouse.move(640, 785);

const toggleSideBar = () => workbench.command('Toggle Primary Side Bar Visibility', 'workbench.action.toggleSidebarVisibility');
const closeEditors = () => workbench.command('Close All Editors', 'workbench.action.closeAllEditors');

async function openAndMark() {
  await widenSideBar(220);
  await workbench.view('Keys').getByText('Open Folder…').waitFor();
  await pointNowhere();
  await frame(1500);
  await openCheckpoint(workbench, checkpoint);
  await workbench.notification('Qwen-VL recognised').waitFor();
  await workbench.setExpanded(workbench.row('attn_pool', 'Keys'));
  await workbench.row('attn_pool', 'Keys').hover();
  await shoot('overview', 3000);
  const sideBar = await page.locator('.part.sidebar').boundingBox();
  await step('open', sideBar);
  const row = await workbench.row('attn_pool', 'Keys').boundingBox();
  await step('mark', { ...sideBar, y: row.y - 120, height: 300 });
  await workbench.clearNotifications();
}

/** With the CLIP style config, which does not hold the output's width. */
async function validateAndFix() {
  await workbench.inlineAction(workbench.row('Config', 'Validation'), 'Choose Config');
  await workbench.quickPick('encoder-config.json').click();
  const cause = workbench.view('Validation').locator('.monaco-list-row[aria-label*="output_dim is 128"]');
  await workbench.setExpanded(cause);
  await cause.hover();
  await page.locator('.workbench-hover', { hasText: 'Quick fix' }).waitFor();
  const view = await workbench.view('Validation').boundingBox();
  await step('validate', { x: view.x, y: view.y, width: Math.min(1280 - view.x, view.width + 260), height: view.height });

  await page.mouse.move(900, 300);
  await workbench.setExpanded(cause, false);
  const problem = (await workbench.problems()).filter({ hasText: 'output_dim is 128' });
  await problem.dblclick();
  await workbench.showQuickFix('Use output_dim 128');
  await shoot('problems', 3000);
  await workbench.takeQuickFix('Use output_dim 128');
  await workbench.row('Loads strictly', 'Validation').waitFor();
  await frame(1500);
  await closeEditors();
  await workbench.command('View: Toggle Panel Visibility', 'workbench.action.togglePanel');
}

async function extract() {
  await workbench.viewAction('Keys', 'Extract Vision Encoder');
  await workbench.quickInput.getByText('into this folder').waitFor();
  await frame(2000);
  await workbench.quickInputBox().press('Enter');
  await workbench.notification('extracted to').waitFor();
  await workbench.openViewContainer('Explorer');
  const explorer = name => page.locator('.explorer-folders-view .monaco-list-row', { has: page.locator('.label-name', { hasText: name }) });
  await workbench.setExpanded(explorer(`${DEMO}-vision-encoder`));
  await explorer('manifest.json').dblclick();
  await page.locator('.editor-instance .view-line', { hasText: 'vision-encoder-extractor' }).waitFor();
  await frame(2500);
  await step('extract', { x: 0, y: 36, width: 1000, height: 460 });
  await workbench.clearNotifications();
  await closeEditors();
  await workbench.openViewContainer('Vision Encoder');
}

async function addSample(name) {
  const offers = preview.frame.getByRole('button', { name: `Add the sample ${name}` });
  if (!await offers.filter({ visible: true }).first().isVisible()) await preview.frame.locator('.recents summary', { hasText: 'Samples' }).click();
  await offers.filter({ visible: true }).first().click();
  await preview.frame.locator(`button[aria-label="${name}, ready"]`).waitFor();
  await pointNowhere();
}

/** The preview alone: the picture, what every block makes of it, and two pictures held against each other. */
async function look() {
  await workbench.viewAction('Keys', 'Preview Features');
  await preview.frame.getByRole('button', { name: 'Add the sample house.png' }).first().waitFor();
  await toggleSideBar();
  await addSample('balls.jpg');
  for (let layer = 0; layer < 4; layer++) {
    await preview.slide('Layer', layer, `block ${layer} of 0…3`);
    await preview.drawn();
    await frame(700);
  }
  await preview.point(20, 8);
  await preview.canvas().press('Enter');
  await preview.frame.locator('.section', { hasText: 'row 20, column 8' }).waitFor();
  await frame(1500);
  await step('preview', await page.locator('.editor-group-container').boundingBox());
  await preview.overlay('Similarity');
  await preview.drawn();
  await frame(2000);
  await preview.overlay('Attention');
  await preview.drawn();
  await frame(2000);

  await addSample('night.png');
  await addSample('house.png');
  await preview.frame.locator('button[aria-label="house.png, ready"]').click();
  await preview.frame.locator('.thumbnails li', { has: preview.frame.locator('button[aria-label="night.png, ready"]') }).hover();
  await preview.button('Compare with night.png').click();
  await preview.overlay('PCA');
  await pointNowhere();
  await preview.drawn(1);
  await shoot('compare', 2500);
  await closeEditors();
}

/** Inside the encoder's file: the map of its bytes, and a tensor. */
async function inspect() {
  await workbench.command('File: Open File', 'workbench.action.files.openFile');
  await workbench.fileDialog(path.join(session.folder, `${DEMO}-vision-encoder`, 'model.safetensors'));
  const inside = workbench.webview();
  await inside.locator('.head .bytes button').click();
  await inside.locator('.scroller .row', { hasText: 'conv1.weight' }).click();
  await inside.locator('.numbers', { hasText: 'mean' }).waitFor();
  await inside.locator('.heat .hint', { hasText: '×' }).first().waitFor();
  await pointNowhere();
  await frame(3000);
  await page.setViewportSize({ width: 1280, height: 1000 });
  await shoot('inspector');
}

try {
  await openAndMark();
  await validateAndFix();
  await extract();
  await look();
  await inspect();
  // The package has little room. A GIF brings all frames to one palette; as WebP the same is 40 % of its size.
  const timing = { delay: frames.map(({ stays }) => stays), loop: 0 };
  const gif = await sharp(frames.map(({ picture }) => picture), { join: { animated: true } }).gif({ ...timing, colours: 256, dither: 0, effort: 10, reuse: true, interFrameMaxError: 2 }).toBuffer();
  await sharp(gif, { pages: -1 }).webp({ ...timing, lossless: true, effort: 6, minSize: true })
    .toFile(path.join(media, 'readme', 'tour.webp'));
} finally {
  await session.close();
}
