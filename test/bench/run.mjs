// `npm run bench [-- --full] [-- --runs N] [-- --dir FOLDER] [-- --only PART] [-- --no-encoder]`: times against references in the same run, medians over
// interleaved runs, into bench/RESULTS.md. --full keeps 2 GB out of 10 GB, on up to 15 GB of disk; otherwise 512 MB out of 2.5 GB.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import esbuild from 'esbuild';
import { copyThread, node } from '../../esbuild.node.mjs';

const root = path.resolve(import.meta.dirname, '../..');
const { values: options } = parseArgs({ options: { full: { type: 'boolean', default: false }, 'no-encoder': { type: 'boolean', default: false }, runs: { type: 'string', default: '3' }, dir: { type: 'string', default: os.tmpdir() }, only: { type: 'string' } } });
const runs = Number(options.runs);
const MB = 1e6;
/** Bytes kept, bytes in all. */
const [KEPT, TOTAL] = options.full ? [2000 * MB, 10_000 * MB] : [512 * MB, 2560 * MB];
/** What PyTorch loads whole must fit in memory twice. */
const TORCH_KEPT = 512 * MB;
const folder = mkdtempSync(path.join(options.dir, 'vision-encoder-bench-'));
const at = (...names) => path.join(folder, ...names);
const sections = [];
const canDropCaches = process.platform === 'linux' && process.getuid() === 0;

/** Seconds of wall and of CPU, peak memory in MB: of the whole program, by a small parent, since a child begins with its parent's peak. */
const MEASURE = `
import os, resource, subprocess, sys, time
t = time.monotonic()
p = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
w = time.monotonic() - t
u = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.buffer.write(p.stdout + b"\\n%f %f %d" % (w, u.ru_utime + u.ru_stime, u.ru_maxrss))
sys.exit(p.returncode)`;

function run(command, { cold = false, after } = {}) {
  spawnSync('sync');
  if (cold) writeFileSync('/proc/sys/vm/drop_caches', '3');
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', ['-c', MEASURE, ...command], { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
  const lines = stdout.split('\n');
  const [wall, cpu, rss] = lines.pop().split(' ').map(Number);
  after?.();
  return { wall, cpu, rss: rss * 1024 / MB, output: lines.join('\n') };
}
const shell = command => ['/bin/sh', '-c', command];
const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Interleaves the candidates, so that a slow moment of the machine hits all. */
function compare(candidates) {
  const seen = Object.fromEntries(Object.keys(candidates).map(name => [name, []]));
  for (let i = 0; i < runs; i++) for (const [name, candidate] of Object.entries(candidates)) seen[name].push(candidate());
  return Object.fromEntries(Object.entries(seen).map(([name, all]) => [name, { wall: median(all.map(one => one.wall)), cpu: median(all.map(one => one.cpu)), rss: Math.max(...all.map(one => one.rss)) }]));
}

function section(part, title, header, fill) {
  if (options.only !== undefined && options.only !== part) return;
  const rows = [];
  sections.push({ title, header, rows });
  console.log(`\n${title}\n${header.join(' | ')}`);
  fill((...cells) => {
    rows.push(cells);
    console.log(cells.join(' | '));
    writeResults();
  });
}

const ratio = (a, b) => (a / b).toFixed(2);
const s = seconds => seconds < 0.1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(2)} s`;

const built = spawnSync(process.execPath, [path.join(root, 'esbuild.mjs'), '--production'], { cwd: root, encoding: 'utf8' });
if (built.status !== 0) throw new Error(built.stderr);
const CLI = path.join(root, 'dist/cli.js');
const bundle = (entry, outfile) => esbuild.build({ ...node, absWorkingDir: root, entryPoints: [entry], outfile, minify: true, logLevel: 'error' });
// Extraction without validation, since the bench's tensors are of no model; opening and the tree without the editor around.
await bundle('test/bench/worker.ts', at('worker.js'));
await bundle(copyThread.entry, at(copyThread.name));
const worker = (...args) => [process.execPath, at('worker.js'), ...args.map(String)];
const make = (name, format, dtype, shards, keys, kept, total) => { run(worker('make', at(name), format, dtype, shards, keys, kept, total)); };
const clean = () => { rmSync(at('out'), { recursive: true, force: true }); };
const extraction = (source, ...more) => ({ cold = false } = {}) => () => run(worker('extract', at(source), at('out'), ...more), { cold, after: clean });
/** The bytes that ours takes lie in a file of their own for the references. */
const copied = (command, cold) => () => run(shell(command), { cold, after: () => { rmSync(at('copy')); } });
const CP = `cp --reflink=never ${at('kept.bin')} ${at('copy')} && sync ${at('copy')}`;

try {
  section('extract', `Extraction of ${KEPT / MB} MB out of ${TOTAL / MB} MB, flushed to the disk on both sides`, ['Source', 'Shards', 'Cache', 'Ours', 'cp', 'Wall / cp', 'CPU / cp', 'cp beside SHA-256', 'Wall / that', 'CPU / that', 'Our peak memory'], row => {
    for (const format of ['safetensors', 'torch']) {
      for (const shards of [1, 10]) {
        make('source', format, 'BF16', shards, 1000, KEPT, TOTAL);
        run(worker('extract', at('source'), at('out')));
        run(['mv', at('out', 'model.safetensors'), at('kept.bin')]);
        clean();
        for (const cold of canDropCaches ? [false, true] : [false]) {
          const { ours, cp, both } = compare({
            ours: extraction('source')({ cold }),
            cp: copied(CP, cold),
            both: copied(`openssl dgst -sha256 ${at('kept.bin')} & ${CP}; wait`, cold),
          });
          row(format === 'torch' ? '.bin' : 'safetensors', shards, cold ? 'cold' : 'warm', s(ours.wall), s(cp.wall), ratio(ours.wall, cp.wall), ratio(ours.cpu, cp.cpu), s(both.wall), ratio(ours.wall, both.wall), ratio(ours.cpu, both.cpu), `${ours.rss.toFixed(0)} MB`);
        }
        rmSync(at('source'), { recursive: true });
      }
    }
  });

  section('torch', `The same as PyTorch does it: load everything, filter, save (${TORCH_KEPT / MB} MB out of ${5 * TORCH_KEPT / MB} MB, warm)`, ['', 'Ours', 'PyTorch', 'Time', 'Memory'], row => {
    if (spawnSync('/usr/bin/python3', ['-c', 'import torch']).status !== 0) return;
    make('source', 'torch', 'BF16', 1, 1000, TORCH_KEPT, 5 * TORCH_KEPT);
    const script = `import os,sys,torch
