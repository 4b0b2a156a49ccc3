import { readFile } from 'node:fs/promises';
import { t } from '@vscode/l10n';
import { stateAt, type ForwardGraph } from '../architecture/forwardGraph';
import { forwardGraph } from '../architecture/forwardGraphs';
import { blocksNeeded, wantedOutputs } from '../architecture/outputs';
import { elementCount } from '../checkpoint/dtype';
import { formatBytes } from '../format';
import type { Precision, Provider } from './deviceEncoder';
import { parameterCount, type EncoderModel } from './model';

/** How far runs go, and what of them stays in the process. */
export interface RunExtent {
  /** Blocks that run, from the first on. */
  readonly blocks: number;
  /** Hidden states of a picture that stay. */
  readonly held: number;
}

/** The extent of runs whose outputs are handed on as soon as they are there. */
export function extentFor(model: EncoderModel, outputs: readonly string[]): RunExtent {
  const graph = forwardGraph(model.graph);
  return { blocks: blocksNeeded(graph, wantedOutputs(graph, outputs)), held: 1 };
}

/** What a run is, as far as memory goes. */
export interface RunPlan {
  readonly provider: Provider;
  readonly precision: Precision;
  /** Pictures that run together. */
  readonly batch: number;
  readonly extent: RunExtent;
}

/** Bytes that a run needs. An estimate, on the safe side: bench/ENCODER_NOTES.md has it beside what was measured. */
export interface MemoryNeed {
  /** The weights of the stages that run, in the precision that they are multiplied in: what a device holds, and what the CPU keeps when there is room. */
  readonly weights: number;
  /** The least in this machine's own memory: a block's weights, the working values, and the hidden states that stay. */
  readonly least: number;
}

/** Bytes per number of the weights. On the CPU they are always float32. */
function numberBytes(provider: Provider, precision: Precision): number {
  return provider !== 'cpu' && precision === 'float16' ? 2 : 4;
}

/** Parameters of a block. */
export function blockParameters(model: EncoderModel, graph: ForwardGraph, layer = 0): number {
  const path = `${graph.blockPath(layer)}.`;
  return [...model.weights].reduce((sum, [key, { shape }]) => key.startsWith(path) ? sum + elementCount(shape) : sum, 0);
}

export function memoryNeed(model: EncoderModel, graph: ForwardGraph, { provider, precision, batch, extent }: RunPlan): MemoryNeed {
  const blocks = Array.from({ length: graph.layers }, (_, layer) => blockParameters(model, graph, layer));
  const outside = parameterCount(model) - sum(blocks);
  // What ends early runs no pool; the embeddings' share of the rest is not told apart.
  const running = outside + sum(blocks.slice(0, extent.blocks));
  const states = Array.from({ length: graph.layers + 1 }, (_, index) => stateAt(graph, index - 1));
  const inBlock = states.map(({ tokens, width, heads }) => {
    const { mlp_size: mlp = 4 * width } = model.sizes;
    // On the CPU what attention holds is given back before the MLP runs, and the fused operator never holds a map of all heads.
    if (provider === 'cpu') return tokens * Math.max(ATTENTION_WIDTHS * width, REST_WIDTHS * width + 2 * mlp);
    // Other devices hold the scores and their softmax.
    return tokens * (DEVICE_WIDTHS * width + 2 * mlp + 2 * heads * (graph.stages?.columns ?? tokens));
  });
  const isWhole = extent.blocks >= graph.layers;
  const pool = isWhole ? POOL_COPIES * sum([...graph.poolShapes.values()].map(elementCount)) : 0;
  const working = (Math.max(...inBlock) + pool) * 4 * batch;
  // The pool's earlier states wait for it, whether they stay afterwards or not. Those that stay are taken for the largest.
  const staying = isWhole ? extent.held + graph.pooledStates.length : extent.held;
  const held = sum(states.map(({ tokens, width }) => tokens * width).sort((a, b) => b - a).slice(0, staying)) * 4 * batch;
  return { weights: running * numberBytes(provider, precision), least: (Math.max(...blocks) + outside) * 4 + working + held + RUNTIME_BYTES };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Values per token that a block holds at once, in widths: in attention, besides its MLP's inside, and on a device that keeps what it had. */
const [ATTENTION_WIDTHS, REST_WIDTHS, DEVICE_WIDTHS] = [10, 4, 16];
/** How often the pool's outputs are held at once: as they are made of their parts, and as they are handed on. */
const POOL_COPIES = 3;
/** ONNX Runtime's sessions, and buffers that are not collected yet. */
const RUNTIME_BYTES = 64e6;

/** The most bytes of memory that this process has held. */
export async function peakMemory(): Promise<number> {
  // On Linux maxRSS starts at what the parent process had; the kernel's own figure does not.
  const status = process.platform === 'linux' ? await readFile('/proc/self/status', 'utf8').catch(() => '') : '';
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
  return (kibibytes === undefined ? process.resourceUsage().maxRSS : Number(kibibytes)) * 1024;
}

/** A warning with ways out, when the machine is short of memory for `need`. Pure: the caller says what is free. */
export function memoryWarning(need: MemoryNeed, provider: Provider, precision: Precision, free: number): string | undefined {
  if (need.least > free) {
    return t`A run needs about ${formatBytes(need.least)} of memory, and ${formatBytes(free)} are free. Close other programs, ask for fewer layers, or run fewer pictures at once.`;
  }
  if (need.least + need.weights <= free) return undefined;
  if (provider === 'cpu') {
    return t`The weights take ${formatBytes(need.weights)} as float32, and ${formatBytes(free)} of memory are free, so some are read anew for every picture. It works, but slower.`;
  }
  return precision === 'float32'
    ? t`The weights take ${formatBytes(need.weights)} on the device, and ${formatBytes(free)} of this machine's memory are free. That is too little for a device without memory of its own: half precision needs half as much, and the CPU runs with less.`
    : t`The weights take ${formatBytes(need.weights)} on the device, and ${formatBytes(free)} of this machine's memory are free. That is too little for a device without memory of its own: the CPU runs with less.`;
}
