import { outlierTokens } from '../src/features/norms';
import type { PatchMap } from '../src/protocol';
import { button } from './controls';
import { el, number } from './dom';
import { LayerGrid, type LayerCell } from './layerGrid';
import { Legend } from './legend';
import { PictureCanvas, type CanvasPicture, type CanvasView } from './pictureCanvas';
import { scaleOf } from './scale';
import type { Viewport } from './viewport';
import { words } from './words';

export interface Shown {
  readonly caption: string;
  readonly picture: CanvasPicture;
  readonly map: PatchMap | undefined;
}

/** How the maps are drawn. */
export interface StageView extends Omit<CanvasView, 'marked' | 'flagged'> {
  /** What the numbers are. */
  readonly measure: string;
  /** Whether their sign is told by colours. */
  readonly isSigned: boolean;
  /** Whether a few outliers are left out of the colours. */
  readonly clip: boolean;
  /** Whether patches whose number stands far above the others' are framed. */
  readonly flags: boolean;
  /** The chosen patch, and in which picture. */
  readonly marked: { readonly patch: number; readonly figure: number } | undefined;
}

export interface StageEvents {
  /** @param figure the picture, 0 or 1 */
  onHover(patch: number | undefined, figure: number): void;
  onPick(patch: number, figure: number): void;
  onPickLayer(layer: number): void;
}

/** The pictures in view with what lies over them, the meaning of the colours, and the value under the pointer; or the maps of all layers. */
export class Stage {
  readonly element = el('main', 'stage');
  private readonly canvases: readonly PictureCanvas[];
  private readonly figures = el('div', 'figures');
  private readonly layers: LayerGrid;
  private readonly readout = el('span', 'readout');
  private readonly legend = new Legend();
  private readonly aloud = el('div', 'aloud');
  private readonly reset = button({ label: words.wholePicture, title: words.wholePictureHint }, () => { this.viewport.reset(); });
  private shown: readonly Shown[] = [];
  private hovered: { readonly patch: number; readonly figure: number } | undefined;
  private hint = '';

  constructor(private readonly viewport: Viewport, events: StageEvents, empty: HTMLElement) {
    this.canvases = [0, 1].map(figure => new PictureCanvas(viewport, {
      onHover: (patch, byKey) => {
        this.hovered = patch === undefined ? undefined : { patch, figure };
        this.showReadout();
        if (byKey) this.aloud.textContent = this.readout.textContent;
        events.onHover(patch, figure);
      },
      onPick: patch => { events.onPick(patch, figure); },
    }));
    this.layers = new LayerGrid(layer => { events.onPickLayer(layer); });
    this.layers.element.hidden = true;
    this.aloud.setAttribute('aria-live', 'polite');
    viewport.onChange(() => { this.reset.style.visibility = viewport.scale > 1 ? 'visible' : 'hidden'; });
    this.reset.style.visibility = 'hidden';
    this.figures.append(...this.canvases.map(({ figure }) => figure), empty);
    this.element.append(this.figures, this.layers.element, el('div', 'below', this.readout, this.reset, this.legend.element), this.aloud);
  }

  show(shown: readonly Shown[], view: StageView): void {
    this.shown = shown;
    this.hint = view.hint;
    this.showFigures(true);
    const maps = shown.map(({ map }) => map);
    const scale = scaleOf(maps, view.isSigned, view.clip);
    const flagged = maps.map(map => view.flags && map?.values !== undefined ? outlierTokens(map.values).map(({ index }) => index) : []);
    this.canvases.forEach((canvas, index) => {
      const one = shown[index];
      canvas.figure.hidden = one === undefined;
      canvas.caption.hidden = shown.length < 2;
      canvas.caption.textContent = canvas.caption.title = one?.caption ?? '';
      canvas.setPicture(one?.picture);
      canvas.setMap(one?.map, scale);
      canvas.setView({ ...view, marked: view.marked?.figure === index ? view.marked.patch : undefined, flagged: flagged[index] ?? [] });
    });
    this.legend.show({
      measure: view.measure, scale, explained: maps[0]?.explained,
      flagged: flagged.reduce((sum, { length }) => sum + length, 0),
      hasMissing: maps.some(map => map?.values?.some(Number.isNaN) === true || map?.colours?.some((opacity, index) => index % 4 === 3 && opacity === 0) === true),
    });
    this.showReadout();
  }

  /** The maps of all layers in the pictures' place. */
  showLayers(cells: readonly LayerCell[], key: string, { measure, isSigned, clip }: Pick<StageView, 'measure' | 'isSigned' | 'clip'>): void {
    this.showFigures(false);
    this.layers.show(cells, { key, isSigned, clip });
    this.legend.show({ measure: '', flagged: 0, hasMissing: false });
    this.hint = measure === '' ? words.layersHint : words.valueAt(measure, words.layersHint);
    this.say(this.hint);
  }

  /** All that is in view, as a PNG. */
  async toPng(): Promise<Blob> {
    if (this.figures.hidden) return this.layers.toPng();
    const canvases = this.canvases.filter(({ figure }) => !figure.hidden);
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
    for (const canvas of this.canvases) canvas.refresh();
  }

  private showFigures(visible: boolean): void {
    this.figures.hidden = !visible;
    this.layers.element.hidden = visible;
  }

  private say(text: string): void {
    this.readout.textContent = this.readout.title = text;
  }

  private showReadout(): void {
    const { hovered, shown } = this;
    const under = hovered && shown[hovered.figure];
    if (hovered === undefined || under === undefined) {
      this.say(this.hint);
      this.legend.point([]);
      return;
    }
    const { rows, columns } = under.picture;
    const place = words.patchAt(Math.floor(hovered.patch / columns), hovered.patch % columns);
    // Another picture has the same place only on the same grid.
    const alike = shown.filter(({ picture }) => picture.rows === rows && picture.columns === columns);
    const values = alike.flatMap(({ map }) => map?.values === undefined ? [] : [map.values[hovered.patch] ?? NaN]);
    this.say(values.length === 0 ? place : words.valueAt(place, values.map(number).join(' · ')));
    this.legend.point(values);
  }
}
