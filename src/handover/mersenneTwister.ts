const STATE = 624;
const MIDDLE = 397;

/**
 * PyTorch's generator of random numbers on the CPU, MT19937 (Matsumoto and Nishimura, 1998), so that a seed gives what
 * `torch.manual_seed` gives. Sources: https://github.com/pytorch/pytorch aten/src/ATen/core/MT19937RNGEngine.h and
 * TransformationHelper.h.
 */
export class MersenneTwister {
  readonly #state = new Uint32Array(STATE);
  #next = STATE;

  /** @param seed a non-negative integer, of which the lower 32 bits count, as for PyTorch */
  constructor(seed: number) {
    let word = seed % 2 ** 32;
    this.#state[0] = word;
    for (let i = 1; i < STATE; i++) {
      word = (Math.imul(1812433253, word ^ (word >>> 30)) + i) >>> 0;
      this.#state[i] = word;
    }
  }

  /** 32 random bits. */
  bits(): number {
    if (this.#next === STATE) this.#twist();
    let word = this.#state[this.#next++] ?? 0;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  /**
   * float32 numbers from [-bound, bound), as `torch.Tensor.uniform_` makes them: 24 random bits, times the width of the
   * interval, plus its start, rounded once. PyTorch's kernels for CPUs with fused multiply-add (all x64 ones since 2013)
   * do so; a double holds the exact sum.
   */
  uniform(target: Float32Array, bound: number): void {
    const from = Math.fround(-bound);
    const width = Math.fround(Math.fround(bound) - from);
    for (let i = 0; i < target.length; i++) target[i] = (this.bits() & 0xffffff) * 2 ** -24 * width + from;
  }

  /** Goes on as if `count` numbers had been drawn. */
  skip(count: number): void {
    // Whole states need no tempering.
    let left = count;
    while (left > 0) {
      if (this.#next === STATE) this.#twist();
      const step = Math.min(left, STATE - this.#next);
      this.#next += step;
      left -= step;
    }
  }

  #twist(): void {
    const state = this.#state;
    for (let i = 0; i < STATE; i++) {
      const word = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % STATE] ?? 0) & 0x7fffffff);
      state[i] = (state[(i + MIDDLE) % STATE] ?? 0) ^ (word >>> 1) ^ ((word & 1) === 0 ? 0 : 0x9908b0df);
    }
    this.#next = 0;
  }
}
