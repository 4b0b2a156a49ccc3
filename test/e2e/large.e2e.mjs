import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DEMO_SIZE, modelConfig, tensorsOf } from '../demo/qwenVl.mjs';
import { shard, writeShards } from '../demo/safetensors.mjs';
import { keepFailure, openCheckpoint, openWorkbench } from './fixture.mjs';

const LAYERS = 32;
const EXPERTS = 1024;

/** A Qwen-VL whose language model is a mixture of experts: 98,405 keys more. */
async function makeManyKeys(folder) {
  await mkdir(folder);
  const experts = Array.from({ length: LAYERS }, (_, layer) => Array.from({ length: EXPERTS }, (_, expert) => ['w1', 'w2', 'c_proj'].map(part => ({ key: `transformer.moe.${layer}.experts.${expert}.${part}.weight`, shape: [4, 4] })))).flat(2);
  const tensors = [...tensorsOf(DEMO_SIZE), ...experts];
  await writeShards(folder, shard(tensors, 4), undefined);
  await writeFile(path.join(folder, 'config.json'), JSON.stringify(modelConfig(DEMO_SIZE)));
  return tensors.length;
}

describe('a checkpoint of 100,000 keys', function () {
  this.timeout(90_000);
  let session;
  let workbench;
  let count;
  const figures = [];
  before(async () => {
    session = await openWorkbench({ fill: async folder => { count = await makeManyKeys(path.join(folder, 'many')); } });
    workbench = session.workbench;
  });
  after(async () => {
    await session?.close();
    console.log(`      ${figures.join(', ')}`);
  });
  afterEach(keepFailure(() => workbench));

  const all = () => count.toLocaleString('en-US');
  const key = label => workbench.row(label, 'Keys');
  const labelled = text => workbench.view('Keys').locator(`.monaco-list-row[aria-label^=${JSON.stringify(text)}]`);
  const message = text => workbench.view('Keys').locator('.message', { hasText: text });
  async function timed(what, action) {
    const started = performance.now();
    await action();
    figures.push(`${what} ${Math.round(performance.now() - started)} ms`);
  }

  it('opens', async () => {
    await timed('opening, dialog included', () => openCheckpoint(workbench, path.join(session.folder, 'many')));
    await message(`65 of ${all()} tensors`).waitFor();
    await workbench.clearNotifications();
  });

  it('shows long numbered lists in stretches, and unfolds them', async () => {
    await workbench.setExpanded(key('moe'));
    const first = key('0.experts');
    await first.waitFor();
    await timed('unfolding 1,024 experts', async () => {
      await workbench.setExpanded(first);
      await workbench.view('Keys').locator('.monaco-list-row[aria-label*=" … "]').first().waitFor();
    });
    assert.ok((await workbench.rowLabels('Keys')).some(label => label.includes('0 … 99, not wanted by any rule, 300 tensors')));
  });

  it('filters as one types', async () => {
    await workbench.viewAction('Keys', 'Filter Keys');
    await timed('filtering', async () => {
      await workbench.quickInputBox().fill('experts.777.c_proj');
      await message(`32 of ${all()} tensors`).waitFor();
    });
    await workbench.page.keyboard.press('Enter');
    await labelled('0.experts.777.c_proj.weight').waitFor();
    await timed('clearing the filter', async () => {
      await workbench.viewAction('Keys', 'Clear Filter');
      await message(`65 of ${all()} tensors`).waitFor();
    });
  });

  it('marks a group of them all, and takes it back', async () => {
    await timed('keeping a group of 98,304, all of them unexpected', async () => {
      await workbench.inlineAction(key('moe'), 'Keep');
      await labelled('moe, keep').waitFor();
      await workbench.row('Unexpected keys', 'Validation').waitFor();
    });
    await timed('undoing it', async () => {
      await workbench.command('Undo', 'visionEncoder.undo');
      await labelled('moe, not wanted by any rule').waitFor();
    });
  });

  it('goes to one key among them', async () => {
    await workbench.command('Go to Key', 'visionEncoder.goToKey');
    await timed('finding and revealing one key', async () => {
      await workbench.quickInputBox().fill('31.experts.1023.w2.weight');
      await workbench.quickPick('transformer.moe.31.experts.1023.w2.weight').waitFor();
      await workbench.quickInputBox().press('Enter');
      await workbench.rows('Keys').and(workbench.page.locator('.selected[aria-label^="w2.weight,"]')).waitFor();
    });
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
