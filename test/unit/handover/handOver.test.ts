import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseConfig } from '../../../src/architecture/config';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { encoderModel, type EncoderModel } from '../../../src/encoder/model';
import { isAbort, UserError } from '../../../src/errors';
import { OutputExists } from '../../../src/extraction/preconditions';
import { verify } from '../../../src/extraction/verify';
import { handOver, readyFor, whyNot, type HandOverOptions } from '../../../src/handOver';
import { DECODERS } from '../../../src/handover/decoders';
import { featureWidth } from '../../../src/handover/featureWidth';
import { targetById, TARGETS } from '../../../src/handover/targets';
import { openJob, validated, type Job } from '../../../src/job';
import { switchParts } from '../../../src/parts';
import { parsePreprocessorConfig } from '../../../src/image/preprocessorConfig';
import { FIXTURES, inFolder, needTorch, python } from '../extraction/support';
import { fakeCheckpoint, type FakeTensor } from '../support/checkpoints';
import { STATE_DICTS, tensorsOf } from '../support/families';

const REFERENCE = join(__dirname, '../../reference');

/** Runs a snippet; the modules that it imports are those of test/reference where the real ones are not installed. Prints what `then` does with its variables. */
function runSnippet(path: string, then: string): unknown {
  const program = `
import json, runpy, sys, torch
sys.path[:0] = [${JSON.stringify(join(REFERENCE, 'loaders'))}, ${JSON.stringify(REFERENCE)}]
made = runpy.run_path(${JSON.stringify(path)})
print(json.dumps((lambda encoder, projection, **_: ${then})(**{'projection': None, **made})))`;
  return JSON.parse(python(['-c', program]));
}

async function withJob<T>(fixture: string, use: (job: Job) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(resolve(FIXTURES, fixture));
  try {
    return await use(await openJob(checkpoint));
  } finally {
    await checkpoint.close();
  }
}

function model(job: Job): EncoderModel {
  const { family, validation } = validated(job);
  return encoderModel(job.plan, family, validation.hyperparameters, job.config);
}

/** Hands a fixture's encoder over into a folder of this name. */
function hand(fixture: string, id: string, out: string, options: Partial<HandOverOptions> = {}) {
  const target = targetById(id);
  return withJob(fixture, job => handOver(readyFor(job, target), target, { out, dtype: 'keep', model, ...options }));
}

const RUN_ONNX = `
const ort = require(process.argv[1]);
ort.InferenceSession.create(process.argv[2]).then(async session => {
  const { features } = await session.run({ pixel_values: new ort.Tensor('float32', new Float32Array(3 * 16 * 16), [1, 3, 16, 16]) });
  process.stdout.write(features.dims.join());
});
`;

/** The reference of CLIP's class, with the projection that its subclass has. */
const OPEN_CLIP_RUN = `(lambda states: {**states, 'projected': w.linear(states['pooled'], 'visual_projection', config['projection_dim'], bias=False)})(clip.vision_model(
    w, pixels, 'vision_model.', config['hidden_size'], config['num_hidden_layers'], config['num_attention_heads'], config['intermediate_size'], config['patch_size'], config['hidden_act'], config['layer_norm_eps']))`;

const LLAMA = { form: 'baseline', decoder: DECODERS['llama-2-7b'], seed: 3 } as const;

