import { t } from '@vscode/l10n';
import { stateAt, type ForwardGraph } from '../architecture/forwardGraph';
import { forwardGraph, gridOf } from '../architecture/forwardGraphs';
import type { GraphSpec } from '../architecture/graphSpec';
import { blocksNeeded, outputShape, wantedOutputs } from '../architecture/outputs';
import type { Grid } from '../architecture/positions';
import type { Array32, LoadedEncoder, RunHooks } from './encoder';
import { FedStage, type Scratch, type StageGraph } from './fedStage';
import type { WeightReader, Weights } from './weights';

/** Grids whose stages are kept: pictures of one folder often have a few shapes. */
const MOST_GRIDS = 4;

/** Runs the encoder stage by stage on the CPU. Nothing is loaded ahead: weights are read as the stages need them. */
export class CpuEncoder implements LoadedEncoder {
  /** By rows and columns, the one used last at the end. */
  private readonly grids = new Map<string, GridStages>();
  /** One for all grids: the weights are the same, and their stages run one after the other. */
  private readonly scratch: Scratch = new Map();

  constructor(private readonly spec: GraphSpec, private readonly weights: Weights) {}

  async run(pixels: Array32, outputs: readonly string[], hooks: RunHooks): Promise<void> {
    const [, , height = 0, width = 0] = pixels.shape;
    await (await this.stagesFor(gridOf(this.spec, height, width))).run(pixels, outputs, hooks);
  }

  async attention(layer: number, head: number, hidden: Array32, grid: Grid): Promise<Array32> {
    return (await this.stagesFor(grid)).attention(layer, head, hidden);
  }

  async close(): Promise<void> {
    for (const stages of this.grids.values()) await stages.close();
    this.grids.clear();
    this.scratch.clear();
    await this.weights.close();
  }

  private async stagesFor(grid: Grid): Promise<GridStages> {
    const name = `${grid.rows} ${grid.columns}`;
    let stages = this.grids.get(name);
    if (stages === undefined) {
      const graph = forwardGraph(this.spec, grid);
      stages = new GridStages(graph, this.weights.withTables(graph.derivedTables), this.scratch);
    }
    this.grids.delete(name);
    this.grids.set(name, stages);
    const [oldest] = this.grids;
    if (this.grids.size > MOST_GRIDS && oldest !== undefined) {
      this.grids.delete(oldest[0]);
      await oldest[1].close();
    }
    return stages;
  }
}

/** The stages for pictures of one grid. */
class GridStages {
  private readonly stages = new Map<string, Promise<FedStage>>();

  constructor(private readonly graph: ForwardGraph, private readonly weights: WeightReader, private readonly scratch: Scratch) {}

  async run(pixels: Array32, outputs: readonly string[], hooks: RunHooks): Promise<void> {
    const { graph } = this;
    const wanted = wantedOutputs(graph, outputs);
    const batch = pixels.shape[0] ?? 1;
    const blocks = blocksNeeded(graph, wanted);
    const total = 1 + blocks + (wanted.pool.length > 0 ? 1 : 0);
    const emit = (name: string, data: Float32Array): Promise<void> => hooks.onOutput(name, { shape: outputShape(graph, name, batch), data });

    hooks.onProgress(0, total, t('patch embedding'));
    let hidden = await this.one('embeddings', {
      inputs: [['batch', ...graph.inputShape]],
      build: (b, weight, input = '') => new Map([['hidden', graph.embeddings(b, weight, input)]]),
    }, '', pixels);
    const pooled = new Map<number, Float32Array>();
    const keep = (layer: number): void => { if (wanted.pool.length > 0 && graph.pooledStates.includes(layer)) pooled.set(layer, hidden); };
    keep(-1);
    if (wanted.embeddings) await emit('embeddings', hidden);
    for (let layer = 0; layer < Math.max(blocks, ...[...wanted.attentions.keys()].map(one => one + 1)); layer++) {
      hooks.check();
      for (const head of wanted.attentions.get(layer) ?? []) await emit(`attentions.${layer}.${head}`, await this.attentionRows(layer, head, hidden));
      if (layer >= blocks) break;
      hooks.onProgress(1 + layer, total, `block ${layer}`);
      hidden = await this.one(`block ${graph.blockKind(layer)}`, this.onRows((b, weight, input = '') => new Map([['hidden', graph.block(b, weight, input, layer)]]), layer - 1), graph.blockPath(layer), this.rows(hidden, layer - 1));
      keep(layer);
      if (wanted.hidden.has(layer)) await emit(`hidden_states.${layer}`, hidden);
      for (const output of wanted.blockOutputs) {
        if (output.layer === layer) await emit(output.name, await this.one(output.name, this.onRows((b, weight, input) => new Map([['hidden', output.build(b, weight, input)]]), layer), '', this.rows(hidden, layer)));
      }
    }
    hooks.check();
    if (wanted.pool.length > 0) {
      hooks.onProgress(1 + blocks, total, t('attention pool'));
      const layers = [graph.layers - 1, ...graph.pooledStates];
      const states = [hidden, ...graph.pooledStates.flatMap(layer => pooled.get(layer) ?? [])];
      const stage = await this.stage(`pool ${wanted.pool.join()}`, this.onRows((b, weight, input = '', ...earlier) => graph.pool(b, weight, input, wanted.pool, earlier), ...layers));
      for (const [name, data] of await stage.run(this.weights, '', ...states.map((state, index) => this.rows(state, layers[index] ?? -1)))) await emit(name, data);
    }
    hooks.onProgress(total, total, 'done');
  }

  async attention(layer: number, head: number, hidden: Array32): Promise<Array32> {
    const name = `attentions.${layer}.${head}`;
    wantedOutputs(this.graph, [name]);
    return { shape: outputShape(this.graph, name, hidden.shape[0] ?? 1), data: await this.attentionRows(layer, head, hidden.data) };
  }

  async close(): Promise<void> {
    const stages = [...this.stages.values()];
    this.stages.clear();
    for (const stage of stages) await (await stage).close();
  }

  private attentionRows(layer: number, head: number, hidden: Float32Array): Promise<Float32Array> {
    const { graph } = this;
    return this.one(`attention ${graph.blockKind(layer)} ${head}`, this.onRows((b, weight, input = '') => new Map([['hidden', graph.attention(b, weight, input, layer, head)]]), layer - 1), graph.blockPath(layer), this.rows(hidden, layer - 1));
  }

  /** A hidden state after block `layer`. */
  private rows(data: Float32Array, layer: number): Array32 {
    const { width } = stateAt(this.graph, layer);
    return { shape: [data.length / width, width], data };
  }

  /** @param layers the blocks after which the hidden states are that it takes */
  private onRows(build: StageGraph['build'], ...layers: readonly number[]): StageGraph {
    return { inputs: layers.map(layer => ['rows', stateAt(this.graph, layer).width]), build };
  }

  /** Runs a stage whose one output is `hidden`. */
  private async one(name: string, graph: StageGraph, path: string, input: Array32): Promise<Float32Array> {
    const result = (await (await this.stage(name, graph)).run(this.weights, path, input)).get('hidden');
    if (result === undefined) throw new Error(`The stage ${name} gave no hidden state.`);
    return result;
  }

  private stage(name: string, graph: StageGraph): Promise<FedStage> {
    const known = this.stages.get(name);
    if (known !== undefined) return known;
    const making = FedStage.create(graph, this.scratch);
    this.stages.set(name, making);
    // One that could not be made, for want of memory, is tried anew the next time.
    making.catch(() => { this.stages.delete(name); });
    return making;
  }
}
