/**
 * The encoder's speed and memory on the CPU, into bench/ENCODER.md: at ViT-L/14 size against PyTorch with the same
 * threads where python3-torch is installed, and at Qwen-VL's full size. Run with tsx:
 *   encoder.ts [--runs N] [--no-full] [--full-torch] [--dir FOLDER]
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { availableParallelism, cpus, loadavg, release, tmpdir, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import ort from 'onnxruntime-node/package.json';
import { writeRandomCheckpoint } from './randomCheckpoint';

const VIT_L = { width: 1024, layers: 24, heads: 16, patch_size: 14, mlp_size: 4096, output_dim: 1024, image_size: 448, n_queries: 256 };
const QWEN_VL = { width: 1664, layers: 48, heads: 16, patch_size: 14, mlp_size: 8192, output_dim: 4096, image_size: 448, n_queries: 256 };

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '5' }, 'no-full': { type: 'boolean', default: false }, 'full-torch': { type: 'boolean', default: false }, dir: { type: 'string', default: tmpdir() } } });
const runs = Number(options.runs);
const threads = availableParallelism();
const root = join(import.meta.dirname, '../..');

interface Loaded { readonly seconds: number; readonly version?: string; readonly blas?: string }
interface Ran { readonly seconds: number; readonly cpu: number; readonly peak: number; readonly features: string }

/** A process that holds one encoder, and runs it when asked. */
interface Candidate {
  /** Undefined when it could not be loaded, as PyTorch where it is not installed. */
  readonly loaded: Loaded | undefined;
  readonly run: (pictures: number) => Promise<Ran>;
  readonly end: () => void;
}

async function start(command: string, ...args: readonly string[]): Promise<Candidate> {
  const env = { ...process.env, OPENBLAS_NUM_THREADS: `${threads}`, OMP_NUM_THREADS: `${threads}` };
  const child = spawn(command, args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'], env });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async <T>(): Promise<T | undefined> => {
    const { value } = await lines.next() as { value?: string };
    return value === undefined ? undefined : JSON.parse(value) as T;
  };
  return {
    loaded: await answer<Loaded>(),
    run: async pictures => {
      child.stdin.write(`${pictures}\n`);
      const ran = await answer<Ran>();
      if (ran === undefined) throw new Error(`${command} ${args.join(' ')} ended.`);
      return ran;
    },
    end: () => { child.stdin.end(); },
  };
}

const ours = (folder: string, how: 'kept' | 'read' | 'plain'): Promise<Candidate> => start(process.execPath, '--import', 'tsx', join(import.meta.dirname, 'encoderWorker.ts'), folder, how);
const pytorch = (folder: string): Promise<Candidate> => start('/usr/bin/python3', join(import.meta.dirname, 'qwen_vl_reference.py'), folder, `${threads}`);

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

function relativeError(actual: string, reference: string): number {
  const [a, r] = [actual, reference].map(text => {
    const bytes = Buffer.from(text, 'base64');
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  });
  if (a === undefined || r === undefined) return NaN;
  return Math.sqrt(r.reduce((sum, value, i) => sum + (value - (a[i] ?? NaN)) ** 2, 0) / r.reduce((sum, value) => sum + value ** 2, 0));
}

