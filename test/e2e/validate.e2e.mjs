import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DEMO, keepFailure, openCheckpoint, openWorkbench } from './fixture.mjs';

describe('validating strictly', function () {
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

  const OUTPUT_DIM = 'The checkpoint\'s output_dim is 128; no config or setting gives output_dim, and the default of Qwen-VL is 4096.';
  const row = label => workbench.row(label, 'Validation');
  const labelled = text => workbench.view('Validation').locator(`.monaco-list-row[aria-label*=${JSON.stringify(text)}]`);
  const config = name => path.join(session.folder, DEMO, name);
  const replaceIn = async (name, from, to) => {
    const text = await readFile(config(name), 'utf8');
    assert.ok(text.includes(from));
    await writeFile(config(name), text.replace(from, to));
  };

  it('finds the config beside the checkpoint and loads strictly', async () => {
    await labelled('Loads strictly 65 of 65 match').waitFor();
    await labelled('Config config.json').waitFor();
  });

  it('shows the settings, each with where it comes from', async () => {
    await workbench.setExpanded(row('Settings'));
    await labelled('layers 4 · from config: visual.layers').waitFor();
    await labelled('output_dim 128 · from config: visual.output_dim').waitFor();
    await labelled('n_queries 256 · default').waitFor();
  });

  it('validates against the encoder\'s own CLIP style config, and names the one number behind all mismatches', async () => {
    await workbench.inlineAction(row('Config'), 'Choose Config');
    await workbench.quickPick('encoder-config.json').click();
    await labelled('Does not load strictly 52 of 65 match').waitFor();
    await labelled('Size mismatches 13').waitFor();
    await labelled(OUTPUT_DIM).waitFor();
    await labelled('output_dim 4096 · default').waitFor();
    await labelled('image_size 448 · default').waitFor();
  });

  it('says beside the settings which are mere defaults', async () => {
    await labelled('Settings by default: output_dim 4096, image_size 448, n_queries 256').waitFor();
  });

  it('offers first what would settle it all: one click, which one undo takes back', async () => {
    await labelled('Use output_dim 128, as the checkpoint has it settles 13 keys').click();
    await row('Loads strictly').waitFor();
    await labelled('Settings by hand: output_dim 128 · by default: image_size 448, n_queries 256').waitFor();
    await workbench.command('Undo', 'visionEncoder.undo');
    await row('Does not load strictly').waitFor();
  });

  it('lists the tensors behind a cause, and goes to a tensor from its row', async () => {
    await workbench.setExpanded(labelled(OUTPUT_DIM));
    await labelled('attn_pool.query found 256×128, expected 256×4096').waitFor();
    await labelled('attn_pool.query found').click();
    await workbench.rows('Keys').and(workbench.page.locator('.selected')).waitFor();
    assert.match(await workbench.rows('Keys').and(workbench.page.locator('.selected')).getAttribute('aria-label'), /^query, strip, .*has a problem/);
  });

  it('counts the problems on the view container\'s icon', async () => {
    assert.equal(await workbench.viewContainer('Vision Encoder').locator('.badge-content').innerText(), '13');
  });

  it('puts what the config lacks at its first line in the Problems panel', async () => {
    const problems = await workbench.problems();
    const entry = problems.filter({ hasText: OUTPUT_DIM });
    await entry.waitFor();
    assert.match(await entry.innerText(), /\(13 keys\)[\s\S]*\[Ln 1, Col 1\]/);
    await problems.filter({ hasText: 'encoder-config.json' }).first().waitFor();
  });

  it('uses the number found by the quick fix of its row, and one undo takes it back', async () => {
    await workbench.inlineAction(labelled(OUTPUT_DIM), 'Quick Fix');
    await row('Loads strictly').waitFor();
    await labelled('output_dim 128 · set by hand').waitFor();
    await workbench.page.locator('.markers-panel', { hasText: 'No problems have been detected' }).waitFor();
    await workbench.command('Undo', 'visionEncoder.undo');
    await row('Does not load strictly').waitFor();
  });

  it('uses the number found by the quick fix in the config\'s editor', async () => {
    const problems = await workbench.problems();
    await problems.filter({ hasText: OUTPUT_DIM }).dblclick();
    await workbench.activeTab().filter({ hasText: 'encoder-config.json' }).waitFor();
    const action = 'Use output_dim 128, as the checkpoint has it';
    await workbench.showQuickFix(action);
    await workbench.takeQuickFix(action);
    await row('Loads strictly').waitFor();
    await labelled('output_dim 128 · set by hand').waitFor();
  });

  it('validates again when the config changes on disk, and points at the line of the field that disagrees', async () => {
    await replaceIn('encoder-config.json', '"num_hidden_layers": 4', '"num_hidden_layers": 6');
    await row('Does not load strictly').waitFor();
    await labelled('Missing keys 24').waitFor();
    await labelled('The checkpoint has 4 blocks; encoder-config.json says vision_config.num_hidden_layers 6.').waitFor();
    const entry = (await workbench.problems()).filter({ hasText: 'The checkpoint has 4 blocks' });
    await entry.waitFor();
    const text = await readFile(config('encoder-config.json'), 'utf8');
    const line = text.split('\n').findIndex(one => one.includes('num_hidden_layers')) + 1;
    assert.match(await entry.innerText(), new RegExp(`\\[Ln ${line}, Col \\d+\\]`));
  });

  it('says so while the config is broken, and validates again when it is whole', async () => {
    const whole = (await readFile(config('encoder-config.json'), 'utf8')).replace('"num_hidden_layers": 6', '"num_hidden_layers": 4');
    await writeFile(config('encoder-config.json'), whole.slice(0, -20));
    await row('The config cannot be used').waitFor();
    await writeFile(config('encoder-config.json'), whole);
    await row('Loads strictly').waitFor();
  });

  it('refuses to extract what would not load strictly', async () => {
    await workbench.setExpanded(row('Settings'));
    await workbench.inlineAction(row('output_dim'), 'Change Setting');
    await workbench.fillQuickInput('256');
    await labelled('output_dim 256 · set by hand').waitFor();
    await workbench.viewAction('Keys', 'Extract Vision Encoder');
    await workbench.waitForNotification('Nothing was extracted: the encoder would not load strictly.');
    await workbench.clearNotifications();
  });

  it('takes only numbers for a setting, and resets it', async () => {
    await workbench.inlineAction(row('output_dim'), 'Change Setting');
    await workbench.quickInputBox().fill('many');
    await workbench.quickInput.getByText('A number is wanted here.').waitFor();
    await workbench.page.keyboard.press('Escape');
    await workbench.inlineAction(row('output_dim'), 'Reset Setting');
    await labelled('output_dim 4096 · default').waitFor();
  });

  it('says in one sentence when a setting is impossible', async () => {
    await workbench.inlineAction(row('heads'), 'Change Setting');
    await workbench.fillQuickInput('5');
    await row('Cannot be validated').waitFor();
    await workbench.command('Reset All Edits', 'visionEncoder.resetAll');
    await row('Does not load strictly').waitFor();
  });

  it('takes a config from anywhere by the dialog', async () => {
    const elsewhere = path.join(session.folder, 'elsewhere.json');
    await writeFile(elsewhere, await readFile(config('config.json')));
    await workbench.inlineAction(row('Config'), 'Choose Config');
    await workbench.quickPick('Browse…').click();
    await workbench.fileDialog(elsewhere);
    await labelled('Config elsewhere.json').waitFor();
    await row('Loads strictly').waitFor();
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
