import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { familyById } from '../../../../src/architecture/registry';
import { notRecognised, openJob, validated } from '../../../../src/job';
import { checkpointOfIndex, configOf, fakeCheckpoint, FIXTURES, withFiles, type FakeTensor } from '../../support/checkpoints';

function openClipTensors(config: Record<string, unknown>): FakeTensor[] {
  const family = familyById('open-clip');
  return family.expectedTensors(family.resolve(configOf(config), {})).map(({ key, shape }) => ({ key: `visual.${key}`, shape }));
}

describe('Opening a checkpoint', () => {
  const large = JSON.parse(readFileSync(path.join(FIXTURES, 'real/models/open_clip/ViT-H-14.json'), 'utf8')) as Record<string, unknown>;
  const files = { 'open_clip_config.json': JSON.stringify({ model_cfg: large, preprocess_cfg: {} }) };

  it('reads open_clip_config.json where config.json is absent or another naming\'s', async () => {
    const hugging = JSON.stringify({ model_type: 'clip', vision_config: { hidden_size: 1280 } });
    for (const all of [files, { 'config.json': hugging, ...files }]) {
      const job = await openJob(withFiles(fakeCheckpoint(openClipTensors(large)), all));
      assert.equal(job.family?.id, 'open-clip');
      assert.ok(job.config?.location.endsWith('open_clip_config.json'));
      assert.deepEqual(job.validation?.hyperparameters.get('heads')?.value, 16);
      assert.ok(validated(job).validation.valid);
    }
  });

  it('keeps config.json where the family reads it, and without any config what the tensors show', async () => {
    const clip = familyById('clip');
    const tensors = clip.expectedTensors(clip.resolve(configOf({ model_type: 'llava' }), {})).map(({ key, shape }) => ({ key: `vision_tower.${key}`, shape }));
    const job = await openJob(withFiles(fakeCheckpoint(tensors), { 'config.json': '{"model_type": "llava"}', ...files }));
    assert.ok(job.config?.location.endsWith('config.json') && !job.config.location.endsWith('open_clip_config.json'));
    assert.ok(job.validation?.valid);
    const bare = await openJob(withFiles(fakeCheckpoint(tensors), {}));
    assert.equal(bare.config, undefined);
    assert.ok(bare.validation?.valid);
    assert.equal(bare.validation.hyperparameters.get('heads')?.value, 16);
    assert.match(bare.validation.warnings.map(({ message }) => message).join(' '), /No config\.json describes this encoder: .*Heads cannot be seen in tensors: 16, as in published models/);
    assert.deepEqual(job.validation.warnings, []);
  });

  it('of LISA says that the encoder is elsewhere', async () => {
    const lisa = checkpointOfIndex('real/models/llava-lisa-7b/pytorch_model.bin.index.json');
    const job = await openJob(withFiles(lisa, { 'config.json': '{"model_type": "llava", "mm_vision_tower": "openai/clip-vit-large-patch14"}' }));
    assert.equal(job.family, undefined);
    assert.match(notRecognised(job), /Get openai\/clip-vit-large-patch14/);
    assert.throws(() => validated(job), /Get openai\/clip-vit-large-patch14/);
  });

  it('leaves rules out of the preset that have nothing to decide about', async () => {
    const job = await openJob(withFiles(fakeCheckpoint(openClipTensors(large)), files));
    assert.deepEqual(job.recipe.rules.map(({ mark }) => mark), ['strip']);
  });
});
