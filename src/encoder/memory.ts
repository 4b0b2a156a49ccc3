import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { t } from '@vscode/l10n';
import type { ForwardGraph } from '../architecture/forwardGraph';
import { elementCount } from '../checkpoint/dtype';
import { formatBytes } from '../format';
import type { Precision, Provider } from './deviceEncoder';
import { parameterCount, type EncoderModel } from './model';

/** Bytes that a run needs. An estimate, on the safe side. */
export interface MemoryNeed {
  /** All weights in the precision that they are multiplied in: what a device holds, and what the CPU keeps when there is room. */
  readonly weights: number;
  /** The least in this machine's own memory: a block's weights, the working values, and the hidden states handed out. */
  readonly least: number;
}

/** Bytes per number of the weights. On the CPU they are always float32. */
function numberBytes(provider: Provider, precision: Precision): number {
  return provider !== 'cpu' && precision === 'float16' ? 2 : 4;
}

/** Parameters of one block. */
export function blockParameters(model: EncoderModel, graph: ForwardGraph): number {
  const path = `${graph.blockPath(0)}.`;
  return [...model.weights].reduce((sum, [key, { shape }]) => key.startsWith(path) ? sum + elementCount(shape) : sum, 0);
}

export function memoryNeed(model: EncoderModel, graph: ForwardGraph, provider: Provider, precision: Precision, batch = 1): MemoryNeed {
  const bytes = numberBytes(provider, precision);
  const largest = Math.max(blockParameters(model, graph), 3 * graph.outputDim * graph.outputDim);
  const { mlp_size: mlp = 4 * graph.width } = model.sizes;
  // A block's live values: hidden, normed, q k v, context; scores and softmax; twice the MLP's inside.
  const working = graph.tokens * (8 * graph.width + 2 * graph.heads * graph.tokens + 2 * mlp) * 4 * batch;
  const handedOut = graph.layers * graph.tokens * graph.width * 4 * batch;
  return { weights: parameterCount(model) * bytes, least: 2 * largest * 4 + working + handedOut };
}

/**
 * Bytes that this process may still take, cgroup limits included. macOS counts only pages that hold nothing at all
 * (libuv, src/unix/darwin.c), of which it keeps few: there half of all memory is taken as free.
 */
export function freeMemory(): number {
  const available = process.availableMemory();
  return process.platform === 'darwin' ? Math.max(available, totalmem() / 2) : available;
}

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
