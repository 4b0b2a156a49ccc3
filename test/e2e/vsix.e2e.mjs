import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { packageFor, TARGETS } from '../../package.mjs';
import { EXTENSION_TITLE, keepFailure, openWorkbench, screenshotPath } from './fixture.mjs';

/** 40 MB, with room for what the next change adds: what takes it is to be seen before there is none. */
const MOST_BYTES = 39.8e6;

function python(program, ...args) {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', `import sys, zipfile; vsix = zipfile.ZipFile(sys.argv[1]); ${program}`, ...args], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** The files of a VSIX. */
const contents = vsix => python('print("\\n".join(vsix.namelist()))', vsix).trim().split('\n');

/** Native files: what they are built for, by where they lie. */
const NATIVE = /\.(node|dll|dylib|so(\.[\d.]+)?)$/;

describe('the packages', function () {
  this.timeout(120_000);
  const files = new Map();

  for (const [target, { os, cpu }] of Object.entries(TARGETS)) {
    it(`of ${target} is small and holds what runs there and nothing else`, async () => {
      const vsix = await packageFor(target);
      files.set(target, vsix);
      const { size } = await stat(vsix);
      assert.ok(size < MOST_BYTES, `${target}: ${size} bytes`);

      const names = contents(vsix);
      const native = names.filter(name => NATIVE.test(name));
      assert.deepEqual(native.filter(name => !name.includes(`/${os}/${cpu}/`) && !name.includes(`${os}-${cpu}/`)), []);
      for (const wanted of ['onnxruntime_binding.node', /\/(lib)?onnxruntime\.[^/]+$/, /sharp-[^/]+\.node$/, /libvips-[^/]+$/]) {
        assert.ok(native.some(name => typeof wanted === 'string' ? name.endsWith(wanted) : wanted.test(name)), `${target} lacks ${wanted}: ${native.join(', ')}`);
      }
      for (const file of ['package.json', 'package.nls.json', 'package.nls.zh-cn.json', 'l10n/bundle.l10n.zh-cn.json', 'readme.md', 'changelog.md', 'LICENSE.txt', 'dist/extension.js', 'dist/encoder.js', 'dist/copyThread.js', 'dist/cli.js', 'dist/webview/main.js', 'media/examples/ray_data.py', 'media/icon.png', 'media/recipe.schema.json', 'media/sample/model.safetensors.index.json', 'media/pictures/balls.jpg']) {
        assert.ok(names.includes(`extension/${file}`), `${target} lacks ${file}`);
      }
      const stray = names.filter(name => /^extension\/(src|webview|test|bench|\.ci|\.cache)\/|\.map$|\.ts$|\.vsix$|\/sharp\/dist\/.*\.cjs$|bundle\.l10n\.json$|^extension\/media\/readme/.test(name));
      assert.deepEqual(stray, []);
    });
  }

  it('have a README for their page in VS Code, without what that page cannot show', () => {
    const readme = python('print(vsix.read("extension/readme.md").decode())', files.get('linux-x64'));
    assert.match(readme, /## Five minutes[\s\S]*## In the editor[\s\S]*\| Qwen-VL \|/);
    assert.deepEqual(readme.match(/!?\[[^\]]*\]\((?!https:)[^)]*\)/g) ?? [], []);
    assert.doesNotMatch(readme, /npm ci|npm start|repository only/);
  });

  it('have the command line', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'vsix-'));
    try {
      python('vsix.extractall(sys.argv[2])', files.get('linux-x64'), folder);
      const extension = path.join(folder, 'extension');
      const { status, stdout, stderr } = spawnSync(process.execPath, [path.join(extension, 'dist/cli.js'), 'features', path.join(extension, 'media/sample/picture.png'), '--checkpoint', path.join(extension, 'media/sample'), '--out', path.join(folder, 'features.safetensors'), '--device', 'cpu'], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      assert.match(stdout, /features {2}1×256×128/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  describe('installed into a clean VS Code', () => {
    let session;
    let workbench;
    before(async () => {
      session = await openWorkbench({ extension: files.get('linux-x64') });
      workbench = session.workbench;
    });
    after(async () => { await session?.close(); });
    afterEach(keepFailure(() => workbench));

    it('opens its sample, finds it valid and extracts the encoder', async () => {
      await workbench.view('Keys').getByText('Open Sample Checkpoint').click();
      await workbench.row('Loads strictly', 'Validation').waitFor();
      await workbench.clearNotifications();
      await workbench.inlineAction(workbench.row('Loads strictly', 'Validation'), 'Extract Vision Encoder');
      await workbench.quickInput.getByText(/as safetensors into this folder/).waitFor();
      const folder = await workbench.quickInputBox().inputValue();
      assert.equal(path.dirname(folder), session.folder);
      await workbench.quickInputBox().press('Enter');
      await workbench.waitForNotification(/extracted to sample-vision-encoder/);
      assert.deepEqual((await readdir(folder)).sort(), ['config.json', 'manifest.json', 'model.safetensors', 'preprocessor_config.json']);
    });

    it('has a page without broken pictures and dead links', async () => {
      await workbench.openViewContainer('Extensions');
      await workbench.page.locator('.extension-list-item', { hasText: 'Vision Encoder' }).first().click();
      const page = workbench.webview();
      await page.getByRole('heading', { name: 'Five minutes' }).waitFor();
      await workbench.screenshot(screenshotPath('vsix-page'));
      assert.deepEqual(await page.locator('img').evaluateAll(pictures => pictures.map(({ alt }) => alt)), []);
      assert.deepEqual(await page.locator('a').evaluateAll(links => links.map(link => link.getAttribute('href')).filter(href => !href?.startsWith('https:'))), ['#']); // VS Code's own, to the top
      assert.doesNotMatch(await page.locator('body').innerText(), /<!--|-->|<details>/);
      await workbench.openViewContainer(EXTENSION_TITLE);
    });

    it('runs the encoder on its sample picture, with the libraries that it brought', async () => {
      await workbench.clearNotifications();
      await workbench.command('Preview Features', 'visionEncoder.preview');
      const page = workbench.page.frameLocator('iframe.webview.ready').frameLocator('iframe#active-frame');
      await page.getByRole('button', { name: 'Add the sample house.png' }).first().click();
      await page.locator('.legend .component').first().waitFor({ timeout: 60_000 }); // encoded, and drawn
      await page.getByText(/(CPU|WebGPU)/).first().waitFor();
      await workbench.screenshot(screenshotPath('vsix-preview'));
    });
  });
});
