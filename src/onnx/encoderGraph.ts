import { keyInBlock, stateAt, stateName, type BindWeight, type ForwardGraph, type WeightPart } from '../architecture/forwardGraph';
import { outputShape, type WantedOutputs } from '../architecture/outputs';
import { elementCount } from '../checkpoint/dtype';
import { GraphBuilder, type ElementType, type ExternalData, type GraphStyle, type Value } from './graphBuilder';

/** What the models say of themselves. */
export const NAMES = { name: 'vision_encoder', producer: 'vision-encoder-extractor' };

/** A weight as it is stored, wherever that is. */
export interface StoredPart {
  readonly type: ElementType;
  readonly data: ExternalData | Uint8Array;
}

export type LocateWeight = (part: WeightPart) => StoredPart;

/** A run of the encoder's stages: blocks `from` to `to` - 1; the embeddings before block 0, and the pool when it is wanted. */
export interface Segment {
  readonly from: number;
  readonly to: number;
}

/** The name under which a segment takes and hands on hidden states, (batch, tokens, width) in float32. */
export const HIDDEN = 'hidden';
export const PIXELS = 'pixel_values';
/** The name under which the last segment takes an earlier one's output. */
export function inputNamed(output: string): string {
  return `${output}.in`;
}

/** A segment's model: its weights are initialisers, its batch is dynamic, and all that goes in and out is float32. */
export interface SegmentOptions {
  readonly segment: Segment;
  readonly wanted: WantedOutputs;
  /** Whether the last hidden state is an output under the name `hidden`, for the next segment. */
  readonly handOn: boolean;
  readonly products: GraphStyle['products'];
  readonly locate: LocateWeight;
  readonly metadata?: ReadonlyMap<string, string>;
}

/** The bytes of an ONNX model that runs some of an encoder's stages, or all of them. */
export function segmentModel(graph: ForwardGraph, options: SegmentOptions): Uint8Array {
  return segmentGraph(graph, options).toModel({ ...NAMES, ...(options.metadata && { metadata: options.metadata }) });
}

/** @param portable as of the builder's style */
export function segmentGraph(graph: ForwardGraph, options: SegmentOptions, portable = false): GraphBuilder {
  const { segment, wanted } = options;
  const b = new GraphBuilder({ products: options.products, fused: false, portable });
  const weight = initialisers(b, options.locate);
  const emit = (name: string, value: Value, shape: readonly number[]): void => {
    b.output(name, value, 'F32', ['batch', ...shape.slice(1)]);
  };
  const emitRows = (layer: number, value: Value, name = stateName(layer)): void => {
    const { tokens, width } = stateAt(graph, layer);
    emit(name, b.node('Reshape', [value, b.integers([-1, tokens, width])], `${name}.batched`), [0, tokens, width]);
  };

  const takeRows = (layer: number, name = stateName(layer)): Value => {
    const { tokens, width } = stateAt(graph, layer);
    return b.node('Reshape', [b.input(inputNamed(name), 'F32', ['batch', tokens, width]), b.integers([-1, width])], `${name}.rows`);
  };

  const states = new Map<number, Value>();
  let hidden: Value;
  if (segment.from === 0) {
    hidden = graph.embeddings(b, weight, b.input(PIXELS, 'F32', ['batch', ...graph.inputShape]));
    states.set(-1, hidden);
    if (wanted.embeddings) emitRows(-1, hidden);
  } else hidden = takeRows(segment.from - 1, HIDDEN);
  for (let layer = segment.from; layer < segment.to; layer++) {
    const inBlock: BindWeight = part => weight({ ...part, key: keyInBlock(graph, layer, part.key) });
    for (const head of wanted.attentions.get(layer) ?? []) {
      const name = `attentions.${layer}.${head}`;
      emit(name, graph.attention(b, inBlock, hidden, layer, head), outputShape(graph, name, 0));
    }
    hidden = graph.block(b, inBlock, hidden, layer);
    states.set(layer, hidden);
    if (wanted.hidden.has(layer)) emitRows(layer, hidden);
    for (const output of wanted.blockOutputs) if (output.layer === layer) emit(output.name, output.build(b, weight, hidden), [0, ...output.shape]);
  }
  if (segment.to === graph.layers && wanted.pool.length > 0) {
    const earlier = graph.pooledStates.map(layer => states.get(layer) ?? takeRows(layer));
    for (const [name, value] of graph.pool(b, weight, hidden, wanted.pool, earlier)) emit(name, value, outputShape(graph, name, 0));
  }
  if (options.handOn) emitRows(segment.to - 1, hidden, HIDDEN);
  return b;
}

/** Weights as initialisers, each stored once, with a Cast behind those of another type; runtimes do such casts once, while loading. */
function initialisers(b: GraphBuilder, locate: LocateWeight): BindWeight {
  const bound = new Map<string, Value>();
  return part => {
    const name = part.firstRow === 0 ? part.key : `${part.key}[${part.firstRow}]`;
    const id = `${name} ${elementCount(part.shape)}`;
    let value = bound.get(id);
    if (value === undefined) {
      const { type, data } = locate(part);
      const label = bound.has(name) ? id : name;
      value = b.initialiser(label, type, part.shape, data);
      if (type !== 'F32') value = b.cast(value, 'F32', `${label}.cast`);
      bound.set(id, value).set(name, value);
    }
    return value;
  };
}
