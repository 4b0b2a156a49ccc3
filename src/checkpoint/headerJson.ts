import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { quoted } from './wording';

/** serde_json's limit: the 128th level of nesting is refused. */
const MAX_DEPTH = 127;

const QUOTE = 0x22, COMMA = 0x2c, MINUS = 0x2d, POINT = 0x2e, ZERO = 0x30, NINE = 0x39, COLON = 0x3a, BACKSLASH = 0x5c;
const OPEN_ARRAY = 0x5b, CLOSE_ARRAY = 0x5d, OPEN_OBJECT = 0x7b, CLOSE_OBJECT = 0x7d;

/**
 * Reads JSON piece by piece, with the verdicts of serde_json, which the safetensors library uses: integers are exact
 * and told apart from `2.0`, names may repeat (the caller decides), lone surrogates and deep nesting are refused.
 * JSON.parse does none of this (https://docs.rs/serde_json, https://github.com/huggingface/safetensors tensor.rs).
 *
 * Objects are read as `openObject()`, then `nextKey()` until it gives undefined, with one value read after each key;
 * arrays as `openArray()`, then a value for each `nextItem()` that is true.
 */
export class JsonReader {
  readonly #bytes: Buffer;
  readonly #subject: string;
  #at = 0;
  #depth = 0;
  /** Whether the container just entered has had no member yet. One flag serves all levels: leaving one clears it. */
  #first = false;

  /**
   * @param bytes valid UTF-8.
   * @param subject what is being read, to begin a sentence: "The header of model.safetensors".
   */
  constructor(bytes: Uint8Array, subject: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#subject = subject;
  }

  /** What kind of value comes next. */
  peek(): 'object' | 'array' | 'string' | 'null' | 'other' {
    switch (this.#next()) {
      case OPEN_OBJECT: return 'object';
      case OPEN_ARRAY: return 'array';
      case QUOTE: return 'string';
      case 0x6e: return 'null';
      default: return 'other';
    }
  }

  openObject(): void {
    this.#open(OPEN_OBJECT);
  }

  openArray(): void {
    this.#open(OPEN_ARRAY);
  }

