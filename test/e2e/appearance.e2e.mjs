import assert from 'node:assert/strict';
import { copyFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { copyDemo, DEMO, EXTENSION_TITLE, keepFailure, openCheckpoint, openWorkbench, screenshotPath } from './fixture.mjs';

const THEMES = ['Light Modern', 'Dark High Contrast', 'Light High Contrast', 'Dark Modern'];

/** The least contrast of a text with its background that people with low vision can read: WCAG 2.1, 1.4.3. */
const READABLE = 4.5;
/** The least contrast of an icon: WCAG 2.1, 1.4.11. */
const VISIBLE = 3;

describe('appearance', function () {
  this.timeout(60_000);
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench({ viewport: { width: 1280, height: 800 }, fill: async folder => {
      await copyDemo(folder);
      await mkdir(path.join(folder, 'empty'));
      await copyFile(path.join(folder, DEMO, 'encoder-config.json'), path.join(folder, 'encoder-config.json'));
    } });
    workbench = session.workbench;
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const validation = text => workbench.view('Validation').locator(`.monaco-list-row[aria-label*=${JSON.stringify(text)}]`);
  const shoot = name => workbench.screenshot(screenshotPath(name));

  /** Contrast of rows' texts and icons with the side bar behind them: [what, ratio] pairs. */
  const contrasts = () => workbench.page.evaluate(() => {
    const parse = text => (text.match(/[\d.]+/g) ?? []).map(Number);
    const opacity = element => { let value = 1; for (let at = element; at !== null; at = at.parentElement) value *= Number(getComputedStyle(at).opacity); return value; };
    const luminance = rgb => rgb.map(value => { const s = value / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; }).reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const background = parse(getComputedStyle(document.querySelector('.part.sidebar')).backgroundColor).slice(0, 3);
    const ratio = element => {
      const [r, g, b, a = 1] = parse(getComputedStyle(element).color);
      const alpha = a * opacity(element);
      const [one, two] = [luminance([r, g, b].map((value, index) => value * alpha + background[index] * (1 - alpha))), luminance(background)];
      return (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    };
    const rows = [...document.querySelectorAll('.part.sidebar .monaco-list-row:not(.selected):not(.focused)')];
    return rows.flatMap(row => [['text', '.label-name'], ['icon', '.custom-view-tree-node-item-icon']].flatMap(([what, selector]) => {
      const element = row.querySelector(selector);
      return element === null || element.offsetWidth === 0 ? [] : [[`${what} of ${row.getAttribute('aria-label')}`, what, ratio(element)]];
    }));
  });

  it('shows what to do before anything is open', async () => {
    await workbench.view('Keys').getByText('Open Folder…').waitFor();
    await shoot('dark-welcome');
  });

  it('shows the keys, the filter and the result in one side bar', async () => {
    await openCheckpoint(workbench, path.join(session.folder, DEMO));
    await workbench.waitForNotification('Qwen-VL recognised');
    await shoot('dark-opened');
    await workbench.clearNotifications();
  });

  it('shows a failing validation with its place in the config', async () => {
    await workbench.inlineAction(workbench.row('Config', 'Validation'), 'Choose Config');
    await workbench.quickPick('encoder-config.json').click();
    await workbench.setExpanded(validation('The checkpoint\'s output_dim is 128'));
    const entry = (await workbench.problems()).filter({ hasText: 'output_dim is 128' });
    await entry.dblclick();
    await workbench.activeTab().filter({ hasText: 'encoder-config.json' }).waitFor();
    await shoot('dark-problems');
  });

  for (const theme of THEMES) {
    it(`can be read in ${theme}`, async () => {
      if (theme !== 'Dark Modern') await workbench.theme(theme);
      else await workbench.theme('Dark Modern');
      await workbench.page.mouse.move(700, 300);
      await shoot(`invalid-${theme.toLowerCase().replaceAll(' ', '-')}`);
      const measured = await contrasts();
      assert.ok(measured.length > 20);
      const poor = measured.filter(([, what, ratio]) => ratio < (what === 'text' ? READABLE : VISIBLE));
      assert.deepEqual(poor.map(([what, , ratio]) => `${what}: ${ratio.toFixed(2)}`), []);
    });
  }

  it('fits a narrow window', async () => {
    await workbench.page.setViewportSize({ width: 500, height: 800 });
    await workbench.openViewContainer(EXTENSION_TITLE);
    await shoot('narrow');
    await workbench.page.setViewportSize({ width: 1280, height: 800 });
  });

  it('shows where the encoder goes, and what came of it', async () => {
    await workbench.command('Undo', 'visionEncoder.undo');
    await workbench.row('Loads strictly', 'Validation').waitFor();
    await workbench.viewAction('Keys', 'Extract Vision Encoder');
    await workbench.quickInputBox().waitFor();
    await shoot('dark-extract-prompt');
    await workbench.quickInputBox().press('Enter');
    await workbench.waitForNotification('extracted to');
    await shoot('dark-extracted');
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
