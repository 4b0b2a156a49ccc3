import assert from 'node:assert/strict';
import path from 'node:path';
import { FAMILIES } from '../../src/architecture/registry';
import { openCheckpoint } from '../../src/checkpoint/open';
import { UserError } from '../../src/errors';
import { openJob, validated, type Job } from '../../src/job';
import { optionalParts, switchParts } from '../../src/parts';
import { parseRecipe, recipeToJson } from '../../src/recipe/recipe';
import { fakeCheckpoint, FIXTURES, withFiles } from './support/checkpoints';
import { LANGUAGE_MODEL, STATE_DICTS, tensorsOf } from './support/families';

async function tiny(name: string): Promise<Job> {
  const checkpoint = await openCheckpoint(path.join(FIXTURES, 'families', name));
  try {
    return await openJob(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

/** A state dict of transformers inside a whole model, with its config. */
function inside(name: string, type: string, prefix = 'model.visual.'): Promise<Job> {
  const dicts = STATE_DICTS[name]!;
  return openJob(withFiles(fakeCheckpoint([...LANGUAGE_MODEL, ...tensorsOf(dicts['4'], prefix)]), { 'config.json': JSON.stringify({ model_type: type, ...dicts.config }) }));
}

const kept = (job: Job): number => job.plan.kept.length;

describe('Optional parts', () => {
  it('are told with what the preset does about them', async () => {
    assert.deepEqual(optionalParts(await tiny('clip')), [{ id: 'projection', title: 'Projection into the space shared with text', kept: false, tensors: 1 }]);
    assert.deepEqual(optionalParts(await tiny('siglip')), [{ id: 'head', title: 'Attention pooling head', kept: true, tensors: 11 }]);
    // A part that the checkpoint does not have is none of its choices.
    assert.deepEqual(optionalParts(await tiny('siglip-gemma3')), []);
    assert.deepEqual(optionalParts(await openJob(fakeCheckpoint(LANGUAGE_MODEL))), []);
  });

  const CASES: readonly (readonly [name: string, open: () => Promise<Job>, part: string, tensors: number])[] = [
    ['CLIP', () => tiny('clip'), 'projection', 1],
    ['OpenCLIP', () => tiny('open-clip'), 'projection', 1],
    ['SigLIP', () => tiny('siglip'), 'head', 11],
    ['SigLIP 2 NaFlex', () => tiny('siglip2'), 'head', 11],
    ['AIMv2', () => tiny('aimv2'), 'head', 5],
    ['timm ViT', () => tiny('timm-vit'), 'head', 13],
    ['EVA-01', () => tiny('timm-eva'), 'projection', 2],
    ['EVA-02', () => tiny('timm-eva02'), 'projection', 2],
    ['Qwen2-VL', () => inside('qwen2_vl_vision', 'qwen2_vl'), 'merger', 6],
    ['Qwen2.5-VL', () => inside('qwen2_5_vl_vision', 'qwen2_5_vl'), 'merger', 5],
    ['Qwen2.5-Omni', () => tiny('qwen2.5-omni'), 'merger', 5],
    ['Qwen3.5', () => tiny('qwen3.5'), 'merger', 6],
    ['Qwen3-Omni', () => tiny('qwen3-omni'), 'merger', 12],
    ['Qwen3-VL', () => inside('qwen3_vl_vision', 'qwen3_vl'), 'merger', 18],
    ['MoonViT', () => tiny('moonvit'), 'projector', 6],
    ['GLM-4V', () => inside('glm4v_vision', 'glm4v'), 'merger', 8],
    ['Llama 4', () => inside('llama4_vision', 'llama4_vision_model', 'vision_model.'), 'adapter', 2],
  ];
  for (const [name, open, part, tensors] of CASES) {
    it(`of ${name}: ${part} goes in and out, stays valid both ways, and the way back is the preset`, async () => {
      const preset = await open();
      assert.ok(validated(preset).validation.valid);
      const [found] = optionalParts(preset);
      assert.deepEqual([found?.id, found?.tensors], [part, tensors]);
      const wasKept = found?.kept === true;
      const switched = switchParts(preset, { [part]: !wasKept });
      assert.equal(kept(switched) - kept(preset), wasKept ? -tensors : tensors);
      const { validation } = validated(switched);
      assert.ok(validation.valid, JSON.stringify([validation.missing, validation.unexpected, validation.mismatched].flat().slice(0, 3)));
      assert.deepEqual(optionalParts(switched).map(one => one.kept), [!wasKept]);
      assert.equal(validation.hyperparameters.get(part)?.value, wasKept ? 0 : 1);
      // The same after the recipe went through a file.
      const saved = parseRecipe(recipeToJson(switched.recipe), 'x.recipe.json');
      assert.equal(kept(await openJob(preset.checkpoint, { recipe: saved, ...(preset.config && { config: preset.config }) })), kept(switched));
      const back = switchParts(switched, { [part]: wasKept }).plan;
      assert.deepEqual(back.kept.map(({ outputKey }) => outputKey), preset.plan.kept.map(({ outputKey }) => outputKey));
    });
  }

  it('of every family are covered here', async () => {
    const covered = await Promise.all(CASES.map(async ([, open]) => (await open()).family?.id));
    assert.deepEqual(FAMILIES.filter(({ id, switches }) => switches !== undefined && !covered.includes(id)), []);
  });

  it('that are not there are refused by name', async () => {
    const says = (text: string) => (error: unknown): boolean => error instanceof UserError && error.message === text;
    const clip = await tiny('clip');
    assert.throws(() => switchParts(clip, { head: true }), says('model.safetensors has no optional part "head". It has: projection.'));
    const plain = await tiny('dinov2');
    assert.throws(() => switchParts(plain, { head: true }), says('model.safetensors has no optional part "head". It has none.'));
  });
});
