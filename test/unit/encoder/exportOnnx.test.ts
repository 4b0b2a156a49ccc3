import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { isAbort, UserError } from '../../../src/errors';
import { exportOnnx } from '../../../src/encoder/exportOnnx';
import { expected, fixturePath, relativeError, tinyModel, tinyModelAt } from './fixture';

/** Runs a model in a clean process, from another folder, as a stranger would: prints its inputs and, per output, its numbers. */
const STRANGER = `
const ort = require(process.argv[1]);
const fs = require('node:fs');
(async () => {
  const session = await ort.InferenceSession.create(process.argv[2], { executionProviders: ['cpu'], graphOptimizationLevel: process.argv[5], extra: { session: { strict_shape_type_inference: '1' } } });
  const bytes = fs.readFileSync(process.argv[3]);
  const batch = Number(process.argv[4]);
  const one = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const data = new Float32Array(one.length * batch);
  for (let i = 0; i < batch; i++) data.set(one, i * one.length);
  const side = Math.sqrt(one.length / 3);
  const results = await session.run({ pixel_values: new ort.Tensor('float32', data, [batch, 3, side, side]) });
  const outputs = Object.fromEntries(Object.entries(results).map(([name, { dims, data }]) => [name, { dims, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64') }]));
  process.stdout.write(JSON.stringify({ inputs: session.inputMetadata, outputs }));
})().catch(error => { console.error(error); process.exit(1); });
`;

/** The reference implementation's own checks: the format, external data, and every shape and type inferred strictly. */
const CHECKER = `
import sys, onnx
onnx.checker.check_model(sys.argv[1], full_check=True)
model = onnx.shape_inference.infer_shapes(onnx.load(sys.argv[1]), check_type=True, strict_mode=True, data_prop=True)
for value in model.graph.output: print(value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim])
`;

interface Seen {
  readonly inputs: readonly { readonly name: string; readonly shape: readonly (number | string)[] }[];
  readonly outputs: Readonly<Record<string, { readonly dims: readonly number[]; readonly data: string }>>;
}

