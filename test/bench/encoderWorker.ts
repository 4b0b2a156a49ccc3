/**
 * One encoder for the bench, in a process of its own: `encoderWorker FOLDER kept|read|plain`. Loads it, then runs a batch
 * of N pictures for every line "N" on standard input and answers with one line of JSON.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseConfig } from '../../src/architecture/config';
import { usualSide } from '../../src/architecture/forwardGraphs';
import { qwenVl } from '../../src/architecture/qwenVl';
import { openCheckpoint } from '../../src/checkpoint/open';
import { CpuEncoder } from '../../src/encoder/cpuEncoder';
import { DeviceEncoder } from '../../src/encoder/deviceEncoder';
import { locateWeights } from '../../src/encoder/locate';
import { peakMemory } from '../../src/encoder/memory';
import { encoderModel } from '../../src/encoder/model';
import { Weights } from '../../src/encoder/weights';
import { makePlan } from '../../src/recipe/plan';

const quiet = { onProgress: () => undefined, check: () => undefined };

async function main([folder = '', how]: readonly string[]): Promise<void> {
  const started = performance.now();
  const checkpoint = await openCheckpoint(folder);
  await checkpoint.close();
  const config = parseConfig(await readFile(join(folder, 'config.json'), 'utf8'), 'config.json');
  const model = encoderModel(makePlan(checkpoint, qwenVl.recipe('')), qwenVl, qwenVl.resolve(config, {}));
  const weights = new Weights(model, how === 'kept' ? Infinity : 0);
  const fed = new CpuEncoder(model.graph, weights);
  const encoder = how === 'plain' ? await DeviceEncoder.load(model.graph, fed, { provider: 'cpu', precision: 'float32', blocks: Infinity, blockBytes: 1 << 26, locate: each => locateWeights(model, each, weights) }, quiet) : fed;
  const side = usualSide(model.graph);
  const picture = Float32Array.from({ length: 3 * side * side }, (_, i) => Math.sin(i * 0.37));
  const tell = (value: object): void => { process.stdout.write(`${JSON.stringify(value)}\n`); };
  tell({ seconds: (performance.now() - started) / 1000 });
  for await (const line of createInterface({ input: process.stdin })) {
    const batch = Number(line);
    const data = new Float32Array(batch * picture.length);
    for (let each = 0; each < batch; each++) data.set(picture, each * picture.length);
    const before = process.cpuUsage();
    const begun = performance.now();
    let features = new Float32Array();
    await encoder.run({ shape: [batch, 3, side, side], data }, ['features'], { ...quiet, onOutput: (_, value) => { features = new Float32Array(value.data); return Promise.resolve(); } });
    const seconds = (performance.now() - begun) / 1000;
    const { user, system } = process.cpuUsage(before);
    tell({ seconds, cpu: (user + system) / 1e6, peak: await peakMemory(), features: Buffer.from(features.buffer).toString('base64') });
  }
}

void main(process.argv.slice(2));
