// `npm run bench [-- --full] [-- --no-encoder]`: times against a reference in the same run, medians over interleaved runs, into bench/RESULTS.md.
import { spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import esbuild from 'esbuild';

const root = path.resolve(import.meta.dirname, '../..');
const { values: options } = parseArgs({ options: { full: { type: 'boolean', default: false }, 'no-encoder': { type: 'boolean', default: false }, runs: { type: 'string', default: '5' }, dir: { type: 'string', default: os.tmpdir() } } });
const runs = Number(options.runs);
const MB = 1e6;
/** Bytes kept, bytes in all. */
const [KEPT, TOTAL] = options.full ? [2000 * MB, 10_000 * MB] : [256 * MB, 1000 * MB];
const CLI = path.join(root, 'dist/cli.js');
const rows = [];
const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

/** One run of a program: seconds of wall and of CPU, and peak memory in MB (GNU time and the page cache as asked for). */
function run(command, { cold = false, after } = {}) {
  spawnSync('sync');
  if (cold) writeFileSync('/proc/sys/vm/drop_caches', '3');
  const started = performance.now();
  const { status, stderr } = spawnSync('/usr/bin/python3', ['-c', `
import resource, subprocess, sys
p = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
u = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stderr.write(p.stderr.decode()[-2000:] + "\\n%f %d" % (u.ru_utime + u.ru_stime, u.ru_maxrss))
sys.exit(p.returncode)`, ...command], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command.join(' ')}: ${stderr}`);
  const wall = (performance.now() - started) / 1000;
  const [cpu, rss] = stderr.split('\n').at(-1).split(' ').map(Number);
  after?.();
  return { wall, cpu, rss: rss * 1024 / MB };
}

/** Interleaves the candidates, so that a slow moment hits all; gives medians by name. */
function compare(candidates, count = runs) {
  const all = Object.fromEntries(Object.keys(candidates).map(name => [name, []]));
  for (let i = 0; i < count; i++) for (const [name, candidate] of Object.entries(candidates)) all[name].push(candidate());
  return Object.fromEntries(Object.entries(all).map(([name, seen]) => [name, { wall: median(seen.map(one => one.wall)), cpu: median(seen.map(one => one.cpu)), rss: Math.max(...seen.map(one => one.rss)) }]));
}

function report(what, ours, reference, of) {
  const cell = value => Number.isFinite(value) ? value.toFixed(2) : '';
  rows.push(`| ${what} | ${of} | ${ours.wall.toFixed(3)} s | ${reference.wall.toFixed(3)} s | ${cell(ours.wall / reference.wall)} | ${cell(ours.cpu / reference.cpu)} | ${cell(ours.rss)} MB |`);
  console.log(rows.at(-1));
  writeResults();
}

/** A safetensors checkpoint of random bytes: `keys` tensors, the share kept under `visual.`, in `shards` files. */
function writeCheckpoint(folder, { keys, shards, kept, total }) {
  mkdirSync(folder);
  const noise = Buffer.alloc(1 << 24);
  for (let i = 0; i < noise.length; i += 4) noise.writeUInt32LE(Math.imul(i + 1, 2654435761) >>> 0, i);
  const weightMap = {};
  const visual = Math.max(1, Math.round(keys * kept / total));
  const bytesOf = i => Math.max(2, Math.floor((i < visual ? kept / visual : (total - kept) / Math.max(1, keys - visual)) / 2) * 2);
  for (let shard = 0; shard < shards; shard++) {
    const name = `model-${String(shard + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.safetensors`;
    const header = {};
    let end = 0;
    for (let i = shard; i < keys; i += shards) {
      const key = i < visual ? `visual.blocks.${i}.weight` : `model.layers.${i}.weight`;
      header[key] = { dtype: 'BF16', shape: [bytesOf(i) / 2], data_offsets: [end, end += bytesOf(i)] };
      weightMap[key] = name;
    }
    const json = Buffer.from(JSON.stringify(header));
    const fd = openSync(path.join(folder, name), 'w');
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    writeSync(fd, Buffer.concat([length, json]));
    for (let left = end; left > 0; left -= noise.length) writeSync(fd, noise, 0, Math.min(left, noise.length));
    fsyncSync(fd);
    closeSync(fd);
  }
  writeFileSync(path.join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

const extraction = spawnSync(process.execPath, [path.join(root, 'esbuild.mjs'), '--production'], { cwd: root, encoding: 'utf8' });
if (extraction.status !== 0) throw new Error(extraction.stderr);
const folder = mkdtempSync(path.join(options.dir, 'vision-encoder-bench-'));
const at = (...names) => path.join(folder, ...names);
/** Bundled for the bench: the extraction without validation, since these tensors are of no model. */
const worker = at('worker.cjs');
await esbuild.build({ bundle: true, platform: 'node', format: 'cjs', mainFields: ['module', 'main'], entryPoints: [path.join(root, 'test/bench/worker.ts')], outfile: worker });
const cold = process.platform === 'linux' && process.getuid() === 0;

try {
  const clean = () => { rmSync(at('out'), { recursive: true, force: true }); };
  const copy = `import os,shutil,sys\nsrc,dst=sys.argv[1:]\nos.system('cp --reflink=never ' + src + ' ' + dst)\nfd=os.open(dst,os.O_RDONLY); os.fsync(fd)`;
  for (const shards of [1, 10]) {
    writeCheckpoint(at('source'), { keys: 600, shards, kept: KEPT, total: TOTAL });
    run([process.execPath, worker, 'extract', at('source'), at('kept')]);
    for (const format of ['safetensors', 'torch']) {
      if (format === 'torch') {
        run([process.execPath, worker, 'all', at('source'), at('bin')]);
        rmSync(at('source'), { recursive: true });
      }
      const source = format === 'torch' ? at('bin') : at('source');
      for (const isCold of cold ? [false, true] : [false]) {
        const { ours, cp } = compare({
          ours: () => run([process.execPath, worker, 'extract', source, at('out')], { cold: isCold, after: clean }),
          cp: () => run(['/usr/bin/python3', '-c', copy, at('kept/model.safetensors'), at('copy')], { cold: isCold, after: () => { rmSync(at('copy')); } }),
        }, isCold ? Math.min(runs, 3) : runs);
        report(`extract ${KEPT / MB} MB of ${TOTAL / MB} MB, ${format === 'torch' ? '.bin' : 'safetensors'}, ${shards} shard${shards === 1 ? '' : 's'}, ${isCold ? 'cold' : 'warm'}`, ours, cp, 'cp + fsync');
      }
    }
    if (shards === 1) {
      const { verify, read } = compare({
        verify: () => run([process.execPath, CLI, 'verify', at('kept'), '--source', at('bin')]),
        read: () => run(['/usr/bin/sha256sum', at('kept/model.safetensors')]),
      }, 3);
      report('verify, warm', verify, read, 'sha256sum of the output');
      const reference = `import sys,torch\nw=torch.load(sys.argv[1],weights_only=True)\ntorch.save({k[7:]:v for k,v in w.items() if k.startswith('visual.')},sys.argv[2])`;
      if (spawnSync('/usr/bin/python3', ['-c', 'import torch']).status === 0) {
        const found = readdirSync(at('bin')).find(name => name.endsWith('.bin'));
        const { ours, torch } = compare({
          ours: () => run([process.execPath, worker, 'extract', at('bin'), at('out')], { after: clean }),
          torch: () => run(['/usr/bin/python3', '-c', reference, at('bin', found), at('copy')], { after: () => { rmSync(at('copy')); } }),
        }, 3);
        report(`extract .bin, warm (PyTorch took ${torch.rss.toFixed(0)} MB)`, ours, torch, 'torch.load, filter, torch.save');
      }
      for (const dtype of ['f32', 'f16']) {
        const { ours, plain } = compare({
          ours: () => run([process.execPath, worker, 'extract', at('bin'), at('out'), dtype], { after: clean }),
          plain: () => run([process.execPath, worker, 'extract', at('bin'), at('out')], { after: clean }),
        }, 3);
        report(`cast bf16 to ${dtype} on the way, warm`, ours, plain, 'the same extraction without a cast');
      }
    }
    for (const name of ['source', 'bin', 'kept']) rmSync(at(name), { recursive: true, force: true });
  }
  for (const [shards, keys] of [[10, 1000], [10, 100_000], [300, 1000], [300, 100_000]]) {
    writeCheckpoint(at('many'), { keys, shards, kept: keys * 0.2, total: keys * 4 });
    const { ours, bare } = compare({ ours: () => inner('open', at('many')), bare: () => bareHeaders(at('many')) });
    report(`open ${keys} keys in ${shards} shards (in the process)`, ours, bare, 'reading the header bytes');
    if (shards === 10 && keys === 100_000) {
      const { marks, opened } = compare({ marks: () => inner('mark', at('many')), opened: () => inner('filter', at('many')) }, 3);
      rows.push(`| mark ${keys} keys (a rule changed) | | ${marks.wall.toFixed(3)} s | | | | |`, `| filter ${keys} keys by text | | ${opened.wall.toFixed(3)} s | | | | |`);
    }
    rmSync(at('many'), { recursive: true });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
// The encoder has a report of its own, bench/ENCODER.md.
if (!options['no-encoder']) spawnSync(process.execPath, ['--import', 'tsx', path.join(root, 'test/bench/encoder.ts'), ...(options.full ? [] : ['--no-full']), '--runs', options.runs, '--dir', options.dir], { cwd: root, stdio: 'inherit' });

/** The worker's own measurement, in its process after its start. */
function inner(what, where) {
  const { stdout, stderr } = spawnSync(process.execPath, [worker, what, where], { encoding: 'utf8' });
  if (stdout === '') throw new Error(stderr);
  return { wall: Number(stdout), cpu: NaN, rss: NaN };
}

function bareHeaders(where) {
  const started = performance.now();
  for (const name of readdirSync(where).filter(one => one.endsWith('.safetensors'))) {
    const fd = openSync(path.join(where, name), 'r');
    const length = Buffer.alloc(8);
    readSync(fd, length, 0, 8, 0);
    const header = Buffer.alloc(Number(length.readBigUInt64LE()));
    readSync(fd, header, 0, header.length, 8);
    closeSync(fd);
  }
  return { wall: (performance.now() - started) / 1000, cpu: NaN, rss: NaN };
}

/** After every row, so that a run that is cut short leaves what it measured. */
function writeResults() {
  const sizes = ['cli.js', 'encoder.js', 'extension.js', 'webview/main.js'].map(name => `| dist/${name} | ${Math.round(statSync(path.join(root, 'dist', name)).size / 1000)} KB |`);
  const text = `# Results of \`npm run bench\`

${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.availableParallelism()} threads, ${(os.totalmem() / 1e9).toFixed(0)} GB of memory, ${os.type()} ${os.release()}, Node ${process.version}. Medians of up to ${runs} interleaved runs; peak memory is the largest seen.

| What | Against | Ours | Reference | Time ratio | CPU ratio | Our peak memory |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

| Bundle | Size |
| --- | --- |
${sizes.join('\n')}
`;
  mkdirSync(path.join(root, 'bench'), { recursive: true });
  writeFileSync(path.join(root, 'bench/RESULTS.md'), text);
}
