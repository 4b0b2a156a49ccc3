import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { t } from '@vscode/l10n';
import { quoted } from '../checkpoint/wording';
import { UserError } from '../errors';
import { formatBytes } from '../format';
import type { Plan } from '../recipe/plan';
import type { Validation } from '../validation/validation';
import { writing } from './ioErrors';
import { MANIFEST_NAME, readManifest } from './manifest';
import { namesIn, samePlace } from './outputFolder';

/** The folder has an output already, and overwriting was not allowed. */
export class OutputExists extends UserError {
  /** @param found a sentence: what is where */
  constructor(found: string) {
    super(t`${found} Choose another folder, or replace what is there.`, { remedy: 'replace' });
  }
}

/** Room for the JSON files and for what the file system itself needs. */
const SPACE_MARGIN = 4 << 20;

/** @throws UserError when the plan keeps nothing, two tensors get one key, or a strict load would fail. */
export function assertExtractable(plan: Plan, validation: Validation): void {
  if (plan.kept.length === 0) {
    throw new UserError(t`The recipe "${plan.recipe.name}" keeps none of the ${plan.checkpoint.tensors.length} tensors of ${plan.checkpoint.name}, so there is nothing to extract. Pick the recipe that fits this checkpoint, or mark tensors to keep.`);
  }
  const sourceKeys = new Map<string, string>();
  for (const { outputKey, tensor } of plan.kept) {
    const key = outputKey ?? tensor.key;
    const first = sourceKeys.get(key);
    if (first !== undefined) throw new UserError(t`${first} and ${tensor.key} would both become ${key}. Exclude one of them, or change the prefix that is stripped.`);
    sourceKeys.set(key, tensor.key);
    if (!isStorable(key)) throw new UserError(t`${quoted(tensor.key)} would become ${quoted(key)}, a name that no file of weights can give a tensor. Exclude it.`);
  }
  if (!validation.valid) {
    const { problem, missing, unexpected, mismatched, duplicates } = validation;
    if (problem !== undefined) throw new UserError(t`The encoder could not be validated, so nothing was written: ${problem.message}`);
    const findings = [[missing, t('missing')], [unexpected, t('unexpected')], [mismatched, t('of another size')], [duplicates, t('duplicated')]] as const;
    const counts = findings.filter(([list]) => list.length > 0).map(([list, word]) => t`${list.length} ${word}`);
    const first = [...missing, ...unexpected, ...mismatched, ...duplicates][0];
    throw new UserError(t`A strict load of the encoder would fail, so nothing was written: keys ${counts.join(', ')}${first === undefined ? '' : t`, first ${first.key}`}. Correct the recipe, the settings or the config, and validate again.`);
  }
}

/** Half a surrogate pair has no UTF-8, and safetensors keeps its metadata under the other name. */
function isStorable(key: string): boolean {
  return !/\p{Cs}/u.test(key) && key !== '__metadata__';
}

/**
 * Looks at what is in the way in the output folder.
 * @returns The files of an earlier output that the new one replaces and does not write itself.
 * @throws UserError when the folder holds the checkpoint, or has an output and `overwrite` is not given.
 */
export async function checkFolder(folder: string, names: readonly string[], plan: Plan, overwrite: boolean): Promise<string[]> {
  const present = new Set(await writing(folder, () => namesIn(folder)) ?? []);
  const { store, files } = plan.checkpoint;
  // Shards may lie in subfolders of the checkpoint's own, which holds its config and its index.
  const places = new Set([store.location, ...files.flatMap(({ source }) => source.path === undefined ? [] : dirname(source.path))]);
  for (const place of places) {
    if (await samePlace(place, folder)) {
      throw new UserError(t`${folder} holds the checkpoint itself, whose files the output would replace. Choose another folder; one inside it will do.`);
    }
  }
  const earlier = present.has(MANIFEST_NAME) ? await earlierFiles(folder, overwrite) : [];
  const inTheWay = names.filter(name => present.has(name));
  if (!overwrite && inTheWay.length > 0) {
    throw new OutputExists(t`${folder} already has ${inTheWay.slice(0, 3).join(', ')}${inTheWay.length > 3 ? t` and ${inTheWay.length - 3} more` : ''}.`);
  }
  return earlier.filter(name => present.has(name) && !names.includes(name));
}

/** What the manifest that lies there says is ours; a manifest that cannot be read makes nothing ours. */
async function earlierFiles(folder: string, overwrite: boolean): Promise<string[]> {
  if (!overwrite) return [];
  try {
    return (await readManifest(folder)).output.files.map(file => file.name);
  } catch (error) {
    if (error instanceof UserError) return [];
    throw error;
  }
}

/** @throws UserError when the disk below `staging` has no room for `bytes`. */
export async function assertSpace(staging: string, folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(staging);
  const free = bavail * bsize;
  const needed = bytes + SPACE_MARGIN;
  if (free < needed) {
    throw new UserError(t`The disk of ${folder} has ${formatBytes(free)} free, and the output needs ${formatBytes(needed)}. Free some space, or extract to another disk.`);
  }
}
