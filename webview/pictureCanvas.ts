import { colourValues } from '../src/features/colormap';
import type { Rectangle } from '../src/image/geometry';
import type { PatchMap } from '../src/protocol';
import { layoutPanes, zoomed, type Pane } from './panes';
import type { Scale } from './scale';
import type { Viewport } from './viewport';
import { words } from './words';

export interface CanvasView {
  readonly opacity: number;
  readonly beside: boolean;
  readonly grid: boolean;
  /** The patch that similarity and attention start from. */
  readonly marked: number | undefined;
}

export interface CanvasPicture {
  readonly name: string;
  readonly image: ImageBitmap;
  /** What the encoder sees, as shares of the picture. */
  readonly seen: Rectangle;
  readonly rows: number;
  readonly columns: number;
}

export interface CanvasEvents {
  /** @param byKey whether the keyboard moved there, so that it has to be said aloud */
  onHover(patch: number | undefined, byKey: boolean): void;
  onPick(patch: number): void;
}

/** Draws one picture as the encoder sees it, with its patch grid and a map over it or beside it. */
export class PictureCanvas {
  readonly element = document.createElement('canvas');
  private picture: CanvasPicture | undefined;
  private overlay: HTMLCanvasElement | undefined;
  private view: CanvasView = { opacity: 0.6, beside: false, grid: false, marked: undefined };
  private hovered: number | undefined;
  private frame: number | undefined;

  constructor(private readonly viewport: Viewport, private readonly events: CanvasEvents) {
    this.element.tabIndex = 0;
    this.element.setAttribute('role', 'application');
    this.element.setAttribute('aria-roledescription', words.canvasRole);
    viewport.onChange(() => { this.schedule(); });
    new ResizeObserver(() => { this.schedule(); }).observe(this.element);
    this.listen();
  }

  setPicture(picture: CanvasPicture | undefined): void {
    // The number of a patch means another place in another grid.
    if (picture?.rows !== this.picture?.rows || picture?.columns !== this.picture?.columns) this.hover(undefined);
    this.picture = picture;
    if (picture !== undefined) this.element.setAttribute('aria-label', words.canvasLabel(picture.name, picture.rows, picture.columns));
    this.schedule();
  }

  setMap(map: PatchMap | undefined, scale: Scale | undefined): void {
    this.overlay = map === undefined ? undefined : paint(map, scale);
    this.schedule();
  }

  setView(view: CanvasView): void {
    this.view = view;
    this.schedule();
  }

  /** Draws what is pending at once: its pixels are about to be read. */
  flush(): void {
    this.draw();
  }

  /** Colours changed with the editor's theme. */
  refresh(): void {
    this.schedule();
  }

  private schedule(): void {
    this.frame ??= requestAnimationFrame(() => { this.draw(); });
  }

  private draw(): void {
    if (this.frame !== undefined) cancelAnimationFrame(this.frame);
    this.frame = undefined;
    const { element, picture } = this;
    const density = window.devicePixelRatio;
    const width = Math.max(1, Math.round(element.clientWidth * density));
    const height = Math.max(1, Math.round(element.clientHeight * density));
    if (element.width !== width || element.height !== height) Object.assign(element, { width, height });
    const context = element.getContext('2d');
    if (context === null) return;
    context.clearRect(0, 0, width, height);
    if (picture === undefined) return;
    const { image, seen } = picture;
    const crop = { x: seen.x * image.width, y: seen.y * image.height, width: seen.width * image.width, height: seen.height * image.height };
    const panes = this.panes();
    panes.forEach((pane, number) => {
      const whole = zoomed(pane, this.viewport);
      context.save();
      context.beginPath();
      context.rect(pane.x, pane.y, pane.width, pane.height);
      context.clip();
      if (number === 0) {
        context.imageSmoothingQuality = 'high';
        context.drawImage(image, crop.x, crop.y, crop.width, crop.height, whole.x, whole.y, whole.width, whole.height);
      }
      if (this.overlay !== undefined && number === panes.length - 1) {
        context.globalAlpha = panes.length > 1 ? 1 : this.view.opacity;
        context.imageSmoothingEnabled = false;
        context.drawImage(this.overlay, whole.x, whole.y, whole.width, whole.height);
        context.globalAlpha = 1;
      }
      if (this.view.grid) this.drawGrid(context, whole, density);
      this.outline(context, whole, this.view.marked, 2 * density);
      this.outline(context, whole, this.hovered, density);
      context.restore();
    });
  }

  /** Twice only when there is a map to stand beside the picture. */
  private panes(): Pane[] {
    const { picture } = this;
    if (picture === undefined) return [];
    const aspect = picture.seen.width * picture.image.width / (picture.seen.height * picture.image.height);
    return layoutPanes(this.element.width, this.element.height, aspect, this.view.beside);
  }

  private drawGrid(context: CanvasRenderingContext2D, { x, y, width, height }: Pane, density: number): void {
    const { rows = 1, columns = 1 } = this.picture ?? {};
    // Light lines over dark ones are seen on every picture.
    for (const [style, shift] of [['rgba(0, 0, 0, 0.45)', density], ['rgba(255, 255, 255, 0.55)', 0]] as const) {
      context.strokeStyle = style;
      context.lineWidth = density;
      context.beginPath();
      for (let column = 1; column < columns; column++) {
        const at = Math.round(x + width * column / columns) + shift + density / 2;
        context.moveTo(at, y);
        context.lineTo(at, y + height);
      }
      for (let row = 1; row < rows; row++) {
        const at = Math.round(y + height * row / rows) + shift + density / 2;
        context.moveTo(x, at);
        context.lineTo(x + width, at);
      }
      context.stroke();
    }
  }

