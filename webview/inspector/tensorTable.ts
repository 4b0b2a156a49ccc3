import { formatBytes, formatShape } from '../../src/format';
import type { ListedTensor } from '../../src/inspectorProtocol';
import { el } from '../dom';
import { words } from './words';

const ROW_PX = 22;
/** Rows drawn beyond what is seen, so that scrolling shows no gaps. */
const MARGIN = 12;

type Column = 'key' | 'dtype' | 'shape' | 'elements' | 'bytes' | 'share';

/** Rows beyond this many pixels are reached by stretching the scale: browsers cap an element's height. */
const MOST_PX = 8_000_000;

const COLUMNS: readonly { readonly id: Column; readonly compare: (a: ListedTensor, b: ListedTensor) => number }[] = [
  { id: 'key', compare: (a, b) => natural(a.key, b.key) },
  { id: 'dtype', compare: (a, b) => natural(a.dtype, b.dtype) },
  { id: 'shape', compare: (a, b) => a.shape.length - b.shape.length || a.elements - b.elements },
  { id: 'elements', compare: (a, b) => a.elements - b.elements },
  { id: 'bytes', compare: (a, b) => a.bytes - b.bytes },
  { id: 'share', compare: (a, b) => a.bytes - b.bytes },
];

const collator = new Intl.Collator('en', { numeric: true });
const natural = (a: string, b: string): number => collator.compare(a, b);

/**
 * The tensors of a file, sortable, and as many as there are: only the rows that are seen exist in the page.
 * One row is chosen; arrow keys, Page Up and Down, Home and End move the choice.
 */
export class TensorTable {
  readonly element = el('div', 'table');
  private readonly head = el('div', 'head');
  private readonly scroller = el('div', 'scroller');
  private readonly spacer = el('div', 'spacer');
  private readonly body = el('div', 'body');
  private tensors: readonly ListedTensor[] = [];
  private rows: readonly number[] = [];
  private total = 0;
  private sorting: { readonly column: Column; readonly descending: boolean } | undefined;
  private chosen: number | undefined;

  constructor(private readonly onChoose: (tensor: number) => void) {
    this.element.setAttribute('role', 'grid');
    this.element.setAttribute('aria-label', words.tensors);
    this.head.setAttribute('role', 'row');
    this.scroller.tabIndex = 0;
    this.scroller.setAttribute('aria-label', words.tensors);
    this.scroller.append(this.spacer, this.body);
    this.element.append(this.head, this.scroller);
    this.scroller.addEventListener('scroll', () => { this.draw(); });
    this.scroller.addEventListener('keydown', event => { this.onKey(event); });
    new ResizeObserver(() => { this.draw(); }).observe(this.scroller);
    this.drawHead();
  }

