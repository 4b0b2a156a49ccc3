import { isUtf8 } from 'node:buffer';
import { setImmediate } from 'node:timers/promises';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { formatCount, formatShape } from '../format';
import type { ByteSource } from './byteSource';
import { readBytes } from './byteSource';
import type { ParsedFile, Tensor } from './checkpoint';
import type { Dtype } from './dtype';
import { dtypeBits, isDtype } from './dtype';
import { JsonReader } from './headerJson';
import { quoted, someOf } from './wording';

/** Read in one go at first; most headers fit. */
const FIRST_READ = 1 << 16;
const LENGTH_BYTES = 8;
/** Bytes; the reference refuses longer headers. */
export const MAX_HEADER = 100_000_000;
/** Looked up once: a header has these numbers by the hundred thousand. */
const A_DIMENSION = t('a dimension in a shape');
const A_DATA_OFFSET = t('a data offset');
/** Tensors parsed between two breaths of the event loop: a few milliseconds' work. */
const TENSORS_PER_TURN = 4096;

/**
 * Reads a safetensors file's header and checks it by the reference's rules
 * (https://github.com/huggingface/safetensors, safetensors/src/tensor.rs): the file is the 8-byte header length, the
 * header, and the tensors without holes or overlaps. What the reference tolerates is read as it reads it and warned of.
 * @param file what its tensors give as the index of their file
 * @throws UserError naming what is wrong.
 */
export async function readSafetensors(source: ByteSource, signal?: AbortSignal, file = 0): Promise<ParsedFile> {
  const header = await readHeader(source, signal);
  const place = { file, dataStart: LENGTH_BYTES + header.length };
  const parsed = await parseHeader(header, source.name, place, signal);
  checkLayout(parsed.tensors, source, place.dataStart);
  return { format: 'safetensors', others: [], ...parsed };
}

async function readHeader(source: ByteSource, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const { name, size } = source;
  if (size < LENGTH_BYTES) throw new UserError(t`${name} is only ${formatCount(size, 'byte')} long; a safetensors file begins with 8 bytes that give its header's length. Download it again.`);
  const start = await readBytes(source, 0, Math.min(size, FIRST_READ), signal);
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > MAX_HEADER) throw new UserError(t`${name} gives its header a length of ${length.toString()} bytes; safetensors allows ${MAX_HEADER}. It is not a safetensors file, or its beginning is damaged.`);
  const end = LENGTH_BYTES + Number(length);
  if (end > size) throw new UserError(t`${name} is ${size} bytes, its header alone needs ${end}: the download is incomplete. Download it again.`);
  let header: Uint8Array;
  if (end <= start.length) {
    header = start.subarray(LENGTH_BYTES, end);
  } else {
    header = new Uint8Array(end - LENGTH_BYTES);
    header.set(start.subarray(LENGTH_BYTES));
    await source.readInto(header.subarray(start.length - LENGTH_BYTES), start.length, signal);
  }
  if (!isUtf8(header)) throw new UserError(t`The header of ${name} is not UTF-8 text. The file is damaged or not a safetensors file; download it again.`);
  return header;
}

/** Where the tensors of a header lie. */
interface Place {
  readonly file: number;
  /** The header's end, from which data offsets count. */
  readonly dataStart: number;
}

