import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pictureSizes } from '../../../src/architecture/forwardGraphs';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { encoderModel } from '../../../src/encoder/model';
import { openJob, validated } from '../../../src/job';
import { optionalParts, switchParts } from '../../../src/parts';
import { FIXTURES } from '../support/checkpoints';
import { UserError, isAbort } from '../../../src/errors';
import { EncoderClient, type RunRequest } from '../../../src/encoder/client';
import type { DeviceChoice, LoadReport } from '../../../src/encoder/devices';
import type { Array32 } from '../../../src/encoder/encoder';
import type { Precision } from '../../../src/encoder/deviceEncoder';
import { ENTRY, expected, readFloats, relativeError, TINY, tinyModel, type Known } from './fixture';

/** Debian's chromium brings SwiftShader, a Vulkan driver in software: the WebGPU provider runs for real without a GPU. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';
/** The Vulkan loader lies beside the driver where the system has none of its own. */
const SOFTWARE_GPU = { VK_DRIVER_FILES: SWIFTSHADER, VK_ICD_FILENAMES: SWIFTSHADER, LD_LIBRARY_PATH: dirname(SWIFTSHADER) };

/** Skips a test where there is no software GPU, and says so. */
function needsSoftwareGpu(test: Mocha.Context): void {
  if (existsSync(SWIFTSHADER)) return;
  console.log(`      NOT RUN: there is no Vulkan driver at ${SWIFTSHADER}; install Debian's chromium to test WebGPU without a GPU.`);
  test.skip();
}

function pixelsOf(known: Map<string, Known>): Known {
  const pixels = known.get('pixel_values');
  assert.ok(pixels);
  return pixels;
}

function assertClose(outputs: ReadonlyMap<string, Array32>, known: ReadonlyMap<string, Known>, bound: number): void {
  for (const [key, reference] of known) {
    if (key === 'pixel_values') continue;
    const actual = outputs.get(key);
    assert.ok(actual, key);
    assert.deepEqual(actual.shape, reference.shape, key);
    const error = relativeError(actual.data, reference.data);
    assert.ok(error < bound, `${key}: relative error ${error}`);
  }
}

