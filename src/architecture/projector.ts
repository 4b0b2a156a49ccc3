import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import { configValue, type ConfigDocument, type JsonPath } from './config';
import type { MergerSpec } from './graphSpec';
import { keyIndex } from './keyIndex';
import type { Size, ValueOf } from './sizes';
import type { Describe } from './tensorList';
import type { Places } from './vitSpec';

/** What the encoder of a family tells a projector of itself. */
export interface ProjectedEncoder {
  readonly title: string;
  readonly hasClass: boolean;
}

/** How a projector is run: its weights are `merger.*`. */
export interface RunProjector {
  readonly merger: MergerSpec;
  readonly places: Places;
}

export interface ProjectorField {
  /** Where it stands, if not under its own name. */
  readonly path?: JsonPath;
  /** What its absence means, and in models of some model_type. */
  readonly absent: unknown;
  readonly absentIn?: Readonly<Record<string, unknown>>;
}

/**
 * A module that stands beside an encoder in a whole model and brings its features into the language model's width: one kind of
 * those that a family's encoders are found with. Keys are from where it stands.
 */
export interface ProjectorSpec {
  /** Whose it is, for people. */
  readonly title: string;
  /** A key that the kinds after it in the family's list need not have. */
  readonly anchor: string;
  readonly modules: readonly string[];
  readonly sizes: readonly Size[];
  readonly tensors: Describe;
  /** What of the whole model's config it goes by. */
  readonly fields: Readonly<Record<string, ProjectorField>>;
  /** Absent where the family's own graph runs it. @throws UserError when the config asks for what is not known */
  readonly run?: (value: ValueOf, field: (name: string) => unknown, encoder: ProjectedEncoder) => RunProjector;
}

/** The hyperparameter and optional part. */
export const PROJECTOR = 'projector';

/** Which of a family's projectors is kept, counted from 1. */
export function projectorSize(projectors: readonly ProjectorSpec[]): Size {
  const kinds = projectors.map(({ title }, index) => `${index + 1} ${title}`).join(', ');
  return { name: PROJECTOR, description: t`Which projector into the language model is kept: 0 none, ${kinds}.`, default: 0, min: 0, max: projectors.length, part: true };
}

/** The kind of projector among keys that were kept, counted from 1; 0 when there is none. */
export function projectorAmong(projectors: readonly ProjectorSpec[], has: (key: string) => boolean): number {
  return 1 + projectors.findIndex(({ anchor }) => has(anchor));
}

export interface FoundProjector {
  readonly projector: ProjectorSpec;
  /** What stands before its keys, without a final dot. */
  readonly place: string;
}

/** The projector beside the encoder under `prefix`, or beside what holds that; the nearest one. */
export function findProjector(projectors: readonly ProjectorSpec[], prefix: string, tensors: readonly Tensor[]): FoundProjector | undefined {
  const { byKey } = keyIndex(tensors);
  for (const place of placesAbove(prefix)) {
    const projector = projectors[projectorAmong(projectors, key => byKey.has(joined(place, key))) - 1];
    if (projector !== undefined) return { projector, place };
  }
  return undefined;
}

/** The modules that hold the one at `prefix`, the nearest first; '' is the checkpoint's top, which has none above. */
export function placesAbove(prefix: string): string[] {
  const segments = prefix.split('.').slice(0, -1);
  return [...segments.map((_, index) => segments.slice(0, segments.length - index).join('.')), ''];
}

/** The projector's fields as the config has them: among the encoder's own, where an extraction wrote them, or in the whole model's. */
export function projectorFields({ fields }: ProjectorSpec, described: Readonly<Record<string, unknown>>, config: ConfigDocument | undefined): Record<string, unknown> {
  const type = config?.value.model_type;
  return Object.fromEntries(Object.entries(fields).map(([name, { path, absent, absentIn = {} }]) => {
    const said = described[name] ?? (config && configValue(config, path ?? [name]));
    return [name, said ?? (typeof type === 'string' && Object.hasOwn(absentIn, type) ? absentIn[type] : absent)];
  }));
}

export function joined(prefix: string, path: string): string {
  return prefix === '' ? path : `${prefix}.${path}`;
}
