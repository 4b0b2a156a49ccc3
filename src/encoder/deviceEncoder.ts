import type { InferenceSession } from 'onnxruntime-node';
import { t } from '@vscode/l10n';
import { stateName, type ForwardGraph } from '../architecture/forwardGraph';
import { forwardGraph, gridOf } from '../architecture/forwardGraphs';
import type { GraphSpec } from '../architecture/graphSpec';
import { blocksNeeded, outputShape, wantedOutputs, type WantedOutputs } from '../architecture/outputs';
import { sameGrid, type Grid } from '../architecture/positions';
import { HIDDEN, inputNamed, PIXELS, segmentModel, type Segment } from '../onnx/encoderGraph';
import type { CpuEncoder } from './cpuEncoder';
import type { Array32, LoadedEncoder, RunHooks, StageHooks } from './encoder';
import type { Located } from './locate';
import { loadRuntime } from './runtime';

export type Provider = 'cpu' | 'cuda' | 'webgpu' | 'dml' | 'coreml';
export type Precision = 'float32' | 'float16';

/** Most bytes of weights per session: loading can then report and be stopped, and little is held twice meanwhile. */
const SEGMENT_BYTES = 1 << 29;

interface Loaded {
  readonly segment: Segment;
  readonly session: InferenceSession;
}

export interface DeviceOptions {
  readonly provider: Provider;
  readonly precision: Precision;
  /** Blocks that will run, from the first on: those after them are not loaded. */
  readonly blocks: number;
  readonly blockBytes: number;
  /** Where the weights of a graph lie. */
  readonly locate: (graph: ForwardGraph) => Promise<Located>;
}

/**
 * The encoder on a device that keeps its weights, for one grid of patches at a time: another one loads it anew.
 */
export class DeviceEncoder implements LoadedEncoder {
  private constructor(
    private readonly spec: GraphSpec,
    /** Undefined when loading it for another grid failed. */
    private chain: SessionChain | undefined,
    /** Attention maps are computed beside the chain, from a hidden state: one head is little work. */
    private readonly cpu: CpuEncoder,
    private options: DeviceOptions,
  ) {}

  /** Blocks that will run from now on: what is missing of them is loaded, and what is beyond them leaves the device. */
  async setBlocks(blocks: number, hooks: StageHooks): Promise<void> {
    this.options = { ...this.options, blocks };
    await this.chain?.setBlocks(this.options, hooks);
  }

  /** Loads it for the encoder's usual grid. */
  static async load(spec: GraphSpec, cpu: CpuEncoder, options: DeviceOptions, hooks: StageHooks): Promise<DeviceEncoder> {
    return new DeviceEncoder(spec, await SessionChain.load(forwardGraph(spec), options, hooks), cpu, options);
  }

  async run(pixels: Array32, outputs: readonly string[], hooks: RunHooks): Promise<void> {
    const [, , height = 0, width = 0] = pixels.shape;
    const grid = gridOf(this.spec, height, width);
    if (this.chain === undefined || !sameGrid(grid, this.chain.graph.grid)) {
      const before = this.chain;
      this.chain = undefined;
      await before?.close();
      this.chain = await SessionChain.load(forwardGraph(this.spec, grid), this.options, hooks);
    } else await this.chain.setBlocks(this.options, hooks); // for when that was cancelled before
    await this.chain.run(pixels, outputs, this.cpu, hooks);
  }

  attention(layer: number, head: number, hidden: Array32, grid: Grid): Promise<Array32> {
    return this.cpu.attention(layer, head, hidden, grid);
  }

  async close(): Promise<void> {
    await this.chain?.close();
    await this.cpu.close();
  }
}

/**
 * A chain of sessions whose initialisers point into the checkpoint's files. Every hidden state is an output of its
 * session, but only those asked for leave the device.
 */
class SessionChain {
  private loaded: Loaded[] = [];

  private constructor(readonly graph: ForwardGraph) {}

  static async load(graph: ForwardGraph, options: DeviceOptions, hooks: StageHooks): Promise<SessionChain> {
    const chain = new SessionChain(graph);
    try {
      await chain.setBlocks(options, hooks);
    } catch (error) {
      await chain.close();
      throw error;
    }
    return chain;
  }

