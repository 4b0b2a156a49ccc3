/**
 * The little of the protobuf wire format that writing an ONNX model needs: varints, 32-bit floats and
 * length-delimited fields (https://protobuf.dev/programming-guides/encoding/). Field by field, in the order
 * of the calls, so the same calls give the same bytes. Zeros are written too: callers leave out what is absent.
 */
export class ProtoWriter {
  private readonly chunks: Uint8Array[] = [];
  private size = 0;

  /** int32, int64, uint64, bool or enum. Negative numbers take ten bytes, as the format wants. */
  varint(field: number, value: number | bigint): this {
    return this.push(tag(field, 0), encodeVarint(value));
  }

  float(field: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    return this.push(tag(field, 5), bytes);
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8.encode(value));
  }

  /** Not copied: `value` must not change before `finish`. */
  bytes(field: number, value: Uint8Array): this {
    return this.push(tag(field, 2), encodeVarint(value.length), value);
  }

  message(field: number, write: (writer: ProtoWriter) => void): this {
    const inner = new ProtoWriter();
    write(inner);
    this.push(tag(field, 2), encodeVarint(inner.size));
    // One by one: a large graph has more chunks than a call may have arguments.
    for (const chunk of inner.chunks) this.push(chunk);
    return this;
  }

  packedVarints(field: number, values: readonly (number | bigint)[]): this {
    const inner = new ProtoWriter();
    for (const value of values) inner.push(encodeVarint(value));
    return this.push(tag(field, 2), encodeVarint(inner.size), ...inner.chunks);
  }

  finish(): Uint8Array {
    const result = new Uint8Array(this.size);
    let offset = 0;
    for (const chunk of this.chunks) {
      result.set(chunk, offset);
      offset += chunk.length;
    }
    return result;
  }

  private push(...chunks: Uint8Array[]): this {
    for (const chunk of chunks) {
      this.chunks.push(chunk);
      this.size += chunk.length;
    }
    return this;
  }
}

const utf8 = new TextEncoder();

function tag(field: number, wireType: number): Uint8Array {
  return encodeVarint(field * 8 + wireType);
}

/** Nearly all varints of a model are this small. */
const oneByte = Array.from({ length: 128 }, (_, value) => Uint8Array.of(value));

function encodeVarint(value: number | bigint): Uint8Array {
  const small = typeof value === 'number' ? oneByte[value] : undefined;
  if (small !== undefined) return small;
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
