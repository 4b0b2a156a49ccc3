import assert from 'node:assert/strict';
import path from 'node:path';
import { FAMILIES } from '../../src/architecture/registry';
import { openCheckpoint } from '../../src/checkpoint/open';
import { UserError } from '../../src/errors';
import { openJob, updateJob, validated, type Job } from '../../src/job';
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
    assert.deepEqual(optionalParts(await tiny('siglip-gemma3')), [{ id: 'projector', title: 'Projector into the language model', kept: false, tensors: 2 }]);
    assert.deepEqual(optionalParts(await tiny('internvit-300m')), []);
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
    ['LLaVA', () => tiny('clip-llava'), 'projector', 4],
    ['the original LLaVA', () => tiny('clip-llava-original'), 'projector', 4],
    ['the first LLaVA', () => tiny('clip-llava-linear'), 'projector', 2],
    ['VipLLaVA', () => tiny('clip-vipllava'), 'projector', 6],
    ['InternVL', () => tiny('internvit-6b'), 'projector', 6],
    ['InternVL in transformers', () => tiny('internvl-hf'), 'projector', 6],
    ['Pixtral', () => tiny('pixtral'), 'projector', 4],
    ['Mistral Small 3.1', () => tiny('pixtral-mistral3'), 'projector', 4],
    ['Pixtral in Mistral\'s files', () => tiny('pixtral-mistral'), 'projector', 4],
    ['Mistral Small 3.1 in Mistral\'s files', () => tiny('pixtral-mistral-merger'), 'projector', 4],
    ['Gemma 3', () => tiny('siglip-gemma3'), 'projector', 2],
    ['PaliGemma', () => tiny('siglip-paligemma'), 'projector', 2],
    ['SmolVLM', () => tiny('siglip-smolvlm'), 'projector', 1],
    ['LLaVA-OneVision', () => tiny('siglip-onevision'), 'projector', 4],
    ['LLaVA-OneVision in LLaVA-NeXT\'s files', () => tiny('siglip-llava-original'), 'projector', 4],
    ['Llama 3.2 Vision', () => tiny('mllama'), 'projector', 2],
    ['Llama 4\'s projector', () => tiny('llama4'), 'projector', 1],
  ];
  for (const [name, open, part, tensors] of CASES) {
    it(`of ${name}: ${part} goes in and out, stays valid both ways, and the way back is the preset`, async () => {
      const preset = await open();
      assert.ok(validated(preset).validation.valid);
      const found = optionalParts(preset).find(one => one.id === part);
      assert.equal(found?.tensors, tensors);
      const wasKept = found.kept;
      const switched = switchParts(preset, { [part]: !wasKept });
      assert.equal(kept(switched) - kept(preset), wasKept ? -tensors : tensors);
      const { validation } = validated(switched);
      assert.ok(validation.valid, JSON.stringify([validation.missing, validation.unexpected, validation.mismatched].flat().slice(0, 3)));
      assert.equal(optionalParts(switched).find(one => one.id === part)?.kept, !wasKept);
      // Of projectors, the number of its kind.
      assert.equal((validation.hyperparameters.get(part)?.value ?? 0) > 0, !wasKept);
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
    assert.throws(() => switchParts(clip, { head: true }), says('model.safetensors has no optional part "head". CLIP encoders can have: projection, projector. This one has: projection.'));
    const plain = await tiny('dinov2');
    assert.throws(() => switchParts(plain, { merger: true }), says('model.safetensors has no optional part "merger". DINOv2 encoders have no optional parts.'));
    const alone = await tiny('internvit-300m');
    assert.throws(() => switchParts(alone, { projector: true }), says('model.safetensors has no optional part "projector". InternViT encoders can have: projector. This one has: none.'));
    const unknown = await openJob(fakeCheckpoint(LANGUAGE_MODEL));
    assert.throws(() => switchParts(unknown, { merger: true }), says('fake has no optional part "merger". No vision encoder is recognised in it.'));
  });

  it('name what joins the encoder to its language model, where that is of no known kind', async () => {
    const tensors = [...LANGUAGE_MODEL, ...tensorsOf(STATE_DICTS.siglip_vision_nohead!['4'], 'vpm.'), { key: 'resampler.query', shape: [64, 64] }, { key: 'resampler.attn.in_proj_weight', shape: [192, 64] }];
    const job = await openJob(fakeCheckpoint(tensors));
    assert.throws(() => switchParts(job, { projector: true }), new UserError('fake has no optional part "projector". SigLIP encoders can have: head, projector. This one has: none. What joins it to its language model (resampler) is of no kind that is known here.'));
  });

  it('keep a setting of the projector for when it is taken in, and load strictly without', async () => {
    const preset = await tiny('clip-llava');
    const taken = updateJob(switchParts(preset, { projector: true }), { recipe: { ...switchParts(preset, { projector: true }).recipe, settings: { output_dim: 7 } } });
    assert.equal(validated(taken).validation.mismatched.length, 4);
    assert.ok(validated(switchParts(taken, { projector: false })).validation.valid);
  });
});
