import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { readBytes, type ByteSource } from '../byteSource';
import type { ParsedFile } from '../checkpoint';
import { describeValue } from './describe';
import { isAllowedGlobal } from './globals';
import { ForbiddenGlobal, unpickle, type Unpickled } from './pickle';
import { PickleTruncated } from './pickleBytes';
import { PickleList } from './pickleValue';
import { readStorages, type Storage, type StorageLocation } from './storage';
import { listTensors } from './tensors';
import { quoted } from '../wording';

const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
/** The instruction that every pickle since protocol 2 begins with. */
const PROTO = 0x80;
/** The pickles' length is written nowhere: this much is read, then twice as much, and so on. */
const FIRST_READ = 256 * 1024;
const MAX_PICKLES = 128_000_000;
const COUNT_BYTES = 8;
const LANES = 4;

/**
 * Lists the tensors of a file that torch.save wrote before 1.6 (or later, when asked to): five
 * pickles back to back (magic number, protocol, system, the object, the storages' keys), then
 * for each key the number of elements (int64) and the bytes, both always little-endian.
 * Format: `_legacy_save` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
 * @param file what its tensors give as the index of their file
 * @throws UserError for a damaged or truncated file, for a pickle that names a global outside the
 * list in globals.ts, and when there are no tensors.
 */
export async function readTorchLegacy(source: ByteSource, signal?: AbortSignal, file = 0): Promise<ParsedFile> {
  const { object, keys, end } = await readPickles(source, signal);
  const storages = readStorages(source.name, object.persistents);
  const locations = await locate(source, keys, storages.byKey, end, signal);
  const listed = listTensors({ name: source.name, file, root: object.value, storages: storages.byPersistent, locations, bigEndian: false });
  return { format: 'torch-legacy', metadata: new Map(), ...listed };
}

interface Pickles {
  readonly object: Unpickled;
  readonly keys: readonly string[];
  readonly end: number;
}

async function readPickles(source: ByteSource, signal: AbortSignal | undefined): Promise<Pickles> {
  for (let length = Math.min(FIRST_READ, source.size); ; length = Math.min(2 * length, source.size)) {
    signal?.throwIfAborted();
    const bytes = await readBytes(source, 0, length, signal);
    try {
      return parsePickles(source, bytes);
    } catch (error) {
      if (!(error instanceof PickleTruncated) || length === source.size || length > MAX_PICKLES) throw error;
    }
  }
}

function parsePickles(source: ByteSource, bytes: Uint8Array): Pickles {
  const read = (start: number): Unpickled => unpickle(bytes, start, { name: source.name, allowGlobal: isAllowedGlobal });
  const magic = readMagic(source, bytes);
  const protocol = read(magic.end);
  if (protocol.value !== PROTOCOL) throw damaged(source, t`its protocol is ${describeValue(protocol.value)}, and ${PROTOCOL} is the only one there is`);
  const system = read(protocol.end);
  const object = read(system.end);
  const list = read(object.end);
  const keys = list.value instanceof PickleList ? list.value.items.map(key => typeof key === 'number' ? String(key) : key) : [];
  if (!(list.value instanceof PickleList) || !keys.every(key => typeof key === 'string')) throw damaged(source, t('the list of its storages is not a list of keys'));
  return { object, keys, end: list.end };
}

function readMagic(source: ByteSource, bytes: Uint8Array): Unpickled {
  if (bytes.length === 0) throw new UserError(t`${source.name} is empty. Download it again.`);
  if (Buffer.from(bytes.subarray(257, 262)).toString('latin1') === 'ustar') {
    throw new UserError(t`${source.name} is in PyTorch's tar format, which only versions before 0.2 wrote. Load it with an old PyTorch and save it again.`);
  }
  const other = (): UserError => new UserError(t`${source.name} is not a PyTorch checkpoint: it begins with neither a zip archive nor PyTorch's magic number. Choose the file with the model's weights.`);
  let magic: Unpickled;
  try {
    magic = unpickle(bytes, 0, { name: source.name, allowGlobal: isAllowedGlobal });
  } catch (error) {
    // A pickle that is no checkpoint may still want to run something, and then that is the news.
    if (error instanceof ForbiddenGlobal || bytes[0] === PROTO) throw error;
    throw other();
  }
  if (magic.value !== MAGIC) throw other();
  return magic;
}

/** Each storage follows the one before; its place is known from the pickle, and the count that the file gives there must agree. */
async function locate(source: ByteSource, keys: readonly string[], storages: ReadonlyMap<string, Storage>, start: number, signal: AbortSignal | undefined): Promise<Map<string, StorageLocation>> {
  const locations = new Map<string, StorageLocation>();
  const checks: { storage: Storage; position: number }[] = [];
  let position = start;
  for (const key of keys) {
    const storage = storages.get(key);
    if (storage === undefined || locations.has(key)) throw damaged(source, t`it lists a storage ${quoted(key)} that no tensor uses, or lists it twice`);
    checks.push({ storage, position });
    locations.set(key, { offset: position + COUNT_BYTES });
    position += COUNT_BYTES + storage.count * storage.element.bytes;
  }
  if (!(position <= source.size)) {
    throw new UserError(t`${source.name} is incomplete: its tensors need ${position} bytes and the file has ${source.size}. Download it again.`);
  }
  const queue = checks.values();
  const lane = async (): Promise<void> => {
    for (const { storage, position } of queue) {
      const bytes = Buffer.from(await readBytes(source, position, COUNT_BYTES, signal));
      const count = bytes.readBigInt64LE(0);
      if (count !== BigInt(storage.count)) throw damaged(source, t`its storage ${quoted(storage.key)} at byte ${position} has ${String(count)} elements where its pickle says ${storage.count}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return locations;
}

function damaged(source: ByteSource, problem: string): UserError {
  return new UserError(t`${source.name} is damaged: ${problem}. Download it again.`);
}
