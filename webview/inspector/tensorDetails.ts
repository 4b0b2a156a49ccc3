import { aroundZero, colourValues } from '../../src/features/colormap';
import { formatBytes, formatShape } from '../../src/format';
import { matricesOf, type HeatMap, type Region } from '../../src/inspection/matrix';
import type { Distribution } from '../../src/features/statistics';
import type { InspectedFile, InspectorAnswers, InspectorQuestion, ListedTensor } from '../../src/inspectorProtocol';
import { button } from '../controls';
import { el, number } from '../dom';
import { words } from './words';

/** A question under way. */
export interface Asked<Answer> {
  readonly answer: Promise<Answer>;
  cancel(): void;
}

export type Ask = <Type extends InspectorQuestion['type']>(question: Extract<InspectorQuestion, { type: Type }>, onProgress: (share: number) => void) => Asked<InspectorAnswers[Type]>;

/** Tensors up to this size are read as soon as they are chosen; larger ones when the person says so. */
const READ_AT_ONCE = 256e6;
/** The same over a network. */
const DOWNLOADED_AT_ONCE = 16e6;
/** Zooming in goes no further than this many elements a side. */
const CLOSEST = 8;

/** All about the chosen tensor: where it lies, what its values are like, and what they look like. */
export class TensorDetails {
  readonly element = el('aside', 'details');
  private readonly running = new Set<{ cancel(): void }>();

  constructor(private readonly ask: Ask, private readonly onCopy: (text: string) => void) {
    this.element.setAttribute('aria-label', words.tensor);
    this.clear();
  }

  clear(): void {
    this.stop();
    this.element.replaceChildren(el('p', 'hint', words.choose));
  }

  show(index: number, tensor: ListedTensor, file: InspectedFile['files'][number] | undefined, remote: boolean): void {
    this.stop();
    const title = el('h2', '', tensor.key);
    const copy = el('button', 'small', words.copy);
    copy.title = words.copyHint;
    copy.addEventListener('click', () => { this.onCopy(tensor.key); });
    const facts = rows([
      [words.facts.dtype, tensor.dtype.toLowerCase()],
      [words.facts.shape, formatShape(tensor.shape)],
      [words.facts.elements, tensor.elements.toLocaleString('en-US')],
      [words.facts.bytes, words.exactly(formatBytes(tensor.bytes), tensor.bytes.toLocaleString('en-US'))],
      [words.facts.file, file?.name ?? ''],
      [words.facts.offset, tensor.offset.toLocaleString('en-US')],
    ]);
    const values = el('div', 'values');
    this.element.replaceChildren(el('div', 'title', title, copy), facts, values);
    if (tensor.elements === 0) values.append(el('p', 'hint', words.empty));
    else if (tensor.bytes <= (remote ? DOWNLOADED_AT_ONCE : READ_AT_ONCE)) this.read(index, tensor, values);
    else values.append(el('p', 'hint', words.readWhenAsked(formatBytes(tensor.bytes))), button({ label: words.read, primary: true }, () => { this.read(index, tensor, values); }));
  }

  private read(index: number, tensor: ListedTensor, values: HTMLElement): void {
    const numbers = el('section', 'numbers');
    const picture = new HeatMapView((matrix, region, into) => this.wait(into, words.picture, onProgress => this.ask({ type: 'heatMap', tensor: index, matrix, ...(region !== undefined && { region }) }, onProgress)), tensor.shape);
    values.replaceChildren(numbers, picture.element);
    void this.wait(numbers, words.statistics, onProgress => this.ask({ type: 'statistics', tensor: index }, onProgress)).then(found => {
      if (found !== undefined) numbers.replaceChildren(...statistics(found));
      return picture.load();
    });
  }

  /** Shows progress with a way to cancel in `into` until the answer comes; a failure stays there as a sentence. */
  private async wait<Answer>(into: HTMLElement, what: string, start: (onProgress: (share: number) => void) => Asked<Answer>): Promise<Answer | undefined> {
    const bar = el('progress');
    bar.setAttribute('aria-label', what);
    const asked = start(share => { bar.value = share; });
    const cancel = el('button', 'small', words.cancel);
    cancel.addEventListener('click', () => { asked.cancel(); });
    const waiting = el('div', 'waiting', bar, cancel);
    // What is read in a moment shows no bar that flickers.
    const timer = setTimeout(() => { into.append(waiting); }, 150);
    this.running.add(asked);
    try {
      return await asked.answer;
    } catch (error) {
      into.append(el('p', 'hint', error instanceof Error ? error.message : String(error)));
      return undefined;
    } finally {
      clearTimeout(timer);
      waiting.remove();
      this.running.delete(asked);
    }
  }

  private stop(): void {
    for (const asked of this.running) asked.cancel();
    this.running.clear();
  }
}

/** A matrix of the tensor in colours around zero: blue below, red above. A click goes closer, and back out from the closest. */
class HeatMapView {
  readonly element = el('section', 'heat');
  private readonly canvas = el('canvas');
  private readonly caption = el('p', 'hint');
  /** The value below the pointer. */
  private readonly readout = el('p', 'readout');
  private readonly matrices: ReturnType<typeof matricesOf>;
  private readonly status = el('div');
  private shown: HeatMap | undefined;
  private matrix = 0;

