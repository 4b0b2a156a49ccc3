import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withServer } from '../unit/remote/support';
import { BIN, fails, inFolder, names, run, runJson } from './support';

const CLIP = join(__dirname, '../fixtures/families/clip');

describe('vision-encoder handover', () => {
  it('lists who can load the encoder, and why others cannot', async () => {
    const { code, stdout } = await run(['handover', BIN]);
    assert.equal(code, 0);
    assert.match(stdout, /^✓ deepspeed-visualchat {2}a folder with .*\n- transformers {10}transformers has no class of its own for Qwen-VL encoders\.\n- open-clip .*\n✓ onnx .*\n$/);
    const { targets } = await runJson(['handover', CLIP]) as { targets: { target: string; whyNot: string | null }[] };
    assert.deepEqual(targets.filter(({ whyNot }) => whyNot === null).map(({ target }) => target), ['deepspeed-visualchat', 'transformers', 'onnx']);
  });

  it('writes the folder, prints its Python, and verify proves it', () => inFolder(async folder => {
    const out = join(folder, 'qwen-clip');
    const { code, stdout, stderr } = await run(['handover', BIN, '--for', 'deepspeed-visualchat', '--out', out, '--decoder', 'LLaMA-2-7B', '--seed', '42']);
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`^✓ For DeepSpeed-VisualChat: ${out}\n {2}pytorch_model\\.bin {2}\\d+ KB\n`));
    assert.match(stdout, /\n {2}projection to LLaMA-2-7B: nn\.Sequential\(nn\.Linear\(128, 4096\), nn\.LayerNorm\(4096, eps=1e-12\)\), seed 42\n/);
    assert.match(stdout, new RegExp(`\nfolder = Path\\('${out}'\\)\n`));
    assert.match(stderr, /warning: DeepSpeed-VisualChat builds Qwen-VL's encoder with image_size 448/);
    assert.deepEqual(await names(out), ['config.json', 'load.py', 'manifest.json', 'preprocessor_config.json', 'projection.bin', 'projection.json', 'pytorch_model.bin']);
    const verified = await run(['verify', out]);
    assert.equal(verified.code, 0, verified.stderr + verified.stdout);
    // What was handed over is a checkpoint of its own still: the projection beside it is not taken for one.
    assert.equal((await run(['validate', out])).code, 0);
    await fails(['handover', BIN, '--for', 'deepspeed-visualchat', '--out', out], ['already has', '--overwrite']);
  }));

  it('takes a decoder\'s config.json, and gives machines one document', () => inFolder(async folder => {
    const config = join(folder, 'decoder.json');
    await writeFile(config, JSON.stringify({ model_type: 'opt', hidden_size: 1024, word_embed_proj_dim: 512 }));
    const out = join(folder, 'clip');
    const json = await runJson(['handover', CLIP, '--for', 'transformers', '--out', out, '--decoder', config, '--projection', 'norm-first']);
    assert.deepEqual(json.projection, { form: 'norm-first', decoder: { title: 'opt', width: 512 }, seed: 0, features: 16, module: 'nn.Sequential(nn.LayerNorm(16, eps=1e-12), nn.Linear(16, 512))' });
    assert.deepEqual((json.files as { name: string }[]).map(({ name }) => name).sort(), await names(out));
    // The file names its folder by itself, the document by its path.
    const text = await readFile(join(out, 'load.py'), 'utf8');
    assert.equal(String(json.python).replace(`Path('${out}')`, 'Path(__file__).parent'), text);
  }));

  it('hands over from the Hub what it hands over from the disk', () => inFolder(folder => withServer({ folder: BIN }, async server => {
    const env = { HF_ENDPOINT: server.endpoint, HF_HOME: folder };
    for (const [target, weights] of [['deepspeed-visualchat', 'pytorch_model.bin'], ['onnx', 'encoder.onnx.data']] as const) {
      const written = [];
      for (const [name, checkpoint] of [['local', BIN], ['remote', 'hf://test/tiny']] as const) {
        const out = join(folder, `${target}-${name}-qwen`);
        const { code, stderr } = await run(['handover', checkpoint, '--for', target, '--out', out, '--decoder', 'opt-125m', '--cache', join(folder, 'cache')], { env });
        assert.equal(code, 0, stderr);
        assert.equal(/Downloading \d+ KB of /.test(stderr), name === 'remote', stderr);
        written.push(Buffer.concat(await Promise.all([weights, 'load.py', 'projection.json'].map(file => readFile(join(out, file))))));
      }
      assert.ok(written[0]?.equals(written[1]!), target);
    }
  })));

  it('refuses what cannot be handed over, in a sentence', () => inFolder(async folder => {
    const out = join(folder, 'out');
    await fails(['handover', BIN, '--for', 'transformers', '--out', out], [/no class of its own for Qwen-VL encoders\. Hand it over to DeepSpeed-VisualChat or ONNX instead\./]);
    await fails(['handover', BIN, '--for', 'deepspeed-visualchat', '--out', out], ['by “qwen” in its folder\'s name', 'out-qwen']);
    await fails(['handover', BIN, '--for', 'onnx'], ['--out']);
    await fails(['handover', CLIP, '--for', 'onnx', '--out', out, '--decoder', 'llama-9'], ['There is no decoder "llama-9"', 'llama-2-7b']);
    await fails(['handover', CLIP, '--for', 'onnx', '--out', out, '--decoder', join(folder, 'config.json')], ['does not exist']);
    assert.equal((await runJson(['handover', BIN, '--for', 'deepspeed-visualchat', '--out', `${out}-qwen`, '--set', 'layers=4'], 1)).handedOver, false);
    assert.deepEqual(await names(folder), []);
  }));
});
