import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { UserError } from '../../../src/errors';
import { decodeImage } from '../../../src/image/decode';
import { CLIP_MEAN, CLIP_STD, clipPreprocessing, preprocess } from '../../../src/image/preprocess';
import { resize } from '../../../src/image/resize';
import { openClipRule, paddedToSquare, parsePreprocessorConfig, pictureRule, timmRule, writtenRule } from '../../../src/image/preprocessorConfig';

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

const half = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
const OVERVIEW = 'of the tiles that the model cuts a picture into, the one that shows all of it';

describe('pictureRule', () => {
  it('takes of a tiled picture the tile that shows all of it, and says so', () => {
    // As published: LLaVA-NeXT, SmolVLM, InternVL (-hf), MiniCPM-V, Llama 4.
    const files: readonly [json: Record<string, unknown>, filter: string, normalize: object][] = [
      [{ image_processor_type: 'LlavaNextImageProcessor', size: { shortest_edge: 336 }, crop_size: { height: 336, width: 336 }, image_grid_pinpoints: [[336, 672]], do_center_crop: true, resample: 3, image_mean: CLIP_MEAN, image_std: CLIP_STD }, 'bicubic', clipNormalize],
      [{ image_processor_type: 'SmolVLMImageProcessor', size: { longest_edge: 2048 }, max_image_size: { longest_edge: 512 }, resample: 1, image_mean: half.mean, image_std: half.std }, 'lanczos', half],
      [{ image_processor_type: 'GotOcr2ImageProcessor', size: { height: 448, width: 448 }, crop_to_patches: true, max_patches: 12, image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] }, 'bicubic', { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }],
      [{ image_processor_type: 'MiniCPMVImageProcessor', max_slice_nums: 9, scale_resolution: 448, norm_mean: half.mean, norm_std: half.std }, 'bicubic', half],
      [{ image_processor_type: 'Llama4ImageProcessorFast', size: { height: 336, width: 336 }, max_patches: 16, resize_to_max_canvas: false, resample: 2, image_mean: half.mean, image_std: half.std }, 'bilinear', half],
    ];
    for (const [json, filter, normalize] of files) {
      assert.deepEqual(pictureRule(json, { side: 364, patch: 14 }), { spec: { filter, rescale: 1 / 255, normalize, resize: { kind: 'exact', width: 364, height: 364 } }, note: OVERVIEW });
    }
  });

  it('fits a fixed size to the encoder, and says so', () => {
    const blip = { image_processor_type: 'BlipImageProcessor', size: { height: 364, width: 364 } };
    assert.deepEqual(pictureRule(blip, { side: 364, patch: 14 }), { spec: clipPreprocessing(364, 'square') });
    assert.deepEqual(pictureRule(blip, { side: 224, patch: 14 }), { spec: clipPreprocessing(224, 'square'), note: 'at 224 x 224 pixels, for which the encoder has positions; the file says 364 x 364' });
  });

  it('pads as DeepSeek-VL and LLaVA 1.5 do', () => {
    // deepseek-ai/deepseek-vl-7b-base, preprocessor_config.json
    const deepSeek = { background_color: [127, 127, 127], do_normalize: true, image_mean: half.mean, image_processor_type: 'VLMImageProcessor', image_size: 384, image_std: half.std, min_size: 14, rescale_factor: 1 / 255 };
    assert.deepEqual(pictureRule(deepSeek, { side: 384, patch: 14 }), { spec: { filter: 'bicubic', rescale: 1 / 255, normalize: half, resize: { kind: 'longestEdge', size: 384, least: 14 }, crop: { width: 384, height: 384, torchvision: true }, fill: [127, 127, 127] } });
    const llava = { image_processor_type: 'LlavaImageProcessor', do_pad: true, size: { shortest_edge: 336 }, crop_size: 336 };
    assert.deepEqual(pictureRule(llava, { side: 336, patch: 14 }).spec, { ...clipPreprocessing(336, 'crop'), padToSquare: [122, 116, 104] });
    assert.deepEqual(paddedToSquare(clipPreprocessing(336, 'crop')).padToSquare, [122, 116, 104]);
  });
});

interface Prepared {
  readonly title: string;
  readonly file: Record<string, unknown>;
  readonly picture: string;
  readonly size: readonly [number, number];
  readonly shape: readonly [number, number, number];
  readonly sha256?: string;
  /** float32 in base64, where no two implementations agree to the bit. */
  readonly values?: string;
}

