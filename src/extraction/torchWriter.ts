import { crc32 } from 'node:zlib';
import { layoutOf } from './fileLayout';
import type { CrcPlace, FileLayout, FilePart, OutputTensor } from './fileLayout';
import { pickleStateDict } from './torchPickle';

const LIMIT = 0xffffffff;
const ALIGNMENT = 64;
/** General-purpose flags: names are UTF-8; CRC and sizes stand behind the data. */
const UTF8 = 0x0800;
const DESCRIPTOR = 0x0008;
/** Where in a descriptor and in a directory's entry the CRC is. */
const DESCRIPTOR_CRC = 4;
const ENTRY_CRC = 16;
/** 1 January 1980: the first date that MS-DOS time can hold. */
const DOS_DATE = 0x0021;

interface ZipRecord {
  readonly name: Buffer;
  /** The bytes themselves, or which tensor they are. */
  readonly content: Uint8Array | { readonly index: number; readonly length: number };
}

interface PlacedRecord extends ZipRecord {
  readonly size: number;
  /** Where the record's local header starts. */
  readonly offset: number;
  /** Undefined for a tensor, whose bytes are still to be copied. */
  readonly crc: number | undefined;
}

/**
 * A PyTorch zip file with one storage per tensor, in the order given: `data.pkl`, `byteorder`, `data/0` ..., `version`,
 * all below the folder `root`. As torch.save writes it: records stored uncompressed, each starting at a multiple
 * of 64 bytes, a tensor's CRC-32 in a data descriptor behind it, zip64 fields only where a number needs them.
 * Source: https://github.com/pytorch/pytorch caffe2/serialize/inline_container.cc; the zip format is PKWARE's APPNOTE 6.3.
 * @throws UserError when PyTorch has no dtype for a tensor.
 */
export function torchLayout(tensors: readonly OutputTensor[], root: string): FileLayout {
  const records: ZipRecord[] = [
    record(root, 'data.pkl', pickleStateDict(tensors)),
    record(root, 'byteorder', Buffer.from('little')),
    ...tensors.map((tensor, index) => record(root, `data/${index}`, { index, length: tensor.length })),
    record(root, 'version', Buffer.from('3\n')),
  ];
  const parts: FilePart[] = [];
  const placed: PlacedRecord[] = [];
  let offset = 0;
  for (const entry of records) {
    const { content } = entry;
    if (content instanceof Uint8Array) {
      const crc = crc32(content);
      const at = { ...entry, size: content.length, offset, crc };
      const header = localHeader(at, crc, 0);
      parts.push({ kind: 'bytes', bytes: header }, { kind: 'bytes', bytes: content });
      offset += header.length + content.length;
      placed.push(at);
    } else {
      const at = { ...entry, size: content.length, offset, crc: undefined };
      const header = localHeader(at, 0, DESCRIPTOR);
      const behind = descriptor(at.size);
      parts.push(
        { kind: 'bytes', bytes: header },
        { kind: 'tensor', index: content.index, length: content.length },
        { kind: 'late', bytes: behind, crcs: [{ at: DESCRIPTOR_CRC, index: content.index }] },
      );
      offset += header.length + at.size + behind.length;
      placed.push(at);
    }
  }
  parts.push({ kind: 'late', ...directory(placed, offset) });
  return layoutOf(parts);
}

function record(root: string, name: string, content: ZipRecord['content']): ZipRecord {
  return { name: Buffer.from(`${root}/${name}`), content };
}

/** With a descriptor, CRC and sizes are zero here, as the format wants it. */
function localHeader({ name, size, offset }: PlacedRecord, crc: number, flag: number): Buffer {
  const big = size >= LIMIT;
  const zip64 = big ? extraField(0x0001, Buffer.alloc(16)) : Buffer.alloc(0);
  const unpadded = offset + 30 + name.length + zip64.length + 4;
  const padding = extraField(0x4246, Buffer.alloc((ALIGNMENT - unpadded % ALIGNMENT) % ALIGNMENT, 'Z'));
  const shown = flag === DESCRIPTOR ? 0 : size;
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(big ? 45 : 20, 4);
  header.writeUInt16LE(UTF8 | flag, 6);
  header.writeUInt16LE(DOS_DATE, 12);
  header.writeUInt32LE(crc, 14);
  header.writeUInt32LE(big ? LIMIT : shown, 18);
  header.writeUInt32LE(big ? LIMIT : shown, 22);
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(zip64.length + padding.length, 28);
  return Buffer.concat([header, name, zip64, padding]);
}