describe('handing over', function () {
  this.timeout(120_000);

  it('knows who can load which encoder, and says why not otherwise', async () => {
    const loaders = (fixture: string) => withJob(fixture, job => Promise.resolve(TARGETS.filter(target => whyNot(job, target) === undefined).map(target => target.id)));
    assert.deepEqual(await loaders('qwen-vl-tiny-bin'), ['deepspeed-visualchat', 'onnx']);
    assert.deepEqual(await loaders('families/clip-llava'), ['deepspeed-visualchat', 'transformers', 'onnx']);
    assert.deepEqual(await loaders('families/open-clip'), ['transformers', 'open-clip', 'onnx']);
    assert.deepEqual(await loaders('families/open-clip-coca'), ['open-clip', 'onnx']);
    assert.deepEqual(await loaders('families/pixtral-mistral'), ['onnx']);
    assert.deepEqual(await loaders('families/internvit-300m'), ['onnx']);
    await assert.rejects(hand('qwen-vl-tiny-bin', 'transformers', '/nowhere'), new UserError('transformers has no class of its own for Qwen-VL encoders. Hand it over to DeepSpeed-VisualChat or ONNX instead.'));
    await assert.rejects(hand('families/moonvit', 'transformers', '/nowhere'), /MoonViT is not in transformers: it is a Python file in the model's own repository/);
  });

  describe('to DeepSpeed-VisualChat', () => {
    it('writes a folder that its own class loads strictly, with a projection, all of it proven by verify', async function () {
      needTorch(this);
      await inFolder(async folder => {
        const out = join(folder, 'my-Qwen-encoder');
        const { files, notes, snippet } = await hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', out, { projection: LLAMA });
        assert.deepEqual([...files].sort(), ['config.json', 'load.py', 'manifest.json', 'preprocessor_config.json', 'projection.bin', 'projection.json', 'pytorch_model.bin']);
        assert.deepEqual((await readdir(out)).sort(), [...files].sort());
        const report = await verify(out);
        assert.deepEqual(report.differences, []);
        assert.equal(report.checkedTensors, 53);
        const found = runSnippet(join(out, 'load.py'), '[len(encoder.state_dict()), list(projection(torch.zeros(1, 256, 128)).shape)]');
        assert.deepEqual(found, [53, [1, 256, 4096]]);
        // The same program stands anywhere when it names the folder.
        const elsewhere = join(folder, 'anywhere.py');
        await writeFile(elsewhere, snippet);
        assert.deepEqual(runSnippet(elsewhere, '[len(encoder.state_dict()), list(projection(torch.zeros(1, 256, 128)).shape)]'), found);
        // The fixture is no full-size Qwen-VL, which is all that modeling_dsvl.py builds.
        assert.equal(notes.length, 1);
        assert.match(notes[0] ?? '', /builds Qwen-VL's encoder with image_size 448, .*, and this one has 112, /);
      });
    });

    it('wants “qwen” in the folder\'s name for Qwen-VL, and “clip” without “qwen” for CLIP', () => inFolder(async folder => {
      await assert.rejects(hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', join(folder, 'encoder')), /by “qwen” in its folder's name, which encoder does not have\. Call it for example encoder-qwen\./);
      await assert.rejects(hand('families/clip', 'deepspeed-visualchat', join(folder, 'encoder')), /by “clip” in its folder's name/);
      await assert.rejects(hand('families/clip', 'deepspeed-visualchat', join(folder, 'qwen/clip')), /takes every path with “qwen” in it for Qwen-VL's encoder/);
      assert.deepEqual(await readdir(folder), []);
      const { notes } = await hand('families/clip', 'deepspeed-visualchat', join(folder, 'clip-vit'));
      assert.deepEqual(notes, []);
      const names = targetById('deepspeed-visualchat');
      await withJob('families/clip', job => { assert.equal(names.folderName('llava', validated(job).family), 'llava-clip'); return Promise.resolve(); });
    }));
  });

  describe('to transformers', () => {
    // Both sides have two blocks; the sizes of the lists are other ones.
    for (const [fixture, list] of [
      ['clip', 'clip_vision'], ['clip-llava', 'clip_vision'], ['siglip', 'siglip_vision'], ['siglip2', 'siglip2_vision'], ['dinov2', 'dinov2'],
      ['dinov3', 'dinov3_vit'], ['pixtral', 'pixtral_vision'], ['aimv2', 'aimv2_vision'], ['eva-blip2', 'blip2_vision'],
    ] as const) {
      it(`writes ${fixture} under the keys that transformers' class has, and imports that class`, () => inFolder(async folder => {
        const out = join(folder, 'encoder');
        await hand(`families/${fixture}`, 'transformers', out);
        const written = await openCheckpoint(join(out, 'model.safetensors'));
        const known = STATE_DICTS[list];
        assert.ok(known);
        try {
          assert.deepEqual(written.tensors.map(({ key }) => key).sort(), Object.keys(known['4']).sort());
        } finally {
          await written.close();
        }
        const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as { architectures: string[] };
        assert.deepEqual(config.architectures, [known.class]);
        assert.match(await readFile(join(out, 'load.py'), 'utf8'), new RegExp(`from transformers\\.models\\.(\\w+)\\.modeling_\\1 import ${known.class}\n`));
      }));
    }

    for (const [fixture, list, run] of [
      ['dinov2-meta', 'dinov2', 'dinov2.vision_model(w, pixels, dinov2.HF, width=16, layers=2, heads=4, patch=4, registers=2, swiglu=24)'],
      ['open-clip', 'clip_vision', OPEN_CLIP_RUN],
    ] as const) {
      it(`lays ${fixture} out anew for transformers' class, which then computes the same, and verify proves it`, async function () {
        needTorch(this);
        await inFolder(async folder => {
          const out = join(folder, 'encoder');
          await hand(`families/${fixture}`, 'transformers', out);
          const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as { architectures: string[] };
          assert.match(config.architectures[0] ?? '', /^(Dinov2WithRegistersModel|CLIPVisionModelWithProjection)$/);
          const keys = Object.keys(STATE_DICTS[list]?.['4'] ?? {});
          const written = await openCheckpoint(join(out, 'model.safetensors'));
          await written.close();
          const absent = keys.filter(key => !written.tensors.some(tensor => tensor.key === key) && !key.includes('.mlp.fc'));
          assert.deepEqual(absent, []);

          // The reference in float64 on what was written, with every tensor asked for and none left, against that of the source's own class.
          const errors = JSON.parse(python(['-c', `
import json, sys
sys.path[:0] = [${JSON.stringify(join(REFERENCE, 'loaders'))}, ${JSON.stringify(REFERENCE)}]
import clip, dinov2, tiny
from safetensors.torch import load_file

class Strict(tiny.Weights):
    asked = set()
    def __call__(self, key, *shape, **_):
        self.asked.add(key)
        assert tuple(self[key].shape) == shape, (key, tuple(self[key].shape), shape)
        return self[key].double()

w = Strict(0)
w.update(load_file(${JSON.stringify(join(out, 'model.safetensors'))}))
config = json.load(open(${JSON.stringify(join(out, 'config.json'))}))
expected = load_file(${JSON.stringify(resolve(FIXTURES, 'families', fixture, 'expected/outputs.safetensors'))})
pixels = expected['pixel_values'].double()
found = ${run}
assert set(w) == w.asked, set(w) ^ w.asked
print(json.dumps({key: float((found[key] - expected[key].double()).norm() / expected[key].double().norm()) for key in found if key in expected and not key.startswith('attentions')}))`])) as Record<string, number>;
          assert.ok(['hidden_states.1', 'features', 'pooled'].every(key => Object.hasOwn(errors, key)), Object.keys(errors).join());
          // The expected values are stored in float32.
          assert.deepEqual(Object.entries(errors).filter(([, error]) => error > 1e-7), []);

          const source = await openCheckpoint(resolve(FIXTURES, 'families', fixture));
          try {
            const report = await verify(out, { source });
            assert.deepEqual([report.differences, report.comparedWithSource, report.checkedTensors], [[], true, written.tensors.length]);
          } finally {
            await source.close();
          }
        });
      });
    }

    for (const [list, type, part, last] of [
      ['qwen2_vl_vision', 'qwen2_vl', 'merger', 'merger.mlp.2.weight'], ['qwen2_5_vl_vision', 'qwen2_5_vl', 'merger', 'merger.mlp.2.weight'],
      ['qwen3_vl_vision', 'qwen3_vl', 'merger', 'merger.linear_fc2.weight'], ['glm4v_vision', 'glm4v', 'merger', 'merger.down_proj.weight'],
      ['llama4_vision', 'llama4_vision_model', 'adapter', 'vision_adapter.mlp.fc2.weight'],
    ] as const) {
      it(`takes the ${part} of ${type} in, which the class has and the preset leaves behind, with its width for a projection, or says that there is none`, async () => {
        const known = STATE_DICTS[list];
        assert.ok(known);
        const config = parseConfig(JSON.stringify({ model_type: type, ...known.config }), '/models/fake/config.json');
        const target = targetById('transformers');
        const open = (tensors: FakeTensor[]) => openJob(fakeCheckpoint(tensors), { config });
        const job = await open(tensorsOf(known['4'], 'model.visual.'));
        assert.ok(job.plan.kept.length < Object.keys(known['4']).length);
        const ready = readyFor(job, target);
        assert.equal(validated(ready).validation.valid, true);
        assert.deepEqual(new Map(ready.plan.kept.map(({ outputKey, tensor }) => [outputKey, tensor.shape])), new Map(Object.entries(known['4'])));
        const without = await open(job.plan.kept.map(({ tensor }) => tensor));
        const { family, validation: { hyperparameters } } = validated(ready);
        assert.equal(featureWidth({ family, hyperparameters, source: ready.config, config: {}, preprocessor: {} }, true), known['4'][last]?.[0]);
        assert.equal(whyNot(without, target), `Hugging Face transformers wants the ${validated(job).family.title} encoder with its ${part}, and this checkpoint has none.`);
      });
    }

    it('hands Florence-2\'s to the class within the whole model, and the original\'s to none', () => inFolder(async folder => {
      const out = join(folder, 'encoder');
      await hand('families/florence2-hf', 'transformers', out);
      assert.ok((await readFile(join(out, 'load.py'), 'utf8')).includes('from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone\n'));
      const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as Record<string, unknown>;
      assert.deepEqual([config.model_type, config.embed_dim, config.num_heads, config.window_size], ['florence_vision', [8, 12, 16, 24], [2, 3, 4, 6], 4]);
      await withJob('families/florence2', job => { assert.match(whyNot(job, targetById('transformers')) ?? '', /trust_remote_code/); return Promise.resolve(); });
    }));

    for (const [fixture, module, name] of [['qwen2.5-omni', 'qwen2_5_omni', 'Qwen2_5OmniVisionEncoder'], ['qwen3-omni', 'qwen3_omni_moe', 'Qwen3OmniMoeVisionEncoder']] as const) {
      it(`hands ${fixture} to the class within the whole model, merger and all`, () => inFolder(async folder => {
        const out = join(folder, 'encoder');
        const { projection } = await hand(`families/${fixture}`, 'transformers', out, { projection: LLAMA });
        assert.ok((await readFile(join(out, 'load.py'), 'utf8')).includes(`from transformers.models.${module}.modeling_${module} import ${name}\n`));
        const written = await openCheckpoint(join(out, 'model.safetensors'));
        const last = written.tensors.find(({ key }) => key === 'merger.mlp.2.weight');
        await written.close();
        assert.deepEqual(last?.shape[0], projection?.features);
      }));
    }
  });

  describe('to OpenCLIP', () => {
    for (const fixture of ['open-clip', 'open-clip-coca-wide']) {
      it(`writes ${fixture} so that the vision tower of its config loads it strictly`, async function () {
        needTorch(this);
        await inFolder(async folder => {
          const out = join(folder, 'tower');
          await hand(`families/${fixture}`, 'open-clip', out, { projection: { ...LLAMA, decoder: DECODERS['opt-125m'] } });
          const [tensors, bias] = runSnippet(join(out, 'load.py'), '[len(encoder.state_dict()), list(projection[0].bias.shape)]') as [number, number[]];
          const written = await openCheckpoint(join(out, 'model.safetensors'));
          assert.equal(tensors, written.tensors.length);
          await written.close();
          assert.deepEqual(bias, [768]);
          const { preprocess_cfg } = JSON.parse(await readFile(join(out, 'open_clip_config.json'), 'utf8')) as { preprocess_cfg: { mean: number[] } };
          assert.equal(preprocess_cfg.mean.length, 3);
        });
      });
    }
  });

  describe('to ONNX', () => {
    it('writes the rule for pictures in full: Qwen-VL\'s own code resizes to the square, which its file does not say', () => inFolder(async folder => {
      await hand('qwen-vl-tiny-bin', 'onnx', join(folder, 'out'));
      const rule = parsePreprocessorConfig(JSON.parse(await readFile(join(folder, 'out/preprocessor_config.json'), 'utf8')));
      assert.equal(rule.resize?.kind, 'exact');
      assert.equal(rule.crop, undefined);
    }));

    it('writes a model of its own with what belongs to it, and leaves nothing when cancelled', () => inFolder(async folder => {
      await assert.rejects(hand('families/clip', 'onnx', join(folder, 'out'), { signal: AbortSignal.abort() }), isAbort);
      assert.deepEqual(await readdir(folder), []);
      const { files } = await hand('families/clip', 'onnx', join(folder, 'out'), { projection: LLAMA });
      assert.deepEqual([...files].sort(), ['encoder.onnx', 'encoder.onnx.data', 'load.py', 'preprocessor_config.json', 'projection.json', 'projection.safetensors']);
      assert.deepEqual((await readdir(join(folder, 'out'))).sort(), [...files].sort());
      assert.match(await readFile(join(folder, 'out/load.py'), 'utf8'), /numpy\.zeros\(\(1, 3, 16, 16\), numpy\.float32\)/);
      // What load.py does, in ONNX Runtime for Node: 16 patches and the class token, as wide as the projection takes them.
      const { stdout } = await promisify(execFile)(process.execPath, ['-e', RUN_ONNX, createRequire(__filename).resolve('onnxruntime-node'), join(folder, 'out/encoder.onnx')], { cwd: folder });
      assert.equal(stdout, '1,17,16');
      assert.match(await readFile(join(folder, 'out/projection.json'), 'utf8'), /"features": 16,/);
    }));

    it('replaces an encoder with all its files when told to, and never the checkpoint', () => inFolder(async folder => {
      const out = join(folder, 'out');
      await hand('families/clip', 'transformers', out);
      await assert.rejects(hand('families/clip', 'onnx', out), OutputExists);
      await writeFile(join(out, 'mine.txt'), '');
      const { files } = await hand('families/clip', 'onnx', out, { overwrite: true });
      assert.deepEqual((await readdir(out)).sort(), [...files, 'mine.txt'].sort());
      const checkpoint = join(folder, 'checkpoint');
      await cp(join(FIXTURES, 'families/clip'), checkpoint, { recursive: true });
      const before = await readdir(checkpoint);
      await assert.rejects(hand(checkpoint, 'onnx', checkpoint, { overwrite: true }), /holds the checkpoint itself/);
      assert.deepEqual(await readdir(checkpoint), before);
    }));

    it('takes the projection of an earlier model away with it, and nothing that another program calls so', () => inFolder(async folder => {
      const out = join(folder, 'out');
      await hand('families/clip', 'onnx', out, { projection: LLAMA });
      const { files } = await hand('families/clip', 'onnx', out, { overwrite: true });
      assert.deepEqual((await readdir(out)).sort(), [...files].sort());
      for (const [name, text] of [['projection.json', '{"weights": "projection.bin", "by": "hand"}'], ['projection.bin', 'mine']] as const) await writeFile(join(out, name), text);
      await hand('families/clip', 'onnx', out, { overwrite: true });
      assert.deepEqual((await readdir(out)).sort(), [...files, 'projection.bin', 'projection.json'].sort());
      await hand('families/clip', 'onnx', out, { overwrite: true, projection: LLAMA });
      assert.match(await readFile(join(out, 'projection.json'), 'utf8'), /"seed": 3/);
    }));

    it('has what a projector gives as an output, whose width a projection takes; transformers\' class has none, and that is said', () => inFolder(async folder => {
      const give = (id: string, out: string) => withJob('families/clip-llava', preset => {
        const [job, target] = [switchParts(preset, { projector: true }), targetById(id)];
        return handOver(readyFor(job, target), target, { out: join(folder, out), asked: job, dtype: 'keep', model, projection: LLAMA });
      });
      const onnx = await give('onnx', 'onnx');
      assert.deepEqual([onnx.projection?.features, onnx.notes], [24, []]);
      const program = await readFile(join(folder, 'onnx/load.py'), 'utf8');
      assert.ok(program.includes('[features, merged] = session.run([\'features\', \'merged\'],'));
      assert.match(program, /: merged of 24 become 4096 wide/);
      for (const [id, name] of [['transformers', 'Hugging Face transformers'], ['deepspeed-visualchat', 'DeepSpeed-VisualChat']] as const) {
        const plain = await give(id, `${id}-clip`);
        assert.deepEqual([plain.projection?.features, plain.notes], [16, [`What ${name} loads has no projector, so that is left out.`]]);
      }
    }));

    it('says of encoders of pictures of any size what the model takes', () => inFolder(async folder => {
      await hand('families/qwen2-vl', 'onnx', join(folder, 'out'));
      assert.match(await readFile(join(folder, 'out/load.py'), 'utf8'), /# pixel_values are whole pictures of 448 x 448 pixels.*\n# but not cut into patches/);
    }));
  });

  it('never overwrites without leave, removes what it replaces, and leaves nothing when cancelled', () => inFolder(async folder => {
    const out = join(folder, 'qwen');
    await assert.rejects(hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', out, { projection: LLAMA, signal: AbortSignal.abort() }), isAbort);
    assert.deepEqual(await readdir(folder), []);
    await hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', out, { projection: LLAMA });
    await assert.rejects(hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', out), OutputExists);
    await hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', out, { overwrite: true });
    assert.deepEqual((await readdir(out)).sort(), ['config.json', 'load.py', 'manifest.json', 'preprocessor_config.json', 'pytorch_model.bin']);
  }));

  it('writes Python that parses, whatever the folder and the decoder are called', async function () {
    needTorch(this);
    await inFolder(async folder => {
      const out = join(folder, 'it\'s "qwen" \\ \u2028 \u{1F600}');
      const { snippet } = await hand('qwen-vl-tiny-bin', 'deepspeed-visualchat', out, { projection: { ...LLAMA, decoder: { title: 'x\nimport os', width: 8 } } });
      const path = join(folder, 'snippet.py');
      await writeFile(path, snippet);
      assert.deepEqual(runSnippet(path, '[list(projection[1].weight.shape)]'), [[8]]);
      assert.ok(!snippet.includes('\nimport os'));
      // These cannot be run without transformers and onnxruntime.
      for (const id of ['transformers', 'onnx']) {
        await hand('families/clip', id, join(folder, id), { projection: LLAMA });
        python(['-c', 'import ast, sys; ast.parse(open(sys.argv[1]).read())', join(folder, id, 'load.py')]);
      }
    });
  });
});
