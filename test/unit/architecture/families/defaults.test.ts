import assert from 'node:assert/strict';
import { familyById } from '../../../../src/architecture/registry';
import { configOf } from '../../support/checkpoints';
import { DEFAULTS } from '../../support/families';

const ENCODERS: Readonly<Record<string, string>> = {
  aimv2_vision: 'aimv2', blip2_vision: 'eva-vit-g', clip_vision: 'clip', clip_vision_proj: 'clip', dinov2: 'dinov2', dinov2_reg: 'dinov2', dinov2_swiglu: 'dinov2',
  dinov3_vit: 'dinov3', florence2_vision: 'florence2-hf', glm4v_vision: 'glm4v', idefics2_vision: 'siglip', idefics3_vision: 'siglip', instructblip_vision: 'eva-vit-g', internvl_hf_vision: 'internvl-hf',
  llama4_vision: 'llama4', mllama_vision: 'mllama', phi4mm_vision: 'siglip', pixtral_vision: 'pixtral', qwen2_5_vl_vision: 'qwen2.5-vl', qwen2_vl_vision: 'qwen2-vl',
  qwen3_vl_vision: 'qwen3-vl', siglip2_vision: 'siglip2', siglip_vision: 'siglip', siglip_vision_nohead: 'siglip', smolvlm_vision: 'siglip',
};
const MODELS: Readonly<Record<string, string>> = {
  deepseek_vl: 'siglip', gemma3: 'siglip', internvl: 'internvl-hf', llava: 'clip', llava_next: 'clip', llava_onevision: 'siglip', mistral3: 'pixtral', paligemma: 'siglip',
};
/** Encoders that no family covers: Gemma 4's is of another kind. */
const LEFT_OUT = ['gemma4_vision'];

function resolved(family: string, config: Record<string, unknown>): Record<string, number> {
  return Object.fromEntries([...familyById(family).resolve(configOf(config), {})].map(([name, { value }]) => [name, value]));
}

describe('The defaults of transformers\' configs', () => {
  it('are all compared', () => {
    assert.deepEqual([...Object.keys(ENCODERS), ...Object.keys(MODELS), ...LEFT_OUT].sort(), Object.keys(DEFAULTS).sort());
  });

  for (const [name, family] of Object.entries(ENCODERS)) {
    it(`of ${name} stand for absent fields`, () => {
      for (const full of Object.values(DEFAULTS[name] ?? {})) assert.deepEqual(resolved(family, { model_type: full.model_type }), resolved(family, full));
    });
  }

  for (const [name, family] of Object.entries(MODELS)) {
    it(`of ${name} stand for an absent vision_config`, () => {
      for (const full of Object.values(DEFAULTS[name] ?? {})) assert.deepEqual(resolved(family, { model_type: full.model_type }), resolved(family, full));
    });
  }

  it('differ for an absent vision_config and for one with nothing but its type', () => {
    assert.equal(resolved('clip', { model_type: 'llava' }).width, 1024);
    assert.equal(resolved('clip', { model_type: 'llava', vision_config: { model_type: 'clip_vision_model' } }).width, 768);
    assert.equal(resolved('siglip', { model_type: 'paligemma' }).mlp_size, 4096);
    assert.equal(resolved('siglip', { model_type: 'paligemma', vision_config: {} }).mlp_size, 3072);
  });
});
