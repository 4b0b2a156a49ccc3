import type { ForwardGraph } from '../architecture/forwardGraph';
import { elementCount } from '../checkpoint/dtype';
import { formatBytes } from '../format';
import type { Precision, Provider } from './deviceEncoder';
import { parameterCount, type EncoderModel } from './model';

/** Bytes that a run needs. An estimate, on the safe side. */
export interface MemoryNeed {
  /** All weights in the compute type: what a device holds, and what the CPU keeps when there is room. */
  readonly weights: number;
  /** The least in this machine's own memory: a block's weights, the working values, and the hidden states handed out. */
  readonly least: number;
}

/** The compute type's bytes per number. On the CPU it is always float32. */
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

/** Bytes that this process may still take, cgroup limits included. */
export function freeMemory(): number {
  return process.availableMemory();
}

/** A warning with ways out, when the machine is short of memory for `need`. Pure: the caller says what is free. */
export function memoryWarning(need: MemoryNeed, provider: Provider, free: number): string | undefined {
  if (need.least > free) {
    return `A run needs about ${formatBytes(need.least)} of memory, and ${formatBytes(free)} are free. Close other programs, ask for fewer layers, or run fewer pictures at once.`;
  }
  if (provider === 'cpu' && need.least + need.weights > free) {
    return `The weights take ${formatBytes(need.weights)} as float32, and ${formatBytes(free)} of memory are free, so some are read anew for every picture. It works, but slower.`;
  }
  return undefined;
}
