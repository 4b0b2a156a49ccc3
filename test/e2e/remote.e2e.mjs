import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { tsImport } from 'tsx/esm/api';
import { eventually, fixture, keepFailure, openWorkbench, runCli, screenshotPath } from './fixture.mjs';

const { HubServer } = await tsImport('../support/hubServer.ts', import.meta.url);
const { writeMadeModel } = await tsImport('../support/madeModel.ts', import.meta.url);

const COMMIT = '0123456';
/** Known to the proxy alone: what reaches the Hub went the way that http.proxy says. */
const HUB = 'hub.test';
const TOKEN = 'hf_tokenOfTheTester';

/** An HTTP proxy that knows one host more than the network does. */
async function startProxy(hubPort) {
  const targets = new Set();
  const proxy = http.createServer((request, response) => {
    const { host, pathname, search } = new URL(request.url);
    targets.add(host);
    request.pipe(http.request({ host: '127.0.0.1', port: hubPort, path: pathname + search, headers: request.headers }, answer => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    }).on('error', () => response.destroy()));
  });
  proxy.on('connect', (request, socket) => {
    targets.add(request.url.replace(/:80$/, ''));
    const hub = net.connect(hubPort, '127.0.0.1', () => { socket.write('HTTP/1.1 200 Connection established\r\n\r\n'); });
    hub.on('error', () => socket.destroy());
    socket.on('error', () => hub.destroy());
    socket.pipe(hub).pipe(socket);
  });
  await new Promise(resolve => { proxy.listen(0, '127.0.0.1', resolve); });
  return { targets, port: proxy.address().port, close: () => new Promise(resolve => { proxy.closeAllConnections(); proxy.close(resolve); }) };
}

/** The bytes of files that the server sent, and the places that were asked for outside of headers (the ends of zip files among them) and kept tensors. */
async function account(server, mark, folder) {
  const { stdout } = await runCli('keys', folder, '--json');
  const { tensors, kept } = JSON.parse(stdout);
  const files = new Map();
  for (const { file, offset, length, mark: decision } of tensors) {
    const entry = files.get(file) ?? { start: Infinity, spans: [] };
    entry.start = Math.min(entry.start, offset);
    if (decision !== 'exclude') entry.spans.push([offset, offset + length]);
    files.set(file, entry);
  }
  const strays = [];
  const requests = server.log.slice(mark).filter(({ file, range, status }) => file !== undefined && range !== undefined && status === 206);
  for (const { file, range } of requests) {
    const { start = Infinity, spans = [] } = files.get(file) ?? {};
    if (range.from < start || (mark === 0 && range.to === (await stat(path.join(folder, file))).size)) continue; // headers, and small files
    let at = range.from;
    for (const [from, to] of spans.sort((a, b) => a[0] - b[0])) {
      if (to <= at || from >= range.to) continue;
      if (from - at > 16_384) break; // a gap between neighbours that is not worth a request of its own
      at = to;
    }
    if (at < range.to) strays.push(`${file} ${range.from}-${range.to}: from ${at} on`);
  }
  return { strays, keptBytes: kept.bytes, sent: server.sent(mark) };
}

