import { aroundZero, colourValues } from '../src/features/colormap';
import { extremes } from '../src/features/statistics';
import type { Rectangle } from '../src/image/geometry';
import type { PatchMap } from '../src/protocol';
import type { Viewport } from './viewport';

export interface CanvasView {
  readonly opacity: number;
  readonly beside: boolean;
  readonly grid: boolean;
  /** The patch that similarity and attention start from. */
  readonly marked: number | undefined;
}

export interface CanvasEvents {
  onHover(patch: number | undefined): void;
  onPick(patch: number): void;
}

/** Draws one picture as the encoder sees it, with its patch grid and a map over it or beside it. */
export class PictureCanvas {
  readonly element = document.createElement('canvas');
  private image: ImageBitmap | undefined;
  private crop: Rectangle | undefined;
  private rows = 0;
  private columns = 0;
  private overlay: HTMLCanvasElement | undefined;
  private view: CanvasView = { opacity: 0.6, beside: false, grid: false, marked: undefined };
  private hovered: number | undefined;

  constructor(private readonly viewport: Viewport, private readonly events: CanvasEvents, label: string) {
    this.element.tabIndex = 0;
    this.element.setAttribute('role', 'application');
    this.element.setAttribute('aria-roledescription', 'picture with patches');
    this.element.setAttribute('aria-label', label);
    viewport.onChange(() => { this.draw(); });
    new ResizeObserver(() => { this.draw(); }).observe(this.element);
    this.listen();
  }

  setPicture(image: ImageBitmap | undefined, seen: Rectangle | undefined, grid: { rows: number; columns: number } | undefined, name: string): void {
    this.image = image;
    // Shares of the picture become pixels of what is drawn of it.
    this.crop = seen && image && { x: seen.x * image.width, y: seen.y * image.height, width: seen.width * image.width, height: seen.height * image.height };
    this.rows = grid?.rows ?? 0;
    this.columns = grid?.columns ?? 0;
    this.element.setAttribute('aria-label', `${name}, ${this.rows} by ${this.columns} patches. Arrow keys move between patches, Enter chooses one, plus and minus zoom.`);
    this.draw();
  }

  setMap(map: PatchMap | undefined): void {
    this.overlay = map === undefined ? undefined : paint(map);
    this.draw();
  }

  setView(view: CanvasView): void {
    this.view = view;
    this.draw();
  }

  /** What is on the screen, as a PNG. */
  toPng(): Promise<Blob> {
    return new Promise((resolve, reject) => {
      this.element.toBlob(blob => { if (blob === null) reject(new Error('The canvas could not be encoded.')); else resolve(blob); }, 'image/png');
    });
  }

  private draw(): void {
    const { element } = this;
    const density = window.devicePixelRatio;
    const width = Math.max(1, Math.round(element.clientWidth * density));
    const height = Math.max(1, Math.round(element.clientHeight * density));
    if (element.width !== width || element.height !== height) Object.assign(element, { width, height });
    const context = element.getContext('2d');
    if (context === null) return;
    context.clearRect(0, 0, width, height);
    const panes = this.panes();
    panes.forEach((pane, number) => {
      context.save();
      context.beginPath();
      context.rect(pane.x, pane.y, pane.side, pane.side);
      context.clip();
      if (this.image !== undefined && this.crop !== undefined && (number === 0 || panes.length === 1)) {
        this.place(context, pane, this.image, this.crop);
      }
      if (this.overlay !== undefined && number === panes.length - 1) {
        context.globalAlpha = panes.length > 1 ? 1 : this.view.opacity;
        context.imageSmoothingEnabled = false;
        this.place(context, pane, this.overlay, { x: 0, y: 0, width: this.overlay.width, height: this.overlay.height });
        context.globalAlpha = 1;
      }
      if (this.view.grid) this.drawGrid(context, pane, density);
      this.outline(context, pane, this.view.marked, '--vscode-charts-orange', 2 * density);
      this.outline(context, pane, this.hovered, '--vscode-focusBorder', density);
      context.restore();
    });
  }

  /** Where the input's square is drawn: once, or twice when the map stands beside the picture. */
  private panes(): { x: number; y: number; side: number }[] {
    const { width, height } = this.element;
    if (!this.view.beside) {
      const side = Math.min(width, height);
      return [{ x: (width - side) / 2, y: (height - side) / 2, side }];
    }
    const gap = 8;
    const wide = width >= height;
    const side = wide ? Math.min((width - gap) / 2, height) : Math.min(width, (height - gap) / 2);
    const x = (width - (wide ? 2 * side + gap : side)) / 2;
    const y = (height - (wide ? side : 2 * side + gap)) / 2;
    return [{ x, y, side }, wide ? { x: x + side + gap, y, side } : { x, y: y + side + gap, side }];
  }

  private place(context: CanvasRenderingContext2D, pane: { x: number; y: number; side: number }, image: CanvasImageSource, from: Rectangle): void {
    const { scale, centreX, centreY } = this.viewport;
    const side = pane.side * scale;
    context.drawImage(image, from.x, from.y, from.width, from.height, pane.x + pane.side / 2 - centreX * side, pane.y + pane.side / 2 - centreY * side, side, side);
  }

