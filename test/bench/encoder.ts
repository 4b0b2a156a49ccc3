/**
 * The encoder's speed and memory on the CPU: weights kept and weights streamed, plain and fused operators, and PyTorch
 * with the same threads where python3-torch is installed. Run with tsx:
 *   encoder.ts [--size vit-l|qwen-vl] [--layers N] [--runs N] [--no-torch]
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseConfig } from '../../src/architecture/config';
import { forwardGraph } from '../../src/architecture/forwardGraphs';
import { qwenVl } from '../../src/architecture/qwenVl';
import { elementCount } from '../../src/checkpoint/dtype';
import { openCheckpoint } from '../../src/checkpoint/open';
import { CpuEncoder } from '../../src/encoder/cpuEncoder';
import { DeviceEncoder } from '../../src/encoder/deviceEncoder';
import type { LoadedEncoder } from '../../src/encoder/encoder';
import { locateWeights } from '../../src/encoder/locate';
import { encoderModel, storedBytes } from '../../src/encoder/model';
import { Weights } from '../../src/encoder/weights';
import { makePlan } from '../../src/recipe/plan';
import { writeRandomCheckpoint } from './randomCheckpoint';

const SIZES = {
  'vit-l': { width: 1024, layers: 24, heads: 16, patch_size: 14, mlp_size: 4096, output_dim: 1024, image_size: 448, n_queries: 256 },
  'qwen-vl': { width: 1664, layers: 48, heads: 16, patch_size: 14, mlp_size: 8192, output_dim: 4096, image_size: 448, n_queries: 256 },
};

const { values } = parseArgs({ options: { size: { type: 'string', default: 'vit-l' }, layers: { type: 'string' }, runs: { type: 'string', default: '3' }, 'no-torch': { type: 'boolean', default: false } } });
const size = values.size === 'qwen-vl' ? 'qwen-vl' : 'vit-l';
const settings = { ...SIZES[size], layers: Number(values.layers ?? (size === 'vit-l' ? 6 : 48)) };
const runs = Number(values.runs);
const threads = Math.max(1, availableParallelism());

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'encoder-bench-'));
  try {
    await writeRandomCheckpoint(folder, settings);
    const checkpoint = await openCheckpoint(folder);
    await checkpoint.close();
    const config = parseConfig(await readFile(join(folder, 'config.json'), 'utf8'), 'config.json');
    const model = encoderModel(makePlan(checkpoint, qwenVl.recipe('')), qwenVl, qwenVl.resolve(config, settings));
    const graph = forwardGraph(model.graph);
    const pixels = { shape: [1, ...graph.inputShape], data: Float32Array.from({ length: elementCount(graph.inputShape) }, (_, i) => Math.sin(i * 0.37)) };
    console.log(`${size}, ${graph.layers} layers, ${(storedBytes(model) / 1e9).toFixed(2)} GB in bfloat16, up to ${threads} threads`);

    const quiet = { onProgress: () => undefined, check: () => undefined };
    const measure = async (name: string, load: () => LoadedEncoder | Promise<LoadedEncoder>): Promise<{ best: number; features: Float32Array }> => {
      const start = performance.now();
      const encoder = await load();
      const loaded = performance.now();
      const seconds: number[] = [];
      let features = new Float32Array();
      for (let run = 0; run < runs; run++) {
        const begun = performance.now();
        await encoder.run(pixels, ['features'], { ...quiet, onOutput: (_, { data }) => { features = new Float32Array(data); return Promise.resolve(); } });
        seconds.push((performance.now() - begun) / 1000);
      }
      await encoder.close();
      const peak = process.resourceUsage().maxRSS * 1024;
      console.log(`${name}: load ${((loaded - start) / 1000).toFixed(2)} s, runs ${seconds.map(one => one.toFixed(2)).join(' ')} s, peak memory so far ${(peak / storedBytes(model)).toFixed(2)} x the weights`);
      return { best: Math.min(...seconds), features };
    };
    const weights = (keep: number): Weights => new Weights(model, keep);
    // From little memory to much: the peak only grows.
    const streamed = await measure('streamed', () => new CpuEncoder(model.graph, weights(0)));
    await measure('kept', () => new CpuEncoder(model.graph, weights(Infinity)));
    if (size === 'vit-l') {
      await measure('plain operators, initialisers', async () => {
        const fed = weights(0);
        return DeviceEncoder.load(model.graph, new CpuEncoder(model.graph, fed), { provider: 'cpu', precision: 'float32', blockBytes: 1 << 26, locate: each => locateWeights(model, each, fed) }, quiet);
      });
    }
    if (!values['no-torch']) compareWithTorch(folder, pixels.data, streamed);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function compareWithTorch(folder: string, pixels: Float32Array, ours: { best: number; features: Float32Array }): void {
  const script = join(import.meta.dirname, 'qwen_vl_reference.py');
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', [script, folder, `${threads}`, '1'], { input: new Uint8Array(pixels.buffer), encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) {
    console.log(`PyTorch: not run (${stderr.trim().split('\n').at(-1) ?? ''})`);
    return;
  }
  const { version, blas, seconds, features } = JSON.parse(stdout) as { version: string; blas: string; seconds: number[]; features: string };
  const bytes = Buffer.from(features, 'base64');
  const reference = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const norm = Math.sqrt(reference.reduce((sum, value) => sum + value ** 2, 0));
  const error = Math.sqrt(reference.reduce((sum, value, i) => sum + (value - (ours.features[i] ?? NaN)) ** 2, 0)) / norm;
  console.log(`PyTorch ${version} with ${blas}: ${seconds.map(one => one.toFixed(2)).join(' ')} s; ours / PyTorch ${(ours.best / Math.min(...seconds)).toFixed(3)}, relative error ${error.toExponential(1)}`);
}

void main();
