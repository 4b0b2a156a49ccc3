import { t } from '@vscode/l10n';
import type { ConfigDocument } from '../architecture/config';
import type { Family, Hyperparameters } from '../architecture/family';
import { sizesOf, type Sizes } from '../architecture/forwardGraph';
import type { GraphSpec } from '../architecture/graphSpec';
import type { Tensor } from '../checkpoint/checkpoint';
import { dtypeBits, elementCount } from '../checkpoint/dtype';
import { UserError } from '../errors';
import type { Plan } from '../recipe/plan';

/** One tensor of the encoder, where it lies on this machine. */
export interface StoredWeight extends Omit<Tensor, 'file'> {
  /** The file's absolute path. */
  readonly path: string;
}

/** An encoder that can be run: plain data, for messages. Nothing is loaded. */
export interface EncoderModel {
  /** For titles and messages. */
  readonly name: string;
  readonly family: string;
  readonly sizes: Sizes;
  /** The forward pass. */
  readonly graph: GraphSpec;
  /** By key in the encoder's state dict. */
  readonly weights: ReadonlyMap<string, StoredWeight>;
}

/**
 * The encoder that a plan describes, straight from the checkpoint's own files.
 * @param config what the hyperparameters were resolved from: the activation and the like stand there
 * @throws UserError when the family cannot be run, a tensor is missing or has another shape, or the files are not on this machine
 */
export function encoderModel(plan: Plan, family: Family, hyperparameters: Hyperparameters, config?: ConfigDocument): EncoderModel {
  if (family.graph === undefined) throw new UserError(t`${family.title}: ${family.notRun ?? t('Encoders of this family cannot be run.')}`);
  const { name, files } = plan.checkpoint;
  const planned = new Map(plan.kept.map(({ outputKey, tensor }) => [outputKey, tensor]));
  const weights = new Map<string, StoredWeight>();
  for (const { key, shape } of family.expectedTensors(hyperparameters)) {
    const tensor = planned.get(key);
    if (tensor === undefined) throw new UserError(t`${name} has no tensor for ${key}, so the encoder cannot be run. Validate the checkpoint to see all that is missing.`);
    if (tensor.shape.join() !== shape.join()) {
      throw new UserError(t`${tensor.key} is [${tensor.shape.join(', ')}] where the encoder needs [${shape.join(', ')}], so it cannot be run. Validate the checkpoint to see what disagrees.`);
    }
    const source = files[tensor.file]?.source;
    if (source?.path === undefined) throw new UserError(t`${source?.name ?? name} is not on this machine, so the encoder cannot be run. Extract the encoder first, then run the result.`);
    weights.set(key, { ...tensor, key: tensor.key, path: source.path });
  }
  return { name, family: family.id, sizes: sizesOf(hyperparameters), graph: family.graph(hyperparameters, config), weights };
}

/** Bytes of the weights as the files hold them. */
export function storedBytes(model: EncoderModel): number {
  return [...model.weights.values()].reduce((sum, { shape, dtype }) => sum + elementCount(shape) * dtypeBits(dtype) / 8, 0);
}

export function parameterCount(model: EncoderModel): number {
  return [...model.weights.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
}