  /** The next member's name, or undefined when the object ends here; `likely` as for `string`. */
  nextKey(likely?: string): string | undefined {
    if (!this.#member(CLOSE_OBJECT)) return undefined;
    if (this.#next() !== QUOTE) throw this.error(t('a name in quotes is expected'));
    const key = this.string(likely);
    if (this.#next() !== COLON) throw this.error(t`":" is expected after the name ${quoted(key)}`);
    this.#at++;
    return key;
  }

  /** Whether the array has one more value. */
  nextItem(): boolean {
    return this.#member(CLOSE_ARRAY);
  }

  /** @param likely is given back itself when it stands there, so that what repeats by the thousand is one string in memory. */
  string(likely?: string): string {
    if (this.#next() !== QUOTE) throw this.error(t('a string is expected'));
    if (likely !== undefined && this.#passes(likely)) return likely;
    const bytes = this.#bytes;
    const start = this.#at + 1;
    let seen = 0;
    let at = start;
    for (; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return bytes.toString(seen < 0x80 ? 'latin1' : 'utf8', start, at);
      }
      if (byte === BACKSLASH) return this.#escapedString(at);
      if (byte < 0x20) break;
      seen |= byte;
    }
    this.#at = at;
    throw this.error(at < bytes.length ? t('a control character stands unescaped in a string') : t('it ends inside a string'));
  }

  /** A whole number from 0 to 2^53 - 1, written with digits alone. */
  unsigned(what: string): number {
    const bytes = this.#bytes;
    const first = this.#next();
    if (first === MINUS) throw this.error(t`${what} is negative`);
    if (first < ZERO || first > NINE) throw this.error(t`${what} must be a whole number`);
    let value = 0;
    const start = this.#at;
    let at = start;
    for (let byte = first; byte >= ZERO && byte <= NINE; byte = bytes[++at] ?? 0) value = value * 10 + (byte - ZERO);
    const next = bytes[at] ?? 0;
    if (next === POINT || next === 0x65 || next === 0x45) throw this.error(t`${what} must be a whole number, written with digits alone`);
    if (first === ZERO && at > start + 1) throw this.error(t`${what} has a leading zero`);
    if (value > Number.MAX_SAFE_INTEGER) throw this.error(t`${what} is greater than 2^53`);
    this.#at = at;
    return value;
  }

  null(): void {
    this.#word('null');
  }

  /** Passes over any one value, which must be valid all the same. */
  skip(): void {
    const byte = this.#next();
    switch (byte) {
      case QUOTE: this.string(); return;
      case OPEN_OBJECT:
        this.openObject();
        while (this.nextKey() !== undefined) this.skip();
        return;
      case OPEN_ARRAY:
        this.openArray();
        while (this.nextItem()) this.skip();
        return;
      case 0x6e: this.#word('null'); return;
      case 0x74: this.#word('true'); return;
      case 0x66: this.#word('false'); return;
      default: this.#skipNumber();
    }
  }

  /** Nothing but white space may follow. */
  end(): void {
    this.#next();
    if (this.#at < this.#bytes.length) throw this.error(t('more follows after the end of the object'));
  }

  /** A UserError for the place where the reader stands. */
  error(what: string): UserError {
    return new UserError(t`${this.#subject} is damaged: ${what} (at its byte ${this.#at}). Download or export the file again.`);
  }

  #open(bracket: number): void {
    if (this.#next() !== bracket) throw this.error(this.#at === 0 && this.#bytes[0] === 0xef ? t('it begins with a byte order mark') : t`${bracket === OPEN_OBJECT ? t('an object ("{")') : t('a list ("[")')} is expected`);
    if (++this.#depth > MAX_DEPTH) throw this.error(t`it is nested more than ${MAX_DEPTH} levels deep`);
    this.#at++;
    this.#first = true;
  }

  #member(close: number): boolean {
    const byte = this.#next();
    if (byte === close) {
      this.#at++;
      this.#depth--;
      this.#first = false;
      return false;
    }
    if (this.#first) {
      this.#first = false;
      return true;
    }
    if (byte !== COMMA) throw this.error(t`"," or "${String.fromCharCode(close)}" is expected`);
    this.#at++;
    if (this.#next() === close) throw this.error(t('a comma stands before the closing bracket'));
    return true;
  }

  /** The next byte that is not white space, without passing it; 0 at the end. */
  #next(): number {
    for (; ;) {
      const byte = this.#bytes[this.#at] ?? 0;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
      this.#at++;
    }
  }

  /** Goes past the string at hand when it is `text`, spelt without escapes and in ASCII. */
  #passes(text: string): boolean {
    const start = this.#at + 1;
    const end = start + text.length;
    if (this.#bytes[end] !== QUOTE) return false;
    for (let at = start; at < end; at++) {
      const byte = this.#bytes[at] ?? 0;
      if (byte !== text.charCodeAt(at - start) || byte < 0x20 || byte >= 0x80 || byte === QUOTE || byte === BACKSLASH) return false;
    }
    this.#at = end + 1;
    return true;
  }

  #word(word: string): void {
    this.#next();
    if (this.#bytes.toString('latin1', this.#at, this.#at + word.length) !== word) throw this.error(this.#at < this.#bytes.length ? t('a value is expected') : t('it ends too early'));
    this.#at += word.length;
  }

  #skipNumber(): void {
    // Longer digit runs than this are valid JSON too, but nothing writes them.
    const text = this.#bytes.toString('latin1', this.#at, this.#at + 1024);
    const number = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/.exec(text)?.[0];
    if (number === undefined) throw this.error(text === '' ? t('it ends too early') : t('a value is expected'));
    if (!Number.isFinite(Number(number))) throw this.error(t('a number is too great'));
    this.#at += number.length;
  }

  /** A string that has a backslash at `escape`. Rare, so JSON.parse does the unescaping. */
  #escapedString(escape: number): string {
    const bytes = this.#bytes;
    let end = escape;
    while (end < bytes.length && bytes[end] !== QUOTE) end += bytes[end] === BACKSLASH ? 2 : 1;
    if (end >= bytes.length) throw this.error(t('it ends inside a string'));
    let text: unknown;
    try {
      text = JSON.parse(bytes.toString('utf8', this.#at, end + 1));
    } catch {
      throw this.error(t('a string has an invalid escape or an unescaped control character'));
    }
    if (typeof text !== 'string') throw this.error(t('a string is expected'));
    if (/\p{Cs}/u.test(text)) throw this.error(t('a string has half of a surrogate pair'));
    this.#at = end + 1;
    return text;
  }
}
