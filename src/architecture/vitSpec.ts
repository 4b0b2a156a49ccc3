import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { isObject } from './config';
import type { RotarySpec, VitSpec, WeightPlace } from './graphSpec';
import type { Activation } from './operators';
import type { ValueOf } from './sizes';
import { inWords } from '../checkpoint/wording';

/** Keys by the builder's names. Those that an encoder does not have are left out of its forward pass. */
export type Places = Readonly<Record<string, WeightPlace>>;

/** How a family's keys and config become the forward pass of `vitGraph`. */
export interface VitChoice {
  /** What is outside the blocks. */
  readonly outer: Places;
  /** The module path before a block's number. */
  readonly blocks: string;
  readonly block: Places;
  /** LayerNorm unless told. */
  readonly norm?: VitSpec['norm'];
  /** Of the final norm, where it is not that of the others. */
  readonly finalNormKind?: VitSpec['norm'];
  readonly epsilon: unknown;
  /** As configs write it: gelu_pytorch_tanh, quick_gelu, ... */
  readonly activation: unknown;
  readonly finalNorm: VitSpec['finalNorm'];
  readonly pooled: VitSpec['pooled'];
  readonly registers?: number;
  /** The class token alone, unless told. */
  readonly placedPrefix?: number;
  readonly placedLast?: boolean;
  readonly patchRows?: boolean;
  readonly normAfter?: boolean;
  readonly latents?: NonNullable<VitSpec['latents']>;
  readonly mlpSize?: number;
  /** For encoders that pictures decide the grid of; with the side of the usual square picture, in pixels. */
  readonly anyGrid?: { readonly multiple: number; readonly usualSide: number };
  readonly frames?: number;
  readonly table?: NonNullable<VitSpec['table']>;
  readonly rotary?: NonNullable<VitSpec['rotary']>;
  readonly windows?: NonNullable<VitSpec['windows']>;
  /** When the merger into the language model was taken in; its weights are `merger.*`. */
  readonly merger?: NonNullable<VitSpec['merger']>;
  /** Their weights are `deepstack.N.*`. */
  readonly deepstack?: NonNullable<VitSpec['deepstack']>;
  readonly projection?: { readonly width: number; readonly transposed: boolean };
}

/** A family's choice, from its hyperparameters and the fields of its config, completed with the class's defaults. */
export type ChooseVit = (value: ValueOf, field: (name: string) => unknown) => VitChoice;

/** A tensor on its own. */
export function tensor(name: string, key: string): Places {
  return { [name]: { key, part: 0 } };
}

/** A module with a weight and perhaps a bias. */
export function module(name: string, path: string): Places {
  return stacked(path, [name]);
}

/** Modules by their names and paths. */
export function modules(paths: Readonly<Record<string, string>>): Places {
  return Object.assign({}, ...Object.entries(paths).map(([name, path]) => module(name, path))) as Places;
}

/** Several linear layers stacked in one, in this order. */
export function stacked(path: string, names: readonly string[], weight = 'weight', bias = 'bias', dot = '.'): Places {
  return Object.fromEntries(names.flatMap((name, part) => [
    [`${name}.weight`, { key: `${path}${dot}${weight}`, part }],
    [`${name}.bias`, { key: `${path}${dot}${bias}`, part }],
  ]));
}

/** A rotary position embedding whose pairs are the halves of a head, rows first, as Qwen's. The base is where transformers 5 has it, or 4. */
export function rotaryOf(field: (name: string) => unknown, layout: Partial<Omit<RotarySpec, 'theta'>> = {}): RotarySpec {
  const parameters = field('rope_parameters');
  const inside = isObject(parameters) ? parameters.rope_theta : undefined;
  const theta = inside ?? field('rope_theta') ?? 10_000;
  if (typeof theta !== 'number' || !(theta > 0)) throw new UserError(t`The config's rope_theta is ${inWords(theta)}, not a positive number, so the encoder cannot be run.`);
  return { theta, pairs: 'halves', axes: 'rows-first', frequencies: 'same', coordinates: 'from-zero', ...layout };
}

/** The same places below a module. */
export function below(prefix: string, places: Places): Places {
  if (prefix === '') return places;
  return Object.fromEntries(Object.entries(places).map(([name, { key, part }]) => [name, { key: `${prefix}.${key}`, part }]));
}

/** @throws UserError when the config asks for an activation or epsilon that is not known */
export function vitSpec(title: string, choice: VitChoice, value: ValueOf, keys: ReadonlySet<string>): VitSpec {
  const present = (places: Places, path: string): Record<string, WeightPlace> =>
    Object.fromEntries(Object.entries(places).filter(([, { key }]) => keys.has(path + key)));
  const { latents, anyGrid, frames, table, rotary, windows, merger, deepstack } = choice;
  const weights = present(choice.outer, '');
  return {
    kind: 'vit',
    width: value('width'), layers: value('layers'), heads: value('heads'), mlpSize: choice.mlpSize ?? value('mlp_size'),
    patchSize: value('patch_size'), imageSize: anyGrid?.usualSide ?? value('image_size'), patchRows: choice.patchRows ?? false,
    ...(anyGrid && { gridMultiple: anyGrid.multiple }), ...(frames !== undefined && { frames }), ...(table && { table }), ...(rotary && { rotary }), ...(windows && { windows }),
    norm: choice.norm ?? 'layer', normAfter: choice.normAfter ?? false, finalNormKind: choice.finalNormKind ?? choice.norm ?? 'layer', epsilon: epsilonOf(choice.epsilon, title), activation: activationNamed(choice.activation, title),
    registers: choice.registers ?? 0, placedPrefix: choice.placedPrefix ?? (weights.class === undefined ? 0 : 1), placedLast: choice.placedLast ?? false,
    finalNorm: choice.finalNorm, pooled: choice.pooled, ...(latents && { latents }), ...(merger && { merger }), ...(deepstack && { deepstack }),
    projectedWidth: choice.projection?.width ?? 0, projectionTransposed: choice.projection?.transposed ?? false,
    blocks: choice.blocks, weights, block: present(choice.block, `${choice.blocks}.0.`),
  };
}

/** @throws UserError when the config has no number there */
export function epsilonOf(epsilon: unknown, title: string): number {
  if (typeof epsilon !== 'number' || !(epsilon >= 0)) throw new UserError(t`The config's epsilon of the norms is ${inWords(epsilon)}, not a number, so the ${title} encoder cannot be run.`);
  return epsilon;
}

/** transformers' names (activations.py, ACT2FN). */
const NAMED: Readonly<Record<string, Activation>> = {
  gelu: 'gelu', gelu_python: 'gelu', gelu_pytorch_tanh: 'gelu_tanh', gelu_python_tanh: 'gelu_tanh', gelu_new: 'gelu_tanh', gelu_fast: 'gelu_tanh', gelu_accurate: 'gelu_tanh',
  quick_gelu: 'quick_gelu', silu: 'silu', swish: 'silu', relu: 'relu',
};

/** @throws UserError when it is none of those that are known */
export function activationNamed(name: unknown, title: string): Activation {
  const known = typeof name === 'string' && Object.hasOwn(NAMED, name) ? NAMED[name] : undefined;
  if (known === undefined) throw new UserError(t`The config's activation is ${inWords(name)}, so the ${title} encoder cannot be run; these can: ${Object.keys(NAMED).join(', ')}.`);
  return known;
}
