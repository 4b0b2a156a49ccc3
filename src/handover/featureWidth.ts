import { t } from '@vscode/l10n';
import { forwardGraph } from '../architecture/forwardGraphs';
import { outputShape } from '../architecture/outputs';
import { UserError } from '../errors';
import type { Encoder } from './target';

/**
 * Width of what the encoder hands on.
 * @param merged whether that is its merger's output where it has one, as in the classes of transformers; else the hidden states before
 * @throws UserError for a family whose forward pass is not known
 */
export function featureWidth({ family, hyperparameters, source }: Encoder, merged: boolean): number {
  // GLM-4V's merger is as wide as the MLPs of its blocks.
  const merger = hyperparameters.get('output_dim') ?? hyperparameters.get('mlp_size');
  if (merged && hyperparameters.get('merger')?.value === 1 && merger !== undefined) return merger.value;
  const width = family.graph && outputShape(forwardGraph(family.graph(hyperparameters, source)), 'features', 1).at(-1);
  if (width === undefined) throw new UserError(t`How wide the features of ${family.title} are is not known here, so there is no projection for them. Hand the encoder over without a decoder.`);
  return width;
}