  setTensors(tensors: readonly ListedTensor[]): void {
    this.tensors = tensors;
    this.total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Shows these tensors alone, by their places in the list. */
  show(rows: readonly number[]): void {
    this.rows = this.sorted(rows);
    this.element.setAttribute('aria-rowcount', String(rows.length + 1));
    this.spacer.style.height = `${Math.min(MOST_PX, rows.length * ROW_PX)}px`;
    this.draw();
  }

  /** Chooses a tensor and scrolls to it. */
  choose(tensor: number | undefined): void {
    this.chosen = tensor;
    const row = tensor === undefined ? -1 : this.rows.indexOf(tensor);
    if (row >= 0) this.reveal(row);
    this.draw();
  }

  private sorted(rows: readonly number[]): readonly number[] {
    const column = COLUMNS.find(({ id }) => id === this.sorting?.column);
    if (column === undefined) return [...rows].sort((a, b) => a - b);
    const sign = this.sorting?.descending === true ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [first, second] = [this.tensors[a], this.tensors[b]];
      return (first === undefined || second === undefined ? 0 : sign * column.compare(first, second)) || a - b;
    });
  }

  private drawHead(): void {
    this.head.replaceChildren(...COLUMNS.map(({ id }) => {
      const title = words.columns[id];
      const sorted = this.sorting?.column === id;
      const cell = el('div', `cell ${id}`);
      cell.setAttribute('role', 'columnheader');
      cell.setAttribute('aria-sort', !sorted ? 'none' : this.sorting?.descending === true ? 'descending' : 'ascending');
      const sort = el('button', '', title, el('span', 'arrow', !sorted ? '' : this.sorting?.descending === true ? ' ▾' : ' ▴'));
      sort.title = sorted ? words.sortOtherwise : words.sortBy(title);
      sort.addEventListener('click', () => { this.sortBy(id); });
      cell.append(sort);
      return cell;
    }));
  }

  /** Numbers start with the largest, names with the first; the third click brings back the file's order. */
  private sortBy(column: Column): void {
    const first = column === 'elements' || column === 'bytes' || column === 'share';
    if (this.sorting?.column !== column) this.sorting = { column, descending: first };
    else this.sorting = this.sorting.descending === first ? { column, descending: !first } : undefined;
    this.drawHead();
    this.show(this.rows);
    if (this.chosen !== undefined) this.choose(this.chosen);
  }

  /** Row at the top of what is seen; fractions of the scroll range stand for fractions of the rows. */
  private get firstRow(): number {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const hidden = Math.max(0, this.rows.length - clientHeight / ROW_PX);
    return scrollHeight > clientHeight ? scrollTop / (scrollHeight - clientHeight) * hidden : 0;
  }

  private reveal(row: number): void {
    const visible = Math.floor(this.scroller.clientHeight / ROW_PX);
    const first = this.firstRow;
    const target = row < first ? row : row > first + visible - 1 ? row - visible + 1 : undefined;
    if (target === undefined) return;
    const hidden = Math.max(1, this.rows.length - this.scroller.clientHeight / ROW_PX);
    this.scroller.scrollTop = target / hidden * (this.scroller.scrollHeight - this.scroller.clientHeight);
  }

  private draw(): void {
    const first = this.firstRow;
    const from = Math.max(0, Math.floor(first) - MARGIN);
    const to = Math.min(this.rows.length, Math.ceil(first + this.scroller.clientHeight / ROW_PX) + MARGIN);
    this.body.style.transform = `translateY(${this.scroller.scrollTop + (from - first) * ROW_PX}px)`;
    this.body.replaceChildren(...this.rows.slice(from, to).map((index, offset) => this.row(index, from + offset)));
    this.scroller.setAttribute('aria-activedescendant', this.chosen === undefined ? '' : `tensor-${this.chosen}`);
  }

  private row(index: number, position: number): HTMLElement {
    const tensor = this.tensors[index];
    const row = el('div', index === this.chosen ? 'row chosen' : 'row');
    row.id = `tensor-${index}`;
    row.setAttribute('role', 'row');
    row.setAttribute('aria-rowindex', String(position + 2));
    row.setAttribute('aria-selected', String(index === this.chosen));
    if (tensor === undefined) return row;
    const share = this.total === 0 ? 0 : tensor.bytes / this.total;
    const bar = el('span', 'sharebar');
    bar.style.setProperty('--share', String(share));
    const texts: Readonly<Record<Column, string>> = {
      key: tensor.key, dtype: tensor.dtype.toLowerCase(), shape: formatShape(tensor.shape),
      elements: tensor.elements.toLocaleString('en-US'), bytes: formatBytes(tensor.bytes), share: `${(100 * share).toFixed(share < 0.001 ? 3 : 1)} %`,
    };
    row.append(...COLUMNS.map(({ id }) => {
      const cell = el('div', `cell ${id}`, el('bdi', '', texts[id]));
      cell.setAttribute('role', 'gridcell');
      if (id === 'key') cell.title = tensor.key;
      if (id === 'share') cell.prepend(bar);
      return cell;
    }));
    row.addEventListener('click', () => {
      this.choose(index);
      this.onChoose(index);
    });
    return row;
  }

  private onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_PX) - 1);
    const steps: Readonly<Record<string, number>> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || this.rows.length === 0) return;
    event.preventDefault();
    const current = this.chosen === undefined ? -1 : this.rows.indexOf(this.chosen);
    const next = this.rows[Math.min(this.rows.length - 1, Math.max(0, current + step))];
    if (next === undefined) return;
    this.choose(next);
    this.onChoose(next);
  }
}
