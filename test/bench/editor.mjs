// What a person waits for with a checkpoint of 100,000 keys in a real VS Code, in seconds, as JSON: from a click or key to the row on the screen.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DEMO_SIZE, modelConfig, tensorsOf } from '../demo/qwenVl.mjs';
import { shard, writeShards } from '../demo/safetensors.mjs';
import { openWorkbench } from '../e2e/fixture.mjs';

const runs = Number(process.argv[2] ?? 3);
const LAYERS = 32;
const EXPERTS = 1024;

/** Qwen-VL's layout with 98,304 experts' tensors beside it. */
async function fill(workspace) {
  const folder = path.join(workspace, 'many');
  await mkdir(folder);
  const experts = Array.from({ length: LAYERS * EXPERTS }, (_, i) => ['w1', 'w2', 'c_proj'].map(part => ({ key: `transformer.moe.${Math.floor(i / EXPERTS)}.experts.${i % EXPERTS}.${part}.weight`, shape: [4, 4] }))).flat();
  await writeShards(folder, shard([...tensorsOf(DEMO_SIZE), ...experts], 10), undefined);
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(modelConfig(DEMO_SIZE)));
}

const session = await openWorkbench({ fill });
const { workbench } = session;
const seconds = {};
async function timed(what, action) {
  const started = performance.now();
  await action();
  (seconds[what] ??= []).push((performance.now() - started) / 1000);
}
const key = label => workbench.row(label, 'Keys');
const labelled = text => workbench.view('Keys').locator(`.monaco-list-row[aria-label^=${JSON.stringify(text)}]`).waitFor();
const message = text => workbench.view('Keys').locator('.message', { hasText: text }).waitFor();
try {
  for (let run = 0; run < runs; run++) {
    await workbench.openViewContainer('Explorer');
    await workbench.page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'many' }).click({ button: 'right' });
    await workbench.page.waitForTimeout(500); // a menu ignores clicks in its first moments
    await timed('opening, from the click in the Explorer to the unfolded tree', async () => {
      await workbench.menuItem('Open as Checkpoint').click();
      await key('moe').waitFor();
    });
    await workbench.row('Loads strictly', 'Validation').waitFor();
    await workbench.clearNotifications();
    await key('moe').hover();
    await timed('keeping a group of 98,304, to its new mark', async () => {
      await workbench.inlineAction(key('moe'), 'Keep');
      await labelled('moe, keep');
    });
    await workbench.command('Undo', 'visionEncoder.undo');
    await labelled('moe, not wanted by any rule');
    await workbench.viewAction('Keys', 'Filter Keys');
    await workbench.quickInputBox().waitFor();
    await timed('a filter typed, to the matches', async () => {
      await workbench.quickInputBox().fill('experts.777.c_proj');
      await message('32 of ');
    });
    await workbench.page.keyboard.press('Escape');
    await workbench.command('Close Checkpoint', 'visionEncoder.close');
  }
} finally {
  await session.close();
}
console.log(JSON.stringify(seconds));