/** Its CRC is put in when the bytes before it are known. */
function descriptor(size: number): Buffer {
  const big = size >= LIMIT;
  const bytes = Buffer.alloc(big ? 24 : 16);
  bytes.writeUInt32LE(0x08074b50, 0);
  if (big) {
    bytes.writeBigUInt64LE(BigInt(size), 8);
    bytes.writeBigUInt64LE(BigInt(size), 16);
  } else {
    bytes.writeUInt32LE(size, 8);
    bytes.writeUInt32LE(size, 12);
  }
  return bytes;
}

/** The central directory at `start`, with the records that end the file. */
function directory(records: readonly PlacedRecord[], start: number): { bytes: Buffer; crcs: CrcPlace[] } {
  const list = records.map(directoryEntry);
  const entries = Buffer.concat(list);
  const crcs: CrcPlace[] = [];
  let position = 0;
  for (const [index, { content }] of records.entries()) {
    if (!(content instanceof Uint8Array)) crcs.push({ at: position + ENTRY_CRC, index: content.index });
    position += list[index]?.length ?? 0;
  }
  const count = records.length;
  const zip64 = start + entries.length >= LIMIT || count >= 0xffff;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(count, 0xffff), 8);
  end.writeUInt16LE(Math.min(count, 0xffff), 10);
  end.writeUInt32LE(Math.min(entries.length, LIMIT), 12);
  end.writeUInt32LE(Math.min(start, LIMIT), 16);
  if (!zip64) return { bytes: Buffer.concat([entries, end]), crcs };

  const end64 = Buffer.alloc(56);
  end64.writeUInt32LE(0x06064b50, 0);
  end64.writeBigUInt64LE(44n, 4);
  end64.writeUInt16LE(45, 12);
  end64.writeUInt16LE(45, 14);
  end64.writeBigUInt64LE(BigInt(count), 24);
  end64.writeBigUInt64LE(BigInt(count), 32);
  end64.writeBigUInt64LE(BigInt(entries.length), 40);
  end64.writeBigUInt64LE(BigInt(start), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(start + entries.length), 8);
  locator.writeUInt32LE(1, 16);
  return { bytes: Buffer.concat([entries, end64, locator, end]), crcs };
}

function directoryEntry({ name, content, size, offset, crc = 0 }: PlacedRecord): Buffer {
  const wide = [...(size >= LIMIT ? [size, size] : []), ...(offset >= LIMIT ? [offset] : [])];
  const fields = Buffer.alloc(wide.length * 8);
  wide.forEach((value, index) => fields.writeBigUInt64LE(BigInt(value), index * 8));
  const zip64 = wide.length > 0 ? extraField(0x0001, fields) : Buffer.alloc(0);
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(wide.length > 0 ? 45 : 20, 4);
  header.writeUInt16LE(wide.length > 0 ? 45 : 20, 6);
  header.writeUInt16LE(UTF8 | (content instanceof Uint8Array ? 0 : DESCRIPTOR), 8);
  header.writeUInt16LE(DOS_DATE, 14);
  header.writeUInt32LE(crc, ENTRY_CRC);
  header.writeUInt32LE(Math.min(size, LIMIT), 20);
  header.writeUInt32LE(Math.min(size, LIMIT), 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(zip64.length, 30);
  header.writeUInt32LE(Math.min(offset, LIMIT), 42);
  return Buffer.concat([header, name, zip64]);
}

function extraField(id: number, data: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(id, 0);
  head.writeUInt16LE(data.length, 2);
  return Buffer.concat([head, data]);
}
