type NpyArray = Float32Array | Float64Array | Uint8Array | Int32Array;

/**
 * An array in numpy's .npy format, version 1.0, C order
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
 *
 * @throws RangeError when the shape does not fit the data.
 */
export function encodeNpy(data: NpyArray, shape: readonly number[]): Uint8Array {
  if (shape.reduce((product, dimension) => product * dimension, 1) !== data.length) throw new RangeError(`${data.length} values are not of shape (${shape.join(', ')}).`);
  const tuple = shape.length === 1 ? `(${String(shape[0])},)` : `(${shape.join(', ')})`;
  const description = `{'descr': '${descriptor(data)}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The data start at a multiple of 64; the header ends with a line feed.
  const headerSize = Math.ceil((10 + description.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + headerSize + data.byteLength);
  bytes.set([0x93, ...latin1('NUMPY'), 1, 0, headerSize & 255, headerSize >> 8]);
  bytes.set(latin1(`${description.padEnd(headerSize - 1)}\n`), 10);
  // The platforms of VS Code are little-endian, as the descriptors say.
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + headerSize);
  return bytes;
}

function descriptor(data: NpyArray): string {
  if (data instanceof Float32Array) return '<f4';
  if (data instanceof Float64Array) return '<f8';
  return data instanceof Int32Array ? '<i4' : '|u1';
}

function latin1(text: string): number[] {
  return Array.from(text, character => character.charCodeAt(0));
}
