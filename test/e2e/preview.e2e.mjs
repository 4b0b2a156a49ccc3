import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { eventually, fixture, keepFailure, openCheckpoint, openWorkbench, runCli, screenshotPath } from './fixture.mjs';
import { encoderProcesses, PreviewPage, readTensors } from './previewPage.mjs';

/** Debian's chromium brings SwiftShader, a Vulkan driver in software: the WebGPU provider runs for real without a GPU. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';
const SOFTWARE_GPU = existsSync(SWIFTSHADER) ? { VK_DRIVER_FILES: SWIFTSHADER, VK_ICD_FILENAMES: SWIFTSHADER, LD_LIBRARY_PATH: path.dirname(SWIFTSHADER) } : {};

const TINY = fixture('qwen-vl-tiny-safetensors');
const PICTURE = { name: 'picture.png', path: path.join(TINY, 'picture.png'), type: 'image/png' };
const OTHER = { name: 'rgb.jpg', path: fixture('pictures/rgb.jpg'), type: 'image/jpeg' };
const LAYERS = 3;
const TOKENS = 64;
const WIDTH = 64;
const COLUMNS = 8;

const sayLayer = layer => layer < 0 ? 'patch embedding' : layer >= LAYERS ? 'output' : `block ${layer} of 0…${LAYERS - 1}`;
const row = (data, token) => data.subarray(token * WIDTH, (token + 1) * WIDTH);
const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
const norm = a => Math.sqrt(dot(a, a));

/** What is shown has four digits. */
function assertShown(shown, expected, what, tolerance = 1e-3) {
  assert.ok(Math.abs(Number(shown) - expected) <= tolerance * Math.max(Math.abs(expected), 1e-3), `${what}: ${shown} is shown, ${expected} is right`);
}

/** The share of the variance along the first components, from the eigenvalues of the centred Gram matrix by deflated power iteration. */
function explainedVariance(data, count) {
  const mean = Array.from({ length: WIDTH }, (_, channel) => Array.from({ length: TOKENS }, (_, token) => data[token * WIDTH + channel]).reduce((a, b) => a + b) / TOKENS);
  const centred = Array.from({ length: TOKENS }, (_, token) => Array.from(row(data, token), (value, channel) => value - mean[channel]));
  const gram = centred.map(a => centred.map(b => dot(a, b)));
  const total = gram.reduce((sum, line, index) => sum + line[index], 0);
  return Array.from({ length: count }, () => {
    let vector = gram.map((_, index) => Math.sin(index + 1));
    let value = 0;
    for (let step = 0; step < 20_000; step++) {
      const image = gram.map(line => dot(line, vector));
      value = norm(image);
      vector = image.map(each => each / value);
    }
    gram.forEach((line, i) => { line.forEach((_, j) => { line[j] -= value * vector[i] * vector[j]; }); });
    return value / total;
  });
}

/** A copy of the tiny checkpoint in which one position's embedding is no number: that of the first two patches of the fixture's grid. */
async function spoil(folder) {
  await cp(TINY, folder, { recursive: true, filter: file => path.basename(file) !== 'expected.safetensors' });
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.safetensors')) continue;
    const bytes = await readFile(path.join(folder, name));
    const from = 8 + Number(bytes.readBigUInt64LE(0));
    const table = Object.entries(JSON.parse(bytes.toString('utf8', 8, from))).find(([key]) => key.endsWith('visual.positional_embedding'))?.[1];
    if (table === undefined) continue;
    new Uint16Array(WIDTH).fill(0x7e00).forEach((nan, channel) => { bytes.writeUInt16LE(nan, from + table.data_offsets[0] + 2 * channel); });
    await writeFile(path.join(folder, name), bytes);
  }
}

