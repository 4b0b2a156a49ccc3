import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BIN, cliPath, fails, inFolder, names, run, SAFETENSORS, skip, type Ended } from './support';

/** Runs a shell command in which $VE is `node cli.js`; for pipes and terminals. */
function shell(command: string, env: NodeJS.ProcessEnv = {}): Ended & { code: number | null } {
  const { status, signal, stdout, stderr } = spawnSync('bash', ['-c', command], { encoding: 'utf8', env: { ...process.env, VE: `${process.execPath} ${cliPath()}`, BIN, ...env } });
  return { code: status, signal, stdout, stderr };
}

/** Makes Node print the largest resident set that was its own, in KB, when it ends. */
const PEAK = ['--import', `data:text/javascript,${encodeURIComponent(`
  import { readFileSync } from 'node:fs';
  process.on('exit', () => process.stderr.write('peak ' + /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1] + '\\n'));
`)}`];

function peakMegabytes({ stderr }: Ended): number {
  return Number(/^peak (\d+)$/m.exec(stderr)?.[1]) / 1000;
}

describe('vision-encoder and the streams it writes to', () => {
  it('prints plain lines of progress, one for every tenth at most, when nobody looks', () => inFolder(async folder => {
    const { code, stderr } = await run(['extract', BIN, '--out', join(folder, 'out')], { env: { FORCE_COLOR: '1' } });
    assert.equal(code, 0);
    // eslint-disable-next-line no-control-regex -- that there are none is the point
    assert.doesNotMatch(stderr, /[\u001b\r]/);
    const tenths = [...stderr.matchAll(/^Extracting (\d+)% \(.* of 648 KB\)$/gm)].map(([, tenth]) => Number(tenth));
    assert.ok(tenths.length >= 1 && tenths.at(-1) === 100 && tenths.every((tenth, i) => i === 0 || tenth > (tenths[i - 1] ?? 0)), stderr);
  }));

  it('draws a bar and colours on a terminal, and no colours under NO_COLOR', async function () {
    if (spawnSync('script', ['--version']).status !== 0) return skip(this, 'there is no `script` to make a terminal with');
    await inFolder(folder => {
      const inTerminal = (args: string, env: NodeJS.ProcessEnv): string => {
        const { code, stdout } = shell(`script -qec "$VE ${args}" /dev/null < /dev/null`, { TERM: 'xterm-256color', CI: undefined, FORCE_COLOR: undefined, NO_COLOR: undefined, ...env });
        assert.equal(code, 0, stdout);
        return stdout;
      };
      const drawn = inTerminal(`extract ${BIN} --out ${join(folder, 'out')}`, {});
      assert.match(drawn, /Extracting █*░* *\d+% {2}\d+ KB of 648 KB/);
      assert.ok(drawn.includes('\u001b[32m✓\u001b[39m 53 tensors'), JSON.stringify(drawn));
      assert.ok(drawn.lastIndexOf('\u001b[?25h') > drawn.lastIndexOf('\u001b[?25l'), 'the cursor is shown again');
      const coloured = inTerminal(`keys ${BIN} --filter ln_post`, {});
      assert.ok(coloured.includes('\u001b[36m~ transformer.visual.ln_post.weight'), JSON.stringify(coloured));
      const plain = inTerminal(`keys ${BIN} --filter ln_post`, { NO_COLOR: '1' });
      assert.ok(plain.includes('~ transformer.visual.ln_post.weight') && !plain.includes('\u001b['), JSON.stringify(plain));
      return Promise.resolve();
    });
  });

  it('ends quietly when the reader has seen enough, with the exit code of the result', () => {
    const head = shell('$VE keys "$BIN" | head -1; echo "${PIPESTATUS[0]}"');
    assert.match(head.stdout, /^- transformer\.wte\.weight .*\n0\n$/);
    assert.doesNotMatch(head.stderr, /EPIPE|node:|error/);
    const invalid = shell('$VE validate "$BIN" --set layers=4 | true; echo "${PIPESTATUS[0]}"');
    assert.equal(invalid.stdout, '1\n');
    const json = shell('$VE keys "$BIN" --json | head -c 10; echo; echo "${PIPESTATUS[0]}"');
    assert.match(json.stdout, /\n0\n$/);
  });

  it('goes on writing the encoder when nobody reads what it says', () => inFolder(async folder => {
    const { stdout } = shell('$VE extract "$BIN" --out "$OUT" 2>&1 | true; echo "${PIPESTATUS[0]}"', { OUT: join(folder, 'out') });
    assert.equal(stdout, '0\n');
    assert.equal((await run(['verify', join(folder, 'out')])).code, 0);
  }));

  it('says that its output could not be written', function () {
    if (!existsSync('/dev/full')) return skip(this, 'there is no /dev/full');
    const { code, stderr } = shell('$VE keys "$BIN" > /dev/full');
    assert.equal(code, 2, stderr);
    assert.match(stderr, /^error: Standard output cannot be written \(ENOSPC\)\.$/m);
    assert.doesNotMatch(stderr, /node:internal/);
  });

  it('prints an error for people and for machines', async () => {
    const { code, stdout, stderr } = await run(['extract', SAFETENSORS, '--out', SAFETENSORS, '--json']);
    assert.equal(code, 2);
    const { error } = JSON.parse(stdout) as { error: string };
    assert.ok(stderr.endsWith(`error: ${error}\n`), stderr);
  });

  it('prints technical detail when asked', async () => {
    const file = join(__dirname, '../fixtures/malformed/torch/pkl_os_system.bin');
    assert.match((await run(['--verbose', 'keys', file])).stderr, /\nPickle global "posix" "system" at byte \d+\.\n$/);
    await fails(['keys', file], ['posix.system']);
  });
});

