// What a person waits for with a checkpoint of 100,000 keys in a real VS Code, in seconds, as JSON: from the click or the typed text to what
// they see of it, both taken by the page's own clock, so that no time of the driver's is in it.
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
const { page } = workbench;
const seconds = {};

/**
 * Times what `action` does with the mouse or the keyboard, from the first `event` that the page gets to the frame that shows `selector`
 * with `text` in it, which must not be there before.
 */
async function timed(what, { event, selector, text }, action) {
  await page.evaluate(({ event, selector, text }) => {
    const isShown = () => [...document.querySelectorAll(selector)].some(({ textContent }) => textContent.includes(text));
    globalThis.benchTime = new Promise((resolve, reject) => {
      globalThis.addEventListener(event, ({ timeStamp }) => {
        if (isShown()) return reject(new Error(`${text} is there before it is asked for`));
        const look = now => { if (isShown()) resolve((now - timeStamp) / 1000); else if (now > timeStamp + 60_000) reject(new Error(`${selector} with "${text}" does not show`)); else globalThis.requestAnimationFrame(look); };
        globalThis.requestAnimationFrame(look);
      }, { capture: true, once: true });
    });
  }, { event, selector, text });
  await action();
  (seconds[what] ??= []).push(await page.evaluate(() => globalThis.benchTime));
}

const KEYS = '.part.sidebar .pane:has(> .pane-header[aria-label^="Keys"])';
const NAME = `${KEYS} .monaco-list-row .label-name`;
const key = label => workbench.row(label, 'Keys');
const labelled = text => `${KEYS} .monaco-list-row[aria-label^=${JSON.stringify(text)}]`;
try {
  for (let run = 0; run < runs; run++) {
    await workbench.openViewContainer('Explorer');
    await page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'many' }).click({ button: 'right' });
    await page.waitForTimeout(500); // a menu ignores clicks in its first moments
    await timed('opening, from the click in the Explorer to the unfolded tree', { event: 'mousedown', selector: NAME, text: 'moe' }, () => workbench.menuItem('Open as Checkpoint').click());
    await workbench.row('Loads strictly', 'Validation').waitFor();
    await workbench.clearNotifications();
    await key('moe').hover();
    await timed('keeping a group of 98,304, to its new mark', { event: 'mousedown', selector: labelled('moe, keep'), text: '' }, () => workbench.inlineAction(key('moe'), 'Keep'));
    await timed('undoing that, to the old mark', { event: 'mousedown', selector: labelled('moe, not wanted by any rule'), text: '' }, () => workbench.command('Undo', 'visionEncoder.undo'));
    await workbench.viewAction('Keys', 'Filter Keys');
    await workbench.quickInputBox().waitFor();
    await timed('a filter typed, to the matches', { event: 'input', selector: `${KEYS} .message`, text: '32 of ' }, () => workbench.quickInputBox().fill('experts.777.c_proj'));
    await page.keyboard.press('Escape');
    await workbench.command('Close Checkpoint', 'visionEncoder.close');
    // With the view in sight, so that what the next opening shows cannot be left over from this one.
    await workbench.rows('Keys').first().waitFor({ state: 'detached' });
  }
} finally {
  await session.close();
}
console.log(JSON.stringify(seconds));
