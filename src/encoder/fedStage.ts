import type { InferenceSession } from 'onnxruntime-node';
import type { BindWeight, WeightPart } from '../architecture/forwardGraph';
import { GraphBuilder, type Dim, type Value } from '../onnx/graphBuilder';
import type { Array32 } from './encoder';
import { loadRuntime } from './runtime';
import type { WeightReader } from './weights';

/** What a stage's graph is made of: where its inputs come in, and the outputs by name. */
export interface StageGraph {
  readonly inputs: readonly (readonly Dim[])[];
  readonly build: (builder: GraphBuilder, weight: BindWeight, ...inputs: readonly Value[]) => ReadonlyMap<string, Value>;
}

/** Buffers for weights that are not kept, by name and size, used again by the next block. */
export type Scratch = Map<string, Float32Array>;

/**
 * A stage on the CPU whose weights are inputs, not initialisers: nothing is loaded or cast ahead, all blocks share one
 * session (and one arena), and weights that memory has no room for pass through it once per run.
 * Against initialisers that ONNX Runtime packs ahead this costs a tenth of the processor time (bench/ENCODER_NOTES.md);
 * it saves their loading, half a minute at full size, and up to seven eighths of the memory.
 */
export class FedStage {
  private constructor(
    private readonly session: InferenceSession,
    private readonly parts: ReadonlyMap<string, WeightPart>,
    private readonly scratch: Scratch,
  ) {}

  /** @param scratch shared by stages that run one after the other */
  static async create(graph: StageGraph, scratch: Scratch): Promise<FedStage> {
    const builder = new GraphBuilder({ products: 'F32', fused: true });
    const parts = new Map<string, WeightPart>();
    const inputs = graph.inputs.map((shape, index) => builder.input(`input:${index}`, 'F32', shape));
    const outputs = graph.build(builder, part => {
      const name = `weight:${part.key}:${part.firstRow}`;
      if (!parts.has(name)) {
        builder.input(name, 'F32', part.shape);
        parts.set(name, part);
      }
      return name;
    }, ...inputs);
    for (const [name, value] of outputs) builder.output(`out:${name}`, value, 'F32');
    const { InferenceSession: Session } = await loadRuntime();
    const session = await Session.create(builder.toModel({ name: 'stage', producer: 'vision-encoder-extractor' }), {
      executionProviders: ['cpu'],
      // Every session's arena would hold its most for good; without one a run takes as long (bench/ENCODER_NOTES.md).
      enableCpuMemArena: false,
      graphOptimizationLevel: 'all',
    });
    return new FedStage(session, parts, scratch);
  }

  /** @param path module path before the keys of the stage's weights, empty for none */
  async run(weights: WeightReader, path: string, ...inputs: readonly Array32[]): Promise<ReadonlyMap<string, Float32Array>> {
    const { Tensor } = await loadRuntime();
    const feeds: Record<string, InstanceType<typeof Tensor>> = Object.fromEntries(inputs.map(({ data, shape }, index) => [`input:${index}`, new Tensor('float32', data, shape)]));
    for (const [name, part] of this.parts) {
      feeds[name] = new Tensor('float32', await weights.float32({ ...part, key: path === '' ? part.key : `${path}.${part.key}` }, count => this.buffer(name, count)), part.shape);
    }
    const results = await this.session.run(feeds);
    return new Map(Object.entries(results).map(([name, { data }]) => {
      if (!(data instanceof Float32Array)) throw new Error(`${name} is not float32.`);
      return [name.slice('out:'.length), data];
    }));
  }

  private buffer(name: string, count: number): Float32Array {
    // A head's attention takes a part of what its block takes whole.
    const key = `${name} ${count}`;
    const buffer = this.scratch.get(key) ?? new Float32Array(count);
    this.scratch.set(key, buffer);
    return buffer;
  }

  close(): Promise<void> {
    return this.session.release();
  }
}
