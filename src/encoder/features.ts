import { forwardGraph } from '../architecture/forwardGraphs';
import { mergedNames } from '../architecture/outputs';
import type { EncoderModel } from './model';

/** What of an encoder's values a person wants, as the command line writes it. */
export interface FeatureChoice {
  /** Blocks whose hidden state is wanted. */
  readonly layers: 'all' | readonly number[];
  readonly attentionPool: boolean;
}

/**
 * The names of the outputs for a choice: `features` always, what mergers that were taken in make of them, then hidden
 * states in order, then the pool's weights.
 */
export function featureOutputs(model: EncoderModel, choice: FeatureChoice): string[] {
  const graph = forwardGraph(model.graph);
  const { layers } = graph;
  const wanted = choice.layers === 'all' ? Array.from({ length: layers }, (_, layer) => layer) : choice.layers;
  return ['features', ...mergedNames(graph), ...wanted.map(layer => `hidden_states.${layer}`), ...(choice.attentionPool ? ['attn_pool.weights'] : [])];
}