w=torch.load(sys.argv[1],map_location='cpu')
f=open(sys.argv[2],'wb')
torch.save({k[7:]:v.clone() for k,v in w.items() if 'visual' in k},f)
f.flush();os.fsync(f.fileno())`;
    const { ours, torch } = compare({
      ours: extraction('source', 'keep', 'torch')(),
      torch: () => run(['/usr/bin/python3', '-c', script, at('source', 'model-00001-of-00001.bin'), at('copy')], { after: () => { rmSync(at('copy')); } }),
    });
    row('.bin to .bin', s(ours.wall), `${s(torch.wall)}, ${torch.rss.toFixed(0)} MB`, ratio(ours.wall, torch.wall), `${ours.rss.toFixed(0)} MB, ${ratio(ours.rss, torch.rss)}`);
    rmSync(at('source'), { recursive: true });
  });

  section('cast', 'Casting on the way, warm: over copying as many bytes as the larger side has, flushed to the disk on both sides', ['Cast', 'Ours', 'The copy, ours', 'Wall', 'CPU'], row => {
    // Each writes or reads 512 MB, whichever is more.
    for (const [from, to] of [['BF16', 'f32'], ['F32', 'bf16'], ['F32', 'f16'], ['BF16', 'f16']]) {
      const bytes = from === 'BF16' && to === 'f32' ? KEPT / 2 : KEPT;
      make('source', 'safetensors', from, 1, 1000, bytes, bytes * 1.01);
      make('plain', 'safetensors', 'BF16', 1, 1000, KEPT, KEPT * 1.01);
      const { ours, copy } = compare({ ours: extraction('source', to)(), copy: extraction('plain')() });
      row(`${from.toLowerCase()} to ${to}`, s(ours.wall), s(copy.wall), ratio(ours.wall, copy.wall), ratio(ours.cpu, copy.cpu));
      for (const name of ['source', 'plain']) rmSync(at(name), { recursive: true });
    }
  });

  section('verify', `Verifying ${KEPT / MB} MB`, ['', 'Cache', 'Ours', 'Reference', 'Wall', 'CPU'], row => {
    make('source', 'safetensors', 'BF16', 1, 1000, KEPT, KEPT * 1.01);
    run(worker('extract', at('source'), at('out')));
    for (const cold of canDropCaches ? [false, true] : [false]) {
      const weights = at('out', 'model.safetensors');
      const missing = at('nowhere');
      const { alone, compared, cat, hash, cmp } = compare({
        // The source that the manifest names is out of reach for a moment: only the output is read.
        alone: () => {
          run(['mv', at('source'), missing]);
          return run([process.execPath, CLI, 'verify', at('out')], { cold, after: () => { run(['mv', missing, at('source')]); } });
        },
        compared: () => run([process.execPath, CLI, 'verify', at('out')], { cold }),
        cat: () => run(shell(`cat ${weights} > /dev/null`), { cold }),
        hash: () => run(['openssl', 'dgst', '-sha256', weights], { cold }),
        cmp: () => run(shell(`openssl dgst -sha256 ${weights} & cmp ${weights} ${weights} ; wait`), { cold }),
      });
      const cache = cold ? 'cold' : 'warm';
      row('against the manifest', cache, s(alone.wall), `cat: ${s(cat.wall)}`, ratio(alone.wall, cat.wall), ratio(alone.cpu, cat.cpu));
      row('against the manifest', cache, s(alone.wall), `openssl dgst -sha256: ${s(hash.wall)}`, ratio(alone.wall, hash.wall), ratio(alone.cpu, hash.cpu));
      row('against the source too', cache, s(compared.wall), `that beside cmp: ${s(cmp.wall)}`, ratio(compared.wall, cmp.wall), ratio(compared.cpu, cmp.cpu));
    }
    clean();
    rmSync(at('source'), { recursive: true });
  });

  /** The medians of what the worker measures within its process. */
  const inside = (what, name) => {
    const all = Array.from({ length: runs }, () => JSON.parse(run(worker(what, at(name))).output));
    return Object.fromEntries(Object.keys(all[0]).map(key => [key, median(all.map(one => one[key]))]));
  };
  section('open', 'Opening, in a fresh process that has started: over reading the same bytes again in a bare loop', ['Format', 'Shards', 'Keys', 'Ours', 'Bare loop', 'Ratio'], row => {
    for (const format of ['safetensors', 'torch']) {
      for (const [shards, keys] of [[10, 1000], [300, 1000], [10, 100_000], [300, 100_000]]) {
        make('many', format, 'BF16', shards, keys, keys * 20, keys * 100);
        const { ours, bare } = inside('open', 'many');
        row(format === 'torch' ? '.bin' : 'safetensors', shards, keys, s(ours), s(bare), ratio(ours, bare));
        rmSync(at('many'), { recursive: true });
      }
    }
  });

  section('keys', 'The tree of 100,000 keys, in a fresh process', ['What', 'Time'], row => {
    make('many', 'safetensors', 'BF16', 10, 100_000, 2_000_000, 10_000_000);
    const { show, mark, filter } = inside('keys', 'many');
    row('Marks and the tree\'s first two levels, from an opened checkpoint', s(show));
    row('A rule changed, to the rows redrawn', s(mark));
    row('The slowest of ten letters typed into the filter', s(filter));
    rmSync(at('many'), { recursive: true });
  });

  section('editor', 'A checkpoint of 100,000 keys in VS Code, which a browser draws without a GPU on the same processors', ['What', 'Median', 'Least'], row => {
    const { output } = run([process.execPath, path.join(root, 'test/bench/editor.mjs'), String(runs)]);
    for (const [what, times] of Object.entries(JSON.parse(output))) row(what, s(median(times)), s(Math.min(...times)));
  });

  section('start', 'What starting costs', ['What', 'Time or size'], row => {
    // The editor's API as a thing that is anything: what loading runs, and nothing else.
    const load = `const api = new Proxy(class {}, { get: (target, key) => key in target ? target[key] : api });
