import { t } from '@vscode/l10n';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'] as const;

/** Bytes for people, decimal as disks and downloads count them: `3.84 GB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 would print as 1.00e+3 with three digits: it belongs to the next unit already.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? String(bytes) : value.toPrecision(3)} ${UNITS[unit] ?? ''}`;
}

/** A shape for people: `1664×3×14×14`; a tensor without dimensions is a `scalar`. */
export function formatShape(shape: readonly number[]): string {
  return shape.length === 0 ? t('scalar') : shape.join('×');
}

/** What is counted: one, and any other number of them, each a text of its own for languages that count otherwise. */
const COUNTED = {
  byte: [t('{0} byte'), t('{0} bytes')],
  difference: [t('{0} difference'), t('{0} differences')],
  download: [t('{0} download'), t('{0} downloads')],
  duplicate: [t('{0} duplicate'), t('{0} duplicates')],
  edit: [t('{0} edit'), t('{0} edits')],
  element: [t('{0} element'), t('{0} elements')],
  encoder: [t('{0} encoder'), t('{0} encoders')],
  entry: [t('{0} entry'), t('{0} entries')],
  file: [t('{0} file'), t('{0} files')],
  finding: [t('{0} finding'), t('{0} findings')],
  key: [t('{0} key'), t('{0} keys')],
  like: [t('{0} like'), t('{0} likes')],
  moreFile: [t('{0} more file'), t('{0} more files')],
  mismatch: [t('{0} size mismatch'), t('{0} size mismatches')],
  otherTensor: [t('{0} other tensor'), t('{0} other tensors')],
  morePicture: [t('{0} more picture'), t('{0} more pictures')],
  picture: [t('{0} picture'), t('{0} pictures')],
  problem: [t('{0} problem'), t('{0} problems')],
  shard: [t('{0} shard'), t('{0} shards')],
  tensor: [t('{0} tensor'), t('{0} tensors')],
  value: [t('{0} value'), t('{0} values')],
} as const;

/** `1 tensor`, `593 tensors`, with thousands set apart. */
export function formatCount(count: number, noun: keyof typeof COUNTED): string {
  const [one, many] = COUNTED[noun];
  return (count === 1 ? one : many).replace('{0}', count.toLocaleString('en-US'));
}

/** Seconds for people: `8 s`, `3 min 20 s`, `1 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return t`${whole} s`;
  if (whole < 3600) return t`${Math.floor(whole / 60)} min ${whole % 60} s`;
  return t`${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const SIZE = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?$/i;

/** Reads `5GB` (decimal, as Hugging Face counts), `5GiB` or `500 MB`; undefined when it is no size of at least one byte. */
export function parseBytes(text: string): number | undefined {
  const [, amount, prefix = '', binary = ''] = SIZE.exec(text.trim()) ?? [];
  const power = ['', 'K', 'M', 'G', 'T'].indexOf(prefix.toUpperCase());
  const bytes = Math.floor(Number(amount) * (binary === '' ? 1000 : 1024) ** power);
  return Number.isSafeInteger(bytes) && bytes >= 1 ? bytes : undefined;
}
