import { t } from '@vscode/l10n';
import { forwardGraph } from '../architecture/forwardGraphs';
import { outputShape } from '../architecture/outputs';
import { UserError } from '../errors';
import type { Encoder } from './target';

/** Parts that classes of transformers run at their end, and where their width stands: GLM-4V's merger is as wide as the MLPs of its blocks. */
const WIDTHS_AFTER = [['merger', 'output_dim', 'mlp_size'], ['adapter', 'adapter_output']] as const;

/**
 * Width of what the encoder hands on to a language model: of what its merger or projector makes of the features, where that was taken in.
 * @param byClass whether the classes of transformers run it, which have it at their end whether it can be run here or not
 * @throws UserError for a family whose forward pass is not known
 */
export function featureWidth({ family, hyperparameters, source }: Encoder, byClass: boolean): number {
  const [, ...names] = WIDTHS_AFTER.find(([part]) => hyperparameters.get(part)?.value === 1) ?? [];
  const after = names.flatMap(name => hyperparameters.get(name)?.value ?? [])[0];
  if (byClass && after !== undefined) return after;
  const graph = family.graph && forwardGraph(family.graph(hyperparameters, source));
  const width = graph && outputShape(graph, graph.poolShapes.has('merged') ? 'merged' : 'features', 1).at(-1);
  if (width === undefined) throw new UserError(t`How wide the features of ${family.title} are is not known here, so there is no projection for them. Hand the encoder over without a decoder.`);
  return width;
}
