import type { Dtype } from '../checkpoint/dtype';
import { ProtoWriter } from './protobuf';

/** TensorProto.DataType numbers (onnx.proto3) of the dtypes that ONNX has. */
const ELEMENT_TYPES = {
  F32: 1, U8: 2, I8: 3, U16: 4, I16: 5, I32: 6, I64: 7, BOOL: 9, F16: 10, F64: 11, U32: 12, U64: 13, C64: 14, BF16: 16,
  F8_E4M3: 17, F8_E4M3FNUZ: 18, F8_E5M2: 19, F8_E5M2FNUZ: 20,
} as const satisfies Partial<Record<Dtype, number>>;
export type ElementType = keyof typeof ELEMENT_TYPES;

export function isElementType(dtype: Dtype): dtype is ElementType {
  return dtype in ELEMENT_TYPES;
}

/** The name of a value in the graph: an input, an initialiser or a node's output. */
export type Value = string;

/** A dimension: a number, or the name of one that is known only at run time. */
export type Dim = number | string;

/** Where an initialiser's bytes lie: row-major, little-endian. */
export interface ExternalData {
  /** Relative to the model's folder (for a model in memory, to the working directory), with forward slashes. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

export type Attribute = number | string | readonly number[] | { readonly float: number };

interface GraphNode {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface Initialiser {
  readonly name: Value;
  readonly type: ElementType;
  readonly shape: readonly number[];
  readonly data: Uint8Array | ExternalData;
}

interface ValueInfo {
  readonly name: Value;
  readonly type: ElementType;
  /** Undefined leaves even the rank open. */
  readonly shape: readonly Dim[] | undefined;
}

/**
 * 17 is the first opset with LayerNormalization, and every provider of ONNX Runtime since 1.13 knows it;
 * later ones add nothing that an encoder needs (Gelu came with 20, where fewer providers have it than Erf).
 */
export const OPSET = 17;
/** The IR version that came with opset 17 (onnx 1.12). */
const IR_VERSION = 8;

export interface GraphStyle {
  /**
   * The float type of matrix products and convolutions, and so of their weights. All other values are float32: sums,
   * norms and softmax over a thousand channels are where half precision overflows and goes astray.
   */
  readonly products: 'F32' | 'F16';
  /** Whether ONNX Runtime's own fused operators may stand in for several of ONNX's. */
  readonly fused: boolean;
  /**
   * Whether the same calls for another grid of patches give the same nodes under the same names, so that constants alone tell the
   * graphs apart: lists of integers are named by their turn, and the shapes of what goes in and out are left open.
   */
  readonly portable?: boolean;
}

/** What every provider and every other runtime understands. */
export const PLAIN: GraphStyle = { products: 'F32', fused: false };

/**
 * Builds one ONNX graph. Every call appends; nodes are therefore in topological order, as ONNX wants.
 * The same calls give the same bytes.
 */
export class GraphBuilder {
  private readonly nodes: GraphNode[] = [];
  private readonly initialisers: Initialiser[] = [];
  private readonly inputs: ValueInfo[] = [];
  private readonly outputs: ValueInfo[] = [];
  private readonly names = new Set<Value>();
  /** Of float32 values, their casts to float16. */
  private readonly halves = new Map<Value, Value>();
  private lists = 0;

  constructor(readonly style: GraphStyle) {}

  input(name: string, type: ElementType, shape: readonly Dim[]): Value {
    this.inputs.push({ name: this.claim(name), type, shape });
    return name;
  }

  /** An initialiser whose bytes are in the model itself, or in a file beside it. */
  initialiser(name: string, type: ElementType, shape: readonly number[], data: Uint8Array | ExternalData): Value {
    this.initialisers.push({ name: this.claim(name), type, shape, data });
    return name;
  }

