/** Which of several openings that overlap counts: the one that was started last, whichever ends first. */
export class Openings {
  private started = 0;
  private shown = 0;

  /** Numbers an opening that begins now. */
  start(): number {
    this.started += 1;
    return this.started;
  }

  /** Whether what `opening` has opened is to be shown: not when a later one is shown already. */
  admit(opening: number): boolean {
    if (opening < this.shown) return false;
    this.shown = opening;
    return true;
  }
}
