import { isUtf8 } from 'node:buffer';
import { t } from '@vscode/l10n';
import { UserError } from '../../errors';

/** The pickle goes on after the last byte that was given. */
export class PickleTruncated extends UserError {}

/** No number in a checkpoint is longer, and converting an enormous one takes quadratic time. */
const MAX_NUMBER_BYTES = 4096;

/** Reads the operands of pickle instructions, never beyond the bytes there are. */
export class PickleByteReader {
  private readonly buffer: Buffer;

  constructor(bytes: Uint8Array, public position: number, private readonly name: string) {
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  error(problem: string): UserError {
    return new UserError(t`${this.name} is damaged or is not a PyTorch checkpoint: ${problem} (byte ${this.position} of its pickle). Download it again or get its safetensors version.`);
  }

  /** The next `length` bytes, as a view. */
  take(length: number): Buffer {
    const start = this.advance(length);
    return this.buffer.subarray(start, start + length);
  }

  uint8(): number {
    return this.buffer.readUInt8(this.advance(1));
  }

  uint16(): number {
    return this.buffer.readUInt16LE(this.advance(2));
  }

  uint32(): number {
    return this.buffer.readUInt32LE(this.advance(4));
  }

  int32(): number {
    return this.buffer.readInt32LE(this.advance(4));
  }

  /** A length; one that is no safe integer is beyond any file. */
  uint64(): number {
    return Number(this.buffer.readBigUInt64LE(this.advance(8)));
  }

  float64(): number {
    return this.buffer.readDoubleBE(this.advance(8));
  }

  /** A two's complement little-endian integer of `length` bytes. */
  long(length: number): number | bigint {
    if (length > MAX_NUMBER_BYTES) throw this.error(t`it holds a number of ${length} bytes`);
    const bytes = this.take(length);
    if (length === 0) return 0;
    const unsigned = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
    return narrow(BigInt.asIntN(length * 8, unsigned));
  }

  textLine(): string {
    const line = this.line();
    return this.decode(line);
  }

  decimalLine(): number {
    const text = this.textLine();
    if (!/^\d{1,15}$/.test(text)) throw this.error(t('a number is expected and something else stands there'));
    return Number(text);
  }

  /** INT: `00` and `01` are false and true. */
  intLine(): number | bigint | boolean {
    const text = this.textLine();
    if (text === '00') return false;
    if (text === '01') return true;
    return this.integer(text);
  }

  longLine(): number | bigint {
    return this.integer(this.textLine().replace(/L$/, ''));
  }

  floatLine(): number {
    const text = this.textLine().trim().toLowerCase();
    const special = /^([+-]?)(nan|inf|infinity)$/.exec(text);
    if (special !== null) return special[2] === 'nan' ? NaN : special[1] === '-' ? -Infinity : Infinity;
    const value = text === '' ? NaN : Number(text);
    if (Number.isNaN(value)) throw this.error(t('a number is expected and something else stands there'));
    return value;
  }

  /** UNICODE: Latin-1 with `\u` and `\U` escapes. */
  unicodeLine(): string {
    return this.line().toString('latin1').replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (all, short?: string, long?: string) => {
      const code = parseInt(short ?? long ?? '', 16);
      return code > 0x10ffff ? all : String.fromCodePoint(code);
    });
  }

  /** STRING: a quoted Python literal. */
  quotedLine(): Uint8Array {
    const text = this.line().toString('latin1').trim();
    const quote = text.charAt(0);
    if (text.length < 2 || (quote !== '\'' && quote !== '"') || !text.endsWith(quote)) throw this.error(t('a quoted text is expected and something else stands there'));
    const unescaped = text.slice(1, -1).replace(/\\(?:x([0-9a-fA-F]{2})|([nrt\\'"]))/g, (_, hex?: string, letter?: string) =>
      hex === undefined ? ESCAPES[letter ?? ''] ?? letter ?? '' : String.fromCharCode(parseInt(hex, 16)));
    return Buffer.from(unescaped, 'latin1');
  }

  utf8(length: number): string {
    const start = this.advance(length);
    const latin = this.buffer.toString('latin1', start, start + length);
    // Keys are ASCII, nearly all of them, and then that is the text already.
    return /^[\0-\x7f]*$/.test(latin) ? latin : this.decode(this.buffer.subarray(start, start + length));
  }

  private decode(bytes: Buffer): string {
    return isUtf8(bytes) ? bytes.toString('utf8') : this.decodeWithSurrogates(bytes);
  }

  /** Python pickles lone surrogates as three bytes each ("surrogatepass"); any other violation of UTF-8 is damage. */
  private decodeWithSurrogates(bytes: Buffer): string {
    const parts: string[] = [];
    let start = 0;
    for (let i = bytes.indexOf(0xed); i >= 0 && i + 2 < bytes.length; i = bytes.indexOf(0xed, i)) {
      const second = bytes.readUInt8(i + 1);
      const third = bytes.readUInt8(i + 2);
      if (second < 0xa0 || second > 0xbf || third < 0x80 || third > 0xbf) {
        i++;
        continue;
      }
      parts.push(this.strict(bytes.subarray(start, i)), String.fromCharCode(0xd000 | (second & 0x3f) << 6 | third & 0x3f));
      start = i += 3;
    }
    parts.push(this.strict(bytes.subarray(start)));
    return parts.join('');
  }

  private strict(bytes: Buffer): string {
    if (!isUtf8(bytes)) throw this.error(t('it holds text that is not UTF-8'));
    return bytes.toString('utf8');
  }

  private integer(text: string): number | bigint {
    if (text.length > MAX_NUMBER_BYTES || !/^\s*[+-]?\d+\s*$/.test(text)) throw this.error(t('a number is expected and something else stands there'));
    const sign = text.includes('-') ? -1n : 1n;
    return narrow(sign * BigInt(text.replace(/[\s+-]/g, '')));
  }

  private line(): Buffer {
    const end = this.buffer.indexOf(0x0a, this.position);
    if (end < 0) throw this.truncated();
    const line = this.buffer.subarray(this.position, end);
    this.position = end + 1;
    return line;
  }

  private advance(length: number): number {
    const start = this.position;
    if (!(length <= this.buffer.length - start)) throw this.truncated();
    this.position = start + length;
    return start;
  }

  private truncated(): PickleTruncated {
    return new PickleTruncated(t`${this.name} is incomplete or damaged: its pickle ends in the middle (byte ${this.buffer.length}). Download it again.`);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

/** Numbers where they are exact, bigints beyond. */
function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
