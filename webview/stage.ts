import { colourTable } from '../src/features/colormap';
import type { PatchMap } from '../src/protocol';
import { button } from './controls';
import { el, number } from './dom';
import { PictureCanvas, type CanvasEvents, type CanvasPicture, type CanvasView } from './pictureCanvas';
import { scaleOf, type Scale } from './scale';
import type { Viewport } from './viewport';
import { words } from './words';

export interface Shown {
  readonly caption: string;
  readonly picture: CanvasPicture;
  readonly map: PatchMap | undefined;
}

/** The pictures in view with what lies over them, the meaning of the colours, and the value under the pointer. */
export class Stage {
  readonly element = el('main', 'stage');
  private readonly figures: readonly { readonly figure: HTMLElement; readonly caption: HTMLElement; readonly canvas: PictureCanvas }[];
  private readonly readout = el('span', 'readout');
  private readonly legend = el('span', 'legend');
  private readonly aloud = el('div', 'aloud');
  private readonly reset = button({ label: words.wholePicture, title: words.wholePictureHint }, () => { this.viewport.reset(); });
  private shown: readonly Shown[] = [];
  private hovered: number | undefined;
  private hint = '';

  constructor(private readonly viewport: Viewport, events: CanvasEvents, empty: HTMLElement) {
    this.figures = [0, 1].map(() => {
      const canvas = new PictureCanvas(viewport, {
        onHover: (patch, byKey) => {
          this.hovered = patch;
          this.showReadout();
          if (byKey) this.aloud.textContent = this.readout.textContent;
          events.onHover(patch, byKey);
        },
        onPick: patch => { events.onPick(patch); },
      });
      const caption = el('figcaption');
      const figure = el('figure', '', canvas.element, caption);
      return { figure, caption, canvas };
    });
    this.aloud.setAttribute('aria-live', 'polite');
    viewport.onChange(() => { this.reset.style.visibility = viewport.scale > 1 ? 'visible' : 'hidden'; });
    this.reset.style.visibility = 'hidden';
    this.element.append(
      el('div', 'figures', ...this.figures.map(({ figure }) => figure), empty),
      el('div', 'below', this.readout, this.reset, this.legend),
      this.aloud,
    );
  }

  show(shown: readonly Shown[], view: Omit<CanvasView, 'marked'>, marked: number | undefined): void {
    this.shown = shown;
    const scale = scaleOf(shown.map(({ map }) => map));
    this.figures.forEach(({ figure, caption, canvas }, index) => {
      const one = shown[index];
      figure.hidden = one === undefined;
      caption.hidden = shown.length < 2;
      caption.textContent = one?.caption ?? '';
      canvas.setPicture(one?.picture);
      canvas.setMap(one?.map, scale);
      canvas.setView({ ...view, marked: index === 0 ? marked : undefined });
    });
    this.showLegend(scale, shown[0]?.map?.explained);
    this.showReadout();
  }

  showHint(hint: string): void {
    this.hint = hint;
    this.showReadout();
  }

  /** All pictures in view beside each other, as a PNG. */
  async toPng(): Promise<Blob> {
    const canvases = this.figures.filter(({ figure }) => !figure.hidden).map(({ canvas }) => canvas);
    for (const canvas of canvases) canvas.flush();
    const whole = new OffscreenCanvas(Math.max(1, canvases.reduce((sum, { element }) => sum + element.width, 0)), Math.max(1, ...canvases.map(({ element }) => element.height)));
    const context = whole.getContext('2d');
    if (context === null) throw new Error(words.canvasFailed);
    let x = 0;
    for (const { element } of canvases) {
      context.drawImage(element, x, 0);
      x += element.width;
    }
    return whole.convertToBlob({ type: 'image/png' });
  }

  refresh(): void {
    for (const { canvas } of this.figures) canvas.refresh();
  }

  private showReadout(): void {
    const [first] = this.shown;
    if (this.hovered === undefined || first === undefined) {
      this.readout.textContent = this.hint;
      return;
    }
    const { columns } = first.picture;
    const place = words.patchAt(Math.floor(this.hovered / columns), this.hovered % columns);
    const values = this.shown.flatMap(({ map }) => map?.values === undefined ? [] : [number(map.values[this.hovered ?? 0] ?? NaN)]);
    this.readout.textContent = values.length === 0 ? place : words.valueAt(place, values.join(' · '));
  }

  private showLegend(scale: Scale | undefined, explained: readonly number[] | undefined): void {
    if (explained !== undefined) {
      this.legend.title = words.explainedTitle;
      this.legend.replaceChildren(...explained.map((share, index) => el('span', `component c${index}`, words.explained(index + 1, (100 * share).toFixed(1)))));
      return;
    }
    this.legend.title = '';
    if (scale === undefined) {
      this.legend.replaceChildren();
      return;
    }
    const ramp = el('canvas', 'ramp');
    ramp.width = 256;
    ramp.height = 1;
    const table = colourTable(scale.colours);
    const pixels = new ImageData(256, 1);
    for (let i = 0; i < 256; i++) pixels.data.set([table[3 * i] ?? 0, table[3 * i + 1] ?? 0, table[3 * i + 2] ?? 0, 255], 4 * i);
    ramp.getContext('2d')?.putImageData(pixels, 0, 0);
    ramp.setAttribute('aria-hidden', 'true');
    this.legend.replaceChildren(number(scale.range.low), ramp, number(scale.range.high));
  }
}
