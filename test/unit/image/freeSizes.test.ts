import assert from 'node:assert/strict';
import { UserError } from '../../../src/errors';
import { freeSize, withinPixels, type FreeResize } from '../../../src/image/freeSizes';
import { preprocess } from '../../../src/image/preprocess';
import { pictureRule } from '../../../src/image/preprocessorConfig';

const PICTURES = [[640, 480], [42, 70], [20, 100], [10, 100], [4032, 3024], [13, 900], [1024, 1025], [5000, 300], [1, 1]] as const;

/** Widths and heights; the expected ones come from the Python definitions. */
function sizesBy(rule: FreeResize): number[][] {
  return PICTURES.map(([width, height]) => {
    const size = freeSize({ width, height }, rule);
    return [size.width, size.height];
  });
}

describe('sizes of pictures\' own', () => {
  it('are those of Qwen2-VL\'s smart_resize', () => {
    assert.deepEqual(sizesBy({ kind: 'area', multiple: 28, minPixels: 3136, maxPixels: 12_845_056, growFirst: false }), [[644, 476], [56, 56], [28, 112], [28, 196], [4032, 3024], [28, 476], [1036, 1036], [5012, 308], [56, 56]]);
    assert.deepEqual(sizesBy({ kind: 'area', multiple: 32, minPixels: 65_536, maxPixels: 1_000_000, growFirst: false }), [[640, 480], [224, 352], [128, 576], [96, 832], [1152, 864], [32, 2144], [992, 992], [4064, 224], [256, 256]]);
  });

  it('are none of a strip, which Qwen2-VL\'s and GLM-4V\'s processors refuse', () => {
    for (const growFirst of [false, true]) {
      const rule: FreeResize = { kind: 'area', multiple: 28, minPixels: 3136, maxPixels: 12_845_056, growFirst };
      assert.throws(() => freeSize({ width: 4001, height: 20 }, rule), new UserError('The picture of 4001 x 20 is more than 200 times as long on one side as on the other, which the model\'s own processor refuses. Cut it first.'));
      assert.ok(freeSize({ width: 20, height: 4000 }, rule).height > 0);
    }
  });

  it('are those of GLM-4V\'s, which counts two frames', () => {
    assert.deepEqual(sizesBy({ kind: 'area', multiple: 28, minPixels: 12_544 / 2, maxPixels: 11_760_000 / 2, growFirst: true }), [[644, 476], [84, 112], [56, 196], [28, 280], [2800, 2100], [28, 1932], [1036, 1036], [5012, 308], [84, 84]]);
  });

  it('are those of Pixtral\'s and Kimi-VL\'s processors', () => {
    assert.deepEqual(sizesBy({ kind: 'within', longest: 1024, multiple: 16 }), [[640, 480], [48, 80], [32, 112], [16, 112], [1024, 768], [16, 912], [1024, 1024], [1024, 64], [16, 16]]);
    assert.deepEqual(sizesBy({ kind: 'patches', patch: 14, limit: 4096 }), [[640, 480], [42, 70], [20, 100], [10, 100], [1034, 775], [13, 900], [897, 898], [3695, 221], [1, 1]]);
  });

  it('are those of SigLIP 2 NaFlex\'s processor, which fills its patches whether the picture is large or small', () => {
    assert.deepEqual(sizesBy({ kind: 'naflex', patch: 16, limit: 256 }), [[288, 224], [192, 320], [112, 560], [80, 800], [288, 224], [32, 2048], [256, 256], [1024, 64], [112, 112]]);
    assert.deepEqual(sizesBy({ kind: 'naflex', patch: 14, limit: 1024 }), [[504, 378], [336, 560], [196, 980], [140, 1400], [504, 378], [56, 3584], [448, 448], [1792, 112], [112, 112]]);
  });

  it('keep within a number of pixels', () => {
    const rules: FreeResize[] = [{ kind: 'naflex', patch: 16, limit: 4096 }, { kind: 'area', multiple: 28, minPixels: 3136, maxPixels: 12_845_056, growFirst: false }, { kind: 'within', longest: 1540, multiple: 28 }, { kind: 'patches', patch: 14, limit: 4096 }];
    for (const rule of rules) {
      const { width, height } = freeSize({ width: 4032, height: 3024 }, withinPixels(rule, 400_000));
      assert.ok(width * height <= 400_000 * 1.02 && width * height > 250_000, `${rule.kind}: ${width} x ${height}`);
    }
  });
});

