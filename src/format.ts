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
  return shape.length === 0 ? 'scalar' : shape.join('×');
}

/** `1 tensor`, `593 tensors`, with thousands set apart. */
export function formatCount(count: number, noun: string, plural = `${noun}s`): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? noun : plural}`;
}

/** Seconds for people: `8 s`, `3 min 20 s`, `1 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

const SIZE = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?$/i;

/** Reads `5GB` (decimal, as Hugging Face counts), `5GiB` or `500 MB`; undefined when it is no size of at least one byte. */
export function parseBytes(text: string): number | undefined {
  const [, amount, prefix = '', binary = ''] = SIZE.exec(text.trim()) ?? [];
  const power = ['', 'K', 'M', 'G', 'T'].indexOf(prefix.toUpperCase());
  const bytes = Math.floor(Number(amount) * (binary === '' ? 1000 : 1024) ** power);
  return Number.isSafeInteger(bytes) && bytes >= 1 ? bytes : undefined;
}