describe('the preview', function () {
  this.timeout(90_000);
  let session;
  let workbench;
  let preview;
  let expected;
  before(async () => {
    expected = await readTensors(path.join(TINY, 'expected.safetensors'));
    session = await openWorkbench({
      env: SOFTWARE_GPU,
      settings: { 'visionEncoder.preview.device': 'cpu' },
      viewport: { width: 1400, height: 1000 },
      fill: async folder => {
        // Without the expected values, which would be another checkpoint.
        const filter = file => path.basename(file) !== 'expected.safetensors';
        await cp(TINY, path.join(folder, 'tiny'), { recursive: true, filter });
        await cp(fixture('qwen-vl-tiny-bin'), path.join(folder, 'tiny-bin'), { recursive: true, filter });
        await mkdir(path.join(folder, 'album'));
        for (const name of ['mllama', 'qwen3-vl']) await cp(fixture(`families/${name}`), path.join(folder, name), { recursive: true, filter: file => path.basename(file) !== 'expected' });
        await spoil(path.join(folder, 'spoilt'));
        for (const name of ['grey.jpg', 'rgb24.bmp', 'rgb8.png']) await cp(fixture(`pictures/${name}`), path.join(folder, 'album', name));
      },
    });
    workbench = session.workbench;
    preview = new PreviewPage(workbench);
  });
  after(async () => { await session?.close(); });
  afterEach(keepFailure(() => workbench));

  const hidden = layer => expected.get(`hidden_states.${layer}`).data;

  it('teaches what to do before there is a picture', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'tiny'));
    await workbench.viewAction('Keys', 'Preview Features');
    await preview.frame.getByText('See what the encoder sees').waitFor();
    await preview.button('Add picture…').waitFor();
    for (const name of ['house.png', 'night.png', 'page.png', 'balls.jpg']) await preview.button(`Add the sample ${name}`).waitFor();
    assert.equal(await preview.status.innerText(), 'Not loaded yet');
    await workbench.clearNotifications();
  });

  it('encodes a picture that is dropped, and says where', async () => {
    await preview.drop(PICTURE);
    await preview.waitUntilReady('Ready on CPU');
    assert.deepEqual([await preview.fact('Run', 'picture'), await preview.fact('Run', 'patches'), await preview.fact('Run', 'runs on')], ['400 × 300', '8 × 8', 'CPU']);
    assert.match(await preview.fact('Run', 'encoder'), /^\d+ ms$|^[\d.]+ s$/);
    assert.match(await preview.fact('Run', 'memory'), /^\d+\.\d\d GB$/);
  });

  it('shows statistics and the components of every layer as the reference has them', async () => {
    await preview.overlay('PCA');
    for (let layer = 0; layer < LAYERS; layer++) {
      await preview.slide('Layer', layer, sayLayer(layer));
      await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(layer)}` }).waitFor();
      const data = hidden(layer);
      const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
      assert.equal(await preview.fact('Features', 'shape'), '1 × 64 × 64');
      assertShown(await preview.fact('Features', 'mean'), mean, `mean of block ${layer}`, 2e-3);
      assertShown(await preview.fact('Features', 'std'), Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length), `std of block ${layer}`);
      assertShown(await preview.fact('Features', 'min'), Math.min(...data), `min of block ${layer}`);
      assertShown(await preview.fact('Features', 'max'), Math.max(...data), `max of block ${layer}`);
      assert.equal(await preview.fact('Features', 'NaN / Inf'), 'none');
      const shares = explainedVariance(data, 3).map((share, index) => `PC ${index + 1}: ${(100 * share).toFixed(1)} %`);
      await preview.frame.locator('.legend', { hasText: shares.join('') }).waitFor();
    }
    await preview.slide('Layer', LAYERS, 'output');
    await preview.frame.locator('h2', { hasText: 'Features: output' }).waitFor();
    assert.equal(await preview.fact('Features', 'shape'), '1 × 4 × 64');
    assertShown(await preview.fact('Features', 'max'), Math.max(...expected.get('features').data), 'max of the output');
  });

  for (const overlay of ['PCA', 'Norm', 'Similarity', 'Attention']) {
    it(`draws ${overlay} anew when the layer changes`, async () => {
      await preview.overlay(overlay);
      if (await preview.frame.getByText('Click a patch, or choose one').count() > 0) await preview.canvas().click({ position: { x: 300, y: 200 } });
      const seen = new Set();
      for (let layer = 0; layer < LAYERS; layer++) {
        await preview.slide('Layer', layer, sayLayer(layer));
        await eventually(async () => { const drawn = await preview.drawn(); return !seen.has(drawn) && seen.add(drawn); }, `Another picture of ${overlay} at block ${layer}`);
      }
      assert.equal(seen.size, LAYERS);
    });
  }

  it('tells the norms of patches, and the similarity to a chosen one', async () => {
    await preview.slide('Layer', 1, sayLayer(1));
    await preview.overlay('Norm');
    for (const [atRow, atColumn] of [[0, 0], [2, 5], [7, 7]]) {
      assertShown(await preview.valueAt(atRow, atColumn), norm(row(hidden(1), atRow * COLUMNS + atColumn)), `norm at ${atRow}, ${atColumn}`);
    }
    await preview.overlay('Similarity');
    await preview.frame.locator('.section', { hasText: 'Patch' }).first().waitFor();
    await choosePatch(3, 4);
    for (const [atRow, atColumn] of [[3, 4], [0, 7], [6, 1]]) {
      const [a, b] = [row(hidden(1), 3 * COLUMNS + 4), row(hidden(1), atRow * COLUMNS + atColumn)];
      assertShown(await preview.valueAt(atRow, atColumn), dot(a, b) / norm(a) / norm(b), `similarity at ${atRow}, ${atColumn}`);
    }
    assertShown(await preview.fact('Patch', 'norm'), norm(row(hidden(1), 3 * COLUMNS + 4)), 'norm of the chosen patch');
    const values = (await preview.fact('Patch', 'values')).split(/\s+/).slice(0, 8);
    values.forEach((value, index) => { assertShown(value, row(hidden(1), 3 * COLUMNS + 4)[index], `value ${index} of the chosen patch`, 2e-3); });
  });

  it('tells where a query of the attention pool looks', async () => {
    await preview.overlay('Pool');
    await preview.slide('Query', 2, 'query 2');
    const weights = expected.get('attn_pool.weights').data;
    for (const [atRow, atColumn] of [[0, 0], [4, 3]]) assertShown(await preview.valueAt(atRow, atColumn), weights[2 * TOKENS + atRow * COLUMNS + atColumn], `weight at ${atRow}, ${atColumn}`);
  });

  it('tells where a patch looks, by head and by all of them together', async () => {
    await preview.overlay('Attention');
    await preview.slide('Layer', 1, sayLayer(1));
    const heads = [];
    for (let head = 0; head < 4; head++) {
      await preview.slide('Head', head, `head ${head}`);
      heads.push(await eventually(async () => { const value = await preview.valueAt(5, 2); return heads.includes(value) ? undefined : value; }, `The attention of head ${head}`));
    }
    await preview.slide('Head', -1, 'mean of all heads');
    const mean = heads.reduce((sum, value) => sum + value, 0) / heads.length;
    await eventually(async () => Math.abs(await preview.valueAt(5, 2) - mean) < 2e-3 * mean, 'The mean of all heads');
  });

  it('saves what is seen as PNG, and the features as .npy and safetensors', async () => {
    await preview.button('PNG').click();
    await workbench.fileDialog(path.join(session.folder, 'seen.png'));
    const { format, width, height } = await sharp(await eventually(() => readFile(path.join(session.folder, 'seen.png')).catch(() => undefined), 'The saving of a PNG')).metadata();
    assert.deepEqual([format, width > 300, height > 300], ['png', true, true]);

    await preview.button('.npy').click();
    await workbench.fileDialog(path.join(session.folder, 'features.npy'));
    const npy = await eventually(() => readFile(path.join(session.folder, 'features.npy')).catch(() => undefined), 'The saving of .npy');
    assert.match(npy.toString('latin1', 0, 128), /NUMPY.*'shape': \(1, 4, 64\)/s);
    assertClose(new Float32Array(npy.buffer.slice(npy.byteOffset + npy.length - 4 * 64 * 4, npy.byteOffset + npy.length)), expected.get('features').data, 'features');

    await preview.button('safetensors').click();
    await workbench.fileDialog(path.join(session.folder, 'all.safetensors'));
    await eventually(() => existsSync(path.join(session.folder, 'all.safetensors')), 'The saving of safetensors');
    const saved = await readTensors(path.join(session.folder, 'all.safetensors'));
    for (const [key, { data }] of expected) assertClose(saved.get(key).data, data, key);
  });

  it('compares two pictures: similarity across them, cosine and CLIP softmax at a temperature', async () => {
    await preview.paste(OTHER);
    await preview.waitUntilReady();
    await preview.frame.getByRole('button', { name: 'picture.png, ready' }).click();
    await preview.frame.locator('.thumbnails li', { has: preview.frame.getByRole('button', { name: 'rgb.jpg, ready' }) }).hover();
    await preview.button('Compare with rgb.jpg').click();
    await preview.frame.locator('figure:not([hidden])').nth(1).waitFor();
    const cosines = await matrix('Cosine');
    assert.equal(cosines[0][0], 1);
    assert.equal(cosines[0][1], cosines[1][0]);
    const softmax = (cosine, temperature) => 1 / (1 + Math.exp((cosine - 1) / temperature));
    assert.ok(Math.abs((await matrix('CLIP softmax'))[0][0] - softmax(cosines[0][1], 0.07)) < 0.01);
    const tau = preview.frame.getByRole('spinbutton', { name: 'Temperature of the softmax' });
    assert.equal(await tau.inputValue(), '0.07');
    await tau.fill('1');
    await tau.press('Enter');
    await eventually(async () => Math.abs((await matrix('CLIP softmax'))[0][0] - softmax(cosines[0][1], 1)) < 0.002, 'The softmax at another temperature');
    await preview.overlay('Similarity');
    await workbench.screenshot(screenshotPath('preview-two-pictures'));
    await preview.frame.locator('.thumbnails li', { has: preview.frame.getByRole('button', { name: 'rgb.jpg, ready' }) }).hover();
    await preview.frame.locator('.thumbnails').getByRole('button', { name: 'Stop comparing' }).click();
  });

  it('compares two encoders on one picture, layer by layer', async () => {
    await preview.button('Another encoder…').click();
    await workbench.quickPick('Another checkpoint or extracted encoder').click();
    await workbench.fileDialog(path.join(session.folder, 'tiny-bin'));
    await preview.frame.locator('.chart.line').waitFor();
    await preview.slide('Layer', 0, sayLayer(0));
    const other = (await readTensors(path.join(fixture('qwen-vl-tiny-bin'), 'expected.safetensors'))).get('hidden_states.0').data;
    const error = (a, b) => norm(a.map((value, index) => value - b[index])) / norm(b);
    await eventually(async () => Math.abs(Number(await preview.fact('Compare', sayLayer(0))) - error(other, hidden(0))) < 1e-3, 'The relative error of block 0');
    await preview.overlay('Difference');
    assertShown(await preview.valueAt(4, 4), error(row(other, 36), row(hidden(0), 36)), 'the difference at 4, 4');
    await preview.overlay('PCA');
    await preview.frame.locator('figure:not([hidden])').nth(1).waitFor();
    await workbench.screenshot(screenshotPath('preview-two-encoders'));

    // Before and after an extraction nothing differs.
    const encoder = path.join(session.folder, 'encoder');
    assert.equal((await runCli('extract', path.join(session.folder, 'tiny'), '--out', encoder)).code, 0);
    await preview.button('Another encoder…').click();
    await workbench.quickPick('Another checkpoint or extracted encoder').click();
    await workbench.fileDialog(encoder);
    await preview.frame.getByText('identical at every layer').waitFor();
    await preview.frame.locator('.section').getByRole('button', { name: 'Stop comparing' }).click();
    await preview.frame.locator('figure:not([hidden])').nth(1).waitFor({ state: 'hidden' });
  });

  it('flips through a folder, and offers pictures of before', async () => {
    await preview.button('Folder…').click();
    await workbench.fileDialog(path.join(session.folder, 'album'));
    const place = preview.frame.locator('.flip .place');
    await place.filter({ hasText: '1 of 3' }).waitFor();
    await preview.frame.getByRole('button', { name: 'grey.jpg, ready' }).waitFor();
    await preview.button('Next picture of the folder').click();
    await preview.frame.getByRole('button', { name: 'rgb8.png, ready' }).waitFor();
    await preview.canvas().press('PageUp');
    await preview.frame.getByRole('button', { name: 'grey.jpg, ready' }).waitFor();
    await preview.canvas().press('PageUp');
    await place.filter({ hasText: '3 of 3' }).waitFor();
    await preview.frame.getByRole('button', { name: 'rgb24.bmp, ready' }).waitFor();

    await preview.frame.locator('.thumbnails li', { has: preview.frame.getByRole('button', { name: 'rgb.jpg, ready' }) }).hover();
    await preview.button('Remove rgb.jpg').click();
    await preview.frame.locator('.recents summary', { hasText: 'Recent' }).click();
    await preview.frame.locator('.strip').getByRole('button', { name: 'Add rgb.jpg again' }).click();
    await preview.frame.getByRole('button', { name: 'rgb.jpg, ready' }).waitFor();
  });

  it('stops after the first blocks when asked to, where there is no output', async () => {
    await preview.overlay('PCA');
    await preview.choose('Layers', 'first half only');
    await preview.slide('Layer', 1, sayLayer(1));
    assert.equal(await preview.frame.getByRole('slider', { name: 'Layer', exact: true }).getAttribute('max'), '1');
    await preview.frame.locator('.segments label', { hasText: /^Pool$/ }).waitFor({ state: 'hidden' });
    await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(1)}` }).waitFor();
    await preview.choose('Layers', 'keep all');
    await preview.waitUntilReady();
    await preview.frame.locator('.segments label', { hasText: /^Pool$/ }).waitFor();
  });

  it('says what happened when the encoder is killed in the middle of a run, and goes on', async () => {
    const [pid] = await eventually(() => { const found = encoderProcesses(); return found.length === 1 ? found : undefined; }, 'One encoder process');
    process.kill(pid, 'SIGSTOP');
    await preview.drop({ name: 'during.png', path: fixture('pictures/rgb16.png'), type: 'image/png' });
    await preview.frame.locator('.status[data-state="running"]').waitFor();
    process.kill(pid, 'SIGKILL');
    await preview.frame.getByRole('alert').getByText('The encoder\'s process was killed, as systems do when memory runs out.').waitFor();
    assert.equal(await preview.status.innerText(), 'The encoder stopped');
    await workbench.screenshot(screenshotPath('preview-killed'));
    await preview.button('Start again').click();
    await preview.frame.getByRole('button', { name: 'during.png, ready' }).waitFor();
    await preview.frame.getByRole('button', { name: 'picture.png, ready' }).click();
    await preview.slide('Layer', 2, sayLayer(2));
    await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(2)}` }).waitFor();
    await eventually(async () => Math.abs(Number(await preview.fact('Features', 'max')) - Math.max(...hidden(2))) < 1e-2, 'The right numbers again');
  });

  it('runs on WebGPU, with the same numbers', async function () {
    if (!existsSync(SWIFTSHADER)) {
      console.log(`      NOT RUN: there is no Vulkan driver at ${SWIFTSHADER}; install Debian's chromium to test WebGPU without a GPU.`);
      this.skip();
    }
    await preview.choose('Device', 'WebGPU');
    this.timeout(180_000);
    await preview.waitUntilReady('Ready on WebGPU', 120_000); // in software
    await preview.frame.getByRole('button', { name: 'picture.png, ready' }).waitFor();
    for (const layer of [0, 2]) {
      await preview.slide('Layer', layer, sayLayer(layer));
      await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(layer)}` }).waitFor();
      const data = hidden(layer);
      await eventually(async () => Math.abs(Number(await preview.fact('Features', 'max')) - Math.max(...data)) < 2e-3 * Math.max(...data), `The right maximum of block ${layer}`);
      assertShown(await preview.fact('Features', 'min'), Math.min(...data), `min of block ${layer}`, 2e-3);
    }
    await preview.overlay('Norm');
    assertShown(await preview.valueAt(2, 5), norm(row(hidden(2), 21)), 'norm at 2, 5', 2e-3);
    await choosePatch(3, 4);
    await preview.overlay('Attention');
    await preview.slide('Head', 0, 'head 0');
    assert.ok(await preview.valueAt(2, 5) > 0);
    await preview.choose('Device', 'CPU');
    await preview.waitUntilReady('Ready on CPU');
  });

  it('comes back as it was when it is closed and opened again, and when the window is reloaded', async () => {
    await preview.overlay('Norm');
    await preview.slide('Layer', 1, sayLayer(1));
    await preview.frame.getByRole('button', { name: 'picture.png, ready' }).click();
    const names = () => preview.frame.locator('.strip .thumbnails li .thumbnail').evaluateAll(faces => faces.map(face => face.getAttribute('aria-label').split(',')[0]));
    const before = await names();
    const isAsBefore = async () => {
      await preview.frame.getByRole('button', { name: 'picture.png, ready' }).and(preview.frame.locator('[aria-pressed="true"]')).waitFor();
      await preview.frame.locator('.segments label:has(input:checked)', { hasText: 'Norm' }).waitFor();
      await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(1)}` }).waitFor();
      assertShown(await preview.valueAt(2, 5), norm(row(hidden(1), 21)), 'norm at 2, 5');
      await preview.frame.locator('.flip .place', { hasText: '3 of 3' }).waitFor();
      assert.deepEqual((await names()).sort(), [...before].sort());
    };
    await workbench.command('View: Close Editor', 'workbench.action.closeActiveEditor');
    await workbench.viewAction('Keys', 'Preview Features');
    await isAsBefore();
    // As a person does it: VS Code then writes what it keeps.
    const reloaded = workbench.page.waitForEvent('load');
    await workbench.command('Developer: Reload Window', 'workbench.action.reloadWindow');
    await reloaded;
    await workbench.statusBar.waitFor();
    await preview.frame.getByRole('button', { name: 'picture.png, ready' }).waitFor({ timeout: 60_000 });
    await isAsBefore();
    await workbench.clearNotifications();
  });

  it('shows the maps of all layers beside each other, and the one that is clicked large', async () => {
    await preview.overlay('Norm');
    await preview.frame.locator('.thumbnails').getByRole('button', { name: 'picture.png, ready' }).click();
    await preview.frame.getByRole('checkbox', { name: 'All layers' }).click();
    const cells = preview.frame.locator('.layers .cell:not(:has(.pending))');
    await cells.nth(LAYERS).waitFor();
    const ranges = await cells.evaluateAll(faces => faces.map(face => [face.querySelector('.name').textContent, ...face.querySelector('.hint').textContent.split(' … ').map(Number)]));
    assert.deepEqual(ranges.map(([name]) => name), [-1, 0, 1, 2].map(sayLayer));
    for (let layer = 0; layer < LAYERS; layer++) {
      const norms = Array.from({ length: TOKENS }, (_, token) => norm(row(hidden(layer), token)));
      assertShown(ranges[layer + 1][1], Math.min(...norms), `the least norm of block ${layer}`);
      assertShown(ranges[layer + 1][2], Math.max(...norms), `the largest norm of block ${layer}`);
    }
    await workbench.screenshot(screenshotPath('preview-all-layers'));
    await preview.frame.getByRole('button', { name: sayLayer(2) }).click();
    await preview.frame.locator('.layers').waitFor({ state: 'hidden' });
    await preview.frame.locator('h2', { hasText: `Features: ${sayLayer(2)}` }).waitFor();
    // The legend marks the value under the pointer.
    await preview.point(3, 3);
    await preview.frame.locator('.legend .mark').waitFor();
    const norms = Array.from({ length: TOKENS }, (_, token) => norm(row(hidden(2), token)));
    const [least, most] = [Math.min(...norms), Math.max(...norms)];
    const left = await preview.frame.locator('.legend .mark').evaluate(mark => parseFloat(mark.style.left));
    assert.ok(Math.abs(left - 100 * (norms[27] - least) / (most - least)) < 0.1, `${left} %`);
  });

  it('copies the values of a patch, all of them, and shows the channel that is largest there', async () => {
    await choosePatch(3, 4);
    await preview.button('Copy values').click();
    const values = row(hidden(2), 3 * COLUMNS + 4);
    await workbench.page.waitForFunction(async count => { const text = await navigator.clipboard.readText(); return text.startsWith('[') && JSON.parse(text).length === count; }, WIDTH);
    assertClose(JSON.parse(await workbench.page.evaluate(() => navigator.clipboard.readText())), values, 'the copied values');
    const largest = values.reduce((best, value, channel) => Math.abs(value) > Math.abs(values[best]) ? channel : best, 0);
    await preview.frame.locator('.largest button').first().click();
    await preview.frame.locator('.segments label:has(input:checked)', { hasText: 'Channel' }).waitFor();
    assert.equal(await preview.frame.getByRole('spinbutton', { name: 'Channel' }).inputValue(), String(largest));
    assertShown(await preview.valueAt(3, 4), values[largest], 'the largest channel');
  });

  it('is worked by keys that it lists', async () => {
    const layer = preview.frame.getByRole('slider', { name: 'Layer', exact: true });
    await preview.canvas().press('[');
    await layer.and(preview.frame.locator(`[aria-valuetext="${sayLayer(1)}"]`)).waitFor();
    await preview.canvas().press(']');
    await layer.and(preview.frame.locator(`[aria-valuetext="${sayLayer(2)}"]`)).waitFor();
    await preview.canvas().press('3');
    await preview.frame.locator('.segments label:has(input:checked)', { hasText: 'Norm' }).waitFor();
    const drawn = await preview.drawn();
    await preview.canvas().press('g');
    await eventually(async () => await preview.drawn() !== drawn, 'The patch grid');
    await preview.canvas().press('g');
    const keyboard = preview.frame.locator('details.section', { has: preview.frame.locator('h2', { hasText: 'Keyboard' }) });
    assert.equal(await keyboard.evaluate(section => section.open), false);
    await preview.canvas().press('?');
    await keyboard.locator('tr', { hasText: 'the layer before, after' }).waitFor();
    await keyboard.locator('summary').press('Enter');
  });

  it('takes pictures and folders by their addresses, as the Explorer drops them, and says which are not there', async () => {
    const album = path.join(session.folder, 'album');
    await preview.dropText('text/uri-list', `# two pictures\r\n${pathToFileURL(path.join(album, 'rgb24.bmp'))}\r\n${pathToFileURL(fixture('pictures/rgba8.png'))}`);
    for (const name of ['rgb24.bmp', 'rgba8.png']) await preview.frame.locator('.thumbnails').getByRole('button', { name: `${name}, ready` }).waitFor();
    await preview.dropText('text/plain', path.join(album, 'nothing.png'));
    await workbench.waitForNotification('nothing.png cannot be read');
    await workbench.clearNotifications();
    await preview.dropText('text/plain', 'what a nice day');
    await preview.frame.getByText('What was dropped is not a picture.').waitFor();
    await preview.dropText('text/plain', album);
    await preview.frame.locator('.flip .place', { hasText: '1 of 3' }).waitFor();
    await preview.frame.locator('.thumbnails').getByRole('button', { name: 'grey.jpg, ready' }).waitFor();
  });

  it('marks patches that are no numbers, and counts them', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'spoilt'));
    await workbench.viewAction('Keys', 'Preview Features');
    await preview.waitUntilReady();
    await preview.frame.locator('.thumbnails').getByRole('button', { name: 'picture.png, ready' }).click();
    await preview.slide('Layer', -1, 'patch embedding');
    await preview.frame.locator('tr.bad', { hasText: 'NaN / Inf' }).waitFor();
    assert.match(await preview.fact('Features', 'NaN / Inf'), /^\d+ \/ 0$/);
    await preview.overlay('Norm');
    await preview.frame.locator('.legend .missing', { hasText: 'not a number' }).waitFor();
    await workbench.screenshot(screenshotPath('preview-nan'));
  });

  it('shows Mllama\'s tiles as one grid, up to an output that is wider', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'mllama'));
    await workbench.viewAction('Keys', 'Preview Features');
    await preview.frame.getByRole('slider', { name: 'Layer', exact: true }).and(preview.frame.locator('[max="5"]')).waitFor();
    await preview.waitUntilReady();
    await preview.overlay('PCA');
    await preview.slide('Layer', 4, 'block 4 of 0…4');
    await preview.frame.locator('h2', { hasText: 'Features: block 4' }).waitFor();
    // 400 x 300 pixels lie on two by two tiles of three by three patches; the tiles' class tokens are counted with them.
    assert.deepEqual([await preview.fact('Run', 'patches'), await preview.fact('Features', 'shape')], ['6 × 6', '1 × 40 × 8']);
    await preview.slide('Layer', 5, 'output');
    await preview.frame.locator('h2', { hasText: 'Features: output' }).waitFor();
    assert.equal(await preview.fact('Features', 'shape'), '1 × 40 × 24');
    await preview.drawn();
    await workbench.screenshot(screenshotPath('preview-mllama'));
  });

  it('goes on after the output with what the merger makes of it, and of blocks on the way', async () => {
    await openCheckpoint(workbench, path.join(session.folder, 'qwen3-vl'));
    await workbench.command('Optional Parts', 'visionEncoder.chooseParts');
    await workbench.quickPick('merger').locator('.monaco-checkbox, input[type="checkbox"]').first().click();
    await workbench.quickInputBox().press('Enter');
    await workbench.viewAction('Keys', 'Preview Features');
    await preview.frame.locator('.facts', { hasText: 'Qwen3-VL · 3 blocks' }).waitFor();
    // Three blocks, the output, and what the merger makes of it and of two blocks.
    const last = 6;
    assert.equal(await preview.frame.getByRole('slider', { name: 'Layer', exact: true }).getAttribute('max'), String(last));
    // The others take their time: patches of four pixels are many.
    const ready = preview.frame.locator('.thumbnails').getByRole('button', { name: 'picture.png, ready' });
    await ready.waitFor();
    await ready.click();
    await preview.overlay('PCA');
    const shapes = new Map();
    for (const [back, words] of [[3, 'output'], [2, 'merged output'], [1, 'deepstack 0'], [0, 'deepstack 1']]) {
      await preview.slide('Layer', last - back, words);
      await preview.frame.locator('h2', { hasText: `Features: ${words}` }).waitFor();
      shapes.set(words, await preview.fact('Features', 'shape'));
      await preview.drawn();
      if (words === 'deepstack 0') await workbench.screenshot(screenshotPath('preview-deepstack'));
    }
    const [, patches, width] = shapes.get('output').split(' × ').map(Number);
    // Blocks of two by two patches, in the language model's width.
    for (const words of ['merged output', 'deepstack 0', 'deepstack 1']) assert.deepEqual(shapes.get(words).split(' × ').map(Number).slice(0, 2), [1, patches / 4]);
    assert.notEqual(Number(shapes.get('merged output').split(' × ')[2]), width);
    // Of pictures of any size, no larger than a limit that can be raised.
    await preview.choose('Resolution', 'up to 50,176 patches');
    await ready.waitFor();
    assert.equal(await preview.fact('Run', 'patches'), '76 × 100');
    await openCheckpoint(workbench, path.join(session.folder, 'tiny'));
    await workbench.viewAction('Keys', 'Preview Features');
    await preview.frame.locator('.facts', { hasText: 'Qwen-VL · 3 blocks' }).waitFor();
    await preview.waitUntilReady();
    await preview.slide('Layer', 1, sayLayer(1));
    await preview.frame.locator('.thumbnails').getByRole('button', { name: 'picture.png, ready' }).click();
    await workbench.clearNotifications();
  });

  for (const [theme, name] of [['Light Modern', 'light'], ['Dark High Contrast', 'high-contrast'], ['Light High Contrast', 'high-contrast-light'], ['Dark Modern', 'dark']]) {
    it(`looks right in ${theme}`, async () => {
      await workbench.theme(theme);
      await preview.overlay('PCA');
      await preview.frame.locator('.legend .component').first().waitFor();
      await workbench.screenshot(screenshotPath(`preview-${name}`));
      const poor = await preview.poorContrasts();
      assert.deepEqual(poor, []);
    });
  }

  it('can be used by keyboard alone, and fits a narrow panel', async () => {
    await workbench.page.setViewportSize({ width: 900, height: 900 });
    await workbench.screenshot(screenshotPath('preview-narrow'));
    const widths = await preview.body.evaluate(body => [body.scrollWidth, body.clientWidth]);
    assert.ok(widths[0] <= widths[1], `${widths[0]} pixels wide in ${widths[1]}`);
    const unnamed = await preview.frame.locator('button:not([hidden]), input, select, canvas[tabindex]').evaluateAll(elements => elements.filter(element => (element.getAttribute('aria-label') ?? element.textContent ?? '') === '' && element.closest('label') === null && element.checkVisibility()).map(element => element.outerHTML.slice(0, 100)));
    assert.deepEqual(unnamed, []);
    await workbench.page.setViewportSize({ width: 1400, height: 1000 });
  });

  it('lets nothing in but its own script and style', async () => {
    const policy = await preview.frame.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute('content');
    assert.match(policy, /^default-src 'none'; img-src blob:; script-src 'nonce-[^']+'; style-src [^;]+$/);
    assert.ok(!policy.includes('unsafe'));
    assert.deepEqual(session.external, []);
  });

  async function choosePatch(atRow, atColumn) {
    const place = preview.frame.locator('.section td', { hasText: `row ${atRow}, column ${atColumn}` });
    if (await place.count() > 0) return; // another Enter would take the choice back
    await preview.point(atRow, atColumn);
    await preview.canvas().press('Enter');
    await eventually(async () => await preview.fact('Patch', 'place') === `row ${atRow}, column ${atColumn}`, 'The choice of a patch');
  }

  async function matrix(caption) {
    const table = preview.frame.locator('table.matrix', { has: preview.frame.locator('caption', { hasText: new RegExp(`^${caption}$`) }) });
    await table.waitFor();
    return table.locator('tr:has(th[scope="row"])').evaluateAll(rows => rows.map(each => [...each.querySelectorAll('td')].map(cell => Number(cell.textContent))));
  }

  function assertClose(actual, reference, what) {
    assert.equal(actual.length, reference.length, what);
    const error = norm(actual.map((value, index) => value - reference[index])) / norm(reference);
    assert.ok(error < 1e-5, `${what}: relative error ${error}`);
  }
});
