import { p, zipFile } from '../unit/checkpoint/torch/support';
import { BYTES, writeNumber, type Mutation } from './mutate';
import type { Random } from './random';

const SIGNATURES = [['PK\x03\x04', 30], ['PK\x01\x02', 46], ['PK\x05\x06', 22], ['PK\x06\x06', 56], ['PK\x06\x07', 20]] as const;
/** The numbers of a zip archive's records: offset and width (PKWARE APPNOTE.TXT 4.3). */
const FIELDS: Readonly<Record<string, readonly (readonly [at: number, width: number])[]>> = {
  'PK\x03\x04': [[6, 2], [8, 2], [14, 4], [18, 4], [22, 4], [26, 2], [28, 2]],
  'PK\x01\x02': [[8, 2], [10, 2], [16, 4], [20, 4], [24, 4], [28, 2], [30, 2], [32, 2], [42, 4]],
  'PK\x05\x06': [[8, 2], [10, 2], [12, 4], [16, 4], [20, 2]],
  'PK\x06\x06': [[4, 8], [24, 8], [32, 8], [40, 8], [48, 8]],
  'PK\x06\x07': [[8, 8], [16, 4]],
};

interface ZipRecordAt {
  readonly signature: string;
  readonly at: number;
  readonly length: number;
}

function zipRecords(bytes: Buffer): ZipRecordAt[] {
  const found: ZipRecordAt[] = [];
  for (const [signature, length] of SIGNATURES) {
    for (let at = bytes.indexOf(signature, 0, 'latin1'); at >= 0 && at + length <= bytes.length; at = bytes.indexOf(signature, at + 1, 'latin1')) found.push({ signature, at, length });
  }
  return found;
}

/** A length, offset, count, method or flag of one of an archive's records. */
const setField: Mutation = (random, bytes) => {
  const records = zipRecords(bytes);
  if (records.length === 0) return bytes;
  const { signature, at } = random.pick(records);
  const [offset, width] = random.pick(FIELDS[signature] ?? []);
  return writeNumber(random, bytes, at + offset, width);
};

/** One record written over another, or put in once more. */
const copyRecord: Mutation = (random, bytes) => {
  const records = zipRecords(bytes);
  if (records.length === 0) return bytes;
  const [from, to] = [random.pick(records), random.pick(records)];
  const record = bytes.subarray(from.at, from.at + from.length);
  const after = random.chance(0.5) ? to.at : to.at + to.length;
  return Buffer.concat([bytes.subarray(0, to.at), record, bytes.subarray(after)]);
};

export const ZIP: readonly Mutation[] = [setField, setField, setField, copyRecord, ...BYTES];

const EVIL = [['os', 'system'], ['posix', 'system'], ['builtins', 'eval'], ['builtins', 'exec'], ['subprocess', 'Popen'], ['torch', 'load'], ['collections', 'OrderedDict'], ['torch._utils', '_rebuild_tensor_v2'], ['torch', 'FloatStorage'], ['__torch__', 'X'], ['__builtin__', 'getattr'], ['builtins', 'dict'], ['torch.nn.parameter', 'Parameter'], ['torch._tensor', '_rebuild_from_type_v2']] as const;
/** Instructions without an operand. */
const PLAIN = [...Array.from('.()]}NbdehilaostuR012QEM'), ...[0x81, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94].map(code => String.fromCharCode(code))];

function instruction(random: Random): Buffer {
  switch (random.below(8)) {
    case 0: { const [module, name] = random.pick(EVIL); return p.global(module, name); }
    case 1: return p.op(p.str(random.pick(EVIL)[0]), p.str(random.pick(EVIL)[1]), 0x93);
    case 2: return p.int(random.pick([0, 1, -1, 2, 255, 65536, 2 ** 31 - 1, -(2 ** 31), random.below(100)]));
    case 3: return p.str(random.pick(['', 'storage', 'a.b', '__proto__', 'x'.repeat(random.below(300)), '0', 'cpu']));
    case 4: return p.op(random.pick(['q', 'h', 'K']), random.below(256));
    case 5: return p.op('\x8a', random.below(20), Buffer.alloc(random.below(20), 0xff));
    case 6: return p.op(random.pick(['I', 'L', 'F', 'V', 'S', 'p', 'g']), Buffer.from(`${random.pick(['0', '00', '-1', '1e400', '99999999999999999999', '\'x\'', 'nan', String(random.below(50)), '9'.repeat(random.below(5000))])}\n`));
    default: return p.op(random.pick(PLAIN));
  }
}

const setOpcode: Mutation = (random, bytes) => {
  const changed = Buffer.from(bytes);
  if (changed.length > 0) changed.write(random.pick(PLAIN), random.below(changed.length), 'latin1');
  return changed;
};

const insertInstructions: Mutation = (random, bytes) => {
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), ...Array.from({ length: 1 + random.below(6) }, () => instruction(random)), bytes.subarray(at)]);
};

/** References that multiply: a tuple of two of the last value, again and again. */
const multiply: Mutation = (random, bytes) => {
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(random.pick(['2\x86', '2\x86\x85', '](2e', '}(2u']).repeat(1 + random.below(400)), 'latin1'), bytes.subarray(at)]);
};

export const PICKLE: readonly Mutation[] = [setOpcode, insertInstructions, insertInstructions, multiply, ...BYTES];

/** A PyTorch archive taken apart: its pickle, and all records to put around another one. */
export interface Archive {
  readonly pickle: Buffer;
  with(pickle: Buffer, deflated: boolean): Buffer;
}

/** The archives among `zips` whose records are stored plainly. */
export function archivesIn(zips: readonly Buffer[]): Archive[] {
  return zips.flatMap(bytes => {
    const records = zipRecords(bytes).filter(({ signature }) => signature === 'PK\x01\x02').map(({ at }) => {
      const name = bytes.toString('utf8', at + 46, at + 46 + bytes.readUInt16LE(at + 28));
      const local = bytes.readUInt32LE(at + 42);
      const start = local + 30 + (local + 30 <= bytes.length ? bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28) : 0);
      return { name, plain: bytes.readUInt16LE(at + 10) === 0, data: bytes.subarray(start, start + bytes.readUInt32LE(at + 24)) };
    });
    const pickle = records.find(({ name }) => name.endsWith('/data.pkl'));
    if (pickle === undefined || !records.every(({ plain }) => plain)) return [];
    return [{
      pickle: pickle.data,
      with: (changed, deflated) => zipFile(records.map(({ name, data }) => name === pickle.name ? { name, data: changed, deflated } : { name, data })),
    }];
  });
}
