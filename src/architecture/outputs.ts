import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { stateAt, type BlockOutput, type ForwardGraph, type PoolOutput } from './forwardGraph';

/** What is wanted of a run, by stage. */
export interface WantedOutputs {
  readonly embeddings: boolean;
  /** Blocks whose hidden state is wanted. */
  readonly hidden: ReadonlySet<number>;
  /** Heads whose attention map is wanted, by block. */
  readonly attentions: ReadonlyMap<number, readonly number[]>;
  readonly blockOutputs: readonly BlockOutput[];
  readonly pool: readonly PoolOutput[];
}

/** What mergers make of the features, and of hidden states on the way, where they were taken in: blocks of patches, in a language model's width. */
export function mergedNames(graph: ForwardGraph): string[] {
  return [...(graph.poolShapes.has('merged') ? ['merged'] : []), ...graph.blockOutputs.map(({ name }) => name)];
}

/** The outputs that a run can be asked for, as a person writes them. */
function namesOf(graph: ForwardGraph): string {
  return ['embeddings', 'hidden_states.N', 'attentions.N.H', ...graph.blockOutputs.map(({ name }) => name), ...graph.poolShapes.keys()].join(', ');
}

/**
 * Sorts output names: `features`, `embeddings` (the patch embedding after ln_pre), `hidden_states.N` (after block N),
 * `attentions.N.H` (block N, head H), `attn_pool.weights` (mean over heads), `attn_pool.head_weights`, `merged`, `deepstack.N`.
 * @throws UserError for a name, block or head that the encoder does not have.
 */
export function wantedOutputs(graph: ForwardGraph, names: readonly string[]): WantedOutputs {
  const hidden = new Set<number>();
  const attentions = new Map<number, number[]>();
  const blockOutputs: BlockOutput[] = [];
  const pool: PoolOutput[] = [];
  let embeddings = false;
  for (const name of new Set(names)) {
    const poolOutput = [...graph.poolShapes.keys()].find(one => one === name);
    const blockOutput = graph.blockOutputs.find(one => one.name === name);
    const [, kind, layerText, headText] = /^(hidden_states|attentions)\.(\d+)(?:\.(\d+))?$/.exec(name) ?? [];
    const layer = Number(layerText);
    if (poolOutput !== undefined) pool.push(poolOutput);
    else if (blockOutput !== undefined) blockOutputs.push(blockOutput);
    else if (name === 'embeddings') embeddings = true;
    else if (kind === undefined || (kind === 'attentions') !== (headText !== undefined)) throw new UserError(t`There is no output "${name}". This encoder has: ${namesOf(graph)}.`);
    else if (layer >= graph.layers) throw new UserError(t`${name} asks for block ${layer}, but the encoder's blocks are 0 to ${graph.layers - 1}.`);
    else if (headText === undefined) hidden.add(layer);
    else if (Number(headText) >= stateAt(graph, layer).heads) throw new UserError(t`${name} asks for head ${headText}, but a block's heads are 0 to ${stateAt(graph, layer).heads - 1}.`);
    else attentions.set(layer, [...(attentions.get(layer) ?? []), Number(headText)]);
  }
  return { embeddings, hidden, attentions, blockOutputs, pool };
}

/** How many blocks must run for it: all of them when the pool is wanted. */
export function blocksNeeded(graph: ForwardGraph, wanted: WantedOutputs): number {
  if (wanted.pool.length > 0) return graph.layers;
  return Math.max(0, ...[...wanted.hidden, ...wanted.blockOutputs.map(({ layer }) => layer)].map(layer => layer + 1), ...wanted.attentions.keys());
}

/** The shape of an output for one batch. */
export function outputShape(graph: ForwardGraph, name: string, batch: number): number[] {
  for (const [output, shape] of graph.poolShapes) if (output === name) return [batch, ...shape];
  const blockOutput = graph.blockOutputs.find(one => one.name === name);
  if (blockOutput !== undefined) return [batch, ...blockOutput.shape];
  const [, layer = -1] = name.split('.');
  const { tokens, width } = stateAt(graph, Number(layer));
  return [batch, tokens, name.startsWith('attentions.') ? graph.stages?.columns ?? tokens : width];
}
