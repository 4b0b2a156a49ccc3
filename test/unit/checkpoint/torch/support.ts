import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { readBytes, type ByteSource } from '../../../../src/checkpoint/byteSource';
import type { ParsedFile } from '../../../../src/checkpoint/checkpoint';
import { tensorBytes } from '../../../../src/checkpoint/tensorBytes';
import { readTorchLegacy } from '../../../../src/checkpoint/torch/torchLegacy';
import { readTorchZip } from '../../../../src/checkpoint/torch/torchZip';
import { UserError } from '../../../../src/errors';
import { MemorySource } from '../memorySource';

/** Reads a PyTorch file in the format that its first bytes tell. */
export async function readTorch(source: ByteSource): Promise<ParsedFile> {
  const start = Buffer.from(await readBytes(source, 0, Math.min(4, source.size)));
  return start.toString('latin1') === 'PK\x03\x04' ? readTorchZip(source) : readTorchLegacy(source);
}

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

export interface Described {
  readonly dtype: string | null;
  readonly shape: readonly number[];
  readonly sha256: string;
}

/** The tensors as torch_expectations.json describes them. */
export async function describeTensors(source: ByteSource, parsed: ParsedFile): Promise<Record<string, Described>> {
  const described: Record<string, Described> = {};
  for (const tensor of parsed.tensors) {
    const bytes = await collect(tensorBytes(source, tensor, { chunkBytes: 1000 }));
    described[tensor.key] = { dtype: tensor.dtype, shape: tensor.shape, sha256: createHash('sha256').update(bytes).digest('hex') };
  }
  return described;
}

/** Pickle instructions, to put together by hand what no writer writes. */
export const p = {
  op: (...codes: (string | number | Buffer)[]): Buffer => Buffer.concat(codes.map(code => typeof code === 'string' ? Buffer.from(code, 'latin1') : typeof code === 'number' ? Buffer.from([code]) : code)),
  str: (text: string): Buffer => {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return p.op('X', length, bytes);
  },
  int: (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return p.op('J', bytes);
  },
  global: (module: string, name: string): Buffer => p.op(`c${module}\n${name}\n`),
  tuple: (...items: Buffer[]): Buffer => p.op('(', ...items, 't'),
  dict: (entries: Record<string, Buffer>): Buffer => p.op('}(', ...Object.entries(entries).flatMap(([key, value]) => [p.str(key), value]), 'u'),
  list: (...items: Buffer[]): Buffer => p.op('](', ...items, 'e'),
  storage: (key: string, count: number, type = 'FloatStorage'): Buffer => p.op(p.tuple(p.str('storage'), p.global('torch', type), p.str(key), p.str('cpu'), p.int(count)), 'Q'),
  tensor: (storage: Buffer, offset: number, shape: number[], strides: number[], ...more: Buffer[]): Buffer => p.op(
    p.global('torch._utils', '_rebuild_tensor_v2'),
    p.tuple(storage, p.int(offset), p.tuple(...shape.map(p.int)), p.tuple(...strides.map(p.int)), p.op('\x89'), p.dict({}), ...more), 'R'),
  whole: (body: Buffer): Buffer => p.op('\x80\x02', body, '.'),
};

export interface ZipRecord {
  readonly name: string;
  readonly data: Uint8Array;
  readonly deflated?: boolean;
  /** Put into the local header's extra field. */
  readonly padding?: number;
}

/** A zip archive of these records. */
export function zipFile(records: readonly ZipRecord[]): Buffer {
  const parts: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const { name, data, deflated = false, padding = 0 } of records) {
    const stored = deflated ? deflateRawSync(data) : Buffer.from(data);
    const nameBytes = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(deflated ? 8 : 0, 4);
    common.writeUInt32LE(stored.length, 14);
    common.writeUInt32LE(data.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, nameBytes, Buffer.alloc(padding)]);
    local.writeUInt16LE(padding, 28);
    parts.push(local, stored);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    central.push(Buffer.concat([Buffer.from('PK\x01\x02\x00\x00', 'latin1'), common, tail, nameBytes]));
    offset += local.length + stored.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(records.length, 8);
  end.writeUInt16LE(records.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, directory, end]);
}

/** A checkpoint in the zip format: `body` is what its pickle makes. */
export function torchFile(body: Buffer, storages: Record<string, Uint8Array> = {}, options: { deflated?: boolean; byteOrder?: string } = {}): MemorySource {
  const { deflated = false, byteOrder = 'little' } = options;
  return new MemorySource(zipFile([
    { name: 'archive/data.pkl', data: p.whole(body), deflated },
    { name: 'archive/byteorder', data: Buffer.from(byteOrder) },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data, deflated, padding: 37 })),
    { name: 'archive/version', data: Buffer.from('3\n') },
  ]));
}

export function floats(count: number): Buffer {
  const bytes = Buffer.alloc(4 * count);
  for (let i = 0; i < count; i++) bytes.writeFloatLE(i, 4 * i);
  return bytes;
}

export async function rejects(promise: Promise<unknown>, message: RegExp): Promise<void> {
  await assert.rejects(promise, error => {
    assert.ok(error instanceof UserError, String(error));
    assert.match(error.message, message);
    return true;
  });
}
