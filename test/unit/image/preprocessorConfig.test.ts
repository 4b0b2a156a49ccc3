import assert from 'node:assert/strict';
import { UserError } from '../../../src/errors';
import { CLIP_MEAN, CLIP_STD, clipPreprocessing } from '../../../src/image/preprocess';
import { parsePreprocessorConfig } from '../../../src/image/preprocessorConfig';

const clipNormalize = { mean: CLIP_MEAN, std: CLIP_STD };

describe('parsePreprocessorConfig', () => {
  it("reads DeepSpeed-VisualChat's file as CLIP's crop at 448", () => {
    const config = {
      crop_size: 448, do_center_crop: true, do_normalize: true, do_resize: true, feature_extractor_type: 'CLIPFeatureExtractor',
      image_mean: [...CLIP_MEAN], image_std: [...CLIP_STD], resample: 3, size: 448,
    };
    assert.deepEqual(parsePreprocessorConfig(config), clipPreprocessing(448, 'crop'));
  });

  it('reads objects for sizes', () => {
    const config = { image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: 336 }, crop_size: { height: 336, width: 320 }, rescale_factor: 0.00392156862745098 };
    assert.deepEqual(parsePreprocessorConfig(config), {
      resize: { kind: 'shortestEdge', size: 336 }, crop: { height: 336, width: 320 }, filter: 'bicubic', rescale: 1 / 255, normalize: clipNormalize,
    });
  });

  it("takes a processor's own defaults where the file is silent", () => {
    assert.deepEqual(parsePreprocessorConfig({}), clipPreprocessing(224, 'crop'));
    const half = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
    assert.deepEqual(parsePreprocessorConfig({ image_processor_type: 'SiglipImageProcessor', size: 384 }),
      { resize: { kind: 'exact', width: 384, height: 384 }, filter: 'bicubic', rescale: 1 / 255, normalize: half });
    assert.deepEqual(parsePreprocessorConfig({ image_processor_type: 'Gemma3ImageProcessor', size: { height: 896, width: 896 }, resample: 2, do_pan_and_scan: null }),
      { resize: { kind: 'exact', width: 896, height: 896 }, filter: 'bilinear', rescale: 1 / 255, normalize: half });
  });

  it('leaves out the steps that are switched off', () => {
    assert.deepEqual(parsePreprocessorConfig({ do_resize: false, do_center_crop: false, do_rescale: false, do_normalize: false, resample: 1 }), { filter: 'lanczos', rescale: 1 });
  });

  it('names the field that is wrong', () => {
    const refusals: readonly [unknown, RegExp][] = [
      [{ size: -1 }, /^my\.json: "size" is wrong: .*>0/],
      [{ size: { height: 3 } }, /"size" is wrong/],
      [{ crop_size: 'big' }, /"crop_size" is wrong: it has to be a number of pixels/],
      [{ resample: 6 }, /"resample" is wrong/],
      [{ image_mean: [0.5, 0.5] }, /"image_mean" is wrong/],
      [{ image_std: [0.5, 0, 0.5] }, /"image_std\.1" is wrong/],
      [{ do_resize: 'yes' }, /"do_resize" is wrong/],
      [[], /expected object/],
      [{ image_processor_type: 'Qwen2VLImageProcessor', min_pixels: 3136, max_pixels: 12845056 }, /Qwen2VLImageProcessor gives each picture a size of its own/],
      [{ size: { longest_edge: 980, shortest_edge: 378 } }, /gives each picture a size of its own/],
    ];
    for (const [json, message] of refusals) {
      assert.throws(() => parsePreprocessorConfig(json, 'my.json'), (error: unknown) => error instanceof UserError && message.test(error.message), JSON.stringify(json));
    }
  });
});