  /** A dark line inside a light one: seen on every colour. */
  private outline(context: CanvasRenderingContext2D, whole: Pane, patch: number | undefined, lineWidth: number): void {
    const { rows = 0, columns = 0 } = this.picture ?? {};
    if (patch === undefined || columns === 0) return;
    const width = whole.width / columns;
    const height = whole.height / rows;
    const x = whole.x + patch % columns * width;
    const y = whole.y + Math.floor(patch / columns) * height;
    context.lineWidth = lineWidth;
    context.strokeStyle = 'white';
    context.strokeRect(x - lineWidth / 2, y - lineWidth / 2, width + lineWidth, height + lineWidth);
    context.strokeStyle = 'black';
    context.strokeRect(x + lineWidth / 2, y + lineWidth / 2, width - lineWidth, height - lineWidth);
  }

  /** The point under the pointer, 0..1 across what the encoder sees, with the size of that on the screen; undefined outside. */
  private pointAt(event: MouseEvent): { x: number; y: number; width: number; height: number } | undefined {
    const box = this.element.getBoundingClientRect();
    const density = this.element.width / Math.max(1, box.width);
    const px = (event.clientX - box.left) * density;
    const py = (event.clientY - box.top) * density;
    for (const pane of this.panes()) {
      if (px < pane.x || py < pane.y || px >= pane.x + pane.width || py >= pane.y + pane.height) continue;
      const whole = zoomed(pane, this.viewport);
      return { x: (px - whole.x) / whole.width, y: (py - whole.y) / whole.height, width: whole.width / density, height: whole.height / density };
    }
    return undefined;
  }

  private patchAt(event: MouseEvent): number | undefined {
    const point = this.pointAt(event);
    const { rows = 0, columns = 0 } = this.picture ?? {};
    if (point === undefined || columns === 0) return undefined;
    const column = Math.min(columns - 1, Math.max(0, Math.floor(point.x * columns)));
    const row = Math.min(rows - 1, Math.max(0, Math.floor(point.y * rows)));
    return row * columns + column;
  }

  private hover(patch: number | undefined, byKey = false): void {
    if (patch === this.hovered) return;
    this.hovered = patch;
    this.events.onHover(patch, byKey);
    this.schedule();
  }

  private listen(): void {
    const { element } = this;
    let pressed: { x: number; y: number } | undefined;
    let dragged = false;
    element.addEventListener('pointerdown', event => {
      pressed = { x: event.clientX, y: event.clientY };
      dragged = false;
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener('pointermove', event => {
      if (pressed !== undefined && event.buttons !== 0) {
        dragged ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 4;
        const point = this.pointAt(event);
        if (dragged && point !== undefined) this.viewport.pan(-event.movementX / point.width, -event.movementY / point.height);
        return;
      }
      this.hover(this.patchAt(event));
    });
    element.addEventListener('pointerup', event => {
      const patch = this.patchAt(event);
      if (pressed !== undefined && !dragged && patch !== undefined) this.events.onPick(patch);
      pressed = undefined;
    });
    element.addEventListener('pointercancel', () => { pressed = undefined; });
    element.addEventListener('pointerleave', () => { this.hover(undefined); });
    element.addEventListener('wheel', event => {
      const point = this.pointAt(event);
      if (point === undefined) return;
      event.preventDefault();
      this.viewport.zoom(Math.exp(-event.deltaY / 300), point.x, point.y);
    }, { passive: false });
    element.addEventListener('keydown', event => { this.onKey(event); });
    element.addEventListener('blur', () => { this.hover(undefined); });
  }

  private onKey(event: KeyboardEvent): void {
    const { rows = 0, columns = 0 } = this.picture ?? {};
    const at = this.hovered ?? this.view.marked;
    const moves: Readonly<Record<string, readonly [number, number]>> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (move !== undefined && columns > 0) {
      // The first key only shows where the keyboard is.
      if (at === undefined) this.hover(0, true);
      else {
        const row = Math.min(rows - 1, Math.max(0, Math.floor(at / columns) + move[0]));
        const column = Math.min(columns - 1, Math.max(0, at % columns + move[1]));
        this.hover(row * columns + column, true);
      }
    } else if (event.key === 'Enter' || event.key === ' ') {
      if (at !== undefined) this.events.onPick(at);
    } else if (event.key === '+' || event.key === '=') this.viewport.zoom(1.25, this.viewport.centreX, this.viewport.centreY);
    else if (event.key === '-') this.viewport.zoom(0.8, this.viewport.centreX, this.viewport.centreY);
    else if (event.key === '0') this.viewport.reset();
    else return;
    event.preventDefault();
  }
}

/** One pixel per patch. */
function paint({ rows, columns, values, colours }: PatchMap, scale: Scale | undefined): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = rows;
  const pixels = colours ?? (values === undefined || scale === undefined ? undefined : colourValues(values, scale.colours, scale.range));
  if (pixels !== undefined) canvas.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(pixels), columns, rows), 0, 0);
  return canvas;
}
