import assert from 'node:assert/strict';
import { absentEncoder, detectFamily, familyById } from '../../../../src/architecture/registry';
import { encoderModel } from '../../../../src/encoder/model';
import { UserError } from '../../../../src/errors';
import { configOf, fakeCheckpoint, type FakeTensor } from '../../support/checkpoints';
import { LANGUAGE_MODEL, open, STATE_DICTS, tensorsOf } from '../../support/families';

const TOWER = tensorsOf(STATE_DICTS.clip_vision!['4'], 'vision_tower.');
const CONFIG = configOf({ model_type: 'llava', vision_config: { model_type: 'clip_vision_model', ...STATE_DICTS.clip_vision!.config } });

/** Every linear layer of the tensors with what a quantiser puts beside or in place of its weight. */
function quantised(tensors: readonly FakeTensor[], leaves: readonly string[], weight: boolean): FakeTensor[] {
  return tensors.flatMap(tensor => {
    if (!/(_proj|fc1|fc2)\.weight$/.test(tensor.key)) return [tensor];
    return [...(weight ? [{ ...tensor, dtype: 'U8' as const, shape: [1152, 1] }] : []), ...leaves.map(leaf => ({ key: tensor.key.replace(/weight$/, leaf) }))];
  });
}

const SCHEMES: readonly [name: RegExp, leaves: readonly string[], weight: boolean][] = [
  [/bitsandbytes, 4 bits/, ['weight.absmax', 'weight.quant_map', 'weight.quant_state.bitsandbytes__nf4'], true],
  [/bitsandbytes, 8 bits/, ['SCB'], true],
  [/GPTQ/, ['qweight', 'qzeros', 'scales', 'g_idx'], false],
  [/GPTQ or AWQ/, ['qweight', 'qzeros', 'scales'], false],
  [/FP8/, ['weight_scale_inv'], true],
  [/compressed-tensors/, ['weight_packed', 'weight_scale', 'weight_shape'], false],
];

describe('Quantised and adapter checkpoints', () => {
  for (const [name, leaves, weight] of SCHEMES) {
    it(`${name.source}: a plain tower in a quantised model is valid, and the person is told`, () => {
      const { validation } = open(fakeCheckpoint([...quantised(LANGUAGE_MODEL, leaves, weight), ...TOWER]), CONFIG);
      assert.ok(validation.valid);
      assert.match(validation.warnings.map(({ message }) => message).join(' '), /but not in its vision encoder, whose weights are plain/);
      assert.match(validation.warnings.map(({ message }) => message).join(' '), name);
    });

    it(`${name.source}: a quantised tower gives one reason, not hundreds of mismatches`, () => {
      const { family, validation } = open(fakeCheckpoint([...LANGUAGE_MODEL, ...quantised(TOWER, leaves, weight)]), CONFIG);
      assert.equal(family.id, 'clip');
      assert.equal(validation.valid, false);
      assert.match(validation.problem?.message ?? '', /The vision encoder's weights are quantised/);
      assert.match(validation.problem?.message ?? '', name);
      assert.deepEqual([validation.missing, validation.unexpected, validation.mismatched], [[], [], []]);
    });
  }

  it('LoRA beside the language model is told, beside the tower is a reason to stop', () => {
    const lora = (tensors: readonly FakeTensor[]): FakeTensor[] => tensors.flatMap(tensor => (tensor.key.endsWith('q_proj.weight') ? [tensor, ...['lora_A', 'lora_B'].map(leaf => ({ key: tensor.key.replace(/weight$/, `${leaf}.default.weight`) }))] : [tensor]));
    const beside = open(fakeCheckpoint([...lora(LANGUAGE_MODEL), ...TOWER]), CONFIG);
    assert.ok(beside.validation.valid);
    assert.match(beside.validation.warnings.map(({ message }) => message).join(' '), /LoRA adapters, but not in its vision encoder/);
    const inside = open(fakeCheckpoint([...LANGUAGE_MODEL, ...lora(TOWER)]), CONFIG);
    assert.match(inside.validation.problem?.message ?? '', /LoRA adapters beside its weights\. Merge them first/);
  });

  it('an adapter alone is explained', () => {
    const { tensors } = fakeCheckpoint(['A', 'B'].map(side => ({ key: `base_model.model.model.layers.0.self_attn.q_proj.lora_${side}.weight` })));
    assert.equal(detectFamily(tensors), undefined);
    assert.match(absentEncoder(tensors) ?? '', /This is a LoRA adapter.*Open the base model/);
  });
});

describe('An encoder that no family knows', () => {
  const block = (n: number): FakeTensor[] => [['norm_a.scale', [48]], ['mixer.in.weight', [144, 48]], ['mixer.out.weight', [48, 48]], ['mlp.up.weight', [100, 48]], ['mlp.0.weight', [48, 48]]].map(([leaf, shape]) => ({ key: `model.eye.stack.${n}.${leaf as string}`, shape: shape as number[] }));
  const strange: FakeTensor[] = [...LANGUAGE_MODEL, ...Array.from({ length: 40 }, (_, layer) => ({ key: `language_model.model.layers.${layer}.mlp.weight`, shape: [64, 64] })), { key: 'model.eye.stem.weight', shape: [48, 3, 14, 14] }, { key: 'model.eye.final.scale', shape: [48] }, ...Array.from({ length: 12 }, (_, n) => block(n)).flat()];

  it('is guessed at by its patch embedding and numbered blocks, and said to be a guess', () => {
    const { family, detection, plan, validation } = open(fakeCheckpoint(strange));
    assert.equal(family.id, 'generic');
    assert.equal(detection.prefix, 'model.eye');
    assert.match(detection.reason, /^A guess: .*model\.eye has a patch embedding and 12 numbered blocks.*Check the marks/);
    assert.equal(plan.kept.length, 62);
    assert.ok(validation.valid);
    assert.deepEqual(Object.fromEntries([...validation.hyperparameters].map(([name, { value }]) => [name, value])), { width: 48, layers: 12, patch_size: 14, mlp_size: 100 });
    assert.deepEqual(family.encoderConfig(validation.hyperparameters, undefined), { hidden_size: 48, num_hidden_layers: 12, intermediate_size: 100, patch_size: 14 });
  });

  it('is not run, which is said before anybody asks and when somebody does', () => {
    const { family, detection, plan, validation } = open(fakeCheckpoint(strange));
    const why = 'It can be extracted, but not run: no tensor shows its heads, its activation, and in what order its parts work.';
    assert.ok(detection.reason.endsWith(why), detection.reason);
    assert.throws(() => encoderModel(plan, family, validation.hyperparameters), new UserError(`unknown vision encoder: ${why}`));
  });

  it('is checked for blocks that disagree with the others', () => {
    const odd = strange.filter(({ key }) => key !== 'model.eye.stack.5.mixer.in.weight').map(tensor => (tensor.key === 'model.eye.stack.7.mlp.up.weight' ? { ...tensor, shape: [96, 48] } : tensor));
    const { validation } = open(fakeCheckpoint(odd));
    assert.deepEqual(validation.missing.map(({ key }) => key), ['stack.5.mixer.in.weight']);
    assert.deepEqual(validation.mismatched.map(({ key, expected }) => [key, expected]), [['stack.7.mlp.up.weight', [100, 48]]]);
  });

  it('is not guessed where there is nothing like one', () => {
    assert.equal(detectFamily(fakeCheckpoint([...LANGUAGE_MODEL, { key: 'conv.weight', shape: [64, 64, 3, 3] }]).tensors), undefined);
    assert.throws(() => familyById('generic').resolve(undefined, { width: 3 }), /"width" is not known/);
  });
});
