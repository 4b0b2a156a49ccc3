type NpyArray = Float32Array | Float64Array | Uint8Array | Int32Array;

/**
 * An array in numpy's .npy format, version 1.0, C order
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
 *
 * @throws RangeError when the shape does not fit the data.
 */
export function encodeNpy(data: NpyArray, shape: readonly number[]): Uint8Array {
  if (shape.reduce((product, dimension) => product * dimension, 1) !== data.length) throw new RangeError(`${data.length} values are not of shape (${shape.join(', ')}).`);
  const header = npyHeader(descriptor(data), shape);
  const bytes = new Uint8Array(header.length + data.byteLength);
  bytes.set(header);
  // The platforms of VS Code are little-endian, as the descriptors say.
  bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), header.length);
  return bytes;
}

/** What stands before an array's values in a .npy file. */
export function npyHeader(descriptor: '<f4' | '<f8' | '<i4' | '|u1', shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `(${String(shape[0])},)` : `(${shape.join(', ')})`;
  const description = `{'descr': '${descriptor}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The data start at a multiple of 64; the header ends with a line feed.
  const headerSize = Math.ceil((10 + description.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + headerSize);
  bytes.set([0x93, ...latin1('NUMPY'), 1, 0, headerSize & 255, headerSize >> 8]);
  bytes.set(latin1(`${description.padEnd(headerSize - 1)}\n`), 10);
  return bytes;
}

function descriptor(data: NpyArray): '<f4' | '<f8' | '<i4' | '|u1' {
  if (data instanceof Float32Array) return '<f4';
  if (data instanceof Float64Array) return '<f8';
  return data instanceof Int32Array ? '<i4' : '|u1';
}

function latin1(text: string): number[] {
  return Array.from(text, character => character.charCodeAt(0));
}