async function parseHeader(bytes: Uint8Array, name: string, place: Place, signal: AbortSignal | undefined): Promise<Pick<ParsedFile, 'tensors' | 'metadata' | 'warnings'>> {
  const json = new JsonReader(bytes, t`The header of ${name}`);
  const tensors = new Map<string, Tensor>();
  const repeated = new Set<string>();
  const unknownFields = new Set<string>();
  const warnings: string[] = [];
  let metadata: Map<string, string> | undefined;
  let previous: Tensor | undefined;
  let untilBreath = TENSORS_PER_TURN;
  json.openObject();
  for (let key = json.nextKey(); key !== undefined; key = json.nextKey()) {
    if (key === '__metadata__') {
      if (metadata !== undefined) throw json.error(t('"__metadata__" stands there twice'));
      metadata = readMetadata(json, name, warnings);
      continue;
    }
    const before = tensors.size;
    previous = readTensor(json, key, place, unknownFields, previous);
    tensors.set(key, previous);
    if (tensors.size === before) repeated.add(key);
    if (--untilBreath === 0) {
      untilBreath = TENSORS_PER_TURN;
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
  json.end();
  if (repeated.size > 0) warnings.push(t`The header of ${name} lists ${someOf([...repeated])} more than once; the last entry counts, as for the safetensors library.`);
  if (unknownFields.size > 0) warnings.push(t`The header of ${name} has fields that safetensors does not define: ${someOf([...unknownFields])}. They are ignored.`);
  return { tensors: [...tensors.values()], metadata: metadata ?? new Map<string, string>(), warnings };
}

function readMetadata(json: JsonReader, name: string, warnings: string[]): Map<string, string> {
  const metadata = new Map<string, string>();
  if (json.peek() === 'null') {
    json.null();
    warnings.push(t`"__metadata__" is null in the header of ${name}; it is taken as absent.`);
    return metadata;
  }
  const repeated: string[] = [];
  json.openObject();
  for (let key = json.nextKey(); key !== undefined; key = json.nextKey()) {
    if (json.peek() !== 'string') throw json.error(t`the metadata value ${quoted(key)} is not a string`);
    if (metadata.has(key)) repeated.push(key);
    metadata.set(key, json.string());
  }
  if (repeated.length > 0) warnings.push(t`The metadata of ${name} holds ${someOf(repeated)} more than once; the last value counts.`);
  return metadata;
}

/** A tensor's entry: an object, or, which the reference accepts too, the list of the three fields' values. It is likely to be like the `previous` one. */
function readTensor(json: JsonReader, key: string, { file, dataStart }: Place, unknownFields: Set<string>, previous: Tensor | undefined): Tensor {
  let dtype: Dtype | undefined;
  let shape: number[] | undefined;
  let range: readonly [number, number] | undefined;
  if (json.peek() === 'array') {
    const next = (field: string): void => {
      if (!json.nextItem()) throw json.error(t`${quoted(key)} has no ${field}`);
    };
    json.openArray();
    next('dtype');
    dtype = readDtype(json, key, previous?.dtype);
    next('shape');
    shape = readShape(json, key);
    next('data_offsets');
    range = readRange(json, key);
    if (json.nextItem()) throw json.error(t`the list for ${quoted(key)} has more than dtype, shape and data_offsets`);
  } else {
    if (json.peek() !== 'object') throw json.error(t`the entry of ${quoted(key)} is not an object`);
    json.openObject();
    for (let field = json.nextKey('dtype'); field !== undefined; field = json.nextKey(field === 'dtype' ? 'shape' : 'data_offsets')) {
      if (field === 'dtype') {
        if (dtype !== undefined) throw json.error(t`${quoted(key)} has two dtypes`);
        dtype = readDtype(json, key, previous?.dtype);
      } else if (field === 'shape') {
        if (shape !== undefined) throw json.error(t`${quoted(key)} has two shapes`);
        shape = readShape(json, key);
      } else if (field === 'data_offsets') {
        if (range !== undefined) throw json.error(t`${quoted(key)} has two data_offsets`);
        range = readRange(json, key);
      } else {
        unknownFields.add(field);
        json.skip();
      }
    }
  }
  if (dtype === undefined) throw json.error(t`${quoted(key)} has no dtype`);
  if (shape === undefined) throw json.error(t`${quoted(key)} has no shape`);
  if (range === undefined) throw json.error(t`${quoted(key)} has no data_offsets`);
  return { key, dtype, shape, file, offset: dataStart + range[0], length: range[1] - range[0] };
}

function readDtype(json: JsonReader, key: string, likely: Dtype | undefined): Dtype {
  if (json.peek() !== 'string') throw json.error(t`the dtype of ${quoted(key)} is not a string`);
  const dtype = json.string(likely);
  if (!isDtype(dtype)) throw json.error(t`${quoted(key)} has the dtype ${quoted(dtype)}, which safetensors does not define`);
  return dtype;
}

function readShape(json: JsonReader, key: string): number[] {
  if (json.peek() !== 'array') throw json.error(t`the shape of ${quoted(key)} is not a list`);
  const shape: number[] = [];
  json.openArray();
  while (json.nextItem()) shape.push(json.unsigned(A_DIMENSION));
  return shape;
}

function readRange(json: JsonReader, key: string): readonly [number, number] {
  if (json.peek() !== 'array') throw json.error(t`the data_offsets of ${quoted(key)} are not a list`);
  json.openArray();
  if (!json.nextItem()) throw json.error(t`the data_offsets of ${quoted(key)} are empty`);
  const start = json.unsigned(A_DATA_OFFSET);
  if (!json.nextItem()) throw json.error(t`the data_offsets of ${quoted(key)} have one number instead of two`);
  const end = json.unsigned(A_DATA_OFFSET);
  if (json.nextItem()) throw json.error(t`the data_offsets of ${quoted(key)} have more than two numbers`);
  return [start, end];
}

/** Each tensor begins where the one before ends, is as long as its shape says, and the last one ends the file. */
function checkLayout(tensors: readonly Tensor[], source: ByteSource, dataStart: number): void {
  const { name, size } = source;
  const inOrder = [...tensors].sort((a, b) => a.offset - b.offset || a.length - b.length);
  let end = dataStart;
  let previous: Tensor | undefined;
  for (const tensor of inOrder) {
    const { key, offset, length } = tensor;
    if (length < 0) throw damaged(name, t`the bytes of ${quoted(key)} end before they begin`);
    if (offset > end) throw damaged(name, t`${formatCount(offset - end, 'byte')} before ${quoted(key)} belong to no tensor`);
    if (offset < end) throw damaged(name, t`the bytes of ${quoted(key)} overlap those of ${quoted(previous?.key ?? '')}`);
    const needed = tensorBytes(tensor, name);
    if (needed !== length) throw damaged(name, t`${quoted(key)} is ${tensor.dtype} ${formatShape(tensor.shape)}, which takes ${needed} bytes, but has ${length}`);
    end = offset + length;
    previous = tensor;
  }
  if (size < end) throw new UserError(t`${name} is ${size} bytes, its header needs ${end}: the download is incomplete. Download it again.`);
  if (size > end) throw new UserError(t`${name} has ${formatCount(size - end, 'byte')} after the end of its last tensor (byte ${end}), which safetensors forbids. It is damaged or has something hidden in it; download it again.`);
}

/** In 64 bits, as the reference counts: a product that overflows on the way is an error even if a later dimension is 0. */
function tensorBytes({ key, dtype, shape }: Tensor, name: string): number {
  let bits = shape.reduce((product, dim) => product <= Number.MAX_SAFE_INTEGER ? product * dim : NaN, 1) * dtypeBits(dtype);
  if (!(bits <= Number.MAX_SAFE_INTEGER)) {
    let exact = 1n;
    for (const factor of [...shape, dtypeBits(dtype)]) {
      exact *= BigInt(factor);
      if (exact >= 1n << 64n) throw damaged(name, t`the size of ${quoted(key)}, ${dtype} ${formatShape(shape)}, is more than 64 bits can count`);
    }
    bits = Number(exact);
  }
  if (bits % 8 !== 0) throw damaged(name, t`${quoted(key)}, ${dtype} ${formatShape(shape)}, does not fill whole bytes`);
  return bits / 8;
}

function damaged(name: string, what: string): UserError {
  return new UserError(t`The header of ${name} contradicts itself: ${what}. Download or export the file again.`);
}
