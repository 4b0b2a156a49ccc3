import { t } from '@vscode/l10n';
import type { ConfigDocument } from '../architecture/config';
import { configName } from '../architecture/config';
import { storageOf, storageOfKept } from '../architecture/storage';
import { elementCount, type Dtype } from '../checkpoint/dtype';
import { formatBytes } from '../format';
import type { Plan, PlannedTensor } from '../recipe/plan';
import type { Rule } from '../recipe/recipe';
import { groupBy } from './groupBy';
import type { ValidationWarning } from './validation';

/** Doubts about a plan that a strict load would not raise. */
export function findWarnings(plan: Plan, config: ConfigDocument | undefined): ValidationWarning[] {
  if (plan.kept.length === 0) return nothingKept(plan, config);
  return [...mixedDtypes(plan.kept), ...oddDtypes(plan.kept), ...emptyShapes(plan.kept), ...tied(plan.kept), ...expanded(plan.kept), ...storedOtherwise(plan), ...idleRules(plan)];
}

function nothingKept(plan: Plan, config: ConfigDocument | undefined): ValidationWarning[] {
  const modules = modulePrefixes(plan.tensors.map(({ tensor }) => tensor.key));
  const shown = modules.slice(0, 12).map(([path, count]) => `${path} (${count})`);
  if (modules.length > shown.length) shown.push(t`${modules.length - shown.length} more`);
  const holds = modules.length === 0 ? t('The checkpoint has no tensors.') : t`The checkpoint's modules, with their tensors, are: ${shown.join(', ')}.`;
  const warnings: ValidationWarning[] = [{ message: t`Nothing would be kept: no rule of the recipe wants any of the checkpoint's tensors. ${holds}` }];
  const tower = config?.value.mm_vision_tower ?? config?.value.vision_tower;
  if (config !== undefined && typeof tower === 'string') {
    warnings.push({ message: t`${configName(config)} names "${tower}" as the vision tower: a checkpoint of this kind may hold no vision encoder of its own, and then the encoder is to be found there.` });
  }
  return warnings;
}

