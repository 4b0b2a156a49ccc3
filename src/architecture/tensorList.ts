import type { Dimension, ExpectedTensor, Observed } from './family';

/** A dimension as families write it: a number, a hyperparameter's name, or so many times one. */
export type Dim = number | string | { readonly of: string; readonly times: number };

/**
 * How a family says which tensors its module has. One description serves two readers: it is expanded into the
 * expected state dict, and tried on a checkpoint to find out sizes and which parts are there.
 */
export interface TensorList {
  value(name: string): number;
  add(key: string, ...dims: Dim[]): void;
  /** `weight` [out, in], and `bias` [out] unless told. */
  linear(path: string, out: Dim, input: Dim, bias?: boolean): void;
  /** `weight` and `bias`, or for RMSNorm only `weight`, of `dim` elements. */
  norm(path: string, dim: Dim, bias?: boolean): void;
  /** The numbered blocks below `path`; keys added in `body` are relative to the block. */
  blocks(path: string, count: string, body: () => void): void;
  /** Tensors that are there when the hyperparameter `name` is not 0. */
  part(name: string, body: () => void): void;
  /** A level of the path that is there when the hyperparameter `name` is not 0: `vision_model.` */
  level(segment: string, name: string, body: () => void): void;
}

export type Describe = (t: TensorList) => void;

abstract class Walk implements TensorList {
  protected path = '';
  abstract value(name: string): number;
  abstract part(name: string, body: () => void): void;
  abstract blocks(path: string, count: string, body: () => void): void;
  abstract level(segment: string, name: string, body: () => void): void;
  protected abstract visit(key: string, dims: readonly Dim[]): void;

  add(key: string, ...dims: Dim[]): void {
    this.visit(this.path + key, dims);
  }

  linear(path: string, out: Dim, input: Dim, bias = true): void {
    this.add(`${path}.weight`, out, input);
    if (bias) this.add(`${path}.bias`, out);
  }

  norm(path: string, dim: Dim, bias = true): void {
    this.add(`${path}.weight`, dim);
    if (bias) this.add(`${path}.bias`, dim);
  }

  protected below(path: string, body: () => void): void {
    const above = this.path;
    this.path = above + path;
    body();
    this.path = above;
  }
}

/** The state dict that `describe` gives for these values. */
export function expand(describe: Describe, valueOf: (name: string) => number): ExpectedTensor[] {
  const list = new Expansion(valueOf);
  describe(list);
  return list.tensors;
}

class Expansion extends Walk {
  readonly tensors: ExpectedTensor[] = [];
  #count: string | undefined;
  #part: string | undefined;
  readonly #valueOf: (name: string) => number;

  constructor(valueOf: (name: string) => number) {
    super();
    this.#valueOf = valueOf;
  }

  value(name: string): number {
    return this.#valueOf(name);
  }

  protected visit(key: string, dims: readonly Dim[]): void {
    const dimensions = dims.map((dim): Dimension => (typeof dim === 'string' ? { of: dim, times: 1 } : dim));
    const shape = dimensions.map(dim => (typeof dim === 'number' ? dim : dim.times * this.value(dim.of)));
    const existsBy = this.#count ?? this.#part;
    this.tensors.push({ key, shape, dimensions, ...(existsBy !== undefined && { existsBy }) });
  }

  blocks(path: string, count: string, body: () => void): void {
    const outer = this.#count;
    this.#count = count;
    for (let block = 0; block < this.value(count); block++) this.below(`${path}.${block}.`, body);
    this.#count = outer;
  }

  part(name: string, body: () => void): void {
    if (this.value(name) === 0) return;
    const outer = this.#part;
    this.#part = name;
    body();
    this.#part = outer;
  }

  level(segment: string, name: string, body: () => void): void {
    this.below(this.value(name) === 0 ? '' : `${segment}.`, body);
  }
}

/**
 * What the tensors, keys with shapes, tell about the hyperparameters of `describe`: sizes from the shapes (the value
 * that most dimensions speak for), counts of blocks, and 0 or 1 for parts and levels.
 */
export function observe(describe: Describe, tensors: ReadonlyMap<string, readonly number[]>, defaultOf: (name: string) => number): Observed {
  const probe = new Probe(tensors, defaultOf);
  describe(probe);
  return probe.result();
}

class Probe extends Walk {
  readonly #tensors: ReadonlyMap<string, readonly number[]>;
  readonly #defaultOf: (name: string) => number;
  readonly #votes = new Map<string, Map<number, number>>();
  readonly #counts = new Map<string, number>();
  readonly #presence = new Map<string, boolean>();
  #hits = 0;

  constructor(tensors: ReadonlyMap<string, readonly number[]>, defaultOf: (name: string) => number) {
    super();
    this.#tensors = tensors;
    this.#defaultOf = defaultOf;
  }

  value(name: string): number {
    return this.#observed(name) ?? this.#defaultOf(name);
  }

  protected visit(key: string, dims: readonly Dim[]): void {
    const shape = this.#tensors.get(key);
    if (shape === undefined) return;
    this.#hits++;
    if (shape.length !== dims.length) return;
    dims.forEach((dim, index) => {
      const size = shape[index] ?? 0;
      if (typeof dim === 'number') return;
      const { of, times } = typeof dim === 'string' ? { of: dim, times: 1 } : dim;
      if (size === 0 || size % times !== 0) return;
      const votes = this.#votes.get(of) ?? new Map<number, number>();
      this.#votes.set(of, votes.set(size / times, (votes.get(size / times) ?? 0) + 1));
    });
  }

  blocks(path: string, count: string, body: () => void): void {
    const start = `${this.path}${path}.`;
    let found = 0;
    for (const key of this.#tensors.keys()) {
      if (!key.startsWith(start)) continue;
      const block = /^\d{1,9}(?=\.)/.exec(key.slice(start.length));
      if (block !== null) found = Math.max(found, Number(block[0]) + 1);
    }
    this.#counts.set(count, Math.max(found, this.#counts.get(count) ?? 0));
    this.below(`${path}.0.`, body);
  }

  part(name: string, body: () => void): void {
    const before = this.#hits;
    body();
    this.#presence.set(name, this.#hits > before || (this.#presence.get(name) ?? false));
  }

  level(segment: string, name: string, body: () => void): void {
    const start = `${this.path}${segment}.`;
    const present = [...this.#tensors.keys()].some(key => key.startsWith(start));
    this.#presence.set(name, present);
    this.below(present ? `${segment}.` : '', body);
  }

  #observed(name: string): number | undefined {
    const present = this.#presence.get(name);
    if (present === false) return 0;
    const [voted] = [...(this.#votes.get(name) ?? [])].sort((a, b) => b[1] - a[1])[0] ?? [];
    return voted ?? this.#counts.get(name) ?? (present === true ? 1 : undefined);
  }

  result(): Observed {
    const names = new Set([...this.#votes.keys(), ...this.#counts.keys(), ...this.#presence.keys()]);
    return Object.fromEntries([...names].flatMap(name => {
      const value = this.#observed(name);
      return value === undefined ? [] : [[name, value] as const];
    }));
  }
}
