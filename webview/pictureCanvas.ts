import { colourValues } from '../src/features/colormap';
import type { Rectangle } from '../src/image/geometry';
import type { PatchMap } from '../src/protocol';
import { layoutPanes, neededHeight, zoomed, type Pane } from './panes';
import type { Scale } from './scale';
import type { Viewport } from './viewport';
import { words } from './words';

export interface CanvasView {
  readonly opacity: number;
  readonly beside: boolean;
  readonly grid: boolean;
  /** The patch that similarity and attention start from. */
  readonly marked: number | undefined;
  /** What a pane without a map says. */
  readonly hint: string;
  /** Patches that stand out. */
  readonly flagged: readonly number[];
}

export interface CanvasPicture {
  readonly name: string;
  readonly image: ImageBitmap;
  /** What the encoder sees, as shares of the picture. */
  readonly seen: Rectangle;
  readonly rows: number;
  readonly columns: number;
}

/** As in the style sheet: there the page scrolls, and a canvas takes the height that it needs. */
const NARROW = matchMedia('(max-width: 760px)');
/** Of a canvas in a narrow page: two panes are in shares of their width, one in shares of the page's height. */
const MOST_OF_WIDTH = 0.75;
const MOST_OF_PAGE = 0.65;

const RIM = 'rgba(128, 128, 128, 0.18)';

export interface CanvasEvents {
  /** @param byKey whether the keyboard moved there, so that it has to be said aloud */
  onHover(patch: number | undefined, byKey: boolean): void;
  onPick(patch: number): void;
}

/** Draws one picture as the encoder sees it, with its patch grid and a map over it or beside it, over its caption in a figure. */
export class PictureCanvas {
  readonly element = document.createElement('canvas');
  readonly caption = document.createElement('figcaption');
  readonly figure = document.createElement('figure');
  private picture: CanvasPicture | undefined;
  private overlay: HTMLCanvasElement | undefined;
  /** Patches without a number. */
  private missing: readonly number[] = [];
  private view: CanvasView = { opacity: 0.6, beside: false, grid: false, marked: undefined, flagged: [], hint: '' };
  private hovered: number | undefined;
  private frame: number | undefined;

  constructor(private readonly viewport: Viewport, private readonly events: CanvasEvents) {
    this.element.tabIndex = 0;
    this.element.setAttribute('role', 'application');
    this.element.setAttribute('aria-roledescription', words.canvasRole);
    viewport.onChange(() => { this.schedule(); });
    this.figure.append(this.element, this.caption);
    new ResizeObserver(() => { this.schedule(); }).observe(this.figure);
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
    this.missing = map === undefined ? [] : missingIn(map);
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
    this.fit();
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
        // Where the encoder sees a rim around the picture.
        context.fillStyle = RIM;
        context.fillRect(whole.x, whole.y, whole.width, whole.height);
        context.imageSmoothingQuality = 'high';
        context.drawImage(image, crop.x, crop.y, crop.width, crop.height, whole.x, whole.y, whole.width, whole.height);
      }
      if (this.overlay === undefined && panes.length > 1 && number === 1) {
        this.invite(context, pane, density);
        context.restore();
        return;
      }
      if (this.overlay !== undefined && number === panes.length - 1) {
        context.globalAlpha = panes.length > 1 ? 1 : this.view.opacity;
        context.imageSmoothingEnabled = false;
        context.drawImage(this.overlay, whole.x, whole.y, whole.width, whole.height);
        context.globalAlpha = 1;
        this.cross(context, whole, density);
      }
      if (this.view.grid) this.drawGrid(context, whole, density);
      for (const patch of this.view.flagged) this.outline(context, whole, patch, density);
      this.outline(context, whole, this.view.marked, 2 * density);
      this.outline(context, whole, this.hovered, density);
      context.restore();
    });
  }

  /** Gives the canvas the height that its panes need, so that the caption stands right below them. */
  private fit(): void {
    if (this.picture === undefined) return;
    const { clientWidth: width, clientHeight } = this.figure;
    const room = NARROW.matches ? (this.view.beside ? MOST_OF_WIDTH * width : MOST_OF_PAGE * window.innerHeight) : clientHeight - (this.caption.hidden ? 0 : this.caption.offsetHeight);
    this.element.style.height = `${Math.max(1, Math.floor(neededHeight(width, Math.max(1, room), aspectOf(this.picture), this.view.beside)))}px`;
  }

  /** Twice only when there is a map to stand beside the picture. */
  private panes(): Pane[] {
    const { picture } = this;
    return picture === undefined ? [] : layoutPanes(this.element.width, this.element.height, aspectOf(picture), this.view.beside);
  }

  /** Says what to do in a pane that has no map yet. */
  private invite(context: CanvasRenderingContext2D, { x, y, width, height }: Pane, density: number): void {
    const style = getComputedStyle(this.caption);
    context.strokeStyle = context.fillStyle = style.color;
    context.setLineDash([4 * density, 4 * density]);
    context.lineWidth = density;
    context.strokeRect(x + density, y + density, width - 2 * density, height - 2 * density);
    context.setLineDash([]);
    context.font = `${parseFloat(style.fontSize) * density}px ${style.fontFamily}`;
    context.textAlign = 'center';
    context.fillText(this.view.hint, x + width / 2, y + height / 2, width - 24 * density);
  }

  /** Crosses out the patches without a number. */
  private cross(context: CanvasRenderingContext2D, whole: Pane, density: number): void {
    const { rows = 1, columns = 1 } = this.picture ?? {};
    const [width, height] = [whole.width / columns, whole.height / rows];
    context.fillStyle = '#808080';
    for (const patch of this.missing) context.fillRect(whole.x + patch % columns * width, whole.y + Math.floor(patch / columns) * height, width, height);
    context.strokeStyle = 'white';
    context.lineWidth = density;
    context.beginPath();
    for (const patch of this.missing) {
      const [x, y] = [whole.x + patch % columns * width, whole.y + Math.floor(patch / columns) * height];
      context.moveTo(x, y);
      context.lineTo(x + width, y + height);
      context.moveTo(x + width, y);
      context.lineTo(x, y + height);
    }
    context.stroke();
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

/** Width / height of what the encoder sees. */
function aspectOf({ seen, image }: CanvasPicture): number {
  return seen.width * image.width / (seen.height * image.height);
}

function missingIn({ values, colours }: PatchMap): number[] {
  if (values !== undefined) return [...values.keys()].filter(patch => Number.isNaN(values[patch]));
  return colours === undefined ? [] : Array.from({ length: colours.length / 4 }, (_, patch) => patch).filter(patch => colours[4 * patch + 3] === 0);
}

/** One pixel per patch. */
export function paint({ rows, columns, values, colours }: PatchMap, scale: Scale | undefined): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = columns;
  canvas.height = rows;
  const pixels = colours ?? (values === undefined || scale === undefined ? undefined : colourValues(values, scale.colours, scale.range));
  if (pixels !== undefined) canvas.getContext('2d')?.putImageData(new ImageData(new Uint8ClampedArray(pixels), columns, rows), 0, 0);
  return canvas;
}
