import type { Random } from './random';

/** One change to an input. `others` are further inputs of the same kind, to splice from. */
export type Mutation = (random: Random, bytes: Buffer, others: readonly Buffer[]) => Buffer;

/** Lengths, offsets and counts at the edges of 8 to 64 bits and of the limits that formats have. */
const NUMBERS = [0n, 1n, 2n, 7n, 8n, 127n, 128n, 255n, 256n, 1000n, 32767n, 65535n, 65536n, 99_999_999n, 100_000_000n, 100_000_001n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];

export const flipBit: Mutation = (random, bytes) => {
  const changed = Buffer.from(bytes);
  const at = random.below(changed.length);
  if (changed.length > 0) changed[at] = changed.readUInt8(at) ^ 1 << random.below(8);
  return changed;
};

const setByte: Mutation = (random, bytes) => {
  const changed = Buffer.from(bytes);
  if (changed.length > 0) changed[random.below(changed.length)] = random.chance(0.5) ? random.pick([0, 1, 0x7f, 0x80, 0xff]) : random.below(256);
  return changed;
};

/** A number of 1, 2, 4 or 8 bytes somewhere becomes one at an edge, or is moved by a little. */
const setNumber: Mutation = (random, bytes) => {
  const width = random.pick([1, 2, 4, 8]);
  return bytes.length < width ? bytes : writeNumber(random, bytes, random.below(bytes.length - width + 1), width);
};

export function writeNumber(random: Random, bytes: Buffer, at: number, width: number): Buffer {
  const changed = Buffer.from(bytes);
  let old = 0n;
  for (let i = width - 1; i >= 0; i--) old = old << 8n | BigInt(changed.readUInt8(at + i));
  const moved = random.pick([-8n, -2n, -1n, 1n, 2n, 8n, 64n, BigInt(bytes.length)]);
  let value = BigInt.asUintN(64, random.chance(0.4) ? old + moved : random.chance(0.2) ? BigInt(random.below(bytes.length + 64)) : random.pick(NUMBERS));
  for (let i = 0; i < width; i++, value >>= 8n) changed[at + i] = Number(value & 0xffn);
  return changed;
}

export const truncate: Mutation = (random, bytes) => bytes.subarray(0, random.below(bytes.length + 1));

const remove: Mutation = (random, bytes) => {
  const [start, end] = range(random, bytes);
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
};

const repeat: Mutation = (random, bytes) => {
  const [start, end] = range(random, bytes);
  const times = random.chance(0.1) ? 1 + random.below(64) : 1;
  return Buffer.concat([bytes.subarray(0, end), ...Array.from({ length: times }, () => bytes.subarray(start, end)), bytes.subarray(end)]);
};

const insert: Mutation = (random, bytes) => {
  const at = random.below(bytes.length + 1);
  const added = Buffer.alloc(1 + random.below(9));
  for (let i = 0; i < added.length; i++) added[i] = random.below(256);
  return Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at)]);
};

/** The beginning of this input with the end of another, or a piece of another in its middle. */
const splice: Mutation = (random, bytes, others) => {
  const other = random.pick(others);
  const [start, end] = range(random, other);
  const at = random.below(bytes.length + 1);
  return random.chance(0.5)
    ? Buffer.concat([bytes.subarray(0, at), other.subarray(start)])
    : Buffer.concat([bytes.subarray(0, at), other.subarray(start, end), bytes.subarray(at)]);
};

const swap: Mutation = (random, bytes) => {
  const [start, end] = range(random, bytes);
  const middle = start + random.below(end - start + 1);
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(middle, end), bytes.subarray(start, middle), bytes.subarray(end)]);
};

/** Pieces are mostly short: headers are. */
function range(random: Random, bytes: Buffer): [start: number, end: number] {
  const start = random.below(bytes.length + 1);
  const most = random.chance(0.2) ? bytes.length : Math.min(bytes.length, 64);
  return [start, Math.min(bytes.length, start + random.below(most + 1))];
}

/** What can be done to any bytes. */
export const BYTES: readonly Mutation[] = [flipBit, setByte, setByte, setNumber, setNumber, truncate, remove, repeat, insert, splice, swap];

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[[\]{}:,]|\s+|[^"\s]/g;
const VALUES = [
  '0', '-0', '1', '-1', '2', '1.0', '1e0', '1e3', '0.5', '1e308', '1e309', '-1e309', '01', '255', '4294967296', '9007199254740991', '9007199254740992', '18446744073709551615', '18446744073709551616', '1e-400',
  'null', 'true', 'false', '""', '[]', '{}', '[0]', '[0,0]', '[1,2]', '[[]]', '"F32"', '"BF16"', '"F4"', '"__metadata__"', '"__proto__"', '"constructor"', '"toString"', '"dtype"', '"shape"', '"data_offsets"', '"weight_map"',
  '"../../x"', '"/etc/passwd"', '"C:\\\\x"', '"\\\\\\\\host\\\\share"', '"a\\u0000b"', '"\\ud800"', '"\\ud83d\\ude00"', '"\u202e"', '"<img src=x onerror=alert(1)>"', '"**"', '"**.**.**.**.x"', '"*a*a*a*a*a*b"', '{"a":1,"a":2}', '{"__proto__":{"polluted":1}}', 'NaN', 'Infinity', '//', '\ufeff', '\0',
];

/** Changes to JSON, token by token: most results are still JSON, so that what reads the values is reached. */
export const jsonToken: Mutation = (random, bytes, others) => {
  const tokens = bytes.toString('utf8').match(TOKEN) ?? [];
  if (tokens.length === 0) return Buffer.from(random.pick(VALUES));
  const at = random.below(tokens.length);
  const isValue = (token: string): boolean => /^["\-\dtfn]/.test(token);
  switch (random.below(8)) {
    case 0: case 1: case 2: { // a value becomes another
      const values = [...tokens.keys()].filter(index => isValue(tokens[index] ?? ''));
      if (values.length > 0) tokens[random.pick(values)] = random.chance(0.25) ? random.pick(tokens.filter(isValue)) : random.pick(VALUES);
      break;
    }
    case 3: tokens.splice(at, 1 + random.below(4)); break;
    case 4: tokens.splice(at, 0, ...tokens.slice(random.below(tokens.length)).slice(0, 1 + random.below(24))); break;
    case 5: tokens.splice(at, 0, random.pick(VALUES)); break;
    case 6: { // a piece of another document
      const other = random.pick(others).toString('utf8').match(TOKEN) ?? [];
      tokens.splice(at, random.below(6), ...other.slice(random.below(other.length)).slice(0, random.below(24)));
      break;
    }
    default: { // nesting
      const depth = random.chance(0.05) ? 3000 : 1 + random.below(140);
      const [open, close] = random.chance(0.5) ? ['[', ']'] : ['{"a":', '}'];
      tokens.splice(at, 0, `${open.repeat(depth)}0${close.repeat(depth)}`);
    }
  }
  return Buffer.from(tokens.join(''));
};

const MOST_BYTES = 1 << 17;

/** Applies one to five of `mutations` to one of `seeds`. `others` are what is spliced from. */
export function mutated(random: Random, seeds: readonly Buffer[], mutations: readonly Mutation[], others = seeds): Buffer {
  let bytes = random.pick(seeds);
  const count = random.chance(0.5) ? 1 : 2 + random.below(4);
  for (let i = 0; i < count; i++) bytes = random.pick(mutations)(random, bytes, others);
  return bytes.subarray(0, MOST_BYTES);
}
