import type { Checkpoint } from './checkpoint/checkpoint';
import type { ConfigDocument } from './architecture/config';
import type { Detection, Family } from './architecture/family';
import type { Plan } from './recipe/plan';
import type { Recipe } from './recipe/recipe';
import type { RunOptions } from './progress';
import type { UserError } from './errors';
import type { Validation } from './validation/validation';

/**
 * The main job's state: a checkpoint with the recipe and config chosen for it, and what follows from them.
 * Immutable; the editor and the command line make a new one for every change.
 */
export interface Job {
  readonly checkpoint: Checkpoint;
  /** Undefined when neither the keys nor the recipe tell: the keys can be browsed, nothing validates. */
  readonly family: Family | undefined;
  /** Why the family's preset was picked; undefined when the recipe came from a file. */
  readonly detection: Detection | undefined;
  readonly config: ConfigDocument | undefined;
  /** Why the config beside the checkpoint cannot be used; nothing validates until another is chosen. */
  readonly configProblem: UserError | undefined;
  readonly recipe: Recipe;
  readonly plan: Plan;
  readonly validation: Validation | undefined;
}

export interface JobOptions extends RunOptions {
  /** A config.json to use instead of the one beside the checkpoint. */
  readonly config?: ConfigDocument;
  readonly recipe?: Recipe;
  /** A family's id, to use its preset instead of the one that is recognised. */
  readonly family?: string;
}

export type OpenJob = (checkpoint: Checkpoint, options?: JobOptions) => Promise<Job>;
