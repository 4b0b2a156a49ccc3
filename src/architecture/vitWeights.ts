import type { GraphBuilder, Value } from '../onnx/graphBuilder';
import type { BindWeight } from './forwardGraph';
import type { VitSpec, WeightPlace } from './graphSpec';
import { activation, rmsNorm } from './operators';

/** A vision transformer's weights by the builder's names, and the modules that they make; of a block, their keys are within it. */
export class VitWeights {
  constructor(private readonly spec: VitSpec, private readonly places: Readonly<Record<string, WeightPlace>>, private readonly bind: BindWeight) {}

  has(name: string): boolean {
    return this.places[name] !== undefined;
  }

  /** Some rows of a weight of `all` rows; leading dimensions of 1 do not count. */
  get(name: string, shape: readonly number[], { first = 0, all = shape[0] ?? 1 }: { readonly first?: number; readonly all?: number } = {}): Value {
    const place = this.places[name];
    if (place === undefined) throw new Error(`The encoder has no weight ${name}.`);
    return this.bind({ key: place.key, shape, firstRow: place.part * all + first });
  }

  /** x W^T, with the bias where there is one, for x (rows, inputs); or only the outputs of `some`. */
  linear(b: GraphBuilder, name: string, all: number, inputs: number, input: Value, some = { first: 0, count: all }): Value {
    const rows = { first: some.first, all };
    const bias = this.has(`${name}.bias`) ? [this.get(`${name}.bias`, [some.count], rows)] : [];
    return b.product('Gemm', [input, this.get(`${name}.weight`, [some.count, inputs], rows), ...bias], name, { transB: 1 });
  }

  norm(b: GraphBuilder, name: string, input: Value, kind: VitSpec['norm'] = this.spec.norm, size = this.spec.width, epsilon = this.spec.epsilon): Value {
    const scale = this.get(`${name}.weight`, [size]);
    if (kind === 'rms') return rmsNorm(b, scale, epsilon, input, name);
    return b.node('LayerNormalization', [input, scale, this.get(`${name}.bias`, [size])], name, { axis: -1, epsilon: { float: epsilon } });
  }

  /** fc1, the activation, fc2; gated where there is a gate, and normed within where there is a norm. */
  mlp(b: GraphBuilder, prefix: string, input: Value, { outer, inner } = { outer: this.spec.width, inner: this.spec.mlpSize }): Value {
    const risen = this.linear(b, `${prefix}fc1`, inner, outer, input);
    const within = this.has(`${prefix}gate.weight`)
      ? b.node('Mul', [activation(b, this.spec.activation, this.linear(b, `${prefix}gate`, inner, outer, input)), risen], 'mlp.gated')
      : activation(b, this.spec.activation, risen);
    return this.linear(b, `${prefix}fc2`, outer, inner, this.has(`${prefix}innerNorm.weight`) ? this.norm(b, `${prefix}innerNorm`, within, this.spec.norm, inner) : within);
  }
}
