import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { t } from '@vscode/l10n';
import { stateName, type ForwardGraph } from '../architecture/forwardGraph';
import { forwardGraph, gridOf, pictureSizes, takesAnyGrid } from '../architecture/forwardGraphs';
import type { GraphSpec } from '../architecture/graphSpec';
import { UserError } from '../errors';
import { blocksNeeded, outputShape, wantedOutputs, type WantedOutputs } from '../architecture/outputs';
import { sameGrid, type Grid } from '../architecture/positions';
import { HIDDEN, inputNamed, NAMES, PIXELS, segmentGraph, type Segment } from '../onnx/encoderGraph';
import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import { gridConstants, restOf } from '../onnx/gridConstants';
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
  /** Constants that come with every run, since a picture's grid decides them. */
  readonly fed: ReadonlySet<Value>;
  /** What other grids' graphs must have in common with the session's. */
  readonly rest: string;
}

/** The constants of each loaded segment for one grid. */
type Constants = readonly Readonly<Record<string, Tensor>>[];

/** Providers whose sessions run as well where sizes are known only at run time. */
const OPEN_SIZES: ReadonlySet<Provider> = new Set(['webgpu', 'cuda']);
/** Of grids whose constants are kept. */
const MOST_GRIDS = 4;
/** How far the grid is from the usual one by which the constants that depend on it are found: near ones may have windows of other shapes. */
const PROBES = [1, 2, 4, 8, 16];

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
 * The encoder on a device that keeps its weights. Where pictures have any size, the constants that depend on it are given with every run on
 * WebGPU and CUDA; other providers, and grids that differ in more than constants (in their windows' shapes, in tiles), load it anew.
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
    return new DeviceEncoder(spec, await SessionChain.load(spec, forwardGraph(spec), options, hooks), cpu, options);
  }

  async run(pixels: Array32, outputs: readonly string[], hooks: RunHooks): Promise<void> {
    const [, , height = 0, width = 0] = pixels.shape;
    const grid = gridOf(this.spec, height, width);
    const graph = forwardGraph(this.spec, grid);
    // For when that was cancelled before.
    await this.chain?.setBlocks(this.options, hooks);
    let constants = await this.chain?.constantsFor(graph, this.options);
    if (this.chain === undefined || constants === undefined) {
      const before = this.chain;
      this.chain = undefined;
      await before?.close();
      this.chain = await SessionChain.load(this.spec, graph, this.options, hooks);
      constants = await this.chain.constantsFor(graph, this.options);
    }
    await this.chain.run(graph, constants ?? [], pixels, outputs, this.cpu, hooks);
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
  /** By grid, the one used last at the end. */
  private readonly constants = new Map<string, Constants>();

  /** @param graph that the sessions are made for */
  private constructor(private readonly spec: GraphSpec, private readonly graph: ForwardGraph) {}

  static async load(spec: GraphSpec, graph: ForwardGraph, options: DeviceOptions, hooks: StageHooks): Promise<SessionChain> {
    const chain = new SessionChain(spec, graph);
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
    this.constants.clear();
    // Locations are relative to the working directory of the process that makes the session.
    process.chdir(located.folder);
    for (const segment of splitBlocks(from, blocks, Math.max(1, Math.floor(SEGMENT_BYTES / options.blockBytes)))) {
      hooks.check();
      hooks.onProgress(segment.from, blocks, t`blocks ${segment.from} to ${segment.to - 1}`);
      const fed = await this.fedConstants(segment, options);
      const built = build(graph, segment, options, located, fed.size > 0);
      const session = await Session.create(built.toModel(NAMES, fed), { executionProviders: [options.provider], graphOptimizationLevel: 'all' });
      this.loaded.push({ segment, session, fed, rest: restOf(built, fed) });
    }
  }

  /** The constants of a segment that depend on the grid; none where its session is for one grid. */
  private async fedConstants(segment: Segment, options: DeviceOptions): Promise<ReadonlySet<Value>> {
    const { spec, graph: { grid } } = this;
    if (!OPEN_SIZES.has(options.provider) || !takesAnyGrid(spec)) return new Set();
    const { unit = 1, patch } = pictureSizes(spec);
    const step = unit / patch;
    const built = build(this.graph, segment, options, await options.locate(this.graph), true);
    for (const probe of PROBES) {
      const other = graphFor(spec, { rows: grid.rows + probe * step, columns: grid.columns + 2 * probe * step });
      const fed = other && gridConstants(built, build(other, segment, options, await options.locate(other), true));
      if (fed !== undefined) return fed;
    }
    return new Set();
  }

  /** What the sessions are given for a grid; undefined when they are not for it. */
  async constantsFor(graph: ForwardGraph, options: DeviceOptions): Promise<Constants | undefined> {
    const isOwn = sameGrid(graph.grid, this.graph.grid);
    if (this.loaded.every(({ fed }) => fed.size === 0)) return isOwn ? this.loaded.map(() => ({})) : undefined;
    const key = `${graph.grid.rows} ${graph.grid.columns}`;
    let constants = this.constants.get(key);
    if (constants === undefined) {
      const located = await options.locate(graph);
      const found: Record<string, Tensor>[] = [];
      for (const { segment, fed, rest } of this.loaded) {
        const built = build(graph, segment, options, located, fed.size > 0);
        if (restOf(built, fed) !== rest) return undefined;
        found.push(await tensorsOf(built, fed));
      }
      constants = found;
    }
    this.constants.delete(key);
    this.constants.set(key, constants);
    for (const old of [...this.constants.keys()].slice(0, Math.max(0, this.constants.size - MOST_GRIDS))) this.constants.delete(old);
    return constants;
  }

  async run(graph: ForwardGraph, constants: Constants, pixels: Array32, outputs: readonly string[], cpu: CpuEncoder, hooks: RunHooks): Promise<void> {
    const { Tensor } = await loadRuntime();
    const wanted = wantedOutputs(graph, outputs);
    const batch = pixels.shape[0] ?? 1;
    const blocks = blocksNeeded(graph, wanted);
    const isWanted = new Set(outputs);
    const attended = new Map<number, Float32Array>();
    const pooled = new Set(graph.pooledStates.map(stateName));
    let input = pixels;
    /** What the last session takes besides. */
    const earlier: Record<string, InstanceType<typeof Tensor>> = {};
    for (const [index, { segment, session }] of this.loaded.entries()) {
      if (segment.from > blocks) break;
      hooks.check();
      hooks.onProgress(segment.from, graph.layers, t`blocks ${segment.from} to ${segment.to - 1}`);
      const fetches = session.outputNames.filter(name => isWanted.has(name) || (name === HIDDEN && blocks > segment.to) || wanted.attentions.has(layerAfter(name)) || (pooled.has(name) && blocks > segment.to));
      if (fetches.length === 0) break;
      const feed = segment.from === 0 ? PIXELS : inputNamed(HIDDEN);
      const others = session.inputNames.flatMap(name => (earlier[name] === undefined ? [] : [[name, earlier[name]] as const]));
      const results = await session.run({ [feed]: new Tensor('float32', input.data, input.shape), ...Object.fromEntries(others), ...constants[index] }, fetches);
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

function build(graph: ForwardGraph, segment: Segment, { precision }: DeviceOptions, { locate }: Located, portable: boolean): GraphBuilder {
  return segmentGraph(graph, { segment, wanted: everything(graph, segment), handOn: segment.to < graph.layers, products: precision === 'float16' ? 'F16' : 'F32', locate }, portable);
}

/** Undefined when the encoder does not take the grid. */
function graphFor(spec: GraphSpec, grid: Grid): ForwardGraph | undefined {
  try {
    return forwardGraph(spec, grid);
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

async function tensorsOf(built: GraphBuilder, names: ReadonlySet<Value>): Promise<Record<string, Tensor>> {
  const { Tensor: Made } = await loadRuntime();
  return Object.fromEntries([...built.constants.values()].filter(({ name }) => names.has(name)).map(({ name, type, shape, data }) => {
    if (!(data instanceof Uint8Array) || (type !== 'F32' && type !== 'I64')) throw new Error(`${name} cannot be given with a run.`);
    const bytes = data.slice().buffer;
    return [name, type === 'F32' ? new Made('float32', new Float32Array(bytes), shape) : new Made('int64', new BigInt64Array(bytes), shape)];
  }));
}
