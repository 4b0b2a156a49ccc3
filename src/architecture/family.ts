import type { Tensor } from '../checkpoint/checkpoint';
import type { Recipe, Rule, Settings } from '../recipe/recipe';
import type { ConfigDocument, JsonPath } from './config';
import type { GraphSpec } from './graphSpec';

/** Where a hyperparameter's value came from, so that a mismatch can point there. */
export type Origin =
  | { readonly kind: 'config'; readonly path: JsonPath }
  | { readonly kind: 'setting' }
  /** Read off the kept tensors: a part that is there or not, or a size that no config gives. */
  | { readonly kind: 'checkpoint' }
  | { readonly kind: 'default' };

export interface Hyperparameter {
  readonly name: string;
  readonly value: number;
  readonly origin: Origin;
}

/** A number that sizes the encoder: what it is called, what it means, what it is when nothing says. */
export interface HyperparameterSpec {
  readonly name: string;
  readonly description: string;
  readonly default?: number;
  /** What it counts, in the plural, when it is a count that can be seen in the keys: `blocks`. */
  readonly counts?: string;
}

export type Hyperparameters = ReadonlyMap<string, Hyperparameter>;

/** A tensor's dimension: `times` times the hyperparameter `of`, or a fixed number. */
export type Dimension = number | { readonly of: string; readonly times: number };

export interface ExpectedTensor {
  readonly key: string;
  readonly shape: readonly number[];
  /** What decides each dimension; as long as `shape`. */
  readonly dimensions: readonly Dimension[];
  /** The hyperparameter that decides whether the tensor exists at all: `layers` for a block's, `output_dim` for `kv_proj`. */
  readonly existsBy?: string;
}

/** What the kept tensors themselves tell about hyperparameters, by the family's names. */
export type Observed = Settings;

/** A part that a person may take in or leave behind: the merger into the language model, an output projection. */
export interface Switch {
  /** The hyperparameter that says whether the part is there. */
  readonly id: string;
  readonly title: string;
  /** Whether the preset takes it in. */
  readonly kept: boolean;
  /** The one rule each that take it in or leave it behind, to stand before all others; none where the checkpoint's tensors show none. */
  rules(prefix: string, kept: boolean, tensors: readonly Tensor[]): Rule[];
}

/** Why a family was recognised, for the person. */
export interface Detection {
  /** The module path before the encoder's own keys, `transformer.visual`; empty for an extracted encoder. */
  readonly prefix: string;
  /** 0 to 1; the highest wins. */
  readonly confidence: number;
  /** A sentence: what in the keys or the config gave it away. */
  readonly reason: string;
}

/** One family of vision encoders: everything the product knows about it. */
export interface Family {
  /** As recipes name it. */
  readonly id: string;
  readonly title: string;
  /** The models whose encoder this is, for people. */
  readonly models: string;
  /** preview: hidden states can be computed too. validate: marks, strict validation and extraction only. */
  readonly support: 'preview' | 'validate';
  /** For a family whose encoders cannot be run: a sentence that says why. */
  readonly notRun?: string;
  readonly switches?: readonly Switch[];
  /** The modules above the encoder that join it to a language model, whether it is known how or not. */
  connectors?(prefix: string, tensors: readonly Tensor[]): string[];
  /** The hyperparameters, each of which `settings` may override. */
  readonly hyperparameters: readonly HyperparameterSpec[];
  /**
   * The preset recipe for a checkpoint whose encoder lies under `prefix`.
   * Rules that only leave tensors behind, and of which `tensors` has none, are left out.
   */
  recipe(prefix: string, tensors?: readonly Tensor[], config?: ConfigDocument): Recipe;
  detect(tensors: readonly Tensor[], config: ConfigDocument | undefined): Detection | undefined;
  /** Whether `config` describes an encoder of this family (its own layout or a foreign one that serves). */
  acceptsConfig(config: ConfigDocument): boolean;
  /** What the kept tensors tell: which optional parts are there, and sizes for when no config gives them. */
  observe?(kept: ReadonlyMap<string, readonly number[]>): Observed;
  /**
   * Values from settings, else the config, else the family's defaults. Of optional parts, and where the config says
   * nothing about the encoder, what was observed wins over config and defaults.
   * @throws ConfigError naming the field when a value is absent or impossible, or a setting unknown.
   */
  resolve(config: ConfigDocument | undefined, settings: Settings, observed?: Observed): Hyperparameters;
  /**
   * The encoder's state dict, in the order in which its module defines it.
   * @param kept for a family that can only say whether the tensors agree with each other
   */
  expectedTensors(hyperparameters: Hyperparameters, kept?: ReadonlyMap<string, readonly number[]>): ExpectedTensor[];
  /** The setting that would make dimension or existence `hyperparameter` agree with `found`, when there is one. */
  suggest?(hyperparameter: string, found: number, current: Hyperparameters): Settings | undefined;
  /**
   * The forward pass, for a family whose encoders can be run: activation, epsilon and the like as the config says,
   * completed with the class's defaults.
   * @throws UserError when the config asks for what the forward pass does not have
   */
  graph?(hyperparameters: Hyperparameters, config: ConfigDocument | undefined): GraphSpec;
  /** The config.json to write beside an extracted encoder. */
  encoderConfig(hyperparameters: Hyperparameters, config: ConfigDocument | undefined): Record<string, unknown>;
  /** The preprocessor_config.json to write beside it when the checkpoint has none. */
  preprocessorConfig(hyperparameters: Hyperparameters): Record<string, unknown>;
}