  private drawGrid(context: CanvasRenderingContext2D, pane: { x: number; y: number; side: number }, density: number): void {
    const { left, top, side } = this.square(pane);
    context.strokeStyle = colour('--vscode-editor-foreground');
    context.globalAlpha = 0.35;
    context.lineWidth = density;
    context.beginPath();
    for (let column = 0; column <= this.columns; column++) {
      context.moveTo(left + (side * column) / this.columns, top);
      context.lineTo(left + (side * column) / this.columns, top + side);
    }
    for (let row = 0; row <= this.rows; row++) {
      context.moveTo(left, top + (side * row) / this.rows);
      context.lineTo(left + side, top + (side * row) / this.rows);
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  private outline(context: CanvasRenderingContext2D, pane: { x: number; y: number; side: number }, patch: number | undefined, variable: string, lineWidth: number): void {
    if (patch === undefined || this.columns === 0) return;
    const { left, top, side } = this.square(pane);
    const cellWidth = side / this.columns;
    const cellHeight = side / this.rows;
    context.strokeStyle = colour(variable);
    context.lineWidth = lineWidth;
    context.strokeRect(left + (patch % this.columns) * cellWidth, top + Math.floor(patch / this.columns) * cellHeight, cellWidth, cellHeight);
  }

  private square(pane: { x: number; y: number; side: number }) {
    const { scale, centreX, centreY } = this.viewport;
    const side = pane.side * scale;
    return { left: pane.x + pane.side / 2 - centreX * side, top: pane.y + pane.side / 2 - centreY * side, side };
  }

  /** The point of the input under the pointer, 0..1 in both directions; undefined outside. */
  private pointAt(event: MouseEvent): { x: number; y: number; side: number } | undefined {
    const box = this.element.getBoundingClientRect();
    const density = this.element.width / Math.max(1, box.width);
    const px = (event.clientX - box.left) * density;
    const py = (event.clientY - box.top) * density;
    for (const pane of this.panes()) {
      if (px < pane.x || py < pane.y || px >= pane.x + pane.side || py >= pane.y + pane.side) continue;
      const { left, top, side } = this.square(pane);
      return { x: (px - left) / side, y: (py - top) / side, side: side / density };
    }
    return undefined;
  }

  private patchAt(event: MouseEvent): number | undefined {
    const point = this.pointAt(event);
    if (point === undefined || this.columns === 0) return undefined;
    const column = Math.min(this.columns - 1, Math.max(0, Math.floor(point.x * this.columns)));
    const row = Math.min(this.rows - 1, Math.max(0, Math.floor(point.y * this.rows)));
    return row * this.columns + column;
  }

  private hover(patch: number | undefined): void {
    if (patch === this.hovered) return;
    this.hovered = patch;
    this.draw();
    this.events.onHover(patch);
  }

  private listen(): void {
    const { element } = this;
    let dragged = false;
    element.addEventListener('pointerdown', event => {
      dragged = false;
      element.setPointerCapture(event.pointerId);
    });
    element.addEventListener('pointermove', event => {
      if (event.buttons === 1 && (dragged || Math.abs(event.movementX) + Math.abs(event.movementY) > 2)) {
        dragged = true;
        const side = this.pointAt(event)?.side;
        if (side !== undefined) this.viewport.pan(-event.movementX / side, -event.movementY / side);
        return;
      }
      this.hover(this.patchAt(event));
    });
    element.addEventListener('pointerup', event => {
      const patch = this.patchAt(event);
      if (!dragged && patch !== undefined) this.events.onPick(patch);
    });
    element.addEventListener('pointerleave', () => { this.hover(undefined); });
    element.addEventListener('wheel', event => {
      const point = this.pointAt(event);
      if (point === undefined) return;
      event.preventDefault();
      this.viewport.zoom(Math.exp(-event.deltaY / 300), point.x, point.y);
    }, { passive: false });
    element.addEventListener('dblclick', () => { this.viewport.reset(); });
    element.addEventListener('keydown', event => { this.onKey(event); });
    element.addEventListener('blur', () => { this.hover(undefined); });
  }

  private onKey(event: KeyboardEvent): void {
    const at = this.hovered ?? this.view.marked ?? 0;
    const row = Math.floor(at / Math.max(1, this.columns));
    const column = at % Math.max(1, this.columns);
    const moves: Readonly<Record<string, readonly [number, number]>> = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[event.key];
    if (move !== undefined && this.columns > 0) {
      const nextRow = Math.min(this.rows - 1, Math.max(0, row + move[0]));
      const nextColumn = Math.min(this.columns - 1, Math.max(0, column + move[1]));
      this.hover(nextRow * this.columns + nextColumn);
    } else if (event.key === 'Enter' || event.key === ' ') this.events.onPick(at);
    else if (event.key === '+' || event.key === '=') this.viewport.zoom(1.25, this.viewport.centreX, this.viewport.centreY);
    else if (event.key === '-') this.viewport.zoom(0.8, this.viewport.centreX, this.viewport.centreY);
    else if (event.key === '0') this.viewport.reset();
    else return;
    event.preventDefault();
  }
}

/** One pixel per patch. Numbers go through a colour map: around zero for what has a sign, else from the least to the greatest. */
function paint({ rows, columns, values, colours }: PatchMap): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = rows;
  const pixels = colours ?? (values === undefined ? undefined : colourNumbers(values));
  if (pixels !== undefined) canvas.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(pixels), columns, rows), 0, 0);
  return canvas;
}

function colourNumbers(values: Float32Array): Uint8ClampedArray {
  const range = extremes(values);
  return range.low < 0 ? colourValues(values, 'redBlue', aroundZero(range)) : colourValues(values, 'viridis', range);
}

function colour(variable: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(variable) || 'gray';
}
