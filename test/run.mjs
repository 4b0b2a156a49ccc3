// Everything that `npm test` runs, in order. Arguments choose suites, and end-to-end files by their paths. The last line is `N passed, N failed`, with `, N skipped` when some were.
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const results = path.join(root, 'test-results');
const mocha = ['node_modules/mocha/bin/mocha.js', '--reporter', 'test/reporter.cjs'];

const args = process.argv.slice(2);
const chosenFiles = args.filter(name => name.endsWith('.e2e.mjs')).map(name => path.relative(root, path.resolve(name)));
const endToEnd = chosenFiles.length > 0 ? chosenFiles : (await readdir(path.join(root, 'test/e2e')))
  .filter(name => name.endsWith('.e2e.mjs') && !(process.env.VISION_ENCODER_VSIX && name === 'vsix.e2e.mjs')) // which makes packages itself
  .sort().map(name => `test/e2e/${name}`);

/**
 * Each is a Node command line. `report`: mocha writes its counts, which must be there and not be zero.
 * `files`: each in a process of its own, with a browser and a VS Code of its own. A file of which a test failed runs once more
 * from the start: what fails twice has failed, what passed the second time is named in the summary as unsteady.
 */
const suites = [
  { name: 'lint', command: ['node_modules/eslint/bin/eslint.js', '.'], minutes: 5 },
  { name: 'types', command: ['node_modules/typescript/bin/tsc', '-p', '.'], minutes: 5 },
  { name: 'webtypes', command: ['node_modules/typescript/bin/tsc', '-p', 'webview'], minutes: 5 },
  { name: 'build', command: ['esbuild.mjs', '--production'], minutes: 2 },
  { name: 'unit', command: [...mocha, 'test/unit/**/*.test.ts', 'test/cli/**/*.test.ts'], minutes: 15, report: true },
  { name: 'host', command: ['test/host/run.mjs'], minutes: 15, report: true },
  { name: 'e2e', command: [...mocha, '--no-config', '--forbid-only'], files: endToEnd, minutes: 8, report: true },
];

let current; // the suite that is running, which ends with us
const endCurrent = signal => {
  try {
    if (current) process.kill(-current.pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // it has ended
  }
};
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => { endCurrent(signal); process.exit(130); });

/** Runs a suite with its output live. @returns {Promise<string | undefined>} what went wrong */
function execute({ command, minutes }, env) {
  return new Promise(resolve => {
    const child = spawn(process.execPath, command, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
    current = child;
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      endCurrent('SIGTERM');
      setTimeout(() => { endCurrent('SIGKILL'); }, 10_000).unref();
    }, minutes * 60_000);
    const finish = problem => {
      clearTimeout(timer);
      current = undefined;
      resolve(timedOut ? `did not end within ${minutes} minutes` : problem);
    };
    child.once('error', error => { finish(error.message); });
    child.once('exit', (code, signal) => { finish(code === 0 ? undefined : signal ? `was ended by ${signal}` : `ended with exit code ${code}`); });
  });
}

/** @returns {Promise<{ name: string, passed: number, failed: number, skipped: number, problem?: string }>} */
async function run(suite) {
  if (!suite.files) return runOnce(suite);
  const sum = { name: suite.name, passed: 0, failed: 0, skipped: 0 };
  const problems = [];
  for (const file of suite.files) {
    const one = { ...suite, command: [...suite.command, file] };
    let counts = await runOnce(one);
    if (counts.failed > 0) {
      console.log(`\n--- ${file} once more`);
      counts = await runOnce(one);
      problems.push(`${file} ${counts.failed > 0 ? 'failed twice' : 'failed at first and passed at the second attempt'}`);
    }
    for (const field of ['passed', 'failed', 'skipped']) sum[field] += counts[field];
  }
  return problems.length > 0 ? { ...sum, problem: problems.join('; ') } : sum;
}

/** @returns {ReturnType<typeof run>} */
async function runOnce(suite) {
  const report = path.join(results, `${suite.name}.json`);
  await rm(report, { force: true });
  const problem = await execute(suite, { ...process.env, TEST_REPORT: report });
  const counts = { name: suite.name, passed: 0, failed: 0, skipped: 0 };
  if (!suite.report) return problem ? { ...counts, failed: 1, problem } : { ...counts, passed: 1 };

  const reported = await readReport(report);
  if (!reported) return { ...counts, failed: 1, problem: `${problem ?? 'ended without an error'}, without a report of its tests` };
  if (reported.passed + reported.failed === 0) return { ...counts, ...reported, failed: 1, problem: 'ran no test' };
  // Exit code and counts must tell the same story: a crash after the last test is a failure too.
  if (problem && reported.failed === 0) return { ...counts, ...reported, failed: 1, problem };
  return { ...counts, ...reported };
}

async function readReport(file) {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

const chosen = args.filter(name => !name.endsWith('.e2e.mjs'));
const unknown = chosen.filter(name => !suites.some(suite => suite.name === name));
if (unknown.length > 0) {
  console.error(`There is no suite called ${unknown.join(', ')}. There are: ${suites.map(suite => suite.name).join(', ')}.`);
  process.exit(2);
}

await mkdir(results, { recursive: true });
const outcomes = [];
for (const suite of suites.filter(({ name }) => chosen.length === 0 || chosen.includes(name))) {
  console.log(`\n=== ${suite.name}`);
  const started = Date.now();
  outcomes.push({ ...await run(suite), seconds: (Date.now() - started) / 1000 });
}

const total = field => outcomes.reduce((sum, outcome) => sum + outcome[field], 0);
console.log('\n=== summary');
for (const { name, passed, failed, skipped, problem, seconds } of outcomes) {
  console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${name.padEnd(8)} ${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''} (${seconds.toFixed(1)} s)${problem ? `: ${problem}` : ''}`);
}
console.log(`${total('passed')} passed, ${total('failed')} failed${total('skipped') > 0 ? `, ${total('skipped')} skipped` : ''}`);
process.exitCode = total('failed') > 0 ? 1 : 0;