  constructor(private readonly fetch: (matrix: number, region: Region | undefined, into: HTMLElement) => Promise<HeatMap | undefined>, shape: readonly number[]) {
    this.matrices = matricesOf(shape);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute('role', 'img');
    this.canvas.addEventListener('click', event => { void this.zoom(event.offsetX / this.canvas.clientWidth, event.offsetY / this.canvas.clientHeight); });
    this.canvas.addEventListener('keydown', event => {
      if (event.key === 'Enter' || event.key === '+') void this.zoom(0.5, 0.5);
      if (event.key === 'Escape' || event.key === '-') void this.load();
    });
    this.canvas.addEventListener('mousemove', event => { this.tell(event.offsetX / this.canvas.clientWidth, event.offsetY / this.canvas.clientHeight); });
    this.canvas.addEventListener('mouseleave', () => { this.readout.textContent = ''; });
    this.element.append(el('h3', '', words.values), this.canvas, this.readout, this.caption, this.status);
    if (this.matrices.count > 1) this.element.append(this.matrixChooser());
  }

  async load(region?: Region): Promise<void> {
    const found = await this.fetch(this.matrix, region, this.status);
    if (found === undefined) return;
    this.shown = found;
    this.draw(found);
    this.describe();
  }

  private async zoom(x: number, y: number): Promise<void> {
    const { region } = this.shown ?? {};
    if (region === undefined) return;
    if (region.rows <= CLOSEST && region.columns <= CLOSEST) return this.load();
    const rows = Math.min(region.rows, Math.max(CLOSEST, Math.ceil(region.rows / 4)));
    const columns = Math.min(region.columns, Math.max(CLOSEST, Math.ceil(region.columns / 4)));
    const within = (at: number, size: number, start: number, extent: number): number => Math.min(start + extent - size, Math.max(start, Math.round(start + at * extent - size / 2)));
    await this.load({ row: within(y, rows, region.row, region.rows), column: within(x, columns, region.column, region.columns), rows, columns });
  }

  private draw({ rows, columns, values }: HeatMap): void {
    this.canvas.width = columns;
    this.canvas.height = rows;
    this.canvas.style.aspectRatio = `${columns} / ${Math.max(rows, columns / 24)}`;
    const finite = values.filter(Number.isFinite);
    const range = aroundZero({ low: finite.reduce((a, b) => Math.min(a, b), 0), high: finite.reduce((a, b) => Math.max(a, b), 0) });
    this.canvas.getContext('2d')?.putImageData(new ImageData(colourValues(values, 'redBlue', range), columns, rows), 0, 0);
  }

  private describe(): void {
    const { region, rows, columns } = this.shown ?? {};
    if (region === undefined || rows === undefined || columns === undefined) return;
    const averaged = rows < region.rows || columns < region.columns;
    const whole = region.rows === this.matrices.rows && region.columns === this.matrices.columns;
    const place = whole ? words.whole(region.rows, region.columns) : words.part(region.row, region.row + region.rows - 1, region.column, region.column + region.columns - 1);
    this.caption.textContent = words.caption(averaged ? words.averaged(place, rows, columns) : place, region.rows <= CLOSEST && region.columns <= CLOSEST);
    this.canvas.setAttribute('aria-label', this.caption.textContent);
  }

  private tell(x: number, y: number): void {
    if (this.shown === undefined) return;
    const { region, rows, columns, values } = this.shown;
    const row = Math.min(rows - 1, Math.floor(y * rows));
    const column = Math.min(columns - 1, Math.floor(x * columns));
    const value = values[row * columns + column];
    if (value !== undefined) this.readout.textContent = words.valueAt(region.row + Math.floor(row * region.rows / rows), region.column + Math.floor(column * region.columns / columns), number(value), rows < region.rows || columns < region.columns);
  }

  private matrixChooser(): HTMLElement {
    const input = el('input');
    input.type = 'number';
    input.min = '0';
    input.max = String(this.matrices.count - 1);
    input.value = '0';
    input.addEventListener('change', () => {
      this.matrix = Math.min(this.matrices.count - 1, Math.max(0, Math.floor(Number(input.value)) || 0));
      input.value = String(this.matrix);
      void this.load();
    });
    return el('label', 'chooser', words.matrixOf(this.matrices.count.toLocaleString('en-US')), input);
  }
}

function statistics({ statistics: found, histogram: { low, high, counts } }: Distribution): HTMLElement[] {
  const share = (part: number): string => part === 0 ? words.none : words.share(part.toLocaleString('en-US'), (100 * part / found.count).toPrecision(3));
  const most = Math.max(1, ...counts);
  const step = (high - low) / counts.length;
  const bars = [...counts].map((count, bin) => {
    const bar = el('div', 'bar');
    bar.style.height = `${count === 0 ? 0 : Math.max(1, 100 * count / most)}%`;
    bar.title = words.histogramBar(number(low + bin * step), number(low + (bin + 1) * step), count.toLocaleString('en-US'));
    return bar;
  });
  const chart = el('div', 'histogram', ...bars);
  chart.setAttribute('role', 'img');
  chart.setAttribute('aria-label', words.histogram(number(low), number(high)));
  const scale = el('div', 'scale', el('span', '', number(low)), el('span', '', number(high)));
  return [
    el('h3', '', words.statistics),
    rows([
      [words.figures.mean, number(found.mean)],
      [words.figures.std, number(found.standardDeviation)],
      [words.figures.min, number(found.min)],
      [words.figures.max, number(found.max)],
      [words.figures.zeros, share(found.zeros)],
      [words.figures.nan, share(found.nans)],
      [words.figures.infinite, share(found.infinities)],
    ]),
    chart, scale,
  ];
}

function rows(entries: readonly (readonly [string, string])[]): HTMLElement {
  return el('table', '', ...entries.map(([name, value]) => {
    const head = el('th', '', name);
    head.scope = 'row';
    return el('tr', '', head, el('td', '', value));
  }));
}
