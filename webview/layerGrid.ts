import type { PatchMap } from '../src/protocol';
import { el, number } from './dom';
import { paint } from './pictureCanvas';
import { scaleOf } from './scale';
import { words } from './words';

export interface LayerCell {
  readonly layer: number;
  readonly name: string;
  /** Undefined while it is computed. */
  readonly map: PatchMap | undefined;
  readonly isCurrent: boolean;
}

/** Of a cell's width, in pixels; what its words add to its height; and what is between cells. */
const [SMALLEST, LARGEST, CAPTION, GAP] = [104, 280, 52, 8];
/** Of a cell in a saved picture, in pixels. */
const SAVED = { side: 224, caption: 20, gap: 12 };

/** The map of every layer, small, beside each other; each with colours of its own, since norms grow from layer to layer. */
export class LayerGrid {
  readonly element = el('div', 'layers');
  private cells: readonly { readonly name: string; readonly canvas: HTMLCanvasElement }[] = [];
  private drawn = '';

  constructor(private readonly onPick: (layer: number) => void) {
    this.element.setAttribute('role', 'group');
    this.element.setAttribute('aria-label', words.allLayers);
  }

  /** @param key what the maps are of: the cells are made anew when it changes, and filled otherwise */
  show(cells: readonly LayerCell[], { key, isSigned, clip }: { readonly key: string; readonly isSigned: boolean; readonly clip: boolean }): void {
    const drawn = JSON.stringify([key, clip, cells.map(({ layer, map, isCurrent }) => [layer, map !== undefined, isCurrent])]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.layer : undefined;
    const made = cells.map(({ layer, name, map, isCurrent }) => {
      const scale = scaleOf([map], isSigned, clip);
      const canvas = map === undefined ? el('canvas', 'pending') : paint(map, scale);
      const button = el('button', 'cell', canvas, el('span', 'name', name), ...(scale === undefined ? [] : [el('span', 'hint', `${number(scale.range.low)} … ${number(scale.range.high)}`)]));
      button.type = 'button';
      button.dataset.layer = String(layer);
      button.title = words.showLayer(name);
      if (isCurrent) button.setAttribute('aria-current', 'true');
      button.addEventListener('click', () => { this.onPick(layer); });
      return { name, canvas, button };
    });
    this.cells = made;
    this.element.style.setProperty('--cell', `${cellWidth(made.length, this.element)}px`);
    this.element.replaceChildren(...made.map(({ button }) => button));
    if (focused !== undefined) this.element.querySelector<HTMLElement>(`[data-layer="${focused}"]`)?.focus();
  }

  /** As it is seen, on the colours of the page. */
  toPng(): Promise<Blob> {
    const { side, caption, gap } = SAVED;
    const columns = Math.ceil(Math.sqrt(this.cells.length * 1.5));
    const rows = Math.ceil(this.cells.length / columns);
    const whole = new OffscreenCanvas(columns * (side + gap) + gap, rows * (side + caption + gap) + gap);
    const context = whole.getContext('2d');
    if (context === null) throw new Error(words.canvasFailed);
    const style = getComputedStyle(document.body);
    context.fillStyle = style.backgroundColor;
    context.fillRect(0, 0, whole.width, whole.height);
    context.fillStyle = style.color;
    context.font = `13px ${style.fontFamily}`;
    context.imageSmoothingEnabled = false;
    this.cells.forEach(({ name, canvas }, index) => {
      const [x, y] = [gap + index % columns * (side + gap), gap + Math.floor(index / columns) * (side + caption + gap)];
      const scale = side / Math.max(canvas.width, canvas.height);
      context.drawImage(canvas, x, y, canvas.width * scale, canvas.height * scale);
      context.fillText(name, x, y + side + caption - 6, side);
    });
    return whole.convertToBlob({ type: 'image/png' });
  }
}

/** So wide that all cells are in sight; many cells are small, and scrolled through. */
function cellWidth(count: number, { clientWidth, clientHeight }: HTMLElement): number {
  const widths = Array.from({ length: count }, (_, index) => {
    const [columns, rows] = [index + 1, Math.ceil(count / (index + 1))];
    return Math.min((clientWidth - (columns - 1) * GAP) / columns, (clientHeight - (rows - 1) * GAP) / rows - CAPTION);
  });
  return Math.floor(Math.min(LARGEST, Math.max(SMALLEST, ...widths)));
}