describe('preprocessor_config.json of encoders for pictures of any size', () => {
  const sizes = { side: 448, patch: 14, unit: 28 };
  const resizeOf = (json: unknown) => pictureRule(json, sizes).spec.resize;

  it('holds the pixels under any of the names that they have had', () => {
    const area = { kind: 'area', multiple: 28, growFirst: false };
    assert.deepEqual(resizeOf({ image_processor_type: 'Qwen2VLImageProcessor', min_pixels: 3136, max_pixels: 12_845_056 }), { ...area, minPixels: 3136, maxPixels: 12_845_056 });
    assert.deepEqual(resizeOf({ image_processor_type: 'Qwen2VLImageProcessorFast', size: { longest_edge: 16_777_216, shortest_edge: 65_536 } }), { ...area, minPixels: 65_536, maxPixels: 16_777_216 });
    assert.deepEqual(resizeOf({ image_processor_type: 'Qwen2VLImageProcessor', max_pixels: 1_003_520, size: { min_pixels: 4000, max_pixels: 5000 } }), { ...area, minPixels: 4000, maxPixels: 1_003_520 });
    assert.deepEqual(resizeOf({ image_processor_type: 'Qwen2VLImageProcessor' }), { ...area, minPixels: 3136, maxPixels: 1_003_520 });
    assert.deepEqual(resizeOf({ image_processor_type: 'Glm4vImageProcessor' }), { ...area, growFirst: true, minPixels: 6272, maxPixels: 5_880_000 });
    assert.deepEqual(resizeOf({ image_processor_type: 'PixtralImageProcessor', size: { longest_edge: 1540 } }), { kind: 'within', longest: 1540, multiple: 28 });
  });

  it('lets NaFlex fill so many patches, 256 unless it says', () => {
    const naflex = (json: Record<string, unknown>) => pictureRule({ image_processor_type: 'Siglip2ImageProcessor', ...json }, { side: 256, patch: 16, unit: 16 }).spec;
    assert.deepEqual(naflex({}), { filter: 'bilinear', rescale: 1 / 255, normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }, resize: { kind: 'naflex', patch: 16, limit: 256 } });
    assert.deepEqual(naflex({ max_num_patches: 1024, patch_size: 16 }).resize, { kind: 'naflex', patch: 16, limit: 1024 });
  });

  it('has the colours that it says, else its class\'s', () => {
    const { filter, normalize } = pictureRule({ image_processor_type: 'Qwen2VLImageProcessorFast', image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], resample: 2 }, sizes).spec;
    assert.deepEqual({ filter, normalize }, { filter: 'bilinear', normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } });
    assert.equal(pictureRule({ image_processor_type: 'Qwen2VLImageProcessor' }, sizes).spec.filter, 'bicubic');
  });

  it('gives MoonViT\'s pictures a black rim at the right and below', () => {
    const { spec } = pictureRule({ image_processor_type: 'KimiVLImageProcessor', image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], in_token_limit: 4096, pad_input: true }, sizes);
    const { pixels, geometry } = preprocess({ width: 30, height: 20, data: new Uint8Array(3 * 30 * 20).fill(255) }, spec);
    assert.deepEqual(geometry, { source: { width: 30, height: 20 }, resized: { width: 30, height: 20 }, left: 0, top: 0, width: 56, height: 28 });
    for (const [index, value] of pixels.subarray(0, 56 * 28).entries()) assert.equal(value, index % 56 < 30 && index < 56 * 20 ? 1 : -1);
  });
});
