/** Rates are taken over this long: short enough to follow a slow disk, long enough to be read. */
const WINDOW_MS = 4000;
/** Nothing is said before so much time has been watched. */
const MINIMUM_MS = 500;

/** Rate and time left of a run that counts bytes. */
export class Meter {
  private readonly samples: { readonly at: number; readonly done: number }[] = [];

  /** @param now milliseconds; @returns bytes per second and seconds left, undefined while they are not known. */
  update(done: number, total: number, now: number): { readonly rate: number | undefined; readonly left: number | undefined } {
    this.samples.push({ at: now, done });
    while (this.samples.length > 2 && now - (this.samples[1]?.at ?? now) >= WINDOW_MS) this.samples.shift();
    const first = this.samples[0];
    if (first === undefined || now - first.at < MINIMUM_MS || done <= first.done) return { rate: undefined, left: undefined };
    const rate = (done - first.done) / ((now - first.at) / 1000);
    return { rate, left: (total - done) / rate };
  }
}
