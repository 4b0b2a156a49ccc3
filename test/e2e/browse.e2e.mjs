import assert from 'node:assert/strict';
import path from 'node:path';
import { DEMO, eventually, keepFailure, openCheckpoint, openWorkbench } from './fixture.mjs';

describe('browsing the keys', function () {
  this.timeout(60_000);
  let session;
  let workbench;
  before(async () => {
    session = await openWorkbench();
    workbench = session.workbench;
    await openCheckpoint(workbench, path.join(session.folder, DEMO));
    await workbench.clearNotifications();
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const key = label => workbench.row(label, 'Keys');
  const icon = label => key(label).locator('.custom-view-tree-node-item-icon');
  const labels = () => workbench.rowLabels('Keys');
  const clipboard = () => workbench.page.evaluate(() => navigator.clipboard.readText());
  const message = text => workbench.view('Keys').locator('.message', { hasText: text });

  async function hover(label) {
    await workbench.page.mouse.move(700, 400);
    await workbench.page.locator('.workbench-hover').waitFor({ state: 'hidden' });
    await key(label).locator('.label-name').hover();
    const shown = workbench.page.locator('.workbench-hover', { hasText: /\S/ }).last();
    await shown.waitFor();
    return (await shown.innerText()).replaceAll('\u00a0', ' ');
  }

  it('groups the keys by module path and unfolds towards the encoder, with counts, bytes and marks', async () => {
    assert.deepEqual(await labels(), [
      'transformer, mixed, 65 of 100 · 2.66 MB',
      'wte.weight, not wanted by any rule, bf16 · 2048×128 · 524 KB',
      'h, not wanted by any rule, 32 tensors · 1.32 MB',
      'ln_f.weight, not wanted by any rule, bf16 · 128 · 256 B',
      'visual, mixed, 65 of 66 · 822 KB',
      'positional_embedding, strip, bf16 · 256×64 · 32.8 KB',
      'proj, excluded by a rule, bf16 · 128×128 · 32.8 KB · excluded',
      'conv1.weight, strip, bf16 · 64×3×14×14 · 75.3 KB',
      'ln_pre, strip, 2 tensors · 256 B',
      'transformer.resblocks, strip, 48 tensors · 400 KB',
      'attn_pool, strip, 11 tensors · 281 KB',
      'ln_post, strip, 2 tensors · 512 B',
      'lm_head.weight, not wanted by any rule, bf16 · 2048×128 · 524 KB',
    ]);
  });

  it('tells by icon and colour what is stripped, excluded by a rule, wanted by none, and mixed', async () => {
    for (const [label, codicon] of [['conv1.weight', 'arrow-circle-right'], ['proj', 'circle-slash'], ['lm_head.weight', 'circle-outline'], ['visual', 'color-mode']]) {
      assert.match(await icon(label).getAttribute('class'), new RegExp(`codicon-${codicon}\\b`), label);
    }
    const colour = label => icon(label).evaluate(element => getComputedStyle(element).color);
    const colours = await Promise.all(['conv1.weight', 'proj', 'lm_head.weight', 'visual'].map(colour));
    assert.equal(new Set(colours).size, 4, colours.join(' '));
    const nameColour = label => key(label).locator('.label-name').evaluate(element => getComputedStyle(element).color);
    await eventually(async () => await nameColour('lm_head.weight') !== await nameColour('conv1.weight'), 'What stays behind stepping back');
  });

  it('numbers the blocks in numeric order', async () => {
    await workbench.setExpanded(key('transformer.resblocks'));
    await key('3').waitFor(); // rows come a moment after the twistie has turned
    assert.deepEqual((await labels()).filter(label => /^\d+,/.test(label)), ['0', '1', '2', '3'].map(block => `${block}, strip, 12 tensors · 100 KB`));
    await workbench.setExpanded(key('transformer.resblocks'), false);
  });

  it('shows the mark, the output key, the rule, the shard and the byte range over a tensor', async () => {
    const shown = await hover('conv1.weight');
    assert.match(shown, /transformer\.visual\.conv1\.weight/);
    assert.match(shown, /Mark: strip/);
    assert.match(shown, /In the encoder:\s+conv1\.weight/);
    assert.match(shown, /Rule:.*transformer\.visual/);
    assert.match(shown, /BF16 · 64×3×14×14 · 75\.3 KB/);
    assert.match(shown, /Shard:\s+model-0000\d-of-00003\.safetensors/);
    const [, from, to] = /Bytes ([\d,]+) – ([\d,]+)/.exec(shown);
    assert.equal(Number(to.replaceAll(',', '')) - Number(from.replaceAll(',', '')), 64 * 3 * 14 * 14 * 2);
  });

  it('says whether a rule excluded a tensor, and why, or none wanted it', async () => {
    const excluded = await hover('proj');
    assert.match(excluded, /Mark: excluded by a rule/);
    assert.match(excluded, /Rule:.*transformer\.visual\.proj/);
    assert.match(excluded, /DeepSpeed-VisualChat's VisionTransformer has no such tensor/);
    const unwanted = await hover('lm_head.weight');
    assert.match(unwanted, /Mark: not wanted by any rule/);
    assert.doesNotMatch(unwanted, /Rule:/);
  });

  it('counts the marks over a group', async () => {
    const shown = await hover('visual');
    assert.match(shown, /66 tensors/);
    assert.match(shown, /strip: 65/);
    assert.match(shown, /excluded by a rule: 1/);
    await workbench.page.mouse.move(700, 400);
  });

  it('filters as one types, and Escape brings back what was before', async () => {
    await workbench.viewAction('Keys', 'Filter Keys');
    await workbench.quickInput.getByText('Words in any order').waitFor();
    await workbench.quickInputBox().pressSequentially('attn_pool ln');
    await message('Filter: “attn_pool ln” — 4 of 101 tensors').waitFor();
    assert.deepEqual((await labels()).map(label => label.split(',')[0]), ['transformer.visual.attn_pool', 'ln_q', 'weight', 'bias', 'ln_kv', 'weight', 'bias']);
    await workbench.page.keyboard.press('Escape');
    await message('65 of 101 tensors').waitFor();
    assert.equal((await labels()).length, 13);
  });

  it('keeps the filter on Enter, with stars for anything, and clears it by the button', async () => {
    await workbench.viewAction('Keys', 'Filter Keys');
    await workbench.fillQuickInput('resblocks.*.ln_1.weight');
    await message('4 of 101 tensors').waitFor();
    assert.deepEqual((await labels()).slice(1).map(label => label.split(',')[0]), ['0.ln_1.weight', '1.ln_1.weight', '2.ln_1.weight', '3.ln_1.weight']);
    await workbench.viewAction('Keys', 'Clear Filter');
    await message('65 of 101 tensors').waitFor();
  });

  it('says when nothing passes the filter', async () => {
    await workbench.viewAction('Keys', 'Filter Keys');
    await workbench.fillQuickInput('no such words');
    await message('0 of 101 tensors').waitFor();
    assert.equal((await labels()).length, 0);
    await workbench.command('Clear Filter', 'visionEncoder.clearFilter');
  });

  it('filters by mark', async () => {
    await workbench.command('Filter by Mark', 'visionEncoder.filterByMark');
    for (const state of ['strip', 'not wanted by any rule', 'keep']) await workbench.quickInput.locator('.monaco-list-row', { has: workbench.page.locator('.label-name', { hasText: new RegExp(`^${state}$`) }) }).click();
    await workbench.quickInputBox().press('Enter');
    await message('Filter: excluded by a rule — 1 of 101 tensors').waitFor();
    assert.deepEqual(await labels(), ['transformer.visual.proj, excluded by a rule, bf16 · 128×128 · 32.8 KB · excluded']);
    await workbench.command('Clear Filter', 'visionEncoder.clearFilter');
    await message('65 of 101 tensors').waitFor();
  });

  it('goes to a key by words of it, and unfolds the way there', async () => {
    await workbench.command('Go to Key', 'visionEncoder.goToKey');
    await workbench.quickInputBox().fill('c_proj.bias 3.mlp');
    await workbench.quickPick('transformer.visual.transformer.resblocks.3.mlp.c_proj.bias').waitFor();
    await workbench.quickInputBox().press('Enter');
    const row = workbench.rows('Keys').and(workbench.page.locator('.selected'));
    await row.waitFor();
    assert.match(await row.getAttribute('aria-label'), /^bias, strip, bf16 · 64 · 128 B/);
  });

  it('copies the key of the selected row by the keyboard', async () => {
    await workbench.rows('Keys').and(workbench.page.locator('.selected')).click();
    await workbench.page.keyboard.press('Control+c');
    await workbench.page.waitForFunction(async () => await navigator.clipboard.readText() === 'transformer.visual.transformer.resblocks.3.mlp.c_proj.bias');
  });

  it('copies the key that a tensor has in the encoder, and a group\'s path', async () => {
    await workbench.contextMenu(key('conv1.weight'), 'Copy Key in the Encoder');
    await workbench.page.waitForFunction(async () => await navigator.clipboard.readText() === 'conv1.weight');
    await workbench.contextMenu(key('visual'), 'Copy Key');
    await workbench.page.waitForFunction(async () => await navigator.clipboard.readText() !== 'conv1.weight');
    assert.equal(await clipboard(), 'transformer.visual');
  });

  it('reveals a tensor\'s shard in the Explorer', async () => {
    await workbench.contextMenu(key('lm_head.weight'), 'Reveal Shard');
    await workbench.page.locator('.explorer-folders-view .monaco-list-row.selected', { hasText: 'model-00003-of-00003.safetensors' }).waitFor();
    await workbench.openViewContainer('Vision Encoder');
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
