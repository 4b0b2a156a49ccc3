// Chromium with one page that reaches 127.0.0.1 and nothing else.
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { ensureChromium } from './chromium.mjs';

const ARGUMENTS = [
  '--no-sandbox', // Chromium refuses to run as root without it
  '--disable-background-networking', // stalls on a closed network otherwise
  '--disable-component-update', '--disable-sync', '--disable-gpu', '--disable-quic', '--no-first-run',
];

/** `external` collects the addresses outside this machine that the page asked for; they are refused. */
export async function openBrowser({ viewport = { width: 1280, height: 800 } } = {}) {
  const executablePath = ensureChromium();
  const profile = await mkdtemp(path.join(os.tmpdir(), 'chromium-'));
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, viewport, locale: 'en-US', args: ARGUMENTS });
  const removeProfile = () => { rmSync(profile, { recursive: true, force: true, maxRetries: 5 }); };
  process.once('exit', removeProfile); // for a process that ends without close(); Playwright's own handler, which came first, has ended the browser
  context.setDefaultTimeout(20_000);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const external = [];
  await context.route(url => url.hostname !== '127.0.0.1' && url.protocol.startsWith('http'), route => {
    external.push(route.request().url());
    return route.abort();
  });
  const page = context.pages()[0] ?? await context.newPage();
  return {
    page,
    external,
    close: async () => {
      await context.close();
      process.off('exit', removeProfile);
      removeProfile();
    },
  };
}