describe('files of models\' makers', () => {
  // test/reference/preprocess.py
  for (const { title, file, picture, size: [width, height], shape, sha256, values } of JSON.parse(readFileSync('test/fixtures/preprocess/rules.json', 'utf8')) as Prepared[]) {
    it(`${title}, of ${picture}: as Pillow, numpy and torch do`, async () => {
      const image = resize(await decodeImage(readFileSync('test/fixtures/pictures/rgb8.png')), width, height, 'nearest');
      const { spec } = 'preprocess_cfg' in file ? openClipRule(file.preprocess_cfg, 28) : pictureRule(file, { side: 28, patch: 14 });
      const { pixels, geometry } = preprocess(image, spec);
      assert.deepEqual([3, geometry.height, geometry.width], shape);
      if (sha256 !== undefined) {
        assert.equal(createHash('sha256').update(new Uint8Array(pixels.buffer)).digest('hex'), sha256);
        return;
      }
      const reference = new Float32Array(Uint8Array.from(Buffer.from(values ?? '', 'base64')).buffer);
      const worst = pixels.reduce((most, value, index) => Math.max(most, Math.abs(value - (reference[index] ?? NaN))), 0);
      assert.ok(worst < 3e-5, String(worst));
      // A level of 8 bits more or less is 0.017: rounding would show.
      const rounded = preprocess(image, { ...spec, unrounded: false as unknown as true }).pixels;
      assert.ok(rounded.some((value, index) => Math.abs(value - (reference[index] ?? NaN)) > 5e-3));
    });
  }

  it('that leave pictures as they are say so', () => {
    const naflex = pictureRule({ image_processor_type: 'Siglip2ImageProcessor', do_resize: false }, { side: 256, patch: 16, unit: 16 });
    assert.deepEqual([naflex.spec.resize, naflex.note], [undefined, 'as large as they are, since the file says do_resize false']);
    const vit = pictureRule({ image_processor_type: 'ViTImageProcessor', do_resize: false }, { side: 28, patch: 14 });
    assert.deepEqual([vit.spec.resize, vit.spec.crop, vit.note], [undefined, { width: 28, height: 28 }, 'their middle as it is, since the file says do_resize false']);
  });
});

describe('timmRule', () => {
  const imageNet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

  it('reads pretrained_cfg, with timm\'s defaults where it is silent', () => {
    const square = { width: 224, height: 224, torchvision: true } as const;
    assert.deepEqual(timmRule({}, 224), { spec: { filter: 'bicubic', rescale: 1 / 255, normalize: imageNet, resize: { kind: 'shortestEdge', size: 256 }, crop: square } });
    // As vit_base_patch16_siglip_224 has it: the whole picture, out of proportion.
    const siglip = { tag: 'webli', num_classes: 0, input_size: [3, 224, 224], fixed_input_size: true, interpolation: 'bicubic', crop_pct: 0.9, crop_mode: 'squash', mean: half.mean, std: half.std };
    assert.deepEqual(timmRule(siglip, 224), { spec: { filter: 'bicubic', rescale: 1 / 255, normalize: half, resize: { kind: 'exact', width: 248, height: 248 }, crop: square } });
    assert.deepEqual(timmRule({ ...siglip, crop_pct: 1, interpolation: 'bilinear', crop_mode: 'center' }, 518), {
      spec: { filter: 'bilinear', rescale: 1 / 255, normalize: half, resize: { kind: 'shortestEdge', size: 518 }, crop: { width: 518, height: 518, torchvision: true } },
      note: 'at 518 x 518 pixels, for which the encoder has positions; the file says 224 x 224',
    });
  });

  it('of a border: the longer side, and a rim in the mean colour, half a level to the even one', () => {
    const { spec } = timmRule({ crop_mode: 'border', crop_pct: 0.9, mean: [0.5, 0, 1], std: [1, 1, 1] }, 224);
    assert.deepEqual([spec.resize, spec.crop, spec.fill], [{ kind: 'longestEdge', size: 248 }, { width: 224, height: 224, torchvision: true }, [128, 0, 255]]);
    assert.deepEqual(pictureRule(JSON.parse(JSON.stringify(writtenRule(spec, { width: 224, height: 224 }))), { side: 224, patch: 16 }).spec, spec);
  });

  it('names the field that is wrong', () => {
    for (const wrong of [{ crop_pct: 0 }, { crop_mode: 'stretch' }, { std: [0, 1, 1] }, { input_size: [224, 224] }, { interpolation: 'random' }]) {
      assert.throws(() => timmRule(wrong, 224), (error: unknown) => error instanceof UserError && error.message.startsWith(`config.json: pretrained_cfg: "${Object.keys(wrong)[0]}`));
    }
  });
});

describe('openClipRule', () => {
  it('reads preprocess_cfg, with OpenCLIP\'s defaults where it is silent', () => {
    const crop = { ...clipPreprocessing(224, 'crop'), crop: { width: 224, height: 224, torchvision: true } };
    assert.deepEqual(openClipRule({ mean: [...CLIP_MEAN], std: [...CLIP_STD] }, 224), { spec: crop });
    assert.deepEqual(openClipRule({}, 224), { spec: crop });
    assert.deepEqual(openClipRule({ mean: half.mean, std: half.std, interpolation: 'bicubic', resize_mode: 'squash' }, 384), { spec: { filter: 'bicubic', rescale: 1 / 255, normalize: half, resize: { kind: 'exact', width: 384, height: 384 } } });
    assert.deepEqual(openClipRule({ interpolation: 'bilinear', resize_mode: 'longest', fill_color: 255 }, 336).spec, { ...clipPreprocessing(336, 'crop'), filter: 'bilinear', resize: { kind: 'longestEdge', size: 336 }, crop: { width: 336, height: 336, torchvision: true }, fill: [255, 255, 255] });
  });

  it('names the field that is wrong', () => {
    assert.throws(() => openClipRule({ resize_mode: 'stretch' }, 224, 'my.json'), (error: unknown) => error instanceof UserError && error.message.startsWith("my.json: preprocess_cfg: \"resize_mode\" is wrong"));
  });
});
