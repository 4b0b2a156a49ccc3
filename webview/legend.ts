import { colourTable } from '../src/features/colormap';
import { el, number } from './dom';
import { placeOn, type Scale } from './scale';
import { words } from './words';

/** What the colours of the maps in view mean. */
export interface Meaning {
  /** What the numbers are. */
  readonly measure: string;
  /** Of numbers. */
  readonly scale?: Scale | undefined;
  /** Of the components of a PCA: the shares of the variance. */
  readonly explained?: readonly number[] | undefined;
  /** Patches that stand out and are framed. */
  readonly flagged: number;
  readonly hasMissing: boolean;
}

/** The meaning of the colours, in the words of a map, with marks at the values under the pointer. */
export class Legend {
  readonly element = el('span', 'legend');
  private readonly marks = el('span', 'marks');
  private scale: Scale | undefined;

  show({ measure, scale, explained, flagged, hasMissing }: Meaning): void {
    this.scale = scale;
    this.element.title = explained === undefined ? '' : words.explainedTitle;
    this.point([]);
    const parts: (Node | string)[] = explained !== undefined
      ? explained.map((share, index) => el('span', `component c${index}`, words.explained(index + 1, (100 * share).toFixed(1))))
      : scale === undefined ? [] : [el('span', 'measure', measure), el('span', 'scale', number(scale.range.low), el('span', 'ramp', ramp(scale), this.marks), number(scale.range.high))];
    if (flagged > 0) parts.push(el('span', 'flagged', words.outliers(flagged)));
    if (hasMissing) parts.push(el('span', 'missing', words.missing));
    this.element.replaceChildren(...parts);
  }

  /** Marks values on the scale. */
  point(values: readonly number[]): void {
    const { scale } = this;
    this.marks.replaceChildren(...(scale === undefined ? [] : values.filter(Number.isFinite)).map(value => {
      const mark = el('span', 'mark');
      if (scale !== undefined) mark.style.left = `${100 * placeOn(scale, value)}%`;
      return mark;
    }));
  }
}

function ramp({ colours }: Scale): HTMLElement {
  const canvas = el('canvas');
  canvas.width = 256;
  canvas.height = 1;
  const table = colourTable(colours);
  const pixels = new ImageData(256, 1);
  for (let i = 0; i < 256; i++) pixels.data.set([table[3 * i] ?? 0, table[3 * i + 1] ?? 0, table[3 * i + 2] ?? 0, 255], 4 * i);
  canvas.getContext('2d')?.putImageData(pixels, 0, 0);
  canvas.setAttribute('aria-hidden', 'true');
  return canvas;
}