/** Runs the candidates in turn, so that a slow moment hits all; a first round warms them up. */
async function compareVitL(folder: string): Promise<string> {
  const bytes = (await stat(join(folder, 'model.safetensors'))).size;
  const candidates = new Map([
    ['ours, weights kept', await ours(folder, 'kept')],
    ['ours, weights read anew for every picture', await ours(folder, 'read')],
    ['plain ONNX graph, weights as initialisers', await ours(folder, 'plain')],
  ]);
  const torch = await pytorch(folder);
  if (torch.loaded !== undefined) candidates.set(`PyTorch ${torch.loaded.version ?? ''}`, torch);
  const ran = new Map<string, Ran[]>([...candidates.keys()].map(name => [name, []]));
  for (let round = 0; round <= runs; round++) {
    for (const [name, candidate] of candidates) {
      const one = await candidate.run(1);
      if (round > 0) ran.get(name)?.push(one);
    }
  }
  for (const candidate of candidates.values()) candidate.end();
  const reference = [...ran].find(([name]) => name.startsWith('PyTorch'))?.[1];
  const rows = [...ran].map(([name, all]) => {
    const ratio = (of: (one: Ran) => number): string => reference === undefined ? '' : (median(all.map(of)) / median(reference.map(of))).toFixed(2);
    const [first] = all;
    const error = reference?.[0] === undefined || first === undefined || all === reference ? '' : relativeError(first.features, reference[0].features).toExponential(1);
    return `| ${name} | ${candidates.get(name)?.loaded?.seconds.toFixed(1) ?? ''} s | ${median(all.map(one => one.seconds)).toFixed(2)} s | ${ratio(one => one.seconds)} | ${median(all.map(one => one.cpu)).toFixed(2)} s | ${ratio(one => one.cpu)} | ${(Math.max(...all.map(one => one.peak)) / bytes).toFixed(2)} | ${error} |`;
  });
  return `## ViT-L/14 at 448 x 448 (24 blocks, 1024 tokens, random weights)

The weights are ${(bytes / 1e9).toFixed(2)} GB in bfloat16. Medians of ${runs} runs, one picture each, interleaved after one that warms up${torch.loaded === undefined ? '. PyTorch is not installed here' : `; PyTorch multiplies with ${torch.loaded.blas?.replace(/^.*\/(?=[^/]*\/)/, '') ?? ''}`}.

| | load | per picture | of PyTorch's time | processor | of PyTorch's processor time | peak memory / weights | relative difference |
| --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}

/** One candidate after the other: together they would not fit into the memory. */
async function measureFull(folder: string): Promise<string> {
  const bytes = (await stat(join(folder, 'model.safetensors'))).size;
  const rows: string[] = [];
  for (const [name, open] of [
    ['ours, weights read anew for every picture', () => ours(folder, 'read')],
    ['ours, weights kept', () => ours(folder, 'kept')],
    ...options['full-torch'] ? [['PyTorch', () => pytorch(folder)] as const] : [],
  ] as const) {
    const candidate = await open();
    const [first, second, two] = [await candidate.run(1), await candidate.run(1), await candidate.run(2)];
    candidate.end();
    rows.push(`| ${name} | ${candidate.loaded?.seconds.toFixed(1) ?? ''} s | ${first.seconds.toFixed(1)} s | ${second.seconds.toFixed(1)} s (${second.cpu.toFixed(1)} s) | ${(two.seconds / 2).toFixed(1)} s (${(two.cpu / 2).toFixed(1)} s) | ${(second.peak / 1e9).toFixed(2)} GB, ${(second.peak / bytes).toFixed(2)} | ${(two.peak / 1e9).toFixed(2)} GB |`);
    console.log(rows.at(-1));
  }
  return `## Qwen-VL at full size (48 blocks, 1.9 billion parameters, random weights)

The weights are ${(bytes / 1e9).toFixed(2)} GB in bfloat16. In brackets: seconds of processor time.

| | load | first picture | second picture | each of two together | peak memory, / weights | with two |
| --- | --- | --- | --- | --- | --- | --- |
${rows.join('\n')}
`;
}

async function main(): Promise<void> {
  const sections: string[] = [];
  for (const [settings, measure] of [[VIT_L, compareVitL], ...options['no-full'] ? [] : [[QWEN_VL, measureFull] as const]] as const) {
    const folder = await mkdtemp(join(options.dir, 'encoder-bench-'));
    try {
      await writeRandomCheckpoint(folder, settings);
      const section = await measure(folder);
      console.log(section);
      sections.push(section);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  const machine = `${cpus()[0]?.model ?? 'unknown processor'}, ${threads} threads, ${(totalmem() / 1e9).toFixed(0)} GB of memory, ${type()} ${release()}, Node ${process.version}, ONNX Runtime ${ort.version}`;
  writeFileSync(join(root, 'bench/ENCODER.md'), `# The encoder on the CPU

Written by \`npm run bench\`. ${machine}. Load average while it was written: ${loadavg().map(one => one.toFixed(1)).join(', ')}; where that is far above the threads, compare ratios and processor time, not seconds. What was learnt from such figures: [ENCODER_NOTES.md](ENCODER_NOTES.md).

${sections.join('\n')}`);
}

void main();
