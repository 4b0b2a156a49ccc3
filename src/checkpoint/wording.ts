import { t } from '@vscode/l10n';
/** Characters that could disturb a terminal or a line of text: controls, format characters such as bidi overrides, lone surrogates, line separators. */
export const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu;
const MOST_CHARACTERS = 120;

/** Text from outside on one line, with nothing in it that a terminal would obey. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, character => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** A key or file name from outside in quotes, on one line, of bounded length, for messages. */
export function quoted(name: string): string {
  const short = name.length > MOST_CHARACTERS ? `${name.slice(0, MOST_CHARACTERS)}…` : name;
  return `"${printable(short)}"`;
}

/** The first few names, quoted, and how many there are besides. */
export function someOf(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most).map(quoted).join(t(', '));
  return names.length > most ? t`${shown} and ${names.length - most} more` : shown;
}

/** A value from outside as JSON, shortened and on one line, for messages. */
export function inWords(value: unknown): string {
  if (value === undefined) return t('absent');
  const text = printable(JSON.stringify(value));
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}
