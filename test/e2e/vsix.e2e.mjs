import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { packageFor, TARGETS } from '../../package.mjs';
import { keepFailure, openWorkbench } from './fixture.mjs';

const MOST_BYTES = 40e6;

/** The files of a VSIX. */
function contents(vsix) {
  const { status, stdout, stderr } = spawnSync('python3', ['-c', 'import sys, zipfile; print("\\n".join(zipfile.ZipFile(sys.argv[1]).namelist()))', vsix], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout.trim().split('\n');
}

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
      for (const file of ['package.json', 'package.nls.json', 'package.nls.zh-cn.json', 'l10n/bundle.l10n.zh-cn.json', 'readme.md', 'changelog.md', 'LICENSE.txt', 'dist/extension.js', 'dist/encoder.js', 'dist/copyThread.js', 'dist/cli.js', 'dist/webview/main.js', 'media/examples/ray_data.py', 'media/recipe.schema.json', 'media/sample/model.safetensors.index.json', 'media/pictures/balls.jpg']) {
        assert.ok(names.includes(`extension/${file}`), `${target} lacks ${file}`);
      }
      const stray = names.filter(name => /^extension\/(src|webview|test|bench|\.ci|\.cache)\/|\.map$|\.ts$|\.vsix$/.test(name));
      assert.deepEqual(stray, []);
    });
  }

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

    it('runs the encoder on its sample picture, with the libraries that it brought', async () => {
      await workbench.clearNotifications();
      await workbench.command('Preview Features', 'visionEncoder.preview');
      const page = workbench.page.frameLocator('iframe.webview.ready').frameLocator('iframe#active-frame');
      await page.getByRole('button', { name: 'Add the sample house.png' }).first().click();
      await page.locator('.legend .component').first().waitFor({ timeout: 60_000 }); // encoded, and drawn
      await page.getByText(/(CPU|WebGPU)/).first().waitFor();
      await workbench.screenshot(path.join(import.meta.dirname, '../../test-results/vsix-preview.png'));
    });
  });
});
