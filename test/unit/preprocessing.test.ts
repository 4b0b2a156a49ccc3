import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { familyById } from '../../src/architecture/registry';
import { UserError } from '../../src/errors';
import { CLIP_MEAN, CLIP_STD, clipPreprocessing } from '../../src/image/preprocess';
import { pictureRule } from '../../src/image/preprocessorConfig';
import { companionFiles, openJob, validated, type Job } from '../../src/job';
import { modelPreprocessing, preprocessingOrFamilys, withGeometry } from '../../src/preprocessing';
import { configOf, fakeCheckpoint, FIXTURES, withFiles } from './support/checkpoints';

const HALF = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };

/** An encoder of the sizes that `config` gives, with these files beside it. */
function jobOf(family: string, config: Record<string, unknown>, files: Readonly<Record<string, unknown>> = { 'config.json': config }): Promise<Job> {
  const known = familyById(family);
  const tensors = known.expectedTensors(known.resolve(configOf(config), {}));
  return openJob(withFiles(fakeCheckpoint(tensors), Object.fromEntries(Object.entries(files).map(([name, json]) => [name, JSON.stringify(json)]))));
}

describe('How a model\'s pictures are prepared', () => {
  it('as its preprocessor_config.json says', async () => {
    const file = JSON.parse(readFileSync(path.join(FIXTURES, 'real/models/gemma3-medgemma-27b/preprocessor_config.json'), 'utf8')) as unknown;
    const job = await jobOf('siglip', { model_type: 'siglip_vision_model' }, { 'config.json': { model_type: 'siglip_vision_model' }, 'preprocessor_config.json': file });
    // MedGemma's own: bilinear, straight to the square, halves.
    assert.deepEqual(await modelPreprocessing(job, { side: 896, patch: 14 }), { spec: { filter: 'bilinear', rescale: 1 / 255, normalize: HALF, resize: { kind: 'exact', width: 896, height: 896 } }, from: 'the checkpoint\'s preprocessor_config.json' });
  });

  it('as the family does, where no file says', async () => {
    const { spec, from } = await modelPreprocessing(await jobOf('siglip', { model_type: 'siglip_vision_model' }), { side: 224, patch: 14 });
    assert.deepEqual(spec, { filter: 'bicubic', rescale: 1 / 255, normalize: HALF, resize: { kind: 'exact', width: 224, height: 224 } });
    assert.equal(from, 'the rule of SigLIP');
    assert.deepEqual((await modelPreprocessing(await jobOf('clip', { model_type: 'clip_vision_model' }), { side: 224, patch: 14 })).spec, clipPreprocessing(224, 'crop'));
    const dino = (await modelPreprocessing(await jobOf('dinov2', { model_type: 'dinov2' }), { side: 518, patch: 14 })).spec;
    assert.deepEqual(dino.normalize, { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });
  });

  it('as OpenCLIP\'s preprocess_cfg says', async () => {
    const model = JSON.parse(readFileSync(path.join(FIXTURES, 'real/models/open_clip/ViT-L-14.json'), 'utf8')) as Record<string, unknown>;
    const job = await jobOf('open-clip', model, { 'open_clip_config.json': { model_cfg: model, preprocess_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], interpolation: 'bilinear', resize_mode: 'squash' } } });
    assert.deepEqual(await modelPreprocessing(job, { side: 224, patch: 14 }), { spec: { filter: 'bilinear', rescale: 1 / 255, normalize: HALF, resize: { kind: 'exact', width: 224, height: 224 } }, from: 'the checkpoint\'s open_clip_config.json' });
  });

  it('as OpenCLIP\'s preprocess_cfg says for a tower of timm\'s, which that file does not describe otherwise', async () => {
    const file = { model_cfg: { embed_dim: 768, vision_cfg: { timm_model_name: 'vit_base_patch16_siglip_224', image_size: 224 } }, preprocess_cfg: { mean: HALF.mean, std: HALF.std, interpolation: 'bilinear', resize_mode: 'longest', fill_color: 127 } };
    const job = await jobOf('timm-vit', { vision_config: { width: 768, layers: 2, heads: 12, patch_size: 16, image_size: 224 } }, { 'open_clip_config.json': file });
    assert.equal(job.family?.id, 'timm-vit');
    const { spec, from } = await modelPreprocessing(job, { side: 224, patch: 16 });
    assert.deepEqual(spec, { filter: 'bilinear', rescale: 1 / 255, normalize: HALF, resize: { kind: 'longestEdge', size: 224 }, crop: { width: 224, height: 224, torchvision: true }, fill: [127, 127, 127] });
    assert.equal(from, 'the checkpoint\'s open_clip_config.json');
    // What is written beside the extracted encoder says the same.
    const { preprocessor } = await companionFiles(job);
    assert.deepEqual(pictureRule(preprocessor, { side: 224, patch: 16 }).spec, spec);
  });

  it('as timm\'s pretrained_cfg in config.json says, before and after an extraction; a preprocessor_config.json wins over it', async () => {
    const pretrained_cfg = { input_size: [3, 224, 224], interpolation: 'bilinear', crop_pct: 0.9, mean: HALF.mean, std: HALF.std };
    const sizes = { vision_config: { width: 768, layers: 2, heads: 12, patch_size: 16, image_size: 224 } };
    const files = { 'config.json': { ...sizes, architecture: 'vit_base_patch16_224', pretrained_cfg } };
    const job = await jobOf('timm-vit', sizes, files);
    const { spec, from } = await modelPreprocessing(job, { side: 224, patch: 16 });
    assert.deepEqual(spec, { filter: 'bilinear', rescale: 1 / 255, normalize: HALF, resize: { kind: 'shortestEdge', size: 248 }, crop: { width: 224, height: 224, torchvision: true } });
    assert.equal(from, 'the checkpoint\'s config.json');
    const { config, preprocessor } = await companionFiles(job);
    const extracted = await jobOf('timm-vit', config, { 'config.json': config, 'preprocessor_config.json': preprocessor });
    assert.deepEqual(await modelPreprocessing(extracted, { side: 224, patch: 16 }), { spec, from: 'the checkpoint\'s preprocessor_config.json' });
    const both = await jobOf('timm-vit', sizes, { ...files, 'preprocessor_config.json': { image_processor_type: 'ViTImageProcessor' } });
    assert.deepEqual((await modelPreprocessing(both, { side: 224, patch: 16 })).spec.resize, { kind: 'exact', width: 224, height: 224 });
  });

  it('as OpenCLIP\'s preprocess_cfg said, in the folder of an extracted encoder too', async () => {
    const model = JSON.parse(readFileSync(path.join(FIXTURES, 'real/models/open_clip/ViT-B-32.json'), 'utf8')) as Record<string, unknown>;
    for (const preprocess_cfg of [{ mean: HALF.mean, std: HALF.std, interpolation: 'bicubic', resize_mode: 'squash' }, { resize_mode: 'shortest', interpolation: 'bilinear' }, { resize_mode: 'longest', fill_color: 255 }]) {
      const job = await jobOf('open-clip', model, { 'open_clip_config.json': { model_cfg: model, preprocess_cfg } });
      const rule = (await modelPreprocessing(job, { side: 224, patch: 32 })).spec;
      const { config, preprocessor } = await companionFiles(job);
      const extracted = await jobOf('open-clip', config, { 'config.json': config, 'preprocessor_config.json': preprocessor });
      assert.ok(validated(extracted).validation.valid);
      assert.deepEqual(await modelPreprocessing(extracted, { side: 224, patch: 32 }), { spec: rule, from: 'the checkpoint\'s config.json' });
      // And by the processor's own file: without a colour it says black.
      const { fill, ...own } = pictureRule(preprocessor, { side: 224, patch: 32 }).spec;
      assert.deepEqual({ ...own, ...(fill?.some(level => level > 0) === true && { fill }) }, rule);
    }
  });

  it('with a rim first, where LLaVA\'s config asks for one', async () => {
    const job = await jobOf('clip', { model_type: 'llava', image_aspect_ratio: 'pad' });
    assert.deepEqual(await modelPreprocessing(job, { side: 336, patch: 14 }), { spec: { ...clipPreprocessing(336, 'crop'), padToSquare: [122, 116, 104] }, from: 'the rule of CLIP (with a rim that makes them square first, as config.json says)' });
  });

  it('as the family does where the file cannot be used, which is said', async () => {
    const job = await jobOf('clip', { model_type: 'clip_vision_model' }, { 'config.json': { model_type: 'clip_vision_model' }, 'preprocessor_config.json': { size: -1 } });
    await assert.rejects(modelPreprocessing(job, { side: 224, patch: 14 }), (error: unknown) => error instanceof UserError && error.message.includes('"size" is wrong'));
    const { spec, from } = await preprocessingOrFamilys(job, { side: 224, patch: 14 });
    assert.deepEqual(spec, clipPreprocessing(224, 'crop'));
    assert.match(from, /^the rule of CLIP, since the checkpoint's own cannot be used: preprocessor_config\.json: "size" is wrong/);
  });

  it('in another geometry with the same colours', () => {
    const rule = { filter: 'lanczos', rescale: 1 / 255, normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }, padToSquare: [1, 1, 1], resize: { kind: 'longestEdge', size: 9 } } as const;
    assert.deepEqual(withGeometry(rule, 28, 'square'), { filter: 'lanczos', rescale: 1 / 255, normalize: HALF, resize: { kind: 'exact', width: 28, height: 28 } });
    assert.deepEqual(withGeometry(clipPreprocessing(9, 'square'), 28, 'crop'), { ...clipPreprocessing(28, 'crop'), normalize: { mean: CLIP_MEAN, std: CLIP_STD } });
  });
});
