/**
 * What the encoder's process takes at its peak, beside what is said before it loads, on the CPU: at ViT-L/14 size (24 blocks, 1024
 * tokens), and with --mllama at the width and the tiles of Llama 3.2 Vision (6 of its 40 blocks, 6432 tokens), whose output is made
 * of six hidden states. For bench/ENCODER_NOTES.md. Run with tsx: memory.ts [--mllama] [--dir FOLDER]
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { mllama } from '../../src/architecture/families/llamaVision';
import { forwardGraph } from '../../src/architecture/forwardGraphs';
import { openCheckpoint } from '../../src/checkpoint/open';
import { CpuEncoder } from '../../src/encoder/cpuEncoder';
import { Gallery } from '../../src/encoder/gallery';
import { memoryNeed, peakMemory } from '../../src/encoder/memory';
import { Weights } from '../../src/encoder/weights';
import { openJob } from '../../src/job';
import { KEPT_LAYERS, keptLayers } from '../../src/previewLimits';
import { previewModel } from '../../src/previewModel';
import { writeRandomCheckpoint } from './randomCheckpoint';

const MLLAMA = { width: 1280, layers: 4, global_layers: 2, tiles: 4, aspect_ratios: 8, heads: 16, mlp_size: 5120, patch_size: 14, image_size: 560 };
const VIT_L = { width: 1024, layers: 24, heads: 16, patch_size: 14, mlp_size: 4096, output_dim: 1024, image_size: 448, n_queries: 256 };

/** In a process of its own: the peak is the process'. */
async function measure(folder: string, kept: (typeof KEPT_LAYERS)[number], keepsWeights: boolean): Promise<void> {
  const checkpoint = await openCheckpoint(folder);
  const { model, preprocessing } = await previewModel(await openJob(checkpoint));
  await checkpoint.close();
  const graph = forwardGraph(model.graph);
  const layers = keptLayers(graph.layers, kept);
  const need = memoryNeed(model, graph, { provider: 'cpu', precision: 'float32', batch: 1, extent: { blocks: Math.max(...layers) + 1, held: layers.length + 1 } });
  const picture = await sharp({ create: { width: 640, height: 480, channels: 3, background: '#8a4' } }).png().toBuffer();
  const encoder = new CpuEncoder(model.graph, new Weights(model, keepsWeights ? need.weights : 0));
  const gallery = new Gallery();
  const running = { encoder, spec: model.graph, graph };
  await gallery.open('a', 'a.png', picture, 'main', running, preprocessing.model);
  const before = process.memoryUsage.rss();
  const seconds = await gallery.encode('a', 'main', running, layers, { onProgress: () => undefined, check: () => undefined }) / 1000;
  const grown = await peakMemory() - before;
  const said = need.least + (keepsWeights ? need.weights : 0);
  await encoder.close();
  const mega = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  console.log(`| ${kept} | ${keepsWeights ? 'kept' : 'read anew'} | ${mega(said)} | ${mega(grown)} | ${(said / grown).toFixed(2)} | ${seconds.toFixed(1)} s |`);
}

async function main(): Promise<void> {
  const { values: { dir, mllama: isMllama }, positionals: [folder, kept, keepsWeights] } = parseArgs({ options: { dir: { type: 'string', default: tmpdir() }, mllama: { type: 'boolean', default: false } }, allowPositionals: true });
  const choice = KEPT_LAYERS.find(one => one === kept);
  if (folder !== undefined && choice !== undefined) {
    await measure(folder, choice, keepsWeights === 'kept');
    return;
  }
  const made = await mkdtemp(join(dir, 'memory-bench-'));
  try {
    if (isMllama) {
      await writeRandomCheckpoint(made, MLLAMA, mllama);
      const config = join(made, 'config.json');
      await writeFile(config, JSON.stringify({ ...JSON.parse(await readFile(config, 'utf8')) as object, intermediate_layers_indices: [0, 1, 2, 3, 4] }));
    } else await writeRandomCheckpoint(made, VIT_L);
    console.log('| layers | weights | said before | grown by at the peak | ratio | first picture |\n| --- | --- | --- | --- | --- | --- |');
    for (const each of KEPT_LAYERS) {
      for (const how of ['kept', 'read']) await once(fork(import.meta.filename, [made, each, how], { execArgv: ['--import', 'tsx'] }), 'exit');
    }
  } finally {
    await rm(made, { recursive: true, force: true });
  }
}

void main();
