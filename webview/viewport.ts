/** The zoom and pan that all canvases of the panel share: picture coordinates are 0..1 across the encoder's input. */
export class Viewport {
  scale = 1;
  /** The input's point at the canvas's centre. */
  centreX = 0.5;
  centreY = 0.5;
  private readonly listeners = new Set<() => void>();

  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }

  /** Zooms by `factor`, keeping the input's point (x, y) where it is on the screen. */
  zoom(factor: number, x: number, y: number): void {
    const scale = Math.min(32, Math.max(1, this.scale * factor));
    const ratio = this.scale / scale;
    this.scale = scale;
    this.moveTo(x + (this.centreX - x) * ratio, y + (this.centreY - y) * ratio);
  }

  /** Moves the view by fractions of the input. */
  pan(dx: number, dy: number): void {
    this.moveTo(this.centreX + dx, this.centreY + dy);
  }

  reset(): void {
    this.scale = 1;
    this.moveTo(0.5, 0.5);
  }

  private moveTo(x: number, y: number): void {
    // The view never leaves the picture: half of it is 0.5 / scale wide.
    const margin = 0.5 / this.scale;
    this.centreX = Math.min(1 - margin, Math.max(margin, x));
    this.centreY = Math.min(1 - margin, Math.max(margin, y));
    this.listeners.forEach(listener => { listener(); });
  }
}
