import { isUtf8 } from 'node:buffer';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { readBytes, type ByteSource } from './byteSource';
import { predictDataOffsets } from './zipPrediction';
import { quoted } from './wording';

/** One file of a zip archive, as the central directory describes it. */
export interface ZipEntry {
  readonly name: string;
  readonly method: 'stored' | 'deflated' | 'other';
  /** Bytes in the archive, and bytes once inflated. */
  readonly compressedLength: number;
  readonly length: number;
  readonly headerOffset: number;
  /** Where the next entry, or the directory, begins. */
  readonly end: number;
  /** The local header repeats the sizes (it need not when they follow the data). */
  readonly sizesInHeader: boolean;
}

export interface ZipDirectory {
  /** By name, in the directory's order. Of entries with one name the first counts, as for torch.load. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly duplicates: readonly string[];
}

const END = { signature: 0x06054b50, length: 22 };
const END64 = { signature: 0x06064b50, length: 56 };
const LOCATOR64 = { signature: 0x07064b50, length: 20 };
const CENTRAL = { signature: 0x02014b50, length: 46 };
const LOCAL = { signature: 0x04034b50, length: 30 };
/** The archive's comment can push the end record this far from the end of the file. */
const MAX_COMMENT = 0xffff;
/** Read at once from the end: the end records with any comment, and nearly every directory. */
const TAIL = 128 * 1024;
const MAX_DIRECTORY = 100_000_000;
const MAX_ENTRIES = 1_000_000;
const ZIP64_EXTRA = 0x0001;
const ENCRYPTED = 0x0001;
const SIZES_FOLLOW = 0x0008;
/** Local headers nearer to each other than this are read together. */
const HEADER_WINDOW = 64 * 1024;
const LANES = 4;
/** So few headers are read rather than predicted. */
const READ_REMOTELY = 4;

/** As the directory describes it; its end is known when its neighbour is. */
type DescribedEntry = Omit<ZipEntry, 'end'> & { end: number };

/**
 * Reads a zip archive's directory, 32-bit or zip64, in two or three requests.
 * Format: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3.
 * @throws UserError when there is no whole directory, when something stands before the archive, or when entries overlap or leave the file.
 */
export async function readZipDirectory(source: ByteSource, signal?: AbortSignal): Promise<ZipDirectory> {
  const tailStart = Math.max(0, source.size - TAIL);
  const tail = Buffer.from(await readBytes(source, tailStart, source.size - tailStart, signal));
  const end = await readEnd(source, tail, tailStart, signal);
  const { offset, length } = end;
  const directory = offset >= tailStart
    ? tail.subarray(offset - tailStart, offset - tailStart + length)
    : Buffer.from(await readBytes(source, offset, length, signal));

  const all = parseDirectory(source, directory, end.count);
  setEnds(source, all, offset);
  const entries = new Map<string, ZipEntry>();
  const duplicates: string[] = [];
  for (const entry of all) {
    if (entries.has(entry.name)) duplicates.push(entry.name);
    else entries.set(entry.name, entry);
  }
  return { entries, duplicates };
}

/**
 * Where each entry's data begins, by entry. The directory does not say: it takes the local headers, which are read
 * several at a time. Over a network, where each is a request, the offsets of an archive that PyTorch wrote are computed.
 * @throws UserError when a local header contradicts the directory.
 */
export async function zipDataOffsets(source: ByteSource, entries: Iterable<ZipEntry>, signal?: AbortSignal): Promise<Map<ZipEntry, number>> {
  const sorted = [...entries].sort((a, b) => a.headerOffset - b.headerOffset);
  if (source.remote !== undefined && sorted.length > READ_REMOTELY) {
    const predicted = predictDataOffsets(sorted);
    if (predicted !== undefined && await isConfirmed(source, sorted, predicted, signal)) return predicted;
  }
  return readDataOffsets(source, sorted, signal);
}

/** The first and the last header must say what was predicted. */
async function isConfirmed(source: ByteSource, sorted: readonly ZipEntry[], predicted: ReadonlyMap<ZipEntry, number>, signal: AbortSignal | undefined): Promise<boolean> {
  const samples = sorted.filter((_, index) => index === 0 || index === sorted.length - 1);
  const read = await readDataOffsets(source, samples, signal);
  return samples.every(entry => read.get(entry) === predicted.get(entry));
}

async function readDataOffsets(source: ByteSource, sorted: readonly ZipEntry[], signal: AbortSignal | undefined): Promise<Map<ZipEntry, number>> {
  const windows: ZipEntry[][] = [];
  for (const entry of sorted) {
    const window = windows.at(-1);
    const first = window?.[0];
    if (window !== undefined && first !== undefined && entry.headerOffset - first.headerOffset < HEADER_WINDOW) window.push(entry);
    else windows.push([entry]);
  }
  const offsets = new Map<ZipEntry, number>();
  const queue = windows.values();
  const lane = async (): Promise<void> => {
    for (const window of queue) {
      const start = window[0]?.headerOffset ?? 0;
      const last = window.at(-1)?.headerOffset ?? 0;
      const name = Buffer.byteLength(window.at(-1)?.name ?? '');
      const bytes = Buffer.from(await readBytes(source, start, Math.min(last + LOCAL.length + name, source.size) - start, signal));
      for (const entry of window) offsets.set(entry, dataOffset(source, entry, bytes, entry.headerOffset - start));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return offsets;
}

interface End {
  readonly offset: number;
  readonly length: number;
  readonly count: number;
}

async function readEnd(source: ByteSource, tail: Buffer, tailStart: number, signal: AbortSignal | undefined): Promise<End> {
  const at = findEnd(tail);
  if (at < 0) {
    throw new UserError(t`${source.name} is an incomplete zip archive: its directory, which stands at the end, is missing. The download was probably cut off; download it again.`);
  }
  const narrow: End = { count: tail.readUInt16LE(at + 10), length: tail.readUInt32LE(at + 12), offset: tail.readUInt32LE(at + 16) };
  // PyTorch writes the zip64 records always, needed or not.
  const hasWide = at >= LOCATOR64.length && tail.readUInt32LE(at - LOCATOR64.length) === LOCATOR64.signature;
  const directoryEnd = hasWide ? safe(source, tail.readBigUInt64LE(at - LOCATOR64.length + 8)) : tailStart + at;
  const end = hasWide ? await readWideEnd(source, narrow, directoryEnd, tailStart + at, signal) : narrow;
  if (end.count > MAX_ENTRIES || end.length > MAX_DIRECTORY) {
    throw damaged(source, t`its directory claims ${end.count} entries in ${end.length} bytes, more than any checkpoint has`);
  }
  if (end.offset + end.length > directoryEnd) throw damaged(source, t('its directory lies outside the file'));
  if (end.offset + end.length < directoryEnd) {
    throw damaged(source, t`${directoryEnd - end.offset - end.length} bytes stand before the archive or inside it that do not belong to it`);
  }
  return end;
}

async function readWideEnd(source: ByteSource, narrow: End, position: number, limit: number, signal: AbortSignal | undefined): Promise<End> {
  if (position + END64.length > limit) throw damaged(source, t('its zip64 end record lies outside the file'));
  const record = Buffer.from(await readBytes(source, position, END64.length, signal));
  if (record.readUInt32LE(0) !== END64.signature) throw damaged(source, t('its zip64 end record is not where its locator says'));
  const wide: End = {
    count: safe(source, record.readBigUInt64LE(32)),
    length: safe(source, record.readBigUInt64LE(40)),
    offset: safe(source, record.readBigUInt64LE(48)),
  };
  const agrees = (narrowValue: number, wideValue: number, allOnes: number): boolean => narrowValue === allOnes || narrowValue === wideValue;
  if (!agrees(narrow.count, wide.count, 0xffff) || !agrees(narrow.length, wide.length, 0xffffffff) || !agrees(narrow.offset, wide.offset, 0xffffffff)) {
    throw damaged(source, t('its two end records contradict each other'));
  }
  return wide;
}

function findEnd(tail: Buffer): number {
  const earliest = Math.max(0, tail.length - END.length - MAX_COMMENT);
  for (let at = tail.length - END.length; at >= earliest; at--) {
    if (tail.readUInt32LE(at) === END.signature) return at;
  }
  return -1;
}

function parseDirectory(source: ByteSource, directory: Buffer, count: number): DescribedEntry[] {
  const entries: DescribedEntry[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL.length > directory.length || directory.readUInt32LE(at) !== CENTRAL.signature) {
      throw damaged(source, t`entry ${i + 1} of ${count} is missing from its directory`);
    }
    const nameEnd = at + CENTRAL.length + directory.readUInt16LE(at + 28);
    const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
    const next = extraEnd + directory.readUInt16LE(at + 32);
    if (next > directory.length) throw damaged(source, t`entry ${i + 1} of ${count} is cut off in its directory`);
    entries.push(parseEntry(source, directory, at, nameEnd, extraEnd));
    at = next;
  }
  return entries;
}

/** The entry whose header stands `at` that byte of the directory, with its name and its extra fields behind. */
function parseEntry(source: ByteSource, directory: Buffer, at: number, nameEnd: number, extraEnd: number): DescribedEntry {
  const name = decodeName(directory, at + CENTRAL.length, nameEnd);
  const flags = directory.readUInt16LE(at + 8);
  const method = directory.readUInt16LE(at + 10);
  if ((flags & ENCRYPTED) !== 0) throw damaged(source, t`its entry ${quoted(name)} is encrypted`);
  // The zip64 field holds, in this order, those values that are all ones here.
  let wide: bigint[] | undefined;
  const value = (narrow: number): number => {
    if (narrow !== 0xffffffff) return narrow;
    wide ??= zip64Values(source, name, directory.subarray(nameEnd, extraEnd));
    const next = wide.shift();
    if (next === undefined) throw damaged(source, t`its entry ${quoted(name)} lacks its 64-bit size or offset`);
    return safe(source, next);
  };
  const length = value(directory.readUInt32LE(at + 24));
  const compressedLength = value(directory.readUInt32LE(at + 20));
  const headerOffset = value(directory.readUInt32LE(at + 42));
  if (method === 0 && length !== compressedLength) throw damaged(source, t`its entry ${quoted(name)} is not compressed and yet has two different sizes`);
  return {
    name, length, compressedLength, headerOffset,
    method: method === 0 ? 'stored' : method === 8 ? 'deflated' : 'other',
    sizesInHeader: (flags & SIZES_FOLLOW) === 0,
    end: 0,
  };
}

function zip64Values(source: ByteSource, name: string, extra: Buffer): bigint[] {
  for (let at = 0; at + 4 <= extra.length;) {
    const end = at + 4 + extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === ZIP64_EXTRA) {
      if (end > extra.length) throw damaged(source, t`the zip64 field of its entry ${quoted(name)} is cut off`);
      const values: bigint[] = [];
      for (let value = at + 4; value + 8 <= end; value += 8) values.push(extra.readBigUInt64LE(value));
      return values;
    }
    at = end;
  }
  return [];
}

/** Entries follow each other, each up to the next or to the directory; what shares bytes with either is an attack or damage. */
function setEnds(source: ByteSource, entries: readonly DescribedEntry[], directoryOffset: number): void {
  let previous: DescribedEntry | undefined;
  for (const entry of entries.slice().sort((a, b) => a.headerOffset - b.headerOffset)) {
    if (leastEnd(entry) > directoryOffset) throw damaged(source, t`its entry ${quoted(entry.name)} (${entry.compressedLength} bytes at ${entry.headerOffset}) does not fit into the file`);
    if (previous !== undefined) {
      if (leastEnd(previous) > entry.headerOffset) throw damaged(source, t`its entries ${quoted(previous.name)} and ${quoted(entry.name)} overlap`);
      previous.end = entry.headerOffset;
    }
    entry.end = directoryOffset;
    previous = entry;
  }
}

/** Where an entry ends at the soonest; extra fields can only move it on. */
function leastEnd(entry: DescribedEntry): number {
  return entry.headerOffset + LOCAL.length + Buffer.byteLength(entry.name) + entry.compressedLength;
}

/** @param at where the entry's local header stands in `bytes` */
function dataOffset(source: ByteSource, entry: ZipEntry, bytes: Buffer, at: number): number {
  const wrong = (): UserError => damaged(source, t`the header of its entry ${quoted(entry.name)} at byte ${entry.headerOffset} contradicts its directory`);
  if (bytes.length < at + LOCAL.length || bytes.readUInt32LE(at) !== LOCAL.signature) throw wrong();
  const nameEnd = LOCAL.length + bytes.readUInt16LE(at + 26);
  if (decodeName(bytes, at + LOCAL.length, at + nameEnd) !== entry.name) throw wrong();
  const compressedLength = bytes.readUInt32LE(at + 18);
  if (entry.sizesInHeader && compressedLength !== 0xffffffff && compressedLength !== entry.compressedLength) throw wrong();
  const offset = entry.headerOffset + nameEnd + bytes.readUInt16LE(at + 28);
  if (offset + entry.compressedLength > source.size) throw wrong();
  return offset;
}

/** UTF-8 as every current writer has it; Latin-1 keeps anything else distinct. */
function decodeName(bytes: Buffer, start: number, end: number): string {
  const latin = bytes.toString('latin1', start, end);
  return /^[\0-\x7f]*$/.test(latin) || !isUtf8(bytes.subarray(start, end)) ? latin : bytes.toString('utf8', start, end);
}

function safe(source: ByteSource, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(source, t`it names byte ${String(value)}, which no file has`);
  return Number(value);
}

function damaged(source: ByteSource, problem: string): UserError {
  return new UserError(t`${source.name} is not a sound zip archive: ${problem}. Download it again.`);
}
