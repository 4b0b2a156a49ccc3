import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DEMO, eventually, keepFailure, openCheckpoint, openWorkbench } from './fixture.mjs';

describe('marking', function () {
  this.timeout(60_000);
  let session;
  let workbench;
  let recipeFile;
  before(async () => {
    session = await openWorkbench();
    workbench = session.workbench;
    recipeFile = path.join(session.folder, 'team.recipe.json');
    await openCheckpoint(workbench, path.join(session.folder, DEMO));
    await workbench.clearNotifications();
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const key = label => workbench.row(label, 'Keys');
  const labelled = text => workbench.view('Keys').locator(`.monaco-list-row[aria-label^=${JSON.stringify(text)}]`);
  const finding = text => workbench.view('Validation').locator(`.monaco-list-row[aria-label*=${JSON.stringify(text)}]`);
  const valid = () => workbench.row('Loads strictly', 'Validation').waitFor();
  const readRecipe = async () => JSON.parse(await readFile(recipeFile, 'utf8'));

  it('excludes a tensor by its inline action, at once, and says what would then be missing', async () => {
    await workbench.inlineAction(key('conv1.weight'), 'Exclude');
    await labelled('conv1.weight, excluded by a rule, bf16 · 64×3×14×14 · 75.3 KB · excluded').waitFor();
    await labelled('visual, mixed, 64 of 66').waitFor();
    await workbench.row('Does not load strictly', 'Validation').waitFor();
    await workbench.row('Missing keys', 'Validation').waitFor();
    await finding('conv1.weight').first().waitFor();
    await finding('Recipe Qwen-VL vision encoder · preset · 1 edit by hand').waitFor();
  });

  it('undoes and redoes by the keyboard', async () => {
    await key('lm_head.weight').click();
    await workbench.page.keyboard.press('Control+z');
    await labelled('conv1.weight, strip').waitFor();
    await valid();
    await workbench.page.keyboard.press('Control+y');
    await labelled('conv1.weight, excluded by a rule').waitFor();
  });

  it('undoes by the view\'s button', async () => {
    await workbench.viewAction('Keys', 'Undo');
    await labelled('conv1.weight, strip').waitFor();
    await valid();
  });

  it('excludes a whole group by its inline action, and what is inside with it', async () => {
    await workbench.inlineAction(key('ln_pre'), 'Exclude');
    await labelled('ln_pre, excluded by a rule, 2 tensors').waitFor();
    await workbench.setExpanded(key('ln_pre'));
    await labelled('weight, excluded by a rule').waitFor();
    await workbench.setExpanded(key('ln_pre'), false);
  });

  it('resets a group to what the recipe says', async () => {
    await workbench.contextMenu(key('ln_pre'), 'Reset to Recipe');
    await labelled('ln_pre, strip, 2 tensors').waitFor();
    await valid();
  });

  it('keeps a tensor under its own name, which is then unexpected', async () => {
    await workbench.inlineAction(key('lm_head.weight'), 'Keep');
    await labelled('lm_head.weight, keep').waitFor();
    await workbench.row('Unexpected keys', 'Validation').waitFor();
    await finding('lm_head.weight').first().waitFor();
  });

  it('excludes the extra key by its quick fix', async () => {
    await workbench.inlineAction(workbench.row('lm_head.weight', 'Validation'), 'Quick Fix');
    await labelled('lm_head.weight, not wanted by any rule').waitFor();
    await valid();
  });

  it('resets all edits', async () => {
    await workbench.inlineAction(key('lm_head.weight'), 'Keep');
    await labelled('lm_head.weight, keep').waitFor();
    await workbench.command('Reset All Edits', 'visionEncoder.resetAll');
    await labelled('lm_head.weight, not wanted by any rule').waitFor();
    await finding('Recipe Qwen-VL vision encoder · preset').waitFor();
  });

  it('marks all of a selection, tensors and groups, in one step', async () => {
    await key('ln_pre').click();
    await key('ln_post').click({ modifiers: ['Control'] });
    await key('conv1.weight').click({ modifiers: ['Control'] });
    await workbench.contextMenu(key('ln_post'), 'Exclude');
    for (const label of ['ln_pre', 'ln_post', 'conv1.weight']) await labelled(`${label}, excluded by a rule`).waitFor();
    await workbench.command('Undo', 'visionEncoder.undo');
    for (const label of ['ln_pre', 'ln_post', 'conv1.weight']) await labelled(`${label}, strip`).waitFor();
    await workbench.command('Redo', 'visionEncoder.redo');
    await labelled('ln_pre, excluded by a rule').waitFor();
  });

  it('saves the recipe with its edits to a file', async () => {
    await workbench.command('Save Recipe', 'visionEncoder.saveRecipe');
    await workbench.fileDialog(recipeFile);
    await workbench.waitForNotification('Recipe saved. The command line takes it too: --recipe team.recipe.json');
    const recipe = await readRecipe();
    assert.equal(recipe.version, 1);
    assert.equal(recipe.family, 'qwen-vl');
    assert.deepEqual(recipe.rules.map(({ mark, key: named, module }) => ({ mark, of: named ?? module })), [{ mark: 'exclude', of: 'transformer.visual.proj' }, { mark: 'strip', of: 'transformer.visual' }]);
    assert.deepEqual(new Set(recipe.overrides.map(rule => `${rule.mark} ${rule.key ?? rule.module}`)), new Set(['exclude transformer.visual.ln_pre', 'exclude transformer.visual.ln_post', 'exclude transformer.visual.conv1.weight']));
    await finding('Recipe Qwen-VL vision encoder · team.recipe.json').waitFor();
    await workbench.clearNotifications();
  });

  it('follows the recipe file when it changes on disk', async () => {
    const recipe = await readRecipe();
    recipe.overrides = recipe.overrides.filter(rule => rule.key === undefined);
    await writeFile(recipeFile, JSON.stringify(recipe, null, 2));
    await labelled('conv1.weight, strip').waitFor();
    await labelled('ln_pre, excluded by a rule').waitFor();
  });

  it('says what is wrong with the recipe file as soon as it is saved so, and keeps the one in force', async () => {
    const recipe = await readRecipe();
    await writeFile(recipeFile, JSON.stringify({ ...recipe, rules: [{ mark: 'drop', key: 'a' }] }));
    await workbench.waitForNotification(/team\.recipe\.json is not a valid recipe: rules\[0\]\.mark must be "keep" or "strip" or "exclude", not "drop"/);
    await labelled('ln_pre, excluded by a rule').waitFor();
    await writeFile(recipeFile, JSON.stringify(recipe, null, 2));
    await workbench.clearNotifications();
  });

  it('asks before a changed file takes the place of edits made by hand', async () => {
    await workbench.inlineAction(key('attn_pool'), 'Exclude');
    await labelled('attn_pool, excluded by a rule').waitFor();
    const recipe = await readRecipe();
    recipe.name = 'Team encoder';
    await writeFile(recipeFile, JSON.stringify(recipe, null, 2));
    await workbench.waitForNotification('team.recipe.json has changed on disk');
    await labelled('attn_pool, excluded by a rule').waitFor();
    await workbench.notificationButton('team.recipe.json has changed on disk', 'Load Again');
    await labelled('attn_pool, strip').waitFor();
    await finding('Recipe Team encoder · team.recipe.json').waitFor();
  });

  it('chooses the preset again', async () => {
    await workbench.inlineAction(workbench.row('Recipe', 'Validation'), 'Choose Preset');
    await workbench.quickPick('Qwen-VL').first().click();
    await finding('Recipe Qwen-VL vision encoder · preset').waitFor();
    await valid();
  });

  it('loads a recipe from a file by the dialog', async () => {
    await workbench.command('Load Recipe', 'visionEncoder.loadRecipe');
    await workbench.fileDialog(recipeFile);
    await finding('Recipe Team encoder · team.recipe.json').waitFor();
    await labelled('ln_pre, excluded by a rule').waitFor();
  });

  it('undoes loading a recipe', async () => {
    await workbench.command('Undo', 'visionEncoder.undo');
    await valid();
    await finding('Recipe Qwen-VL vision encoder · preset').waitFor();
  });

  it('loads a recipe from the Explorer', async () => {
    await workbench.openViewContainer('Explorer');
    await workbench.contextMenu(workbench.page.locator('.explorer-folders-view .monaco-list-row', { hasText: 'team.recipe.json' }), 'Load Recipe…');
    await workbench.openViewContainer('Vision Encoder');
    await finding('Recipe Team encoder · team.recipe.json').waitFor();
    await eventually(async () => await workbench.row('Does not load strictly', 'Validation').isVisible(), 'an invalid result');
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
