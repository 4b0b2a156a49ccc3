/** How far two tensors of one shape, or two sets of such pairs, are from each other: sums over their elements. */
export interface Difference {
  /** Sums of squares over the elements where both are finite: of left, of right, of left - right; and of left x right. */
  readonly leftSquares: number;
  readonly rightSquares: number;
  readonly squares: number;
  readonly products: number;
  /** The largest |left - right|. */
  readonly maxAbsolute: number;
  /** Elements where only one is NaN or infinite, or the two are so in different ways: they are in none of the sums. */
  readonly incomparable: number;
}

/** ||left - right|| / ||left||, over the finite elements; infinite when left is all zeros and right is not. */
export function relativeDifference({ squares, leftSquares }: Difference): number {
  return squares === 0 ? 0 : Math.sqrt(squares / leftSquares);
}

/** The cosine of the angle between the two; NaN when one is all zeros. */
export function cosine({ products, leftSquares, rightSquares }: Difference): number {
  return products / (Math.sqrt(leftSquares) * Math.sqrt(rightSquares));
}

/** The difference of several pairs taken together, as if they were one long tensor. */
export function together(differences: readonly Difference[]): Difference {
  const sums = new DifferenceSums();
  for (const difference of differences) sums.merge(difference);
  return sums.difference;
}

/** Sums that grow as elements come; in double precision. */
export class DifferenceSums {
  #leftSquares = 0;
  #rightSquares = 0;
  #squares = 0;
  #products = 0;
  #maxAbsolute = 0;
  #incomparable = 0;

  get difference(): Difference {
    return {
      leftSquares: this.#leftSquares, rightSquares: this.#rightSquares, squares: this.#squares, products: this.#products,
      maxAbsolute: this.#maxAbsolute, incomparable: this.#incomparable,
    };
  }

  /** Whether every element was the same number on both sides; NaN is the same as NaN, and 0 as -0. */
  get isEqual(): boolean {
    return this.#maxAbsolute === 0 && this.#incomparable === 0;
  }

  add(left: Float64Array, right: Float64Array): void {
    let [leftSquares, rightSquares, squares, products, maxAbsolute] = [0, 0, 0, 0, this.#maxAbsolute];
    for (let i = 0; i < left.length; i++) {
      const a = left[i] ?? Number.NaN;
      const b = right[i] ?? Number.NaN;
      const distance = a - b;
      // Finite only where both are, but for doubles so far apart that their distance is infinite.
      if (distance - distance === 0) {
        leftSquares += a * a;
        rightSquares += b * b;
        squares += distance * distance;
        products += a * b;
        const size = Math.abs(distance);
        if (size > maxAbsolute) maxAbsolute = size;
      } else if (a !== b && !(Number.isNaN(a) && Number.isNaN(b))) this.#incomparable++;
    }
    this.merge({ leftSquares, rightSquares, squares, products, maxAbsolute, incomparable: 0 });
  }

  merge(other: Difference): void {
    this.#leftSquares += other.leftSquares;
    this.#rightSquares += other.rightSquares;
    this.#squares += other.squares;
    this.#products += other.products;
    this.#maxAbsolute = Math.max(this.#maxAbsolute, other.maxAbsolute);
    this.#incomparable += other.incomparable;
  }
}
