import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const FIXTURES = join(__dirname, '../fixtures');
export const BIN = join(FIXTURES, 'qwen-vl-tiny-bin');
export const SAFETENSORS = join(FIXTURES, 'qwen-vl-tiny-safetensors');
/** What an extraction of one file leaves. */
export const OUTPUT = ['config.json', 'manifest.json', 'model.safetensors', 'preprocessor_config.json'];

let bundle: string | undefined;

/** The command line's bundle, built once for all tests, where every user may read it. */
export function cliPath(): string {
  if (bundle !== undefined) return bundle;
  const folder = mkdtempSync(join(tmpdir(), 'vision-encoder-cli-'));
  process.once('exit', () => { rmSync(folder, { recursive: true, force: true }); });
  const file = join(folder, 'cli.js');
  const { status, stderr } = spawnSync(process.execPath, [join(__dirname, 'build.mjs'), file], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  chmodSync(folder, 0o755);
  return bundle = file;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunSettings {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Another user to run as; only root may. */
  readonly uid?: number;
  /** Another build of the command line. */
  readonly program?: string;
  /** Options for Node itself. */
  readonly node?: readonly string[];
  /** Called at once, to watch the process and to meddle with it. */
  readonly watch?: (child: ChildProcess) => void;
}

/** Runs `vision-encoder` to its end. */
export function run(args: readonly string[], { node = [], program = cliPath(), env, watch, ...settings }: RunSettings = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...node, program, ...args], { ...settings, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text; });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text; });
    child.once('error', reject);
    child.once('close', (code, signal) => { resolve({ code, signal, stdout, stderr }); });
    watch?.(child);
  });
}

/** Runs `vision-encoder` for a machine: standard output must be one JSON document. */
export async function runJson(args: readonly string[], code = 0): Promise<Record<string, unknown>> {
  const ended = await run([...args, '--json']);
  assert.equal(ended.code, code, ended.stderr);
  return JSON.parse(ended.stdout) as Record<string, unknown>;
}

/** Runs what must fail: exit code 2, nothing on standard output, and one sentence (or two) on one line that says all of `says`. */
export async function fails(args: readonly string[], says: readonly (string | RegExp)[], settings: RunSettings = {}): Promise<void> {
  const { code, signal, stdout, stderr } = await run(args, settings);
  assert.deepEqual({ code, signal, stdout }, { code: 2, signal: null, stdout: '' }, stderr);
  const errors = stderr.split('\n').filter(line => line.startsWith('error: '));
  assert.equal(errors.length, 1, stderr);
  assert.ok(says.length > 0);
  assert.doesNotMatch(stderr, /\n {4}at |defect|node:internal/);
  for (const what of says) {
    if (typeof what === 'string') assert.ok(errors[0]?.includes(what), `${errors[0]} should say ${what}`);
    else assert.match(errors[0] ?? '', what);
  }
}

/** Runs `use` with a new folder that is removed afterwards. */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'vision-encoder-test-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A copy of a fixture that a test may damage. */
export async function copyOf(fixture: string, folder: string): Promise<string> {
  const copy = join(folder, 'checkpoint');
  await cp(fixture, copy, { recursive: true });
  return copy;
}

/** The names directly in a folder, hidden ones included. */
export async function names(folder: string): Promise<string[]> {
  return (await readdir(folder)).sort();
}

export function skip(test: Mocha.Context, why: string): never {
  console.log(`      skipped: ${why}`);
  return test.skip();
}