  /** Float32 values in the model itself. */
  floats(name: string, shape: readonly number[], values: Float32Array): Value {
    return this.initialiser(name, 'F32', shape, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }

  /** A list of int64 (a shape, sizes, axes); asked for twice it is stored once. */
  integers(values: readonly number[]): Value {
    const name = this.style.portable === true ? `int64.${this.lists++}` : `int64.${values.join('_')}`;
    return this.once(name, () => {
      const data = BigInt64Array.from(values, BigInt);
      this.initialiser(name, 'I64', [values.length], new Uint8Array(data.buffer));
    });
  }

  /** int64 values that are too many for their name; asked for twice they are stored once. */
  indices(name: string, shape: readonly number[], values: () => readonly number[]): Value {
    return this.once(name, () => { this.initialiser(name, 'I64', shape, new Uint8Array(BigInt64Array.from(values(), BigInt).buffer)); });
  }

  /** An int64 scalar, as an index. */
  integer(value: number): Value {
    const name = `int64.scalar.${value}`;
    return this.once(name, () => { this.initialiser(name, 'I64', [], new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)); });
  }

  /** A float32 scalar; asked for twice it is stored once. */
  scalar(value: number): Value {
    const name = `float.${value}`;
    return this.once(name, () => { this.floats(name, [], Float32Array.of(value)); });
  }

  /** A float32 table that goes with the graph; asked for twice it is stored once. */
  table(name: string, shape: readonly number[], values: () => Float32Array): Value {
    return this.once(name, () => { this.floats(name, shape, values()); });
  }

  cast(value: Value, to: ElementType, label: string): Value {
    return this.node('Cast', [value], label, { to: ELEMENT_TYPES[to] });
  }

  /**
   * A node with one output, which the caller gets.
   * @param label what the output is called; a number makes it unique when it is taken.
   * @param domain empty for ONNX's own operators; `com.microsoft` for ONNX Runtime's.
   */
  node(op: string, inputs: readonly Value[], label: string, attributes: GraphNode['attributes'] = {}, domain = ''): Value {
    const output = this.unique(label);
    this.nodes.push({ op, domain, inputs, outputs: [output], attributes });
    return output;
  }

  /** As `node`, for operators that multiply matrices: inputs and output are float32, the operator runs in the style's type. */
  product(op: string, inputs: readonly Value[], label: string, attributes: GraphNode['attributes'] = {}, domain = ''): Value {
    if (this.style.products === 'F32') return this.node(op, inputs, label, attributes, domain);
    const half = this.node(op, inputs.map(input => this.half(input)), `${label}.half`, attributes, domain);
    return this.cast(half, 'F32', label);
  }

  /** The `parts` equal parts of `value` along `axis`. */
  split(value: Value, parts: number, axis: number, sizes: number, label: string): readonly Value[] {
    const outputs = Array.from({ length: parts }, (_, part) => this.unique(`${label}.${part}`));
    this.nodes.push({ op: 'Split', domain: '', inputs: [value, this.integers(outputs.map(() => sizes))], outputs, attributes: { axis } });
    return outputs;
  }

  /** Makes `value` an output of the graph under `name`. */
  output(name: string, value: Value, type: ElementType, shape?: readonly Dim[]): void {
    this.nodes.push({ op: 'Identity', domain: '', inputs: [value], outputs: [this.claim(name)], attributes: {} });
    this.outputs.push({ name, type, shape });
  }

  /** The model's bytes (onnx.proto3 of onnx 1.12; the numbers are its field numbers). */
  /** @param fed constants that are given with every run instead */
  toModel(info: { readonly name: string; readonly producer: string; readonly metadata?: ReadonlyMap<string, string> }, fed: ReadonlySet<Value> = new Set()): Uint8Array {
    const open = ({ name, type, shape }: Pick<ValueInfo, 'name' | 'type' | 'shape'>): ValueInfo => (this.style.portable === true ? { name, type, shape: shape?.map((_, index) => `${name}.${index}`) } : { name, type, shape });
    const domains = [...new Set(['', ...this.nodes.map(node => node.domain)])];
    const model = new ProtoWriter()
      .varint(1, IR_VERSION)
      .string(2, info.producer)
      .message(7, graph => {
        for (const node of this.nodes) graph.message(1, message => { writeNode(message, node); });
        graph.string(2, info.name);
        for (const one of this.initialisers) if (!fed.has(one.name)) graph.message(5, message => { writeTensor(message, one); });
        for (const one of [...this.inputs, ...this.initialisers.filter(({ name }) => fed.has(name))]) graph.message(11, message => { writeValueInfo(message, open(one)); });
        for (const one of this.outputs) graph.message(12, message => { writeValueInfo(message, open(one)); });
      });
    // OperatorSetIdProto: domain 1, version 2. ONNX Runtime's own operators are at version 1.
    for (const domain of domains) model.message(8, message => message.string(1, domain).varint(2, domain === '' ? OPSET : 1));
    // StringStringEntryProto: key 1, value 2.
    for (const [key, value] of info.metadata ?? []) model.message(14, message => message.string(1, key).string(2, value));
    return model.finish();
  }

