import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { formatCount } from '../format';
import type { Checkpoint, ParsedFile, Tensor } from './checkpoint';
import type { ShardIndex } from './shardIndex';
import { quoted, someOf, UNPRINTABLE } from './wording';

/** A file's name and what its reader found. */
export interface ReadFile {
  readonly name: string;
  readonly parsed: ParsedFile;
}

/**
 * Makes one list of several files' tensors, in the files' order, and checks it against the index.
 * A key in two files is read as loaders read it: from the file that the index names, without an index from the last.
 * @throws UserError when the index names keys that their file lacks.
 */
export function assemble(files: readonly ReadFile[], index: ShardIndex | undefined): Pick<Checkpoint, 'tensors' | 'others' | 'warnings'> {
  const list: Tensor[] = [];
  /** Where in the list the keys are that no index puts into one file. */
  const places = new Map<string, number>();
  /** Keys that the index gives to another file than this one, with this one's name. */
  const misplaced = new Map<string, string>();
  const repeated = new Set<string>();
  const unindexed: string[] = [];
  for (const { name, parsed } of files) {
    for (const tensor of parsed.tensors) {
      const owner = index?.weightMap.get(tensor.key);
      if (owner === name) {
        list.push(tensor);
        continue;
      }
      if (owner !== undefined) {
        misplaced.set(tensor.key, name);
        repeated.add(tensor.key);
        continue;
      }
      if (index !== undefined) unindexed.push(tensor.key);
      const place = places.get(tensor.key);
      if (place === undefined) places.set(tensor.key, list.push(tensor) - 1);
      else {
        list[place] = tensor;
        repeated.add(tensor.key);
      }
    }
  }
  // A file has each key once: as many tensors as the index names keys are just those.
  if (index !== undefined && list.length - places.size < index.weightMap.size) {
    const others = files.flatMap(({ parsed }) => parsed.others.map(({ key }) => key));
    checkIndexedKeys(index, new Set([...others, ...list.map(({ key }) => key)]), misplaced);
  }
  return {
    tensors: list,
    others: files.flatMap(({ parsed }) => parsed.others),
    warnings: [
      ...files.flatMap(({ parsed }) => parsed.warnings),
      ...(unindexed.length > 0 && index !== undefined ? [t`${formatCount(unindexed.length, 'tensor')} in the shards that ${index.name} does not name: ${someOf(unindexed)}. Listed all the same; other programs may not load them.`] : []),
      ...(repeated.size > 0 ? [index === undefined
        ? t`${formatCount(repeated.size, 'key')} in more than one file: ${someOf([...repeated])}. The last file counts.`
        : t`${formatCount(repeated.size, 'key')} in more than one file: ${someOf([...repeated])}. The file that the index names counts.`] : []),
      ...tensorWarnings(list),
    ],
  };
}

/** Each key that the index names must be in the shard that it names for it, as a tensor or as another value. */
function checkIndexedKeys(index: ShardIndex, present: ReadonlySet<string>, misplaced: ReadonlyMap<string, string>): void {
  const lacking = new Map<string, string[]>();
  for (const [key, shard] of index.weightMap) {
    if (present.has(key)) continue;
    const keys = lacking.get(shard);
    if (keys === undefined) lacking.set(shard, [key]);
    else keys.push(key);
  }
  if (lacking.size === 0) return;
  const faults = [...lacking].map(([shard, keys]) => {
    const [first = ''] = keys;
    const elsewhere = misplaced.get(first);
    return t`${shard} lacks ${someOf(keys)}${elsewhere === undefined ? '' : t` (${quoted(first)} is in ${elsewhere})`}`;
  });
  throw new UserError(t`${index.name} names keys that are not in their shards: ${faults.slice(0, 3).join(t('; '))}${faults.length > 3 ? t`; and ${faults.length - 3} more shards` : ''}. The index and the shards do not belong together; download them again.`);
}

/** What keys are made of; others are looked at closely. */
const ORDINARY = /^[\w.-]+$/;

/** What is odd about single tensors. Odd keys are read like all others: they never name a file. */
function tensorWarnings(tensors: readonly Tensor[]): string[] {
  const odd = tensors.filter(({ key }) => !ORDINARY.test(key)).map(({ key }) => key);
  const unprintable = odd.filter(key => key.search(UNPRINTABLE) >= 0);
  const paths = odd.filter(looksLikePath);
  const hollow = tensors.filter(({ shape }) => shape.length === 1 && shape[0] === 0).map(({ key }) => key);
  return [
    ...(tensors.length === 0 ? [t('There are no tensors in it.')] : []),
    ...(odd.includes('') ? [t('One tensor has an empty key.')] : []),
    ...(unprintable.length > 0 ? [t`${formatCount(unprintable.length, 'key')} with control or invisible characters: ${someOf(unprintable)}.`] : []),
    ...(paths.length > 0 ? [t`${formatCount(paths.length, 'key')} that could be taken for a file path: ${someOf(paths)}. They are names only here.`] : []),
    ...(hollow.length > 0 ? [t`${formatCount(hollow.length, 'tensor')} of shape (0,), as sharded training (ZeRO-3) leaves them when its parts were not gathered: ${someOf(hollow)}. Their values are not in this checkpoint.`] : []),
  ];
}

function looksLikePath(key: string): boolean {
  return key.startsWith('/') || key.startsWith('~/') || key.includes('\\') || /^[a-z]:/i.test(key) || /(^|\/)\.\.(\/|$)/.test(key);
}
