import { safetensorsHeader } from '../extraction/safetensorsWriter';

/** A float32 array with its shape, row-major. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Named arrays as the bytes of one safetensors file, all float32. */
export function encodeSafetensors(values: ReadonlyMap<string, Values>): Uint8Array {
  const named = [...values];
  const { header, order } = safetensorsHeader(named.map(([key, { shape, data }]) => ({ key, dtype: 'F32', shape, length: data.byteLength })));
  const bytes = new Uint8Array(order.reduce((size, { tensor }) => size + tensor.length, header.length));
  bytes.set(header);
  for (const { index, offset } of order) {
    const data = named[index]?.[1].data;
    if (data !== undefined) bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
  }
  return bytes;
}
