/**
 * The reference's rules for a safetensors file, written a second time, slowly and plainly, to judge the reader by.
 * Rules: `Metadata::validate` and `SafeTensors::deserialize` in
 * https://github.com/huggingface/safetensors safetensors/src/tensor.rs, and serde_json's grammar. All numbers are BigInts.
 */

export interface ModelTensor {
  readonly key: string;
  readonly dtype: string;
  readonly shape: readonly bigint[];
  readonly start: bigint;
  readonly end: bigint;
}

/** `undecided`: where this reader is stricter than the reference on purpose, or the reference's own rule is too odd to copy. */
export type Verdict = { readonly kind: 'accepted'; readonly tensors: readonly ModelTensor[] } | { readonly kind: 'rejected' } | { readonly kind: 'undecided' };

const BITS: Readonly<Record<string, bigint>> = {
  BOOL: 8n, F4: 4n, F6_E2M3: 6n, F6_E3M2: 6n, U8: 8n, I8: 8n, F8_E5M2: 8n, F8_E4M3: 8n, F8_E8M0: 8n, F8_E4M3FNUZ: 8n, F8_E5M2FNUZ: 8n, I16: 16n, U16: 16n, F16: 16n, BF16: 16n, I32: 32n, U32: 32n, F32: 32n, C64: 64n, F64: 64n, I64: 64n, U64: 64n,
};
const TWO_64 = 1n << 64n;
/** JavaScript's exact integers; the reader refuses what lies beyond, no file is that long. */
const TWO_53 = 1n << 53n;

class Rejected extends Error {}
class Undecided extends Error {}

type Json =
  | { readonly type: 'object'; readonly members: readonly (readonly [string, Json])[] }
  | { readonly type: 'array'; readonly items: readonly Json[] }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'unsigned'; readonly value: bigint }
  | { readonly type: 'other' }
  | { readonly type: 'null' };

export function judge(file: Uint8Array): Verdict {
  try {
    return { kind: 'accepted', tensors: read(file) };
  } catch (error) {
    if (error instanceof Rejected) return { kind: 'rejected' };
    if (error instanceof Undecided) return { kind: 'undecided' };
    throw error;
  }
}

function read(file: Uint8Array): ModelTensor[] {
  if (file.length < 8) throw new Rejected();
  let length = 0n;
  for (let i = 7; i >= 0; i--) length = length * 256n + BigInt(file[i] ?? 0);
  if (length > 100_000_000n || 8n + length > BigInt(file.length)) throw new Rejected();
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(file.subarray(8, 8 + Number(length)));
  } catch {
    throw new Rejected();
  }
  const root = new Parser(text).document();
  if (root.type !== 'object') throw new Rejected();
  const tensors = new Map<string, ModelTensor>();
  let metadataSeen = false;
  for (const [key, value] of root.members) {
    if (key === '__metadata__') {
      if (metadataSeen) throw new Rejected();
      metadataSeen = true;
      if (value.type === 'null') continue;
      if (value.type !== 'object' || value.members.some(([, text]) => text.type !== 'string')) throw new Rejected();
    } else {
      tensors.set(key, tensorOf(key, value));
    }
  }
  const order = [...tensors.values()].sort((a, b) => a.start < b.start ? -1 : a.start > b.start ? 1 : a.end < b.end ? -1 : a.end > b.end ? 1 : 0);
  let at = 0n;
  for (const { dtype, shape, start, end } of order) {
    if (start !== at || end < start) throw new Rejected();
    let bits = 1n;
    for (const factor of [...shape, BITS[dtype] ?? 0n]) {
      bits *= factor;
      if (bits >= TWO_64) throw new Rejected();
    }
    if (bits % 8n !== 0n || bits / 8n !== end - start) throw new Rejected();
    at = end;
  }
  if (8n + length + at !== BigInt(file.length)) throw new Rejected();
  return [...tensors.values()];
}