/** The modules that tell a checkpoint's parts apart: below what all keys have in common, two levels deep. */
export function modulePrefixes(keys: readonly string[]): [path: string, count: number][] {
  let common = keys[0]?.split('.').slice(0, -1) ?? [];
  for (const key of keys) {
    const segments = key.split('.').slice(0, -1);
    const clash = common.findIndex((segment, index) => segment !== segments[index]);
    if (clash >= 0) common = common.slice(0, clash);
  }
  const counts = new Map<string, number>();
  for (const key of keys) {
    const segments = key.split('.');
    const path = segments.slice(0, Math.max(1, Math.min(common.length + 2, segments.length - 1))).filter((segment, index) => index <= common.length || !/^\d+$/.test(segment)).join('.');
    counts.set(path, (counts.get(path) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]);
}

function mixedDtypes(kept: readonly PlannedTensor[]): ValidationWarning[] {
  const byDtype = groupBy(kept, ({ tensor }) => tensor.dtype);
  if (byDtype.size < 2) return [];
  const groups = [...byDtype].sort((a, b) => b[1].length - a[1].length);
  const rarest = groups.at(-1)?.[1][0];
  return [about(t`The encoder mixes dtypes: ${groups.map(([dtype, tensors]) => `${dtype} (${tensors.length})`).join(', ')}. A loader that expects one dtype will convert some of them.`, rarest)];
}

/** Dtypes in which weights are trained and run as they are. */
const PLAIN: ReadonlySet<Dtype> = new Set(['F64', 'F32', 'F16', 'BF16']);

function oddDtypes(kept: readonly PlannedTensor[]): ValidationWarning[] {
  const odd = groupBy(kept.filter(({ tensor }) => !PLAIN.has(tensor.dtype)), ({ tensor }) => tensor.dtype);
  return [...odd].map(([dtype, tensors]) => about(t`${quantity(tensors)}: ${dtype}, a dtype that weights have only when they are quantised; without its scales the encoder computes something else.`, tensors[0]));
}

function emptyShapes(kept: readonly PlannedTensor[]): ValidationWarning[] {
  const empty = kept.filter(({ tensor }) => elementCount(tensor.shape) === 0);
  return empty.length === 0 ? [] : [about(t`${quantity(empty)}: no elements. Sharded training (DeepSpeed ZeRO-3) saves such shells when the weights are not gathered first; gather them and save again.`, empty[0])];
}

/** More files make numbers of places ambiguous, not wrong. */
const MOST_FILES = 4096;

function tied(kept: readonly PlannedTensor[]): ValidationWarning[] {
  // Nearly no place is taken twice: those that are not are put aside by a number, which costs far less than the place in words.
  const [once, twice] = [new Set<number>(), new Set<number>()];
  const number = ({ tensor }: PlannedTensor): number => (tensor.indirect?.deflate?.offset ?? tensor.offset) * MOST_FILES + tensor.file;
  const filled = kept.filter(({ tensor }) => tensor.length > 0);
  for (const planned of filled) (once.has(number(planned)) ? twice : once).add(number(planned));
  const byPlace = groupBy(filled.filter(planned => twice.has(number(planned))), ({ tensor }) => `${tensor.file} ${tensor.offset} ${tensor.indirect?.deflate?.offset ?? ''}`);
  return [...byPlace.values()].filter(group => group.length > 1).map(group => about(t`${group.map(({ tensor }) => tensor.key).join(t(' and '))} share the same bytes. Each key gets a copy of its own.`, group[0]));
}

function expanded(kept: readonly PlannedTensor[]): ValidationWarning[] {
  const views = kept.filter(({ tensor: { shape, indirect } }) => indirect?.strides?.some((stride, index) => stride === 0 && (shape[index] ?? 0) > 1) ?? false);
  const bytes = views.reduce((sum, { tensor }) => sum + tensor.length, 0);
  return views.length === 0 ? [] : [about(t`${quantity(views)}: expanded from fewer stored elements and written in full, ${formatBytes(bytes)}.`, views[0])];
}

/** Said so that nobody takes the language model's quantisation for the encoder's. */
function storedOtherwise(plan: Plan): ValidationWarning[] {
  const storage = storageOf(plan.checkpoint.tensors);
  if (storage === undefined || storageOfKept(plan) !== undefined) return [];
  const what = storage.kind === 'adapter' ? t`This checkpoint holds ${storage.name} adapters` : t`This checkpoint is quantised (${storage.name})`;
  return [{ message: t`${what}, but not in its vision encoder, whose weights are plain and go in as they are.` }];
}

/** Rules that ask for tensors and get none: most often a module's name with a slip of the pen. */
function idleRules(plan: Plan): ValidationWarning[] {
  const active = new Set(plan.tensors.map(({ decision }) => decision?.rule));
  return [...plan.recipe.overrides, ...plan.recipe.rules].filter(rule => rule.mark !== 'exclude' && !active.has(rule)).map(rule => ({ message: t`The recipe's rule to ${rule.mark} ${describe(rule)} decides about no tensor.` }));
}

function describe(rule: Rule): string {
  if ('key' in rule) return t`the key ${rule.key}`;
  return 'module' in rule ? t`the module ${rule.module}` : t`the pattern ${rule.pattern}`;
}

/** "attn_pool.query", "attn_pool.query and 3 more". */
function quantity(tensors: readonly PlannedTensor[]): string {
  const first = tensors[0]?.tensor.key ?? '';
  return tensors.length === 1 ? first : t`${first} and ${tensors.length - 1} more`;
}

function about(message: string, planned: PlannedTensor | undefined): ValidationWarning {
  return planned === undefined ? { message } : { message, sourceKey: planned.tensor.key };
}