describe('a checkpoint on the Hub', function () {
  this.timeout(120_000);
  let scratch;
  let tiny;
  let server;
  let proxy;
  let session;
  let workbench;
  before(async () => {
    scratch = await mkdtemp(path.join(os.tmpdir(), 'hub-'));
    tiny = path.join(scratch, 'tiny');
    await cp(fixture('qwen-vl-tiny-bin'), tiny, { recursive: true });
    await rm(path.join(tiny, 'expected.safetensors'));
    server = await HubServer.start({ folder: tiny, search: [{ id: 'test/tiny', downloads: 12345, likes: 67 }, { id: 'other/model', downloads: 5, likes: 1, gated: 'auto' }] });
    proxy = await startProxy(new URL(server.endpoint).port);
    session = await openWorkbench({ fill: async () => {}, env: { HF_ENDPOINT: `http://${HUB}` }, settings: { 'http.proxy': `http://127.0.0.1:${proxy.port}` } });
    workbench = session.workbench;
  });
  after(async () => {
    await session?.close();
    await proxy?.close();
    await server?.close();
    await rm(scratch, { recursive: true, force: true });
  });
  afterEach(keepFailure(() => workbench));

  const openHub = () => workbench.command('Open from the Hugging Face Hub', 'visionEncoder.openHub');
  const keysTitle = text => workbench.view('Keys').locator('.pane-header', { hasText: text });

  it('is found by a search as one types, from the welcome', async () => {
    await workbench.view('Keys').getByText('Open from the Hugging Face Hub…').click();
    await workbench.quickInputBox().fill('qwen vl');
    await workbench.quickPick('test/tiny').waitFor();
    assert.match(await workbench.quickPick('test/tiny').getAttribute('aria-label'), /12,345 downloads · 67 likes/);
    assert.match(await workbench.quickPick('other/model').getAttribute('aria-label'), /gated/);
    await workbench.screenshot(screenshotPath('hub-search'));
  });

  it('shows its keys after reading headers alone', async () => {
    await workbench.quickPick('test/tiny').click();
    await keysTitle(`hf://test/tiny@${COMMIT}`).waitFor();
    await workbench.row('Loads strictly', 'Validation').waitFor();
    await workbench.view('Keys').getByText('Qwen-VL vision encoder: 53 of').waitFor();
    const { strays } = await account(server, 0, tiny);
    assert.deepEqual(strays, []);
    assert.deepEqual([...proxy.targets], [HUB]);
    await workbench.screenshot(screenshotPath('hub-keys'));
    await workbench.clearNotifications();
  });

  it('shows its config read-only', async () => {
    await workbench.row('Config', 'Validation').click();
    await workbench.activeTab().getByText('config.json').waitFor();
    await workbench.page.locator('.view-line', { hasText: '"visual"' }).waitFor();
  });

  it('is extracted after saying what that downloads, and nothing else is read', async () => {
    await workbench.viewAction('Keys', 'Extract Vision Encoder');
    await workbench.quickInput.getByText(/53 tensors, .* as safetensors into this folder\. Downloads .* of .*; the other .* are not needed\./).waitFor();
    const out = await workbench.quickInputBox().inputValue();
    assert.equal(out, path.join(session.folder, 'tiny-vision-encoder'));
    await workbench.screenshot(screenshotPath('hub-extract'));
    const mark = server.log.length;
    await workbench.quickInputBox().press('Enter');
    await workbench.waitForNotification(/53 tensors, .* extracted to tiny-vision-encoder/);
    const { strays, sent, keptBytes } = await account(server, mark, tiny);
    assert.deepEqual(strays, []);
    assert.ok(sent < 1.02 * keptBytes, `${sent} bytes for ${keptBytes}`);
    const whole = server.sent();
    console.log(`      tiny checkpoint: ${keptBytes} bytes kept, ${sent} downloaded by the extraction (${(sent / keptBytes).toFixed(4)}), ${whole} with all headers and configs (${(whole / keptBytes).toFixed(4)})`);
    const local = path.join(scratch, 'local');
    assert.equal((await runCli('extract', tiny, '--out', local)).code, 0);
    for (const name of ['model.safetensors', 'config.json', 'preprocessor_config.json']) assert.ok((await readFile(path.join(out, name))).equals(await readFile(path.join(local, name))), name);
  });

  it('gives a verified encoder, comparing with the Hub only when told to', async () => {
    await workbench.notificationButton('extracted to tiny-vision-encoder', 'Verify');
    await workbench.dialog.getByText('which is not on this disk').waitFor();
    const mark = server.log.length;
    await workbench.dialogButton('Verify Without It');
    await workbench.waitForNotification(/Verified against its manifest: 53 tensors/);
    assert.equal(server.log.length, mark);
    await workbench.clearNotifications();
  });

  it('is previewed from a copy that is fetched once, with consent, and listed', async () => {
    await workbench.command('Preview Features', 'visionEncoder.preview');
    await workbench.dialog.getByText('The preview runs the encoder on this machine.').waitFor();
    await workbench.screenshot(screenshotPath('hub-preview-consent'));
    await workbench.dialogButton('Download');
    await workbench.activeTab().getByText('Preview: tiny').waitFor();
    await workbench.webview().getByRole('button', { name: 'Add the sample house.png' }).first().click();
    await workbench.webview().locator('.legend .component').first().waitFor({ timeout: 60_000 });
    await workbench.screenshot(screenshotPath('hub-preview'));
    await workbench.command('Show Stored Encoders', 'visionEncoder.storedEncoders');
    await workbench.quickPick('tiny').waitFor();
    assert.match(await workbench.quickPick('tiny').getAttribute('aria-label'), /KB · hf:\/\/test\/tiny@0123456\//);
    await workbench.screenshot(screenshotPath('hub-stored'));
    await workbench.quickPick('Delete All').click();
    await workbench.waitForNotification('The stored encoders were deleted.');
    await workbench.command('View: Close All Editors', 'workbench.action.closeAllEditors');
    await workbench.clearNotifications();
  });

  it('is looked inside from its tree, and by address: headers and the tensor that is shown, and nothing else', async () => {
    const page = workbench.webview();
    const mark = server.log.length;
    await workbench.command('Go to Key', 'visionEncoder.goToKey');
    await workbench.fillQuickInput('transformer.visual.conv1.weight');
    await workbench.contextMenu(workbench.row('conv1.weight', 'Keys'), 'Look Inside');
    await page.locator('.details h2', { hasText: 'transformer.visual.conv1.weight' }).waitFor();
    await page.locator('.numbers', { hasText: 'mean' }).waitFor();
    await page.locator('.heat .hint', { hasText: '×' }).first().waitFor();
    await workbench.screenshot(screenshotPath('hub-inspector'));
    const bytes = 64 * 3 * 14 * 14 * 2;
    const read = server.log.slice(mark).filter(({ range, status }) => range !== undefined && status === 206 && range.from > 0);
    assert.ok(read.reduce((sum, { range }) => sum + range.to - range.from, 0) <= bytes + 70_000, JSON.stringify(read.map(({ range }) => range)));
    await workbench.command('View: Close All Editors', 'workbench.action.closeAllEditors');

    await workbench.command('Look Inside an Address', 'visionEncoder.inspectAddress');
    await workbench.fillQuickInput(`http://${HUB}/test/tiny/tree/main`);
    await page.locator('.scroller .row .key').first().waitFor();
    await page.locator('.facts', { hasText: 'torch-zip' }).first().waitFor();
    await workbench.screenshot(screenshotPath('hub-inspector-address'));
    await workbench.command('View: Close All Editors', 'workbench.action.closeAllEditors');
    await workbench.command('Close Checkpoint', 'visionEncoder.close');
  });

  it('asks for a token where the model is gated, and opens it with that', async () => {
    Object.assign(server.options, { gated: true, token: TOKEN });
    await openHub();
    await workbench.fillQuickInput('test/tiny@main');
    await workbench.waitForNotification('test/tiny is gated. Accept its licence at http://hub.test/test/tiny.');
    await workbench.screenshot(screenshotPath('hub-gated'));
    await workbench.notificationButton('test/tiny is gated', 'Set Token…');
    await workbench.quickInputBox().waitFor();
    assert.equal(await workbench.quickInputBox().getAttribute('type'), 'password');
    await workbench.fillQuickInput('hf_mistyped');
    await workbench.notificationButton('hub.test refuses the token: it is wrong or has expired.', 'Set Token…');
    await workbench.quickInputBox().waitFor();
    await workbench.fillQuickInput(TOKEN);
    await workbench.waitForNotification('The token of tester is used for hub.test from now on.');
    await keysTitle(`hf://test/tiny@${COMMIT}`).waitFor();
    for (const { where, headers } of server.log) assert.ok(where === 'hub' || headers.authorization === undefined, 'the token stays with the Hub');
    assert.doesNotMatch(session.readLog(), new RegExp(TOKEN));
    await workbench.clearNotifications();
    await workbench.command('Forget Hugging Face Token', 'visionEncoder.forgetHubToken');
    await workbench.waitForNotification('The Hugging Face token was forgotten.');
    await workbench.clearNotifications();
    Object.assign(server.options, { gated: false, token: undefined });
  });

  it('is offered again among the recent ones', async () => {
    await workbench.command('Close Checkpoint', 'visionEncoder.close');
    await workbench.view('Keys').getByText('Open Recent…').click();
    await workbench.quickPick('tiny').click();
    await keysTitle(`hf://test/tiny@${COMMIT}`).waitFor();
    await workbench.clearNotifications();
  });

  for (const theme of ['Light Modern', 'Dark High Contrast', 'Light High Contrast', 'Dark Modern']) {
    it(`has lists that can be looked at in ${theme}`, async () => {
      const shoot = name => workbench.screenshot(screenshotPath(`hub-${name}-${theme.toLowerCase().replaceAll(' ', '-')}`));
      await workbench.theme(theme);
      await openHub();
      await workbench.quickInputBox().fill('qwen vl');
      await workbench.quickPick('test/tiny').waitFor();
      await shoot('search');
      await workbench.quickInputBox().press('Escape');
      await workbench.command('Open Recent Checkpoint', 'visionEncoder.openRecent');
      await workbench.quickPick('tiny').first().waitFor();
      await shoot('recent');
      await workbench.quickInputBox().press('Escape');
    });
  }

  it('says in a sentence what the Hub does not have', async () => {
    await openHub();
    await workbench.fillQuickInput('test/none@main');
    await workbench.waitForNotification('hub.test has no public model test/none.');
    await workbench.clearNotifications();
  });

  it('of 1 GB: a cancelled extraction is kept or deleted as the person likes, an interrupted one resumed, and only the encoder travels', async () => {
    const folder = path.join(scratch, 'large');
    const { keptBytes } = await writeMadeModel(folder, { width: 768, layers: 8, unwantedBytes: 860_000_000, shards: 10 });
    server.options.folder = folder;
    server.options.commit = 'f'.repeat(40);
    const mark = server.log.length;
    await workbench.command('Open from Address', 'visionEncoder.openAddress');
    await workbench.fillQuickInput(`http://${HUB}/test/tiny/tree/main`);
    await keysTitle('hf://test/tiny@fffffff').waitFor();
    await workbench.clearNotifications();
    const slow = fault => { server.fault = ({ range }) => (range !== undefined && range.to - range.from > 1 << 20 ? fault : undefined); };
    const partials = async () => (await readdir(session.folder)).filter(name => name.startsWith('.vision-encoder-partial'));
    const start = async () => {
      await workbench.viewAction('Keys', 'Extract Vision Encoder');
      await workbench.quickInput.getByText('Downloads').waitFor();
      await workbench.fillQuickInput(path.join(session.folder, 'large-encoder'));
    };
    slow({ delay: 1500 });

    await start();
    await workbench.waitForNotification(/Extracting the vision encoder: .* MB of/);
    const arrived = server.sent(mark);
    await eventually(() => server.sent(mark) > arrived + 40e6, 'The download');
    await workbench.notificationButton('Extracting the vision encoder', 'Cancel');
    await workbench.waitForNotification(/Cancelled\. .* MB have arrived and are kept/);
    assert.equal((await partials()).length, 1);
    await workbench.notificationButton('Cancelled.', 'Delete');
    await workbench.waitForNotification('Deleted. Nothing was left behind.');
    assert.deepEqual(await partials(), []);
    await workbench.clearNotifications();

    // The window ends while it extracts.
    const second = server.sent();
    await start();
    await eventually(() => server.sent() > second + 60e6, 'The download');
    await workbench.page.reload();
    await workbench.statusBar.waitFor();
    // The view comes back by itself, when a click on its icon would hide it.
    const back = () => workbench.view('Keys').getByText('Open Recent…').waitFor({ timeout: 10_000 }).then(() => true, () => false);
    if (!await back()) await workbench.openViewContainer('Vision Encoder');
    assert.equal((await partials()).length, 1);
    server.fault = undefined;
    await workbench.view('Keys').getByText('Open Recent…').click();
    await workbench.quickPick('tiny').first().click();
    await keysTitle('hf://test/tiny@fffffff').waitFor();
    await workbench.clearNotifications();
    const third = server.log.length;
    await start();
    await workbench.dialog.getByText('An extraction of this encoder was interrupted.').waitFor();
    await workbench.screenshot(screenshotPath('hub-resume'));
    await workbench.dialogButton('Resume');
    await workbench.notification('extracted to large-encoder').waitFor({ timeout: 60_000 });
    const { strays, sent } = await account(server, third, folder);
    assert.deepEqual(strays, []);
    assert.ok(sent < 0.9 * keptBytes, `${sent} of ${keptBytes} bytes were downloaded again`);
    await workbench.clearNotifications();
    assert.deepEqual(await partials(), []);
    assert.match((await runCli('verify', path.join(session.folder, 'large-encoder'), '--source', folder)).stdout, /equal to the source, tensor for tensor/);
  });

  it('asks nothing of any other machine', () => { assert.deepEqual(session.external, []); });

  it('logs no error of its own, and never the token', () => {
    assert.doesNotMatch(session.readLog(), /vision-encoder-extractor.*(TypeError|ReferenceError)/);
    assert.doesNotMatch(session.readLog(), new RegExp(TOKEN));
  });
});
