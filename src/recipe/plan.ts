import type { Checkpoint, Tensor } from '../checkpoint/checkpoint';
import type { Mark, Recipe, Rule } from './recipe';

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
