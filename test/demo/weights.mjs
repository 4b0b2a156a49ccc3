// Pseudo-random weights that are the same on every machine, scaled as trained networks' are.
import { elements } from './safetensors.mjs';

/** A tensor's values as bfloat16 bytes. The key seeds the numbers, so a tensor does not depend on its neighbours. */
export function weightsOf({ key, shape }) {
  const count = elements(shape);
  const values = key.endsWith('attn_pool.pos_embed') ? positionTable(shape[0], shape[1]) : Float32Array.from({ length: count }, valueOf(key, shape));
  const halves = toBfloat16(values);
  // Nobody runs the language model: with two bits of mantissa the sample takes little room in the packages.
  return Buffer.from((key.includes('.visual.') ? halves : halves.map(half => half & 0xffe0)).buffer);
}

/** Norms scale by about one, biases are small, embeddings and matrices are normal with variance one over fan-in. */
function valueOf(key, shape) {
  const normal = normalNumbers(seedOf(key));
  if (/(ln_\w+)\.weight$/.test(key)) return () => 1 + 0.1 * normal();
  if (key.endsWith('bias')) return () => 0.02 * normal();
  if (/(positional_embedding|query|wte\.weight)$/.test(key)) return () => 0.5 * normal();
  const deviation = 1 / Math.sqrt(elements(shape.slice(1)));
  return () => deviation * normal();
}

/** FNV-1a. */
function seedOf(text) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Standard normal numbers: mulberry32 through Box and Muller's transform. */
function normalNumbers(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** The fixed 2-D sine-cosine table of Qwen-VL's resampler: columns in the first half of the channels, rows in the second. */
function positionTable(queries, channels) {
  const side = Math.sqrt(queries);
  const quarter = channels / 4;
  const table = new Float32Array(queries * channels);
  for (let query = 0; query < queries; query++) {
    for (let index = 0; index < quarter; index++) {
      const omega = 10000 ** (-index / quarter);
      const column = (query % side) * omega;
      const row = Math.floor(query / side) * omega;
      const start = query * channels + index;
      table[start] = Math.sin(column);
      table[start + quarter] = Math.cos(column);
      table[start + 2 * quarter] = Math.sin(row);
      table[start + 3 * quarter] = Math.cos(row);
    }
  }
  return table;
}

/** The upper half of each float32, rounded to the nearest, ties to even. */
function toBfloat16(values) {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, value => (value + 0x7fff + ((value >>> 16) & 1)) >>> 16);
}
