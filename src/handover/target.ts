import type { ConfigDocument } from '../architecture/config';
import type { Family, Hyperparameters } from '../architecture/family';
import type { Relayout } from '../architecture/relayout';
import type { ExtraFile } from '../extraction/extraFiles';
import type { OutputFormat } from '../extraction/weightsLayout';

/** What targets decide by: a valid encoder, with the files that an extraction of it writes. */
export interface Encoder {
  readonly family: Family;
  readonly hyperparameters: Hyperparameters;
  /** The checkpoint's own config. */
  readonly source: ConfigDocument | undefined;
  /** The contents of config.json and preprocessor_config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly preprocessor: Readonly<Record<string, unknown>>;
}

/** Python that loads what was written, from the folder that its variable `folder` names. */
export interface Python {
  /** What it loads, and how it is run. */
  readonly about: readonly string[];
  readonly imports: readonly string[];
  readonly load: readonly string[];
  /** Which of its outputs a projection takes, where that is not the features. */
  readonly projects?: string;
  /** How the projection gets into training, where the target has a place for it. */
  readonly train?: string;
}

/** Who loads the encoder next, and what that wants. */
export interface Target {
  readonly id: string;
  readonly title: string;
  /** What is written, for a person who chooses. */
  writes(): string;
  readonly format: OutputFormat | 'onnx';
  /** Why it cannot load encoders of this family, in a sentence; undefined when it can. */
  whyNot(family: Family): string | undefined;
  /** How encoders of a family that it cannot load are laid out anew for it, where that changes no number. */
  relayout?(family: Family): Relayout | undefined;
  /** Optional parts that must be in (true) or left behind (false). */
  parts(family: Family): Readonly<Record<string, boolean>>;
  /** What is wrong with writing into this folder, in a sentence. */
  folderFault(folder: string, family: Family): string | undefined;
  /** A name for the folder that has no fault. */
  folderName(base: string, family: Family): string;
  /** What to know before it is loaded: a sentence each. */
  notes(encoder: Encoder): readonly string[];
  /** Files beside the weights, config.json and preprocessor_config.json. */
  files(encoder: Encoder): readonly ExtraFile[];
  python(encoder: Encoder): Python;
}

/** Targets that take any folder and want nothing special. */
export const PLAIN = {
  parts: () => ({}),
  folderFault: () => undefined,
  folderName: (base: string) => base,
  notes: () => [],
  files: () => [],
} satisfies Partial<Target>;
