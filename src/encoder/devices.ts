import { stat } from 'node:fs/promises';
import { t } from '@vscode/l10n';
import type { ForwardGraph } from '../architecture/forwardGraph';
import { forwardGraph } from '../architecture/forwardGraphs';
import type { Grid } from '../architecture/positions';
import { UserError, isAbort } from '../errors';
import { GraphBuilder, PLAIN } from '../onnx/graphBuilder';
import { CpuEncoder } from './cpuEncoder';
import { DeviceEncoder, type DeviceOptions, type Precision, type Provider } from './deviceEncoder';
import type { LoadedEncoder, StageHooks } from './encoder';
import { locateWeights } from './locate';
import { freeMemory } from './freeMemory';
import { blockParameters, memoryNeed, memoryWarning, type MemoryNeed, type RunExtent } from './memory';
import type { EncoderModel } from './model';
import { loadRuntime } from './runtime';
import { Weights } from './weights';

export type DeviceChoice = 'auto' | Provider;

/** Best first. Only providers that this system's builds of ONNX Runtime can have are tried and reported. */
const ORDER: Readonly<Partial<Record<NodeJS.Platform, readonly Provider[]>>> = {
  linux: ['cuda', 'webgpu', 'cpu'],
  win32: ['cuda', 'webgpu', 'dml', 'cpu'],
  darwin: ['webgpu', 'coreml', 'cpu'],
};

export const DEVICE_NAMES: Readonly<Record<Provider, string>> = { cpu: 'CPU', cuda: 'CUDA', webgpu: 'WebGPU', dml: 'DirectML', coreml: 'CoreML' };

/** What really runs, and why nothing better does. */
export interface LoadReport {
  readonly device: Provider;
  readonly precision: Precision;
  readonly rejected: readonly { readonly device: Provider; readonly reason: string }[];
  readonly warning?: string;
}

export interface LoadOptions {
  readonly device: DeviceChoice;
  readonly precision: Precision;
  /** Pictures that will run together, for the estimate of the memory needed; 1 unless told. */
  readonly batch?: number;
  /** All blocks and one hidden state unless told. A device loads the weights of the blocks that run, and no others. */
  readonly extent?: RunExtent;
}

/** An encoder that is loaded. */
export interface LoadedModel {
  readonly encoder: LoadedEncoder;
  readonly report: LoadReport;
  /**
   * Makes ready for runs of another extent, with the weights that are there: a device loads what blocks it lacks, and gives back those
   * that do not run any more.
   */
  readonly fit: (extent: RunExtent, hooks: StageHooks) => Promise<LoadReport>;
  /** A warning when memory is short for a picture of more patches than the usual one, which the report speaks of. */
  readonly warningFor: (grid: Grid) => Promise<string | undefined>;
}

/**
 * Loads an encoder on the device chosen, or on the best that works. A device that fails is passed over and reported,
 * down to the CPU, also when it was chosen by name.
 * @throws UserError when the model's files are gone
 */
export async function loadEncoder(model: EncoderModel, options: LoadOptions, hooks: StageHooks): Promise<LoadedModel> {
  await assertThere(model);
  const graph = forwardGraph(model.graph);
  const { batch = 1 } = options;
  let { extent = { blocks: graph.layers, held: 1 } } = options;
  const need = (provider: Provider, precision: Precision, of = graph): MemoryNeed => memoryNeed(model, of, { provider, precision, batch, extent });
  /** @param refit for a new extent; gives the warnings */
  const ready = (encoder: LoadedEncoder, report: LoadReport, refit: (before: MemoryNeed, hooks: StageHooks) => Promise<readonly (string | undefined)[]>): LoadedModel => ({
    encoder, report,
    fit: async (next, nextHooks) => {
      const before = need(report.device, report.precision);
      extent = next;
      const { device, precision, rejected: passedOver } = report;
      return { device, precision, rejected: passedOver, ...joined(...await refit(before, nextHooks)) };
    },
    warningFor: async grid => {
      const own = forwardGraph(model.graph, grid);
      if (own.tokens <= graph.tokens) return undefined;
      // The weights have their place by now.
      return memoryWarning({ ...need(report.device, report.precision, own), weights: 0 }, report.device, report.precision, await freeMemory());
    },
  });
  const rejected: { device: Provider; reason: string }[] = [];
  const order = options.device === 'auto' ? ORDER[process.platform] ?? ['cpu'] : [options.device, 'cpu'] as const;
  for (const device of order) {
    hooks.check();
    if (device === 'cpu') break;
    const free = await freeMemory();
    const loaded = async (precision: Precision, ...warnings: (string | undefined)[]): Promise<LoadedModel> => {
      const encoder = await loadOnDevice(model, graph, { provider: device, precision, blocks: extent.blocks }, hooks);
      return ready(encoder, { device, precision, rejected, ...joined(memoryWarning(need(device, precision), device, precision, free), ...warnings) }, async (before, nextHooks) => {
        const { weights, least } = need(device, precision);
        const freeNow = await freeMemory();
        await encoder.setBlocks(extent.blocks, nextHooks);
        return [memoryWarning({ weights: Math.max(0, weights - before.weights), least }, device, precision, freeNow), ...warnings];
      });
    };
    try {
      await tryDevice(device, options.device === 'auto');
      try {
        return await loaded(options.precision);
      } catch (error) {
        if (options.precision === 'float32' || !lacksHalf(error)) throw error;
        return await loaded('float32', t`${DEVICE_NAMES[device]} does not calculate in half precision here, so the encoder runs in single precision.`);
      }
    } catch (error) {
      if (isAbort(error)) throw error;
      rejected.push({ device, reason: reasonOf(error) });
    }
  }
  const half = options.precision === 'float16' ? t('The CPU calculates in single precision, whatever is asked for.') : undefined;
  const weights = new Weights(model, 0);
  const makeRoom = async (): Promise<(string | undefined)[]> => {
    const onCpu = need('cpu', 'float32');
    const free = await freeMemory() + weights.heldBytes;
    // A fifth of what a run leaves free is for the page cache, which saves reading the files again.
    weights.setRoom(Math.max(0, (free - onCpu.least) * 0.8));
    return [memoryWarning(onCpu, 'cpu', 'float32', free), half];
  };
  return ready(new CpuEncoder(model.graph, weights), { device: 'cpu', precision: 'float32', rejected, ...joined(...await makeRoom()) }, makeRoom);
}

