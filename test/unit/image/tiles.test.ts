import assert from 'node:assert/strict';
import { tileLayouts } from '../../../src/architecture/tiles';
import { preprocess } from '../../../src/image/preprocess';
import { pictureRule } from '../../../src/image/preprocessorConfig';
import { onTiles } from '../../../src/image/tiles';

/** Of pictures: the size that they are resized to, and their canvas; by the definitions of transformers' image_processing_mllama.py in numpy. */
const KNOWN: readonly (readonly [source: readonly [number, number], resized: readonly [number, number], canvas: readonly [number, number]])[] = [
  [[640, 480], [640, 480], [1120, 560]], [[42, 70], [336, 560], [560, 560]], [[560, 560], [560, 560], [560, 560]], [[561, 560], [561, 560], [1120, 560]],
  [[10, 100], [56, 560], [560, 560]], [[4032, 3024], [1120, 840], [1120, 1120]], [[13, 900], [13, 900], [560, 1120]], [[1130, 565], [1120, 560], [1120, 560]],
  // Rounded down to one tile's height, on a canvas that is two high.
  [[2000, 1001], [1120, 560], [1120, 1120]], [[5000, 300], [2240, 134], [2240, 560]], [[1, 1], [560, 560], [560, 560]], [[300, 1700], [300, 1700], [560, 2240]],
];

describe('pictures on tiles', () => {
  it('are resized and laid out as Mllama\'s processor does', () => {
    for (const [[width, height], resized, canvas] of KNOWN) {
      assert.deepEqual(onTiles({ width, height }, { kind: 'tiles', tile: 560, most: 4 }), { resized: { width: resized[0], height: resized[1] }, canvas: { width: canvas[0], height: canvas[1] } }, `${width} x ${height}`);
    }
  });

  it('number their layouts as transformers does, rows first', () => {
    assert.deepEqual(tileLayouts(4), [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]);
  });

  it('have a black rim at the right and below, and the colours of the class where the file is silent', () => {
    assert.throws(() => pictureRule({ image_processor_type: 'MllamaImageProcessor', size: { height: 560, width: 560 }, max_image_tiles: 1e9 }, { side: 28, patch: 14, unit: 28 }), /max_image_tiles/);
    const { spec } = pictureRule({ image_processor_type: 'MllamaImageProcessor', size: { height: 560, width: 560 }, max_image_tiles: 4, do_pad: true }, { side: 28, patch: 14, unit: 28 });
    assert.deepEqual(spec, { filter: 'bilinear', rescale: 1 / 255, normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }, resize: { kind: 'tiles', tile: 28, most: 4 } });
    const { pixels, geometry } = preprocess({ width: 30, height: 20, data: new Uint8Array(3 * 30 * 20).fill(255) }, spec);
    // It is not enlarged further than to a tile's side, and 20 rows of 30 pixels would be 28 of 42.
    assert.deepEqual(geometry, { source: { width: 30, height: 20 }, resized: { width: 30, height: 20 }, left: 0, top: 0, width: 56, height: 28 });
    for (const [index, value] of pixels.subarray(0, 56 * 28).entries()) assert.equal(value, index % 56 < 30 && index < 56 * 20 ? 1 : -1);
  });
});
