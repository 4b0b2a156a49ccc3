import type { Hyperparameters } from '../architecture/family';
import type { TextRange } from '../architecture/config';
import type { Mark, Settings } from '../recipe/recipe';

/** A place in the config file. */
export interface Place {
  readonly location: string;
  readonly range: TextRange;
}

/** The config field, setting or default that disagrees with the checkpoint. */
export interface Blame {
  /** The hyperparameter's name. */
  readonly hyperparameter: string;
  /** A sentence: "48 layers found, config.json says 24". */
  readonly message: string;
  /** The place in the config file, when the value came from one. */
  readonly place?: Place;
}

/** Something that one click can do about a finding. */
export type Fix =
  | { readonly kind: 'setting'; readonly title: string; readonly settings: Settings }
  | { readonly kind: 'mark'; readonly title: string; readonly key: string; readonly mark: Mark; readonly prefix?: string };

interface Finding {
  /** The key in the encoder's state dict. */
  readonly key: string;
  readonly blame?: Blame;
  readonly fixes: readonly Fix[];
}

export interface MissingKey extends Finding {
  readonly shape: readonly number[];
  /** The most similar key that the plan has and nobody expects, or that the recipe leaves behind. */
  readonly nearest?: string;
}

export interface UnexpectedKey extends Finding {
  /** The key in the checkpoint. */
  readonly sourceKey: string;
  readonly shape: readonly number[];
  readonly nearest?: string;
}

export interface SizeMismatch extends Finding {
  readonly sourceKey: string;
  readonly expected: readonly number[];
  readonly found: readonly number[];
}

/** Two or more tensors that would get the same name. */
export interface DuplicateKey extends Finding {
  readonly sourceKeys: readonly string[];
}

export interface ValidationWarning {
  readonly message: string;
  readonly sourceKey?: string;
}

/** What a strict load would say, all at once. */
export interface Validation {
  /** True when nothing is missing, unexpected, mismatched or duplicated, and at least one tensor is kept. */
  readonly valid: boolean;
  /**
   * Why nothing could be compared: there is no config, it lacks a field, or a value is impossible.
   * Hyperparameters, findings and counts are then empty, and `valid` is false.
   */
  readonly problem?: { readonly message: string; readonly place?: Place };
  readonly family: string;
  /** The config file validated against; undefined when settings and defaults alone decided. */
  readonly config: string | undefined;
  readonly hyperparameters: Hyperparameters;
  readonly expectedCount: number;
  readonly matchedCount: number;
  readonly missing: readonly MissingKey[];
  readonly unexpected: readonly UnexpectedKey[];
  readonly mismatched: readonly SizeMismatch[];
  readonly duplicates: readonly DuplicateKey[];
  /** Doubts that do not fail a strict load: mixed dtypes, integer weights, `(0,)` shapes, tied tensors. */
  readonly warnings: readonly ValidationWarning[];
}
