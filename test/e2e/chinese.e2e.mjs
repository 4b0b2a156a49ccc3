import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { copyDemo, DEMO, fixture, keepFailure, openWorkbench, screenshotPath } from './fixture.mjs';
import { PreviewPage } from './previewPage.mjs';

const CHINESE = { code: 'zh-cn', title: '视觉编码器', ready: '拖入文件夹或权重文件' };
const PICTURE = { name: 'rgb.jpg', path: fixture('pictures/rgb.jpg'), type: 'image/jpeg' };

/** English words one after the other, which no text of ours has in Chinese: names of keys, files and products stand alone. */
const ENGLISH = /\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b/;

describe('in Simplified Chinese', function () {
  this.timeout(60_000);
  let session;
  let workbench;
  let page;
  before(async () => {
    session = await openWorkbench({
      language: CHINESE, viewport: { width: 1280, height: 800 }, fill: async folder => {
        await copyDemo(folder);
        await mkdir(path.join(folder, 'empty'));
        await writeFile(path.join(folder, 'notes.png'), 'no picture at all');
      },
    });
    workbench = session.workbench;
    page = new PreviewPage(workbench);
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const openFolder = async folder => {
    await workbench.command('打开检查点文件夹', 'visionEncoder.openFolder');
    await workbench.fileDialog(folder);
  };
  /** What a page says. */
  const textsOf = frame => frame.locator('body').evaluate(body => {
    const attributes = [...body.querySelectorAll('[title], [aria-label], [placeholder]')].flatMap(element => ['title', 'aria-label', 'placeholder'].map(name => element.getAttribute(name) ?? ''));
    return [...body.innerText.split('\n'), ...attributes].filter(text => text.trim() !== '');
  });

  it('the views say what to do', async () => {
    await workbench.view('键').getByText('打开文件夹…').waitFor();
    await workbench.view('键').getByText('只读取文件头').waitFor();
    await workbench.screenshot(screenshotPath('chinese-welcome'));
  });

  it('an error says what is wrong, in words that come from below the editor', async () => {
    await openFolder(path.join(session.folder, 'empty'));
    await workbench.waitForNotification(/中没有检查点.*请打开直接存放权重的文件夹/);
    await workbench.clearNotifications();
  });

  it('a checkpoint is recognised and validated', async () => {
    await openFolder(path.join(session.folder, DEMO));
    await workbench.row('可以严格加载', '验证').waitFor();
    await workbench.waitForNotification(/已识别 Qwen-VL：.*101 个张量中有 65 个进入编码器。/);
    assert.match((await workbench.rowLabels('键')).join('\n'), /32 个张量/);
    await workbench.screenshot(screenshotPath('chinese-opened'));
    const labels = await workbench.page.locator('.part.sidebar .monaco-list-row').evaluateAll(rows => rows.map(row => row.getAttribute('aria-label')));
    assert.ok(labels.length > 10);
    assert.deepEqual(labels.filter(label => ENGLISH.test(label)), []);
    await workbench.clearNotifications();
  });

  it('the page that looks inside a file is Chinese throughout', async () => {
    await workbench.command('File: Open File', 'workbench.action.files.openFile');
    await workbench.fileDialog(path.join(session.folder, DEMO, 'model-00002-of-00003.safetensors'));
    const frame = workbench.webview();
    await frame.locator('.scroller .row').first().click();
    await frame.locator('.heat .hint', { hasText: '蓝色为负，红色为正' }).waitFor();
    assert.equal(await frame.locator('html').getAttribute('lang'), 'zh-cn');
    assert.deepEqual(await frame.locator('.head .cell button').allInnerTexts(), ['名称', '类型', '形状', '元素数', '大小', '占比']);
    await workbench.screenshot(screenshotPath('chinese-inspector'));
    assert.deepEqual((await textsOf(frame)).filter(text => ENGLISH.test(text)), []);
  });

  it('so is the preview', async () => {
    await workbench.command('预览特征', 'visionEncoder.preview');
    await page.frame.getByText('看看编码器看到了什么').waitFor();
    await workbench.screenshot(screenshotPath('chinese-preview-empty'));
    await page.drop(PICTURE);
    await page.waitUntilReady('就绪，运行于');
    await page.frame.locator('.legend .component').first().waitFor();
    assert.equal(await page.frame.locator('html').getAttribute('lang'), 'zh-cn');
    await workbench.screenshot(screenshotPath('chinese-preview'));
    assert.deepEqual((await textsOf(page.frame)).filter(text => ENGLISH.test(text)), []);
  });

  it('and what the encoder\'s own process says', async () => {
    await page.drop({ name: 'notes.png', path: path.join(session.folder, 'notes.png'), type: 'image/png' });
    await page.frame.getByText(/notes\.png：无法在此读取的内容。/).first().waitFor();
  });

  for (const theme of ['Light Modern', 'Dark High Contrast']) {
    it(`can be looked at in ${theme}`, async () => {
      await workbench.theme(theme);
      await workbench.screenshot(screenshotPath(`chinese-preview-${theme.toLowerCase().replaceAll(' ', '-')}`));
    });
  }

  it('cuts no button short in a narrow window', async () => {
    await workbench.page.setViewportSize({ width: 760, height: 800 });
    await workbench.screenshot(screenshotPath('chinese-preview-narrow'));
    const cut = await page.body.evaluate(body => [...body.querySelectorAll('button, vscode-button, label, h1, h2, h3')]
      .filter(element => element.offsetWidth > 0 && element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).overflow !== 'visible').map(element => element.textContent));
    assert.deepEqual(cut, []);
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
