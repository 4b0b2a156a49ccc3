import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makeSparse } from '../demo/makeSparse.mjs';
import { copyDemo, DEMO, eventually, fixture, keepFailure, openCheckpoint, openWorkbench, runCli } from './fixture.mjs';

describe('extracting and verifying', function () {
  this.timeout(90_000);
  let session;
  let workbench;
  let encoder;
  before(async () => {
    session = await openWorkbench({ fill: async folder => {
      await copyDemo(folder);
      await makeSparse(path.join(folder, 'full-size'));
      await mkdir(path.join(folder, 'elsewhere'));
    } });
    workbench = session.workbench;
    encoder = path.join(session.folder, `${DEMO}-vision-encoder`);
    await openCheckpoint(workbench, path.join(session.folder, DEMO));
    await workbench.clearNotifications();
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const explorerRow = name => workbench.page.locator('.explorer-folders-view .monaco-list-row', { has: workbench.page.locator('.label-name', { hasText: new RegExp(`^${name}$`) }) });
  const explorerMenu = async (name, title) => {
    await workbench.openViewContainer('Explorer');
    await workbench.contextMenu(explorerRow(name), title);
  };
  const files = async folder => (await readdir(folder)).sort();
  const extracted = /65 tensors, \d{3} KB, extracted to qwen-vl-demo-vision-encoder/;

  it('extracts by one click and Enter into the suggested folder beside the checkpoint', async () => {
    await workbench.inlineAction(workbench.row('Loads strictly', 'Validation'), 'Extract Vision Encoder');
    await workbench.quickInput.getByText('65 tensors, 789 KB, as safetensors into this folder.').waitFor();
    assert.equal(await workbench.quickInputBox().inputValue(), encoder);
    await workbench.quickInputBox().press('Enter');
    await workbench.waitForNotification(extracted);
    assert.deepEqual(await files(encoder), ['config.json', 'manifest.json', 'model.safetensors', 'preprocessor_config.json']);
  });

  it('writes what the command line writes, byte for byte', async () => {
    const out = path.join(session.folder, 'elsewhere/by-cli');
    const { code, stderr } = await runCli('extract', path.join(session.folder, DEMO), '--out', out);
    assert.equal(code, 0, stderr);
    for (const name of ['model.safetensors', 'config.json', 'preprocessor_config.json']) assert.ok((await readFile(path.join(out, name))).equals(await readFile(path.join(encoder, name))), name);
    const manifest = async folder => ({ ...JSON.parse(await readFile(path.join(folder, 'manifest.json'), 'utf8')), createdAt: undefined });
    assert.deepEqual(await manifest(encoder), await manifest(out));
  });

  it('verifies it from the notification', async () => {
    await workbench.notificationButton(extracted, 'Verify');
    await workbench.waitForNotification(/Verified: 65 tensors, \d{3} KB, equal to the source, tensor for tensor\./);
    await workbench.clearNotifications();
  });

  it('asks before it opens a source on another machine, verifies without it, and takes the one that is chosen', async () => {
    const manifest = path.join(encoder, 'manifest.json');
    const text = await readFile(manifest, 'utf8');
    const changed = JSON.parse(text);
    changed.source.location = '//fileserver/models/Qwen-VL';
    await writeFile(manifest, JSON.stringify(changed));
    await explorerMenu(`${DEMO}-vision-encoder`, 'Verify Extracted Encoder…');
    await workbench.dialog.getByText(`${DEMO}-vision-encoder says that it was extracted from //fileserver/models/Qwen-VL, which is not on this disk.`).waitFor();
    await workbench.dialogButton('Verify Without It');
    const alone = /Verified against its manifest: 65 tensors, \d{3} KB\. The source was not compared\./;
    await workbench.waitForNotification(alone);
    await workbench.notificationButton(alone, 'Choose Source…');
    await workbench.fileDialog(path.join(session.folder, DEMO, 'model.safetensors.index.json'));
    await workbench.waitForNotification('equal to the source, tensor for tensor.');
    await workbench.clearNotifications();
    await writeFile(manifest, text);
  });

  it('finds one flipped bit, verifying from the Explorer', async () => {
    const weights = await open(path.join(encoder, 'model.safetensors'), 'r+');
    const { size } = await weights.stat();
    const byte = Buffer.alloc(1);
    await weights.read(byte, 0, 1, size - 7);
    byte[0] ^= 1;
    await weights.write(byte, 0, 1, size - 7);
    await weights.close();
    await explorerMenu(`${DEMO}-vision-encoder`, 'Verify Extracted Encoder…');
    await workbench.waitForNotification(new RegExp(`${DEMO}-vision-encoder differs: .*Extract the encoder again`));
    await workbench.clearNotifications();
  });

  it('asks before it overwrites, and keeps what is there when told so', async () => {
    const before = await readFile(path.join(encoder, 'model.safetensors'));
    await workbench.openViewContainer('Vision Encoder');
    await workbench.viewAction('Keys', 'Extract Vision Encoder');
    await workbench.fillQuickInput(encoder);
    await workbench.dialog.getByText(`${DEMO}-vision-encoder is not empty.`).waitFor();
    await workbench.dialogButton('Cancel');
    await workbench.dialog.waitFor({ state: 'hidden' });
    assert.ok(before.equals(await readFile(path.join(encoder, 'model.safetensors'))));
  });

  it('replaces it when told to, as PyTorch this time, and the old weights are gone', async () => {
    await workbench.command('Extract Vision Encoder with Options', 'visionEncoder.extractWithOptions');
    await workbench.quickPick('PyTorch').click();
    await workbench.quickPick('As it is').click();
    await workbench.quickInput.getByText('Largest File (3/3)').waitFor();
    await workbench.fillQuickInput('');
    await workbench.quickInput.getByText('65 tensors, 789 KB, as PyTorch into this folder.').waitFor();
    await workbench.fillQuickInput(encoder);
    await workbench.dialogButton('Replace');
    await workbench.waitForNotification(extracted);
    assert.deepEqual(await files(encoder), ['config.json', 'manifest.json', 'preprocessor_config.json', 'pytorch_model.bin']);
    assert.equal((await readFile(path.join(encoder, 'pytorch_model.bin'))).subarray(0, 2).toString(), 'PK');
    await workbench.notificationButton(extracted, 'Verify');
    await workbench.waitForNotification('Verified: 65 tensors');
    await workbench.clearNotifications();
  });

  it('opens the encoder it wrote as a checkpoint of its own, ready to load strictly', async () => {
    await openCheckpoint(workbench, encoder);
    await workbench.view('Keys').getByText('65 of 65 tensors').waitFor();
    await workbench.row('Loads strictly', 'Validation').waitFor();
    await workbench.clearNotifications();
  });

  it('extracts a PyTorch checkpoint into a folder chosen by Browse, cast and in several files', async () => {
    await mkdir(path.join(session.folder, 'tiny-bin'));
    for (const name of await readdir(fixture('qwen-vl-tiny-bin'))) {
      if (name !== 'expected.safetensors') await writeFile(path.join(session.folder, 'tiny-bin', name), await readFile(path.join(fixture('qwen-vl-tiny-bin'), name)));
    }
    await openCheckpoint(workbench, path.join(session.folder, 'tiny-bin'));
    await workbench.view('Keys').locator('.pane-header', { hasText: 'tiny-bin' }).waitFor();
    await workbench.clearNotifications();
    await workbench.command('Extract Vision Encoder with Options', 'visionEncoder.extractWithOptions');
    await workbench.quickPick('safetensors').first().click();
    await workbench.quickPick('bfloat16').click();
    await workbench.quickInput.getByText('Largest File (3/3)').waitFor();
    await workbench.fillQuickInput('100KB');
    await workbench.quickInput.getByText('as safetensors into this folder.').waitFor();
    await workbench.quickInput.locator('.quick-input-inline-action-bar a.action-label, .quick-input-titlebar a.action-label').first().click();
    await workbench.fileDialog(path.join(session.folder, 'elsewhere'));
    await workbench.quickInput.getByText('as safetensors into this folder.').waitFor();
    assert.equal(await workbench.quickInputBox().inputValue(), path.join(session.folder, 'elsewhere/tiny-bin-vision-encoder'));
    await workbench.quickInputBox().press('Enter');
    await workbench.waitForNotification('extracted to tiny-bin-vision-encoder');
    const written = await files(path.join(session.folder, 'elsewhere/tiny-bin-vision-encoder'));
    assert.ok(written.includes('model.safetensors.index.json') && written.filter(name => /^model-0000\d-of-0000\d\.safetensors$/.test(name)).length > 1, written.join(' '));
  });

  it('hands it over from the notification, with a projection, and shows the Python that loads it', async () => {
    await workbench.notificationButton('extracted to tiny-bin-vision-encoder', 'Hand Over to…');
    await workbench.quickPick('Hugging Face transformers').getByText('transformers has no class of its own for Qwen-VL encoders.').waitFor();
    await workbench.quickPick('DeepSpeed-VisualChat').click();
    await workbench.quickPick('LLaMA-2-7B').click();
    await workbench.quickInput.getByText('a projection to LLaMA-2-7B').waitFor();
    assert.match(await workbench.quickInputBox().inputValue(), /tiny-bin-vision-encoder-qwen$/);
    await workbench.fillQuickInput(path.join(session.folder, 'elsewhere/handed'));
    await workbench.quickInput.getByText('by “qwen” in its folder\'s name, which handed does not have.').waitFor();
    const out = path.join(session.folder, 'elsewhere/qwen-handed');
    await workbench.fillQuickInput(out);
    await workbench.waitForNotification('qwen-handed is ready for DeepSpeed-VisualChat.');
    assert.deepEqual(await files(out), ['config.json', 'load.py', 'manifest.json', 'preprocessor_config.json', 'projection.bin', 'projection.json', 'pytorch_model.bin']);
    await workbench.notificationButton('qwen-handed is ready', 'Show Snippet');
    await workbench.page.locator('.editor-instance .view-lines').getByText('VisionTransformer(image_size=112').waitFor();
    await workbench.clearNotifications();
  });

  it('makes an ONNX model, with a projection as wide as a decoder\'s config.json says, and says why others cannot load the encoder', async () => {
    const decoder = path.join(session.folder, 'elsewhere/decoder.json');
    await writeFile(decoder, JSON.stringify({ model_type: 'gpt2', n_embd: 768 }));
    await workbench.command('Hand Over to', 'visionEncoder.handOver');
    await workbench.quickPick('OpenCLIP').click();
    await workbench.waitForNotification('OpenCLIP\'s vision transformer has other tensors than Qwen-VL encoders. Hand it over to DeepSpeed-VisualChat or ONNX instead.');
    await workbench.clearNotifications();
    await workbench.command('Hand Over to', 'visionEncoder.handOver');
    await workbench.quickPick('ONNX').click();
    await workbench.quickPick('From a Decoder\'s config.json…').click();
    await workbench.fileDialog(decoder);
    await workbench.quickInput.getByText('a projection to gpt2').waitFor();
    const out = path.join(session.folder, 'elsewhere/onnx');
    await workbench.fillQuickInput(out);
    await workbench.waitForNotification('onnx is ready for ONNX.');
    assert.deepEqual(await files(out), ['encoder.onnx', 'encoder.onnx.data', 'load.py', 'preprocessor_config.json', 'projection.json', 'projection.safetensors']);
    assert.equal(JSON.parse(await readFile(path.join(out, 'projection.json'), 'utf8')).width, 768);
    await workbench.clearNotifications();
  });

  it('opens 19 GB at once', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'full-size'));
    await workbench.view('Keys').getByText('Qwen-VL vision encoder: 593 of').waitFor();
    await workbench.clearNotifications();
  });

  it('shows bytes and rate while it extracts, and leaves nothing behind when cancelled', async () => {
    const before = await files(session.folder);
    await workbench.viewAction('Keys', 'Extract Vision Encoder');
    await workbench.quickInput.getByText('as safetensors into this folder.').waitFor();
    await workbench.quickInputBox().press('Enter');
    await workbench.waitForNotification(/Extracting the vision encoder: .* of 3\.\d+ GB · .*\/s · .* left/);
    assert.notDeepEqual(await files(session.folder), before, 'it is being written');
    await workbench.notificationButton('Extracting the vision encoder', 'Cancel');
    await workbench.waitForNotification('Cancelled. Nothing was left behind.');
    assert.deepEqual(await files(session.folder), before);
    await eventually(async () => await workbench.notification('Extracting').count() === 0, 'The progress leaving');
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });
});
