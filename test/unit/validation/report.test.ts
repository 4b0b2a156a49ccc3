import assert from 'node:assert/strict';
import { qwenVl } from '../../../src/architecture/qwenVl';
import { applyMark } from '../../../src/recipe/edit';
import { makePlan } from '../../../src/recipe/plan';
import { formatValidation, validationToJson } from '../../../src/validation/report';
import { validate } from '../../../src/validation/validate';
import { configFixture, fakeCheckpoint, qwenVlChat } from '../support/checkpoints';

const PRESET = qwenVl.recipe('transformer.visual');
const BIG_G = configFixture('real/models/qwen-vl-deepspeed-visualchat/config.json');

describe('formatValidation', () => {
  it('says in one line that all is well', () => {
    const text = formatValidation(validate(makePlan(qwenVlChat(), PRESET), qwenVl, BIG_G));
    assert.match(text, /^Valid: all 593 tensors that qwen-vl with .*config\.json expects are there, with the right shapes\.$/);
  });

  it('tells the reason first, then PyTorch\'s lists with blocks in one line', () => {
    const text = formatValidation(validate(makePlan(qwenVlChat({ layers: 24 }), PRESET), qwenVl, BIG_G));
    const line = BIG_G.rangeOf(['vision_config', 'num_hidden_layers']).startLine + 1;
    const lines = text.split('\n');
    assert.match(lines[0] ?? '', /^Invalid for qwen-vl with .*: 288 missing; 305 of 593 tensors match\.$/);
    assert.ok(text.includes(`The checkpoint has 24 blocks; config.json says vision_config.num_hidden_layers 48. (${BIG_G.location}:${line}:5)`), text);
    assert.ok(text.includes('This explains 288 findings. To accept it, give layers=24.'));
    assert.ok(lines.includes('  transformer.resblocks.{24-47}.ln_1.weight'));
    assert.equal(lines.filter(one => one.startsWith('  transformer.')).length, 12);
  });

  it('says how to give a setting in the words of who prints it', () => {
    const text = formatValidation(validate(makePlan(qwenVlChat({ output_dim: 128 }), PRESET), qwenVl, BIG_G), (name, value) => `--set ${name}=${value}`);
    assert.ok(text.includes(' To accept it, give --set output_dim=128.'), text);
  });

  it('shows keys that would steer a terminal, or pretend to be a line of their own, as text', () => {
    const checkpoint = fakeCheckpoint([...qwenVlChat().tensors, { key: 'transformer.visual.\u001b[2Jx\nValid: all' }]);
    const text = formatValidation(validate(makePlan(checkpoint, PRESET), qwenVl, BIG_G));
    assert.ok(text.includes('\n  \\u001b[2Jx\\u000aValid: all'), text);
  });

  it('guesses for a whole stack in one line', () => {
    const { tensors } = qwenVlChat();
    const renamed = fakeCheckpoint(tensors.map(tensor => ({ ...tensor, key: tensor.key.replace('attn.in_proj.weight', 'attn.in_proj_weight') })));
    const text = formatValidation(validate(makePlan(renamed, PRESET), qwenVl, BIG_G));
    assert.ok(text.includes('  transformer.resblocks.{0-47}.attn.in_proj.weight (did you mean transformer.visual.transformer.resblocks.{0-47}.attn.in_proj_weight?)'), text);
  });

  it('shows both shapes of a mismatch, and cuts long lists', () => {
    const { tensors } = qwenVlChat();
    const odd = fakeCheckpoint([...tensors.map(tensor => (tensor.key.endsWith('ln_post.bias') ? { ...tensor, shape: [] } : tensor)), ...Array.from({ length: 40 }, (_, index) => ({ key: `transformer.visual.extra_${index}` }))]);
    const text = formatValidation(validate(makePlan(odd, PRESET), qwenVl, BIG_G));
    assert.match(text, /Size mismatch:\n {2}ln_post\.bias: the checkpoint has \[\] \(a scalar\), the encoder needs \[4096\]/);
    assert.match(text, /Unexpected key\(s\) in state_dict:\n(.*\n){12} *\.\.\. and 28 more lines like these/);
  });

  it('lists no misses when nothing is kept, but what the checkpoint holds', () => {
    const text = formatValidation(validate(makePlan(qwenVlChat(), qwenVl.recipe('visual')), qwenVl, BIG_G));
    assert.match(text, /^Invalid for .*: 593 missing; 0 of 593 tensors match\.\n\nWarnings:\n {2}Nothing would be kept: .*transformer\.visual \(594\)/);
  });

  it('names a problem instead of lists', () => {
    assert.match(formatValidation(validate(makePlan(qwenVlChat(), PRESET), qwenVl, undefined)), /^Not validated: There is no config\.json/);
  });
});

describe('validationToJson', () => {
  it('is plain JSON with each finding, its blame and its place counted from 1', () => {
    const recipe = applyMark(PRESET, [{ key: 'lm_head.weight' }], 'keep');
    const json = JSON.parse(JSON.stringify(validationToJson(validate(makePlan(qwenVlChat({ output_dim: 128, width: 1280 }), recipe), qwenVl, BIG_G)))) as {
      valid: boolean; missing: { key: string }[]; unexpected: { key: string; sourceKey: string }[]; hyperparameters: Record<string, unknown>;
      mismatched: { key: string; expected: number[]; found: number[]; blame: { hyperparameter: string; place: { file: string; line: number; column: number } } }[];
    };
    assert.equal(json.valid, false);
    assert.deepEqual(json.unexpected.map(({ key, sourceKey }) => [key, sourceKey]), [['lm_head.weight', 'lm_head.weight']]);
    const conv = json.mismatched.find(({ key }) => key === 'conv1.weight');
    assert.deepEqual([conv?.expected, conv?.found], [[1664, 3, 14, 14], [1280, 3, 14, 14]]);
    const line = BIG_G.rangeOf(['vision_config', 'hidden_size']).startLine + 1;
    assert.deepEqual(conv?.blame.place, { file: BIG_G.location, line, column: 5 });
    assert.deepEqual(json.hyperparameters.width, { value: 1664, origin: 'config', path: 'vision_config.hidden_size' });
    assert.deepEqual(json.hyperparameters.output_dim, { value: 4096, origin: 'default' });
  });
});
