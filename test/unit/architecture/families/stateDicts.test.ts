import assert from 'node:assert/strict';
import { familyById } from '../../../../src/architecture/registry';
import { configOf, fakeCheckpoint } from '../../support/checkpoints';
import { LANGUAGE_MODEL, open, STATE_DICTS, tensorsOf } from '../../support/families';

interface Case {
  readonly family: string;
  /** By version where the file's names differ so much that each is a family of its own. */
  readonly family5?: string;
  readonly type: string;
  readonly switched?: Readonly<Record<string, boolean>>;
}

const CASES: Readonly<Record<string, Case>> = {
  clip_vision: { family: 'clip', type: 'clip_vision_model' },
  clip_vision_proj: { family: 'clip', type: 'clip_vision_model', switched: { projection: true } },
  siglip_vision: { family: 'siglip', type: 'siglip_vision_model' },
  siglip_vision_nohead: { family: 'siglip', type: 'siglip_vision_model' },
  siglip2_vision: { family: 'siglip2', type: 'siglip2_vision_model' },
  smolvlm_vision: { family: 'siglip', type: 'smolvlm_vision' },
  qwen2_vl_vision: { family: 'qwen2-vl', type: 'qwen2_vl', switched: { merger: true } },
  qwen2_5_vl_vision: { family: 'qwen2.5-vl', type: 'qwen2_5_vl', switched: { merger: true } },
  qwen3_vl_vision: { family: 'qwen3-vl', type: 'qwen3_vl', switched: { merger: true } },
  internvl_hf_vision: { family: 'internvl-hf', type: 'internvl_vision' },
  dinov2: { family: 'dinov2', family5: 'dinov2-v5', type: 'dinov2' },
  dinov2_reg: { family: 'dinov2', family5: 'dinov2-v5', type: 'dinov2_with_registers' },
  dinov2_swiglu: { family: 'dinov2', family5: 'dinov2-v5', type: 'dinov2' },
  dinov3_vit: { family: 'dinov3', type: 'dinov3_vit' },
  blip2_vision: { family: 'eva-vit-g', type: 'blip_2_vision_model' },
  instructblip_vision: { family: 'eva-vit-g', type: 'instructblip_vision_model' },
  mllama_vision: { family: 'mllama', type: 'mllama_vision_model' },
  pixtral_vision: { family: 'pixtral', type: 'pixtral' },
  glm4v_vision: { family: 'glm4v', type: 'glm4v', switched: { merger: true } },
  llama4_vision: { family: 'llama4', type: 'llama4_vision_model', switched: { adapter: true } },
  aimv2_vision: { family: 'aimv2', type: 'aimv2_vision_model' },
};

/** In front of an encoder in whole models, wrappers and dumps; with what is beside it there. */
const PREFIXES = ['', 'module.', 'vision_tower.', 'model.vision_tower.', '_orig_mod.model.vision_tower.', 'model.vision_tower.vision_tower.', 'base_model.model.visual.', 'state_dict.visual.', 'paligemma_with_expert.paligemma.model.vision_tower.'];

describe('The state dicts of transformers', () => {
  it('are all tried', () => {
    assert.deepEqual(Object.keys(CASES).sort(), Object.keys(STATE_DICTS).sort());
  });

  for (const [name, { family: family4, family5 = family4, type, switched = {} }] of Object.entries(CASES)) {
    const dicts = STATE_DICTS[name];
    assert.ok(dicts);
    for (const version of ['4', '5'] as const) {
      const shapes = dicts[version] ?? dicts['4'];
      const id = version === '4' ? family4 : family5;
      it(`are all that ${id} expects of ${dicts.class} in version ${version}`, () => {
        const family = familyById(id);
        const config = configOf({ model_type: type, ...dicts.config });
        const hyperparameters = family.resolve(config, {}, family.observe?.(new Map(Object.entries(shapes))));
        const expected = family.expectedTensors(hyperparameters);
        assert.equal(new Set(expected.map(({ key }) => key)).size, expected.length);
        assert.deepEqual(Object.fromEntries(expected.map(({ key, shape }) => [key, shape])), shapes);
        for (const { shape, dimensions } of expected) assert.equal(shape.length, dimensions.length);
      });

      it(`make a valid ${id} encoder under every prefix, with the config and without (version ${version})`, () => {
        for (const prefix of PREFIXES) {
          const checkpoint = fakeCheckpoint([...(prefix === '' ? [] : LANGUAGE_MODEL), ...tensorsOf(shapes, prefix)]);
          // Nothing but a config or a setting can say the heads of a width that no published model has.
          for (const [config, settings] of [[configOf({ model_type: type, ...dicts.config }), {}], [undefined, { heads: 4 }], [configOf({ model_type: 'some_model' }), { heads: 4 }]] as const) {
            const { family, plan, validation } = open(checkpoint, config, { switched, settings });
            assert.equal(family.id, id, prefix);
            assert.deepEqual([validation.problem, validation.missing, validation.unexpected, validation.mismatched], [undefined, [], [], []], `${prefix} ${config === undefined ? 'without' : 'with'} config`);
            assert.ok(validation.valid);
            assert.equal(plan.kept.length, Object.keys(shapes).length);
          }
        }
      });
    }
  }
});
