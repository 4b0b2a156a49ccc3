import type { Checkpoint, Tensor } from '../checkpoint/checkpoint';
import type { Mark, Recipe, Rule } from './recipe';
import { compileRecipe, outputKey } from './rules';

/** The rule that decided a tensor's mark. */
export interface Decision {
  readonly source: 'override' | 'rule';
  readonly index: number;
  readonly rule: Rule;
}

export interface PlannedTensor {
  readonly tensor: Tensor;
  readonly mark: Mark;
  /** The key in the encoder's state dict; undefined when the tensor stays behind. */
  readonly outputKey: string | undefined;
  /** Undefined when no rule wanted the tensor (it is excluded then). */
  readonly decision: Decision | undefined;
}

/** A recipe applied to a checkpoint: what goes into the encoder, and under which names. */
export interface Plan {
  readonly checkpoint: Checkpoint;
  readonly recipe: Recipe;
  /** One for each of the checkpoint's tensors, in its order. */
  readonly tensors: readonly PlannedTensor[];
  /** Those that go into the encoder, in the same order. */
  readonly kept: readonly PlannedTensor[];
  /** Bytes of the kept tensors, before any cast. */
  readonly keptBytes: number;
}

/** Applies a recipe to a checkpoint. Fast enough to run at every edit: the bench is 100,000 keys. */
export function makePlan(checkpoint: Checkpoint, recipe: Recipe): Plan {
  const decide = compileRecipe(recipe);
  const kept: PlannedTensor[] = [];
  let keptBytes = 0;
  const tensors = checkpoint.tensors.map((tensor): PlannedTensor => {
    const decision = decide(tensor.key);
    const planned: PlannedTensor = {
      tensor,
      decision,
      mark: decision?.rule.mark ?? 'exclude',
      outputKey: decision && outputKey(decision.rule, tensor.key),
    };
    if (planned.outputKey !== undefined) {
      kept.push(planned);
      keptBytes += tensor.length;
    }
    return planned;
  });
  return { checkpoint, recipe, tensors, kept, keptBytes };
}
