import type { Comparison, FeatureStatistics, PictureInfo } from '../src/protocol';
import { el, number } from './dom';

/** The facts beside the pictures: statistics and histogram of the chosen features, a patch's values, times. */
export class Numbers {
  readonly element = el('section', 'numbers');
  private readonly statistics = el('div');
  private readonly patch = el('div');
  private readonly comparison = el('div');
  private readonly times = el('div');

  constructor() {
    this.element.setAttribute('aria-label', 'Numbers');
    this.element.append(this.statistics, this.patch, this.comparison, this.times);
  }

  showStatistics(title: string, found: FeatureStatistics | undefined): void {
    if (found === undefined) {
      this.statistics.replaceChildren();
      return;
    }
    const { mean, standardDeviation, min, max, nans, infinities } = found.statistics;
    this.statistics.replaceChildren(
      el('h3', '', title),
      table([
        ['shape', found.shape.join(' × ')],
        ['mean', number(mean)],
        ['std', number(standardDeviation)],
        ['min', number(min)],
        ['max', number(max)],
        ['NaN / Inf', nans + infinities === 0 ? 'none' : `${nans} / ${infinities}`],
      ]),
      histogram(found),
    );
  }

  showPatch(patch: number | undefined, columns: number, values: Float32Array | undefined): void {
    if (patch === undefined || values === undefined) {
      this.patch.replaceChildren();
      return;
    }
    const norm = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    const shown = [...values.slice(0, 8)].map(number).join(', ');
    this.patch.replaceChildren(
      el('h3', '', `Patch ${Math.floor(patch / columns)}, ${patch % columns}`),
      table([['norm', number(norm)], ['values', `${shown}${values.length > 8 ? `, … (${values.length})` : ''}`]]),
    );
  }

  showComparison(comparison: Comparison | undefined): void {
    if (comparison === undefined) {
      this.comparison.replaceChildren();
      return;
    }
    this.comparison.replaceChildren(
      el('h3', '', 'Pooled embeddings'),
      table(comparison.names.map((name, index) => [letter(index), name])),
      matrix('Cosine', comparison.cosine),
      matrix('CLIP softmax', comparison.softmax),
    );
  }

  showTimes(picture: PictureInfo | undefined, device: string | undefined, memoryBytes: number | undefined): void {
    const timings = picture?.timings;
    if (timings === undefined) {
      this.times.replaceChildren();
      return;
    }
    this.times.replaceChildren(
      el('h3', '', 'Run'),
      table([
        ['decode', milliseconds(timings.decode)],
        ['resize', milliseconds(timings.resize)],
        ['encoder', milliseconds(timings.run)],
        ...(device === undefined ? [] : [['device', device] as const]),
        ...(memoryBytes === undefined ? [] : [['memory', `${(memoryBytes / 1e9).toFixed(2)} GB`] as const]),
      ]),
    );
  }
}

function milliseconds(value: number): string {
  return value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(2)} s`;
}

function table(rows: readonly (readonly [string, string])[]): HTMLElement {
  return el('table', '', ...rows.map(([name, value]) => {
    const head = el('th', '', name);
    head.scope = 'row';
    return el('tr', '', head, el('td', '', value));
  }));
}

function matrix(caption: string, rows: readonly (readonly number[])[]): HTMLElement {
  const head = el('tr', '', el('td'), ...rows.map((_, index) => el('th', '', letter(index))));
  const body = rows.map((row, index) => {
    const name = el('th', '', letter(index));
    name.scope = 'row';
    return el('tr', '', name, ...row.map(value => el('td', '', value.toFixed(3))));
  });
  return el('table', 'matrix', el('caption', '', caption), head, ...body);
}

/** The pictures being compared are called A, B, ... */
function letter(index: number): string {
  return String.fromCharCode(65 + index);
}

function histogram({ histogram: { low, high, counts } }: FeatureStatistics): HTMLElement {
  const most = Math.max(1, ...counts);
  const step = (high - low) / counts.length;
  const bars = Array.from(counts, (count, index) => {
    const bar = el('div', 'bar');
    // A bin with anything in it stays visible beside a high peak.
    bar.style.height = `${count === 0 ? 0 : Math.max(2, (100 * count) / most)}%`;
    bar.title = `${number(low + index * step)} to ${number(low + (index + 1) * step)}: ${count}`;
    return bar;
  });
  const chart = el('div', 'histogram', ...bars);
  chart.setAttribute('role', 'img');
  chart.setAttribute('aria-label', `Histogram from ${number(low)} to ${number(high)}`);
  return chart;
}