describe('vision-encoder on 19 GB', () => {
  const ENCODER = 3_837_734_392;
  let folder: string;
  let checkpoint: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vision-encoder-large-'));
    checkpoint = join(folder, 'Qwen-VL-Chat');
    const { status, stderr } = spawnSync(process.execPath, [join(__dirname, '../demo/makeSparse.mjs'), checkpoint], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
  after(async () => { await rm(folder, { recursive: true, force: true }); });

  it('opens and validates in about a second, in little memory', async function () {
    this.timeout(30_000);
    for (const command of ['keys', 'validate']) {
      const started = Date.now();
      const ended = await run([command, checkpoint], { node: PEAK });
      const seconds = (Date.now() - started) / 1000;
      assert.equal(ended.code, 0, ended.stderr);
      assert.ok(seconds < 5, `${command} took ${seconds} s, Node's own start included, on a machine that may be busy`);
      assert.ok(peakMegabytes(ended) < 200, `peak ${peakMegabytes(ended)} MB`);
    }
  });

  it('extracts and verifies a part in less than 200 MB of memory', async function () {
    this.timeout(120_000);
    const recipe = join(folder, 'recipe.json');
    const blocks = Array.from({ length: 47 }, (_, block) => ({ mark: 'exclude', module: `transformer.visual.transformer.resblocks.${block + 1}` }));
    await writeFile(recipe, JSON.stringify({
      version: 1, name: 'One block', family: 'qwen-vl', settings: { layers: 1 },
      rules: [...blocks, { mark: 'exclude', key: 'transformer.visual.proj' }, { mark: 'strip', module: 'transformer.visual' }],
    }));
    const out = join(folder, 'part');
    const extracted = await run(['extract', checkpoint, '--recipe', recipe, '--out', out], { node: PEAK });
    assert.equal(extracted.code, 0, extracted.stderr + extracted.stdout);
    assert.ok(peakMegabytes(extracted) < 200, `extract: peak ${peakMegabytes(extracted)} MB`);
    const verified = await run(['verify', out], { node: PEAK });
    assert.equal(verified.code, 0, verified.stderr);
    assert.ok(peakMegabytes(verified) < 200, `verify: peak ${peakMegabytes(verified)} MB`);
  });

  for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]] as const) {
    it(`leaves nothing behind when ${signal} comes in the middle`, async function () {
      this.timeout(60_000);
      const work = join(folder, signal);
      await mkdir(work);
      let sent = false;
      const ended = await run(['extract', checkpoint, '--out', join(work, 'deep/out')], {
        watch: child => child.stderr?.on('data', (text: string) => {
          if (sent || !text.includes('Extracting 0%')) return;
          sent = true;
          child.kill(signal);
        }),
      });
      assert.deepEqual([ended.code, ended.stdout], [code, ''], ended.stderr);
      assert.match(ended.stderr, new RegExp(`Extracting 0% \\(.* of ${(ENCODER / 1e9).toFixed(2)} GB\\)\n.*Cancelled; nothing was left behind\\.\n$`, 's'));
      assert.deepEqual(await names(work), []);
    });
  }

  it('leaves an earlier output as it was when a run that replaces it is cancelled', async function () {
    this.timeout(60_000);
    const out = join(folder, 'earlier');
    await run(['extract', BIN, '--out', out]);
    const before = [await names(out), await readFile(join(out, 'manifest.json'), 'utf8')];
    const ended = await run(['extract', checkpoint, '--out', out, '--overwrite', '--json'], {
      watch: child => child.stderr?.on('data', (text: string) => { if (text.includes('Extracting 0%')) child.kill('SIGINT'); }),
    });
    assert.equal(ended.code, 130, ended.stderr);
    assert.deepEqual(JSON.parse(ended.stdout), { error: 'Cancelled; nothing was left behind.' });
    assert.deepEqual([await names(out), await readFile(join(out, 'manifest.json'), 'utf8')], before);
    assert.equal((await run(['verify', out])).code, 0);
  });
});
