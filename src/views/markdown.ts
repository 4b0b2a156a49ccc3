/**
 * Names from files shown in Markdown: as code, so that a hostile key cannot become a link, an icon or a command.
 * The fence is longer than any run of backticks inside (CommonMark 6.1); control characters are shown as pictures.
 */
export function code(text: string): string {
  const shown = visible(text);
  const longest = Math.max(0, ...[...shown.matchAll(/`+/g)].map(run => run[0].length));
  const fence = '`'.repeat(longest + 1);
  return `${fence} ${shown} ${fence}`;
}

/** Plain text inside Markdown: every character that could begin markup is escaped. */
export function plain(text: string): string {
  return visible(text).replace(/[\\`*_{}[\]()#+\-.!<>|~$&:@/]/g, '\\$&');
}

/**
 * A sentence for notifications and prompts, which make links, commands among them, of `[text](address)`:
 * what it quotes comes from files, so that none is left in it.
 */
export function unlinked(text: string): string {
  return text.replaceAll('](', '] (');
}

/** A name from outside for labels of lists and the status bar, which make icons of `$(name)`. */
export function label(text: string, longest?: number): string {
  return visible(text, longest).replaceAll('$(', '$ (');
}

/** A name from a file, on one line and with nothing invisible: control and direction characters become visible stand-ins. */
export function visible(text: string, longest = 400): string {
  const shown = text
    // eslint-disable-next-line no-control-regex -- these are what must become visible.
    .replace(/[\u0000-\u001f]/g, character => String.fromCharCode(0x2400 + character.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, '\ufffd');
  return shown.length <= longest ? shown : `${shown.slice(0, longest / 2)} … ${shown.slice(-longest / 2)}`;
}