  /** Loads what is missing of the first `blocks` blocks; sessions of none but others are released. */
  async setBlocks(options: DeviceOptions, hooks: StageHooks): Promise<void> {
    const { graph } = this;
    const blocks = Math.min(Math.max(1, options.blocks), graph.layers);
    const beyond = this.loaded.filter(({ segment }) => segment.from >= blocks);
    this.loaded = this.loaded.filter(({ segment }) => segment.from < blocks);
    for (const { session } of beyond) await session.release();
    const from = this.loaded.at(-1)?.segment.to ?? 0;
    if (from >= blocks) return;
    const { InferenceSession: Session } = await loadRuntime();
    const located = await options.locate(graph);
    // Locations are relative to the working directory of the process that makes the session.
    process.chdir(located.folder);
    for (const segment of splitBlocks(from, blocks, Math.max(1, Math.floor(SEGMENT_BYTES / options.blockBytes)))) {
      hooks.check();
      hooks.onProgress(segment.from, blocks, t`blocks ${segment.from} to ${segment.to - 1}`);
      const model = segmentModel(graph, { segment, wanted: everything(graph, segment), handOn: segment.to < graph.layers, products: options.precision === 'float16' ? 'F16' : 'F32', locate: located.locate });
      const session = await Session.create(model, { executionProviders: [options.provider], graphOptimizationLevel: 'all' });
      this.loaded.push({ segment, session });
    }
  }

  async run(pixels: Array32, outputs: readonly string[], cpu: CpuEncoder, hooks: RunHooks): Promise<void> {
    const { Tensor } = await loadRuntime();
    const { graph } = this;
    const wanted = wantedOutputs(graph, outputs);
    const batch = pixels.shape[0] ?? 1;
    const blocks = blocksNeeded(graph, wanted);
    const isWanted = new Set(outputs);
    const attended = new Map<number, Float32Array>();
    const pooled = new Set(graph.pooledStates.map(stateName));
    let input = pixels;
    /** What the last session takes besides. */
    const earlier: Record<string, InstanceType<typeof Tensor>> = {};
    for (const { segment, session } of this.loaded) {
      if (segment.from > blocks) break;
      hooks.check();
      hooks.onProgress(segment.from, graph.layers, t`blocks ${segment.from} to ${segment.to - 1}`);
      const fetches = session.outputNames.filter(name => isWanted.has(name) || (name === HIDDEN && blocks > segment.to) || wanted.attentions.has(layerAfter(name)) || (pooled.has(name) && blocks > segment.to));
      if (fetches.length === 0) break;
      const feed = segment.from === 0 ? PIXELS : inputNamed(HIDDEN);
      const others = session.inputNames.flatMap(name => (earlier[name] === undefined ? [] : [[name, earlier[name]] as const]));
      const results = await session.run({ [feed]: new Tensor('float32', input.data, input.shape), ...Object.fromEntries(others) }, fetches);
      for (const [name, { data }] of Object.entries(results)) {
        if (!(data instanceof Float32Array)) throw new Error(`${name} is not float32.`);
        if (wanted.attentions.has(layerAfter(name))) attended.set(layerAfter(name), data);
        if (pooled.has(name)) earlier[inputNamed(name)] = new Tensor('float32', data, outputShape(graph, name, batch));
        if (name === HIDDEN) input = { shape: outputShape(graph, stateName(segment.to - 1), batch), data };
        else if (isWanted.has(name)) await hooks.onOutput(name, { shape: outputShape(graph, name, batch), data });
      }
    }
    for (const [layer, heads] of wanted.attentions) {
      hooks.check();
      const hidden = attended.get(layer);
      if (hidden === undefined) throw new Error(`The input of block ${layer} was not computed.`);
      for (const head of heads) await hooks.onOutput(`attentions.${layer}.${head}`, await cpu.attention(layer, head, { shape: outputShape(graph, stateName(layer - 1), batch), data: hidden }, graph.grid));
    }
    hooks.onProgress(graph.layers, graph.layers, 'done');
  }

  async close(): Promise<void> {
    const sessions = this.loaded;
    this.loaded = [];
    for (const { session } of sessions) await session.release();
  }
}

/** The block that takes the named hidden state, NaN for other outputs. */
function layerAfter(name: string): number {
  return name === 'embeddings' ? 0 : name.startsWith('hidden_states.') ? Number(name.slice('hidden_states.'.length)) + 1 : Number.NaN;
}

/** Blocks `first` to `end` - 1, so many a segment. */
function splitBlocks(first: number, end: number, atOnce: number): Segment[] {
  return Array.from({ length: Math.ceil((end - first) / atOnce) }, (_, index) => ({ from: first + index * atOnce, to: Math.min(end, first + (index + 1) * atOnce) }));
}

function everything(graph: ForwardGraph, { from, to }: Segment): WantedOutputs {
  return { embeddings: true, hidden: new Set(Array.from({ length: to - from }, (_, index) => from + index)), attentions: new Map(), blockOutputs: graph.blockOutputs, pool: [...graph.poolShapes.keys()] };
}