describe('the encoder in its process', function () {
  this.timeout(120_000);
  const clients: EncoderClient[] = [];
  const client = (options: { idleMs?: number; env?: NodeJS.ProcessEnv } = {}): EncoderClient => {
    const made = new EncoderClient({ entry: ENTRY, ...options });
    clients.push(made);
    return made;
  };
  afterEach(async () => { await Promise.all(clients.splice(0).map(one => one.close())); });

  async function runAll(encoder: EncoderClient, name: (typeof TINY)[number], device: DeviceChoice, precision: Precision, bound: number): Promise<LoadReport> {
    const known = await expected(name);
    const report = await encoder.load(await tinyModel(name), { device, precision });
    assertClose(await encoder.run(pixelsOf(known), [...known.keys()].filter(key => key !== 'pixel_values')), known, bound);
    return report;
  }

  for (const name of TINY) {
    it(`gives the reference's numbers for ${name} on the CPU`, async () => {
      const report = await runAll(client(), name, 'cpu', 'float32', 1e-5);
      assert.deepEqual(report, { device: 'cpu', precision: 'float32', rejected: [] });
    });

    it(`gives the reference's numbers for ${name} on WebGPU`, async function () {
      needsSoftwareGpu(this);
      const encoder = client({ env: SOFTWARE_GPU });
      assert.equal((await runAll(encoder, name, 'webgpu', 'float32', 1e-3)).device, 'webgpu');
    });
  }

  it('runs in single precision, and says so, where a device has no other', async function () {
    needsSoftwareGpu(this);
    const report = await runAll(client({ env: SOFTWARE_GPU }), 'qwen-vl-tiny-bin', 'webgpu', 'float16', 1e-3);
    // SwiftShader has no shader-f16.
    assert.deepEqual(report, { device: 'webgpu', precision: 'float32', rejected: [], warning: 'WebGPU does not calculate in half precision here, so the encoder runs in single precision.' });
    assert.match((await runAll(client(), 'qwen-vl-tiny-bin', 'cpu', 'float16', 1e-5)).warning ?? '', /The CPU calculates in single precision/);
  });

  it('does not take a software driver for a GPU when it chooses by itself', async function () {
    needsSoftwareGpu(this);
    const report = await client({ env: SOFTWARE_GPU }).load(await tinyModel('qwen-vl-tiny-bin'), { device: 'auto', precision: 'float32' });
    const { reason } = report.rejected.find(({ device }) => device === 'webgpu') ?? {};
    assert.equal(reason, 'It is slower than the CPU here: probably a software driver, not a GPU.');
  });

  it('gives the reference\'s numbers for windows, rotary positions, mergers, projectors, tiles, stages and a picture that is not square on WebGPU', async function () {
    needsSoftwareGpu(this);
    for (const name of ['qwen2.5-vl', 'qwen3-vl', 'mllama', 'clip-vipllava', 'siglip-gemma3', 'pixtral-mistral3', 'florence2']) {
      const folder = join(FIXTURES, 'families', name);
      const known = await readFloats(join(folder, 'expected', 'outputs.safetensors'));
      const checkpoint = await openCheckpoint(folder);
      const preset = await openJob(checkpoint);
      const job = switchParts(preset, Object.fromEntries(optionalParts(preset).map(({ id }) => [id, true])));
      await checkpoint.close();
      const { family, validation } = validated(job);
      const encoder = client({ env: SOFTWARE_GPU });
      const report = await encoder.load(encoderModel(job.plan, family, validation.hyperparameters, job.config), { device: 'webgpu', precision: 'float32' });
      assert.deepEqual([report.device, report.rejected], ['webgpu', []]);
      assertClose(await encoder.run(pixelsOf(known), [...known.keys()].filter(key => key !== 'pixel_values')), known, 1e-3);
    }
  });

  it('keeps its weights on WebGPU when a picture has another number of patches, as long as its windows have the same shapes', async function () {
    needsSoftwareGpu(this);
    // Rows and columns of patches; the windows of Qwen2.5-VL's fixture are of side by side patches that the last grid cuts.
    for (const [name, grids, anew] of [['qwen3-vl', [[6, 10], [12, 4]], []], ['qwen2.5-vl', [[8, 8], [16, 24], [10, 6]], [2]]] as const) {
      const checkpoint = await openCheckpoint(join(FIXTURES, 'families', name));
      const job = await openJob(checkpoint);
      await checkpoint.close();
      const { family, validation } = validated(job);
      const model = encoderModel(job.plan, family, validation.hyperparameters, job.config);
      const { patch } = pictureSizes(model.graph);
      const [onGpu, onCpu] = [client({ env: SOFTWARE_GPU }), client()];
      assert.equal((await onGpu.load(model, { device: 'webgpu', precision: 'float32' })).device, 'webgpu');
      await onCpu.load(model, { device: 'cpu', precision: 'float32' });
      for (const [index, [rows, columns]] of grids.entries()) {
        const shape = [1, 3, rows * patch, columns * patch];
        const pixels = { shape, data: Float32Array.from({ length: 3 * rows * columns * patch ** 2 }, (_, at) => Math.sin(at + index)) };
        const progress: (string | undefined)[] = [];
        const outputs = ['embeddings', 'hidden_states.0', 'features'];
        const run = await onGpu.run(pixels, outputs, { onProgress: ({ label }) => { progress.push(label); } });
        for (const [key, { data, shape: made }] of await onCpu.run(pixels, outputs)) {
          assert.deepEqual(run.get(key)?.shape, made, `${name} ${key}`);
          const error = relativeError(run.get(key)?.data ?? [], data);
          assert.ok(error < 1e-3, `${name}, ${rows} x ${columns}, ${key}: relative error ${error}`);
        }
        // One step of the one segment, and before it one of loading that anew.
        assert.equal(progress.length, anew.some(one => one === index) ? 3 : 2, `${name}, ${rows} x ${columns}: ${progress.join('; ')}`);
      }
    }
  });

  it('loads what blocks it lacks when more are to run on WebGPU, and gives back those that are not', async function () {
    needsSoftwareGpu(this);
    const encoder = client({ env: SOFTWARE_GPU });
    const known = await expected('qwen-vl-tiny-bin');
    await encoder.load(await tinyModel('qwen-vl-tiny-bin'), { device: 'webgpu', precision: 'float32', extent: { blocks: 1, held: 2 } });
    const first = async (): Promise<void> => { assertClose(await encoder.run(pixelsOf(known), ['hidden_states.0']), new Map([...known].filter(([key]) => key === 'hidden_states.0')), 1e-3); };
    await first();
    const progress: string[] = [];
    assert.equal((await encoder.fit({ blocks: 3, held: 4 }, [0, 1, 2], { onProgress: ({ label }) => { progress.push(label ?? ''); } })).device, 'webgpu');
    assert.deepEqual(progress, ['blocks 1 to 2']);
    assertClose(await encoder.run(pixelsOf(known), [...known.keys()].filter(key => key !== 'pixel_values')), known, 1e-3);
    await encoder.fit({ blocks: 1, held: 2 }, [0]);
    await first();
    // The blocks after the first have left the device.
    assert.deepEqual([...(await encoder.run(pixelsOf(known), ['hidden_states.2'])).keys()], []);
  });

  it('falls back on the CPU and says why', async () => {
    const encoder = client({ env: { VK_DRIVER_FILES: '/nowhere', VK_ICD_FILENAMES: '/nowhere' } });
    const report = await runAll(encoder, 'qwen-vl-tiny-safetensors', 'webgpu', 'float32', 1e-5);
    assert.deepEqual(report.rejected, [{ device: 'webgpu', reason: 'No graphics driver offers an adapter.' }]);
    assert.equal(report.device, 'cpu');
  });

  it('stops a run that is cancelled, and goes on with the next', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const encoder = client();
    await encoder.load(await tinyModel('qwen-vl-tiny-bin'), { device: 'cpu', precision: 'float32' });
    const controller = new AbortController();
    const seen: string[] = [];
    const options: RunRequest = { signal: controller.signal, onOutput: name => { seen.push(name); controller.abort(); } };
    await assert.rejects(encoder.run(pixelsOf(known), ['hidden_states.0', 'hidden_states.1', 'features'], options), isAbort);
    assert.ok(!seen.includes('features'));
    assert.ok((await encoder.run(pixelsOf(known), ['features'])).has('features'));
  });

  it('says what happened when its process is killed in the middle of a run, and goes on', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const encoder = client();
    await encoder.load(await tinyModel('qwen-vl-tiny-bin'), { device: 'cpu', precision: 'float32' });
    const before = encoder.pid;
    assert.ok(before !== undefined);
    const run = encoder.run(pixelsOf(known), ['hidden_states.0', 'features'], { onOutput: () => { process.kill(before, 'SIGKILL'); } });
    await assert.rejects(run, (error: unknown) => error instanceof UserError && error.message.includes('was killed') && error.message.includes('starts again'));
    const outputs = await encoder.run(pixelsOf(known), ['features']);
    assert.notEqual(encoder.pid, before);
    const features = known.get('features');
    assert.ok(features && relativeError(outputs.get('features')?.data ?? [], features.data) < 1e-5);
  });

  it('frees its memory when it was idle, and starts again when asked', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const encoder = client({ idleMs: 50 });
    await encoder.load(await tinyModel('qwen-vl-tiny-bin'), { device: 'cpu', precision: 'float32' });
    assert.ok((await encoder.memory())?.residentBytes);
    await new Promise(resolve => { setTimeout(resolve, 300); });
    assert.equal(encoder.pid, undefined);
    assert.ok((await encoder.run(pixelsOf(known), ['features'])).has('features'));
  });

  it('refuses outputs that the encoder does not have', async () => {
    const known = await expected('qwen-vl-tiny-bin');
    const encoder = client();
    await encoder.load(await tinyModel('qwen-vl-tiny-bin'), { device: 'cpu', precision: 'float32' });
    await assert.rejects(encoder.run(pixelsOf(known), ['hidden_states.3']), new UserError('hidden_states.3 asks for block 3, but the encoder\'s blocks are 0 to 2.'));
  });
});
