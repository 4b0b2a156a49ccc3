import path from 'node:path';
import { openWorkbench } from './fixture.mjs';
const root = path.resolve(import.meta.dirname, '../..');
const s = await openWorkbench({ folder: path.join(root, 'test/fixtures/qwen-vl-tiny-bin'), viewport: { width: 1400, height: 900 } });
const w = s.workbench; const shot = n => w.screenshot(`/tmp/look/${n}.png`);
const logs = []; w.page.on('console', m => logs.push(m.text()));
try {
  await w.openViewContainer('Vision Encoder');
  await w.command('Vision Encoder: Open Folder', 'visionEncoder.openFolder');
  await w.fileDialog(s.folder);
  await w.quickPick('pytorch_model.bin.index.json').click(); await w.row('lm_head.weight', 'Keys').waitFor({ timeout: 20000 });
  await shot('0-open');
  await w.command('Preview Features', 'visionEncoder.preview');
  const v = w.webview();
  await v.locator('.empty').waitFor({ timeout: 15000 });
  await shot('1-empty');
  await v.locator('vscode-button', { hasText: 'Add picture' }).click();
  await w.fileDialog(path.join(s.folder, 'picture.png'));
  await v.locator('.numbers table').first().waitFor({ timeout: 30000 });
  await w.page.waitForTimeout(1500);
  await shot('2-pca');
  console.log(await v.locator('.numbers').innerText());
  console.log(await v.locator('.status').innerText());
} catch (e) { console.log(e); await shot('fail'); console.log(s.readLog().slice(-3000)); }
console.log(logs.slice(-15).join('\n'));
await s.close();