describe('exportOnnx', function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'export-onnx-')); });
  afterEach(async () => { await rm(folder, { recursive: true, force: true }); });

  async function runAsStranger(path: string, pixels: Float32Array, batch: number, level = 'all'): Promise<Seen> {
    const pixelFile = join(folder, 'pixels.raw');
    await writeFile(pixelFile, pixels);
    const runtime = createRequire(import.meta.url).resolve('onnxruntime-node');
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', STRANGER, runtime, path, pixelFile, `${batch}`, level], { cwd: tmpdir(), maxBuffer: 1 << 28, env: {} });
    return JSON.parse(stdout) as Seen;
  }

  function floats(base64: string): Float32Array {
    const bytes = Buffer.from(base64, 'base64');
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  }

  for (const name of ['qwen-vl-tiny-safetensors', 'qwen-vl-tiny-bin'] as const) {
    it(`writes ${name} as a model of its own, with a dynamic batch and the outputs asked for`, async () => {
      const known = await expected(name);
      const outputs = [...known.keys()].filter(key => key !== 'pixel_values');
      const path = join(folder, 'encoder.onnx');
      const files = await exportOnnx(await tinyModel(name), { path, outputs: [...outputs, 'attentions.1.2'], weights: 'one-file' });
      assert.deepEqual(files, [`${path}.data`, path]);
      assert.deepEqual((await readdir(folder)).sort(), ['encoder.onnx', 'encoder.onnx.data']);
      const pixels = known.get('pixel_values')!;
      for (const level of ['all', 'disabled']) {
        const seen = await runAsStranger(path, pixels.data, 2, level);
        assert.deepEqual(seen.inputs.map(({ name: input, shape }) => ({ input, shape })), [{ input: 'pixel_values', shape: ['batch', 3, 112, 112] }]);
        for (const key of outputs) {
          const reference = known.get(key)!;
          const output = seen.outputs[key];
          assert.deepEqual(output?.dims, [2, ...reference.shape.slice(1)], key);
          const data = floats(output.data);
          for (const half of [data.subarray(0, data.length / 2), data.subarray(data.length / 2)]) {
            assert.ok(relativeError(half, reference.data) < 1e-5, key);
          }
        }
        assert.deepEqual(seen.outputs['attentions.1.2']?.dims, [2, 64, 64]);
      }
    });
  }

  it('passes the checks of the onnx package', async function () {
    const python = (...args: readonly string[]): Promise<{ stdout: string }> => promisify(execFile)('/usr/bin/python3', args);
    if (!await python('-c', 'import onnx').then(() => true, () => false)) {
      console.log('      NOT RUN: /usr/bin/python3 has no onnx; install Debian\'s python3-onnx to check exported models with it.');
      this.skip();
    }
    const path = join(folder, 'encoder.onnx');
    await exportOnnx(await tinyModel('qwen-vl-tiny-bin'), { path, outputs: ['features', 'hidden_states.1', 'attentions.0.2', 'attn_pool.head_weights'], weights: 'one-file' });
    const { stdout } = await python('-c', CHECKER, path);
    assert.deepEqual(stdout.trim().split('\n').sort(), [
      "attentions.0.2 ['batch', 64, 64]", "attn_pool.head_weights ['batch', 1, 256, 64]", "features ['batch', 256, 128]", "hidden_states.1 ['batch', 64, 64]",
    ]);
  });

  it('points into the checkpoint\'s own files, and only from where ONNX Runtime may read them', async () => {
    const known = await expected('qwen-vl-tiny-safetensors');
    const model = await tinyModel('qwen-vl-tiny-safetensors');
    await assert.rejects(exportOnnx(model, { path: join(folder, 'encoder.onnx'), outputs: ['features'], weights: 'in-place' }), UserError);
    assert.deepEqual(await readdir(folder), []);
    const copy = join(folder, 'checkpoint');
    await cp(fixturePath('qwen-vl-tiny-safetensors'), copy, { recursive: true });
    const path = join(folder, 'encoder.onnx');
    await exportOnnx(await tinyModelAt(copy), { path, outputs: ['features'], weights: 'in-place' });
    assert.deepEqual((await readdir(folder)).sort(), ['checkpoint', 'encoder.onnx']);
    const seen = await runAsStranger(path, known.get('pixel_values')!.data, 1);
    assert.ok(relativeError(floats(seen.outputs.features?.data ?? ''), known.get('features')!.data) < 1e-5);
  });

  it('overwrites only when told, and leaves nothing when stopped', async () => {
    const model = await tinyModel('qwen-vl-tiny-safetensors');
    const path = join(folder, 'encoder.onnx');
    await assert.rejects(exportOnnx(model, { path, outputs: ['features'], weights: 'one-file', signal: AbortSignal.abort() }), isAbort);
    assert.deepEqual(await readdir(folder), []);
    await writeFile(path, 'mine');
    await assert.rejects(exportOnnx(model, { path, outputs: ['features'], weights: 'one-file' }), new UserError(`${path} exists already. Choose another name, or say that it may be overwritten.`));
    await exportOnnx(model, { path, outputs: ['features'], weights: 'one-file', overwrite: true });
    assert.deepEqual((await readdir(folder)).sort(), ['encoder.onnx', 'encoder.onnx.data']);
  });

  it('writes the same bytes for the same model', async () => {
    const model = await tinyModel('qwen-vl-tiny-bin');
    const bytes = [];
    for (const name of ['a', 'b']) {
      await exportOnnx(model, { path: join(folder, name, 'encoder.onnx'), outputs: ['features'], weights: 'one-file' });
      bytes.push(Buffer.concat([await readFile(join(folder, name, 'encoder.onnx')), await readFile(join(folder, name, 'encoder.onnx.data'))]));
    }
    assert.ok(bytes[0]?.equals(bytes[1]!));
  });
});
