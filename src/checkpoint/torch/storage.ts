import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { STORAGE_CLASSES, type ElementType } from './elementType';
import { isSequence, PickleGlobal, PickleTuple, type PicklePersistent, type PickleValue } from './pickleValue';
import { quoted } from '../wording';

/** A storage as a persistent id describes it: ('storage', class, key, location, count[, view]). */
export interface Storage {
  /** Names the bytes: `data/<key>` in a zip archive, the storage list in a legacy file. */
  readonly key: string;
  readonly element: ElementType;
  /** Elements in all of the storage. */
  readonly count: number;
  /** The part of it, in elements, that a tensor's offset counts from; the whole unless a legacy file says otherwise. */
  readonly view: { readonly start: number; readonly count: number };
}

/** Where a storage's bytes lie. */
export interface StorageLocation {
  /** Offset in the file, or 0 within the inflated bytes. */
  readonly offset: number;
  readonly deflate?: { readonly offset: number; readonly compressedLength: number; readonly length: number };
}

/**
 * The storages that a pickle refers to, by persistent id, and one for each key.
 * @throws UserError for a persistent id that is no storage, and for two that disagree about one storage, as torch.load does.
 */
export function readStorages(name: string, persistents: readonly PicklePersistent[]): { byPersistent: Map<PicklePersistent, Storage>; byKey: Map<string, Storage> } {
  const byPersistent = new Map<PicklePersistent, Storage>();
  const byKey = new Map<string, Storage>();
  for (const persistent of persistents) {
    const storage = parseStorage(name, persistent.id);
    byPersistent.set(persistent, storage);
    const known = byKey.get(storage.key);
    if (known === undefined) byKey.set(storage.key, storage);
    else if (known.element !== storage.element || known.count !== storage.count) {
      throw new UserError(t`${name} is damaged: it describes its storage ${quoted(storage.key)} once as ${describeStorage(known)} and once as ${describeStorage(storage)}. Download it again.`);
    }
  }
  return { byPersistent, byKey };
}

export function describeStorage({ element, count }: Storage): string {
  return t`${count} ${element.name} elements`;
}

/** An integer from 0 to 2^53. */
export function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseStorage(name: string, id: PickleValue): Storage {
  const wrong = (problem: string): UserError => new UserError(t`${name} is damaged: ${problem}. Download it again.`);
  if (!(id instanceof PickleTuple) || id.items[0] !== 'storage') throw wrong(t('its pickle refers to something outside itself that is not a storage'));
  const [, storageClass, rawKey, , count, view] = id.items;
  const element = storageClass instanceof PickleGlobal ? STORAGE_CLASSES.get(storageClass.name) : undefined;
  const key = typeof rawKey === 'number' ? String(rawKey) : rawKey;
  if (element === undefined || typeof key !== 'string') throw wrong(t('its pickle describes a storage without a known type or a key'));
  if (!isSize(count) || !isSize(count * element.bytes)) throw wrong(t`its storage ${quoted(key)} has an impossible number of elements`);
  return { key, element, count, view: parseView(view, count) ?? fail(wrong(t`the view of its storage ${quoted(key)} lies outside the storage`)) };
}

/** (key, offset, size) of a legacy storage that is a slice of another. */
function parseView(view: PickleValue | undefined, count: number): Storage['view'] | undefined {
  if (view === undefined || view === null) return { start: 0, count };
  if (!isSequence(view)) return undefined;
  const [, start, size] = view.items;
  return isSize(start) && isSize(size) && start + size <= count ? { start, count: size } : undefined;
}

function fail(error: UserError): never {
  throw error;
}
