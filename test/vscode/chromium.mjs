// Finds the browser that drives the workbench, and installs Debian's where that is possible.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const DEBIAN = '/usr/bin/chromium';

/** The path of Chromium: what CHROMIUM names, else Debian's, installed when it is missing and we are root. */
export function ensureChromium(log = console.log) {
  const wanted = process.env.CHROMIUM ?? DEBIAN;
  if (existsSync(wanted)) return wanted;
  if (process.env.CHROMIUM) throw new Error(`CHROMIUM is ${wanted}, which does not exist.`);
  const isRoot = process.getuid?.() === 0;
  if (!isRoot || !existsSync('/usr/bin/apt-get')) throw new Error('The end-to-end tests need Chromium. On Debian: sudo apt-get install -y chromium. Elsewhere, set CHROMIUM to the path of one.');
  log('Installing Debian\'s chromium (apt-get install chromium) ...');
  const apt = args => {
    const { status } = spawnSync('apt-get', args, { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
    if (status !== 0) throw new Error(`apt-get ${args.join(' ')} failed; install chromium by hand.`);
  };
  apt(['update', '-qq']);
  apt(['install', '-y', '-qq', '--no-install-recommends', 'chromium']);
  return DEBIAN;
}