const { _load } = require('node:module'); require('node:module')._load = (name, ...rest) => name === 'vscode' ? api : _load(name, ...rest);
const started = performance.now(); require(process.argv[1]); console.log((performance.now() - started) / 1000);`;
    const loads = Array.from({ length: runs * 3 }, () => Number(run([process.execPath, '-e', load, path.join(root, 'dist/extension.js')]).output));
    row('Loading the extension, once something of it is used', s(median(loads)));
    const { help, bare } = compare({ help: () => run([process.execPath, CLI, '--version']), bare: () => run([process.execPath, '-e', '0']) });
    row('The command line, from start to end', `${s(help.wall)}, of which Node ${s(bare.wall)}`);
    for (const name of ['extension.js', 'copyThread.js', 'encoder.js', 'cli.js', 'webview/main.js']) row(`dist/${name}`, `${Math.round(statSync(path.join(root, 'dist', name)).size / 1000)} KB`);
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
// The encoder has a report of its own, bench/ENCODER.md.
if (!options['no-encoder'] && options.only === undefined) spawnSync(process.execPath, ['--import', 'tsx', path.join(root, 'test/bench/encoder.ts'), ...(options.full ? [] : ['--no-full']), '--runs', options.runs, '--dir', options.dir], { cwd: root, stdio: 'inherit' });

/** After every row, so that a run that is cut short leaves what it measured. */
function writeResults() {
  const table = ({ title, header, rows }) => [`## ${title}`, '', `| ${header.join(' | ')} |`, `|${' --- |'.repeat(header.length)}`, ...rows.map(cells => `| ${cells.join(' | ')} |`), ''].join('\n');
  const text = `# Results of \`npm run bench${options.full ? ' -- --full' : ''}\`

${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.availableParallelism()} threads, ${(os.totalmem() / 1e9).toFixed(0)} GB of memory, ${os.type()} ${os.release()}, Node ${process.version}; load average ${os.loadavg()[0]?.toFixed(1)}. Medians of ${runs} interleaved runs; peak memory is the largest seen. What was tried, and what limits each: [NOTES.md](NOTES.md).

${sections.map(table).join('\n')}`;
  mkdirSync(path.join(root, 'bench'), { recursive: true });
  writeFileSync(path.join(root, 'bench/RESULTS.md'), text);
}
