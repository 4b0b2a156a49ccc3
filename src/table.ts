/** Rows as lines of text, with columns of equal width. Columns named in `right` are set flush right, as numbers are. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths = rows.reduce<number[]>((widest, row) => row.map((cell, column) => Math.max(widest[column] ?? 0, widthOf(cell))), []);
  return rows.map(row => row.map((cell, column) => {
    const space = ' '.repeat((widths[column] ?? 0) - widthOf(cell));
    return right.includes(column) ? space + cell : cell + space;
  }).join('  ').trimEnd());
}

/** Columns of a terminal: Chinese characters and their punctuation take two. */
function widthOf(text: string): number {
  return text.length + (text.match(/[\p{Script=Han}\u3000-\u303f\uff00-\uffef]/gu)?.length ?? 0);
}
