/** Reproducible random choices. One generator belongs to one input: (run's seed, target, number of the input). */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number, stream: string, index: number) {
    this.a = seed | 0;
    this.b = hash(stream);
    this.c = index | 0;
    for (let i = 0; i < 12; i++) this.uint32();
  }

  /** sfc32, by Chris Doty-Humphrey (PractRand). */
  uint32(): number {
    const result = (this.a + this.b + this.counter) | 0;
    this.counter = (this.counter + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** A whole number from 0 to `bound` - 1; 0 when `bound` is 0. */
  below(bound: number): number {
    return Math.floor(this.uint32() / 2 ** 32 * bound);
  }

  chance(probability: number): boolean {
    return this.uint32() < probability * 2 ** 32;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new RangeError('There is nothing to pick from.');
    return item;
  }
}

/** FNV-1a. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value | 0;
}