/** A model may have been described long before it is loaded; a copy that the preview had fetched may be deleted meanwhile. */
async function assertThere({ name, weights }: EncoderModel): Promise<void> {
  for (const path of new Set([...weights.values()].map(weight => weight.path))) {
    await stat(path).catch((cause: unknown) => {
      throw new UserError(t`The encoder of ${name} cannot be loaded: ${path} is no longer there. Ask for its preview again: its files are then looked up anew, and downloaded again if need be.`, { cause });
    });
  }
}

function joined(...warnings: (string | undefined)[]): { warning?: string } {
  const said = warnings.filter(warning => warning !== undefined);
  return said.length === 0 ? {} : { warning: said.join(' ') };
}

async function loadOnDevice(model: EncoderModel, graph: ForwardGraph, how: Pick<DeviceOptions, 'provider' | 'precision' | 'blocks'>, hooks: StageHooks): Promise<DeviceEncoder> {
  const weights = new Weights(model, 0);
  try {
    return await DeviceEncoder.load(model.graph, new CpuEncoder(model.graph, weights), {
      ...how, blockBytes: blockParameters(model, graph) * 4, locate: each => locateWeights(model, each, weights),
    }, hooks);
  } catch (error) {
    await weights.close();
    throw error;
  }
}

/** @throws UserError when the device cannot be used, so far as that shows before loading; with `compare`, also when it is slower than the CPU. */
async function tryDevice(device: Provider, compare: boolean): Promise<void> {
  const { listSupportedBackends } = await loadRuntime();
  if (!listSupportedBackends().some(({ name }) => name === device)) {
    throw new UserError(t`This build of ONNX Runtime for ${process.platform} has no ${DEVICE_NAMES[device]}.`);
  }
  if (!compare) return;
  // A software driver (SwiftShader, WARP, llvmpipe) calls itself a GPU too. The small product spares it the large one.
  if (await timeMatrixProduct(device, 256) > SLOWEST_GPU || await timeMatrixProduct(device, 1024) > await timeMatrixProduct('cpu', 1024)) {
    throw new UserError(t('It is slower than the CPU here: probably a software driver, not a GPU.'));
  }
}

/** Seconds for a product of matrices of 256 x 256. The smallest GPUs take a millisecond or two, SwiftShader a fifth of a second. */
const SLOWEST_GPU = 0.05;

/** Seconds that a product of square matrices takes on a device, once it is warm. */
async function timeMatrixProduct(device: Provider, size: number): Promise<number> {
  const { InferenceSession, Tensor } = await loadRuntime();
  const b = new GraphBuilder(PLAIN);
  const input = b.input('input', 'F32', [size, size]);
  const product = b.node('MatMul', [input, input], 'product');
  b.output('output', product, 'F32');
  const session = await InferenceSession.create(b.toModel({ name: 'probe', producer: 'vision-encoder-extractor' }), { executionProviders: [device] });
  try {
    const feeds = { input: new Tensor('float32', new Float32Array(size * size), [size, size]) };
    await session.run(feeds);
    const start = performance.now();
    await session.run(feeds);
    return (performance.now() - start) / 1000;
  } finally {
    await session.release();
  }
}

/** WebGPU has half precision where its adapter has the feature shader-f16. */
function lacksHalf(error: unknown): boolean {
  return error instanceof Error && /requires f16|shader-f16/i.test(error.message);
}

/** ONNX Runtime's errors in the words that a person needs. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (/Failed to load shared library|cannot open shared object|LoadLibrary/i.test(message)) return t('Its libraries are not installed.');
  if (/WebGPU adapter/i.test(message)) return t('No graphics driver offers an adapter.');
  if (/out of memory|bad_alloc|failed to allocate|allocation failed|E_OUTOFMEMORY/i.test(message)) return t('Its memory does not hold the weights. Half precision needs half as much.');
  return message.split('\n')[0] ?? message;
}