function tensorOf(key: string, value: Json): ModelTensor {
  let fields: Map<string, Json>;
  if (value.type === 'array') {
    if (value.items.length !== 3) throw new Rejected();
    fields = new Map(['dtype', 'shape', 'data_offsets'].map((name, index) => [name, value.items[index] ?? { type: 'other' }]));
  } else if (value.type === 'object') {
    fields = new Map();
    for (const [name, field] of value.members) {
      if (name !== 'dtype' && name !== 'shape' && name !== 'data_offsets') continue;
      if (fields.has(name)) throw new Rejected();
      fields.set(name, field);
    }
  } else {
    throw new Rejected();
  }
  const [dtype, shape, offsets] = [fields.get('dtype'), fields.get('shape'), fields.get('data_offsets')];
  if (dtype === undefined || shape?.type !== 'array' || offsets?.type !== 'array' || offsets.items.length !== 2) throw new Rejected();
  // serde also takes a unit variant spelt {"F32": null}, which no writer makes.
  if (dtype.type === 'object' && dtype.members.length === 1) throw new Undecided();
  if (dtype.type !== 'string' || !Object.hasOwn(BITS, dtype.value)) throw new Rejected();
  const [start = 0n, end = 0n] = offsets.items.map(unsigned);
  return { key, dtype: dtype.value, shape: shape.items.map(unsigned), start, end };
}

function unsigned(value: Json): bigint {
  if (value.type !== 'unsigned') throw new Rejected();
  if (value.value >= TWO_53) throw new Undecided();
  return value.value;
}

/** serde_json's grammar. */
class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  document(): Json {
    const value = this.value(128);
    this.space();
    if (this.at < this.text.length) throw new Rejected();
    return value;
  }

  private space(): void {
    while (' \n\r\t'.includes(this.text[this.at] ?? 'x')) this.at++;
  }

  private take(literal: string): boolean {
    if (!this.text.startsWith(literal, this.at)) return false;
    this.at += literal.length;
    return true;
  }

  private need(literal: string): void {
    if (!this.take(literal)) throw new Rejected();
  }

  private value(depth: number): Json {
    this.space();
    if (this.take('{')) return { type: 'object', members: this.members(depth - 1) };
    if (this.take('[')) return { type: 'array', items: this.items(depth - 1) };
    if (this.text[this.at] === '"') return { type: 'string', value: this.string() };
    if (this.take('null')) return { type: 'null' };
    if (this.take('true') || this.take('false')) return { type: 'other' };
    return this.number();
  }

  private members(depth: number): [string, Json][] {
    if (depth === 0) throw new Rejected();
    const members: [string, Json][] = [];
    this.space();
    if (this.take('}')) return members;
    do {
      this.space();
      const name = this.string();
      this.space();
      this.need(':');
      members.push([name, this.value(depth)]);
      this.space();
    } while (this.take(','));
    this.need('}');
    return members;
  }

  private items(depth: number): Json[] {
    if (depth === 0) throw new Rejected();
    const items: Json[] = [];
    this.space();
    if (this.take(']')) return items;
    do {
      items.push(this.value(depth));
      this.space();
    } while (this.take(','));
    this.need(']');
    return items;
  }

  private string(): string {
    this.need('"');
    let value = '';
    for (;;) {
      const character = this.text[this.at++];
      if (character === undefined || character < ' ') throw new Rejected();
      if (character === '"') return value;
      if (character !== '\\') {
        value += character;
        continue;
      }
      const escape = this.text[this.at++] ?? '';
      const simple: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
      if (escape === 'u') value += this.escaped();
      else value += simple[escape] ?? this.reject();
    }
  }

  /** \uXXXX, in pairs where it takes two; half a pair is refused. */
  private escaped(): string {
    const unit = (): number => {
      const digits = this.text.slice(this.at, this.at + 4);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new Rejected();
      this.at += 4;
      return parseInt(digits, 16);
    };
    const first = unit();
    if (first < 0xd800 || first > 0xdfff) return String.fromCharCode(first);
    if (first > 0xdbff) throw new Rejected();
    this.need('\\u');
    const second = unit();
    if (second < 0xdc00 || second > 0xdfff) throw new Rejected();
    return String.fromCharCode(first, second);
  }

  private number(): Json {
    const found = /^-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/.exec(this.text.slice(this.at));
    if (found === null) throw new Rejected();
    const [all, fraction, exponent] = found;
    this.at += all.length;
    if (fraction === undefined && exponent === undefined && !all.startsWith('-') && BigInt(all) < TWO_64) return { type: 'unsigned', value: BigInt(all) };
    if (!Number.isFinite(Number(all))) throw new Rejected();
    return { type: 'other' };
  }

  private reject(): never {
    throw new Rejected();
  }
}
