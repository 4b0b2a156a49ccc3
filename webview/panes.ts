import type { Viewport } from './viewport';

/** In the canvas's own pixels. */
export interface Pane {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const GAP = 8;

/**
 * Where what the encoder sees is drawn in a canvas: once, or twice when the map stands beside the picture, each time as
 * large as its proportions let it be.
 * @param aspect width / height
 */
export function layoutPanes(width: number, height: number, aspect: number, twice: boolean): Pane[] {
  const whole = fit(width, height, aspect);
  if (!twice) return [centred(whole, width, height)];
  const across = fit((width - GAP) / 2, height, aspect);
  const down = fit(width, (height - GAP) / 2, aspect);
  const { width: w, height: h } = across.width >= down.width ? across : down;
  if (across.width >= down.width) {
    const x = (width - 2 * w - GAP) / 2;
    return [0, 1].map(index => ({ x: x + index * (w + GAP), y: (height - h) / 2, width: w, height: h }));
  }
  const y = (height - 2 * h - GAP) / 2;
  return [0, 1].map(index => ({ x: (width - w) / 2, y: y + index * (h + GAP), width: w, height: h }));
}

/** The height that the panes need of a canvas that may be so high. */
export function neededHeight(width: number, height: number, aspect: number, twice: boolean): number {
  const panes = layoutPanes(width, height, aspect, twice);
  return Math.max(...panes.map(pane => pane.y + pane.height)) - Math.min(...panes.map(pane => pane.y));
}

/** Where all of what the encoder sees would lie when a pane shows a part of it. */
export function zoomed(pane: Pane, { scale, centreX, centreY }: Pick<Viewport, 'scale' | 'centreX' | 'centreY'>): Pane {
  const width = pane.width * scale;
  const height = pane.height * scale;
  return { x: pane.x + pane.width / 2 - centreX * width, y: pane.y + pane.height / 2 - centreY * height, width, height };
}

function fit(width: number, height: number, aspect: number): { readonly width: number; readonly height: number } {
  const w = Math.max(1, Math.min(width, height * aspect));
  return { width: w, height: w / aspect };
}

function centred(size: { readonly width: number; readonly height: number }, width: number, height: number): Pane {
  return { x: (width - size.width) / 2, y: (height - size.height) / 2, ...size };
}