  /** All that is constant in the graph, by name. */
  get constants(): ReadonlyMap<Value, Initialiser> {
    return new Map(this.initialisers.map(one => [one.name, one]));
  }

  /** What the nodes do, and what goes in and out, by name: the same for graphs that differ in nothing but constants. */
  get structure(): string {
    return JSON.stringify([this.nodes, this.inputs.map(({ name }) => name), this.outputs.map(({ name }) => name)]);
  }

  private half(value: Value): Value {
    const known = this.halves.get(value) ?? this.cast(value, 'F16', `${value}.half`);
    this.halves.set(value, known);
    return known;
  }

  private once(name: string, make: () => void): Value {
    if (!this.names.has(name)) make();
    return name;
  }

  private claim(name: string): Value {
    if (this.names.has(name)) throw new Error(`The graph has two values named ${name}.`);
    this.names.add(name);
    return name;
  }

  private unique(label: string): Value {
    let name = label;
    for (let number = 2; this.names.has(name); number++) name = `${label}.${number}`;
    return this.claim(name);
  }
}

/** NodeProto: input 1, output 2, name 3, op_type 4, attribute 5, domain 7. */
function writeNode(message: ProtoWriter, node: GraphNode): void {
  for (const input of node.inputs) message.string(1, input);
  for (const output of node.outputs) message.string(2, output);
  message.string(3, `${node.outputs[0] ?? ''}/${node.op}`).string(4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) message.message(5, attribute => { writeAttribute(attribute, name, value); });
  if (node.domain !== '') message.string(7, node.domain);
}

/** AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20 (FLOAT 1, INT 2, STRING 3, INTS 7). A bare number is an INT. */
function writeAttribute(message: ProtoWriter, name: string, value: Attribute): void {
  message.string(1, name);
  if (typeof value === 'number') message.varint(3, value).varint(20, 2);
  else if (typeof value === 'string') message.string(4, value).varint(20, 3);
  else if ('float' in value) message.float(2, value.float).varint(20, 1);
  else message.packedVarints(8, value).varint(20, 7);
}

/** TensorProto: dims 1, data_type 2, name 8, raw_data 9, external_data 13, data_location 14 (EXTERNAL 1). */
function writeTensor(message: ProtoWriter, { name, type, shape, data }: Initialiser): void {
  message.packedVarints(1, shape).varint(2, ELEMENT_TYPES[type]).string(8, name);
  if (data instanceof Uint8Array) {
    message.bytes(9, data);
    return;
  }
  const entries = { location: data.location, offset: `${data.offset}`, length: `${data.length}` };
  for (const [key, value] of Object.entries(entries)) message.message(13, entry => entry.string(1, key).string(2, value));
  message.varint(14, 1);
}

/** ValueInfoProto: name 1, type 2; TypeProto: tensor_type 1 {elem_type 1, shape 2 {dim 1 {dim_value 1 | dim_param 2}}}. */
function writeValueInfo(message: ProtoWriter, { name, type, shape }: ValueInfo): void {
  message.string(1, name).message(2, typeProto => typeProto.message(1, tensor => {
    tensor.varint(1, ELEMENT_TYPES[type]);
    if (shape === undefined) return;
    tensor.message(2, shapeProto => {
      for (const dim of shape) shapeProto.message(1, one => typeof dim === 'number' ? one.varint(1, dim) : one.string(2, dim));
    });
  }));
}
