import { t } from '@vscode/l10n';
import { UserError } from '../../errors';
import { readBytes, type ByteSource } from '../byteSource';
import type { ParsedFile } from '../checkpoint';
import { inflateRange, refuseImpossible } from '../inflate';
import { readZipDirectory, zipDataOffsets, type ZipDirectory, type ZipEntry } from '../zip';
import { isAllowedGlobal, isScriptClass } from './globals';
import { unpickle } from './pickle';
import { readStorages, type Storage, type StorageLocation } from './storage';
import { listTensors } from './tensors';
import { quoted } from '../wording';

/** A pickle of half a million tensors is smaller. */
const MAX_PICKLE = 128_000_000;
/** The newest archive version that torch 2.13 reads (caffe2/serialize/versions.h). */
const MAX_VERSION = 10;

/**
 * Lists the tensors of a file that torch.save wrote (since 1.6), or of a TorchScript archive: a zip
 * with one folder, in it data.pkl, which describes everything, and data/0, data/1, ... with the bytes.
 * Format: https://github.com/pytorch/pytorch/blob/main/caffe2/serialize/inline_container.h
 * Unlike torch.load it also reads pickle protocols 4 and 5, TorchScript, and archives without a version.
 * @param file what its tensors give as the index of their file
 * @throws UserError for a damaged archive, for a pickle that names a global outside the list in
 * globals.ts, and when there are no tensors.
 */
export async function readTorchZip(source: ByteSource, signal?: AbortSignal, file = 0): Promise<ParsedFile> {
  const directory = await readZipDirectory(source, signal);
  const archive = new Archive(source, directory, findRoot(source, directory), signal);
  const isScript = archive.find('constants.pkl') !== undefined;

  const warnings = directory.duplicates.map(name => t`${source.name} holds two files called ${quoted(name)}; the first one counts, as for torch.load.`);
  const version = await archive.readVersion();
  if (version === undefined) warnings.push(t`${source.name} does not say which version of the format it is; torch.load refuses such a file.`);
  const bigEndian = await archive.readByteOrder() === 'big';
  const pickle = unpickle(await archive.read(archive.pickle, MAX_PICKLE), 0, {
    name: source.name,
    allowGlobal: global => isAllowedGlobal(global) || (isScript && isScriptClass(global)),
  });
  const storages = readStorages(source.name, pickle.persistents);
  const locations = await archive.locate(storages.byKey.values());
  const listed = listTensors({ name: source.name, file, root: pickle.value, storages: storages.byPersistent, locations, bigEndian });
  return { format: 'torch-zip', metadata: new Map(), ...listed, warnings: [...warnings, ...listed.warnings] };
}

/** Everything lies in one folder, which torch calls by the file's name or `archive`. */
function findRoot(source: ByteSource, { entries }: ZipDirectory): string {
  const [first = ''] = entries.keys();
  const root = first.slice(0, first.indexOf('/') + 1);
  for (const name of entries.keys()) {
    if (root === '' || !name.startsWith(root)) {
      throw new UserError(t`${source.name} is a zip archive but not a PyTorch checkpoint: ${quoted(name)} is not in the one folder that all of a checkpoint's files share. If it was packed by hand, unpack it and open what is inside.`);
    }
  }
  return root;
}

class Archive {
  readonly pickle: ZipEntry;

  constructor(
    private readonly source: ByteSource,
    private readonly directory: ZipDirectory,
    private readonly root: string,
    private readonly signal: AbortSignal | undefined,
  ) {
    const pickle = this.find('data.pkl');
    if (pickle === undefined) {
      throw new UserError(t`${source.name} is a zip archive but not a PyTorch checkpoint: it has no ${quoted(`${root}data.pkl`)}. Choose the file that torch.save wrote.`);
    }
    this.pickle = pickle;
  }

  find(name: string): ZipEntry | undefined {
    return this.directory.entries.get(this.root + name);
  }

  async readVersion(): Promise<number | undefined> {
    const entry = this.find('version') ?? this.find('.data/version');
    if (entry === undefined) return undefined;
    const text = Buffer.from(await this.read(entry, 100)).toString('latin1').trim();
    if (!/^\d{1,9}$/.test(text)) throw this.damaged(t`its version is ${quoted(text)}, which is not a number`);
    const version = Number(text);
    if (version > MAX_VERSION) throw new UserError(t`${this.source.name} is of version ${version} of PyTorch's file format, and ${MAX_VERSION} is the newest known. Save it with an older PyTorch, or get its safetensors version.`);
    return version;
  }

  async readByteOrder(): Promise<'little' | 'big'> {
    const entry = this.find('byteorder');
    if (entry === undefined) return 'little';
    const text = Buffer.from(await this.read(entry, 100)).toString('latin1').trim();
    if (text !== 'little' && text !== 'big') throw this.damaged(t`its byte order is ${quoted(text)}, neither "little" nor "big"`);
    return text;
  }

  /** All bytes of an entry. */
  async read(entry: ZipEntry, limit: number): Promise<Uint8Array> {
    if (entry.length > limit || entry.compressedLength > limit) throw this.damaged(t`${quoted(entry.name)} claims ${entry.length} bytes, far more than it can need`);
    const offset = (await zipDataOffsets(this.source, [entry], this.signal)).get(entry) ?? 0;
    if (entry.method === 'stored') return readBytes(this.source, offset, entry.length, this.signal);
    this.refuseUnknownMethod(entry);
    refuseImpossible(this.source, { ...entry, offset });
    const bytes = new Uint8Array(entry.length);
    let done = 0;
    for await (const chunk of inflateRange(this.source, { ...entry, offset }, 0, entry.length, this.signal)) {
      bytes.set(chunk, done);
      done += chunk.length;
    }
    return bytes;
  }

  /** Where the storages' bytes lie, by storage key. */
  async locate(storages: Iterable<Storage>): Promise<Map<string, StorageLocation>> {
    const entries: (readonly [key: string, entry: ZipEntry])[] = [];
    for (const { key, element, count } of storages) {
      const entry = this.find(`data/${key}`);
      const name = (): string => quoted(`${this.root}data/${key}`);
      if (entry === undefined) throw this.damaged(t`its storage ${name()} is missing`);
      if (entry.length !== count * element.bytes) throw this.damaged(t`its storage ${name()} has ${entry.length} bytes where ${count} ${element.name} elements have ${count * element.bytes}`);
      if (entry.method !== 'stored') this.refuseUnknownMethod(entry);
      entries.push([key, entry]);
    }
    const offsets = await zipDataOffsets(this.source, entries.map(([, entry]) => entry), this.signal);
    const locations = new Map<string, StorageLocation>();
    for (const [key, entry] of entries) {
      const offset = offsets.get(entry) ?? 0;
      const { compressedLength, length } = entry;
      locations.set(key, entry.method === 'stored' ? { offset } : { offset: 0, deflate: { offset, compressedLength, length } });
    }
    return locations;
  }

  private refuseUnknownMethod(entry: ZipEntry): void {
    if (entry.method === 'other') throw this.damaged(t`${quoted(entry.name)} is compressed in a way that PyTorch does not use`);
  }

  private damaged(problem: string): UserError {
    return new UserError(t`${this.source.name} is damaged: ${problem}. Download it again.`);
  }
}
