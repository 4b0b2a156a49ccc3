import { forwardGraph } from '../architecture/forwardGraphs';
import type { EncoderModel } from './model';

/** What of an encoder's values a person wants, as the command line writes it. */
export interface FeatureChoice {
  /** Blocks whose hidden state is wanted. */
  readonly layers: 'all' | readonly number[];
  readonly attentionPool: boolean;
}

/** What the mergers make of the features, and of hidden states on the way, where they were taken in. */
export function mergedOutputs(model: EncoderModel): string[] {
  const { poolShapes, blockOutputs } = forwardGraph(model.graph);
  return [...(poolShapes.has('merged') ? ['merged'] : []), ...blockOutputs.map(({ name }) => name)];
}

/**
 * The names of the outputs for a choice: `features` always, what mergers that were taken in make of them, then hidden
 * states in order, then the pool's weights.
 */
export function featureOutputs(model: EncoderModel, choice: FeatureChoice): string[] {
  const { layers } = forwardGraph(model.graph);
  const wanted = choice.layers === 'all' ? Array.from({ length: layers }, (_, layer) => layer) : choice.layers;
  return ['features', ...mergedOutputs(model), ...wanted.map(layer => `hidden_states.${layer}`), ...(choice.attentionPool ? ['attn_pool.weights'] : [])];
}
