import { parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { t } from '@vscode/l10n';
import { UserError } from './errors';
import { printable } from './checkpoint/wording';

/** Where a value stands in a text file; lines and columns count from 0, as editors' APIs do. */
export interface TextRange {
  readonly startLine: number;
  readonly startColumn: number;
  readonly endLine: number;
  readonly endColumn: number;
}

/** A config or recipe is a few kilobytes; anything much larger is something else under its name. */
export const MAX_TEXT_BYTES = 16 * 1024 * 1024;

export type JsonPath = readonly (string | number)[];

/** Parsed JSON that remembers where each value stands in its text. */
export interface JsonDocument {
  /** Without the byte order mark that the file may have begun with. */
  readonly text: string;
  readonly value: unknown;
  /** The range of the property (name and value) at `path`, or of the nearest enclosing value that exists. */
  rangeOf(path: JsonPath): TextRange;
}

/** @throws UserError when `bytes` are not UTF-8 */
export function decodeUtf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UserError(t`${name} is not UTF-8 text. Check that it is the right file.`, { cause });
  }
}

/**
 * Parses strict JSON (RFC 8259: no comments, no trailing commas, no NaN). A byte order mark is skipped.
 * @throws UserError naming `location`, line, column and what stands there.
 */
export function parseJson(text: string, location: string): JsonDocument {
  const content = text.startsWith('\uFEFF') ? text.slice(1) : text;
  if (content.trim() === '') throw new UserError(t`${location} is empty; JSON is expected.`);
  if (content.startsWith('version https://git-lfs')) {
    throw new UserError(t`${location} is a Git LFS pointer, not the file itself. Run "git lfs pull" in its repository.`);
  }
  const errors: ParseError[] = [];
  let root: Node | undefined;
  try {
    root = parseTree(content, errors, { disallowComments: true });
  } catch (error) {
    if (error instanceof RangeError) throw new UserError(t`${location} nests its values too deeply to be read.`, { cause: error });
    throw error;
  }
  const lineStarts = findLineStarts(content);
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (error) {
    throw syntaxError(content, location, errors[0], lineStarts, error);
  }
  return {
    text: content,
    value,
    rangeOf(path) {
      const node = root === undefined ? undefined : nearestNode(root, path);
      const start = node?.offset ?? 0;
      return rangeBetween(lineStarts, start, start + (node?.length ?? content.length));
    },
  };
}

const EXPECTATIONS: Readonly<Record<string, string>> = {
  PropertyNameExpected: t('a property name in double quotes is expected'),
  ValueExpected: t('a value is expected'),
  ColonExpected: t('a colon is expected'),
  CommaExpected: t('a comma is expected'),
  CloseBraceExpected: t('a closing brace is expected'),
  CloseBracketExpected: t('a closing bracket is expected'),
  InvalidCommentToken: t('comments are not allowed in JSON'),
  UnexpectedEndOfString: t('a string does not end'),
  InvalidEscapeCharacter: t('a backslash is followed by a character that JSON does not know'),
  InvalidCharacter: t('a string holds a control character that must be escaped'),
  InvalidUnicode: t('an escaped character is incomplete'),
};

function syntaxError(text: string, location: string, error: ParseError | undefined, lineStarts: readonly number[], cause: unknown): UserError {
  const detail = cause instanceof Error ? cause.message : String(cause);
  if (error === undefined) return new UserError(t`${location} is not valid JSON: ${detail}.`, { cause });
  const code = printParseErrorCode(error.error);
  const { startLine, startColumn } = rangeBetween(lineStarts, error.offset, error.offset);
  const where = t`${location} is not valid JSON: line ${startLine + 1}, column ${startColumn + 1}: `;
  const rest = text.slice(error.offset, error.offset + 60).split(/[\r\n]/, 1)[0]?.trim() ?? '';
  if (code === 'EndOfFileExpected') {
    return new UserError(t`${where}the JSON has ended, yet ${printable(JSON.stringify(rest))} follows. Delete everything from there on.`, { detail, cause });
  }
  const expectation = EXPECTATIONS[code] ?? t('this is not a JSON value');
  const found = rest === '' ? (error.offset >= text.trimEnd().length ? t('the file ends') : t('the line ends')) : t`${printable(JSON.stringify(rest))} stands there`;
  return new UserError(t`${where}${expectation}, but ${found}.`, { detail, cause });
}

/** Follows `path` as far as it exists; of repeated names the last counts, as for JSON.parse. */
function nearestNode(root: Node, path: JsonPath): Node {
  let value = root;
  let nearest = root;
  for (const step of path) {
    if (typeof step === 'number') {
      const item = value.type === 'array' ? value.children?.[step] : undefined;
      if (item === undefined) break;
      nearest = value = item;
    } else {
      const property = value.type === 'object' ? value.children?.findLast(child => child.children?.[0]?.value === step) : undefined;
      const child = property?.children?.[1];
      if (property === undefined || child === undefined) break;
      nearest = property;
      value = child;
    }
  }
  return nearest;
}

function findLineStarts(text: string): number[] {
  const starts = [0];
  for (const { 0: mark, index } of text.matchAll(/\r\n|\n|\r/g)) starts.push(index + mark.length);
  return starts;
}

function rangeBetween(lineStarts: readonly number[], start: number, end: number): TextRange {
  const [startLine, startColumn] = position(lineStarts, start);
  const [endLine, endColumn] = position(lineStarts, end);
  return { startLine, startColumn, endLine, endColumn };
}

function position(lineStarts: readonly number[], offset: number): [line: number, column: number] {
  const line = lineStarts.findLastIndex(start => start <= offset);
  return [line, offset - (lineStarts[line] ?? 0)];
}
