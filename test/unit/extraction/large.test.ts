import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile } from '../../../src/checkpoint/fileSource';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { readTorchZip } from '../../../src/checkpoint/torch/torchZip';
import { extract } from '../../../src/extraction/extract';
import { partLength } from '../../../src/extraction/fileLayout';
import { torchLayout } from '../../../src/extraction/torchWriter';
import { verify } from '../../../src/extraction/verify';
import { makePlan } from '../../../src/recipe/plan';
import { bytesOf, inFolder, KEEP_ALL, madeCase, needTorch, noise, python, to, VALID } from './support';

const ROOT = join(__dirname, '../../..');

describe('extraction of large files', () => {
  it('takes 300 MB out of an 8 GB file within 200 MB of memory', async function () {
    this.timeout(180_000);
    await inFolder(async folder => {
      const path = join(folder, 'model.safetensors');
      const visual = Array.from({ length: 30 }, (_, i) => ({ key: `visual.${i}`, bytes: 10_000_000 }));
      const tensors = [{ key: 'language.0', bytes: 4_000_000_000 }, ...visual, { key: 'language.1', bytes: 3_700_000_000 }];
      let end = 0;
      const header = JSON.stringify(Object.fromEntries(tensors.map(({ key, bytes }) => [key, { dtype: 'BF16', shape: [bytes / 2], data_offsets: [end, end += bytes] }])));
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(header.length));
      const file = await open(path, 'w');
      await file.write(Buffer.concat([length, Buffer.from(header)]));
      await file.truncate(8 + header.length + end);
      await file.close();

      const program = `
        const { openCheckpoint } = require('./src/checkpoint/open.ts');
        const { makePlan } = require('./src/recipe/plan.ts');
        const { extract } = require('./src/extraction/extract.ts');
        const { KEEP_ALL, VALID, to } = require('./test/unit/extraction/support.ts');
        async function main() {
          const checkpoint = await openCheckpoint(${JSON.stringify(path)});
          const plan = makePlan(checkpoint, { ...KEEP_ALL, rules: [{ mark: 'strip', module: 'visual' }] });
          // Not resourceUsage().maxRSS: on Linux that starts at what the parent process had.
          let peak = 0;
          const onProgress = () => { peak = Math.max(peak, process.memoryUsage.rss()); };
          const { bytes } = await extract(plan, VALID, to(${JSON.stringify(join(folder, 'out'))}, { onProgress }));
          await checkpoint.close();
          console.log(JSON.stringify({ bytes, peak }));
        }
        void main();
      `;
      const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '-e', program], { encoding: 'utf8', cwd: ROOT });
      assert.match(stdout, /^\{/, stderr);
      const { bytes, peak } = JSON.parse(stdout) as { bytes: number; peak: number };
      console.log(`      peak memory ${Math.round(peak / 1e6)} MB, TypeScript loader included`);
      assert.ok(bytes > 300_000_000);
      assert.ok(peak < 200e6, `${peak} bytes`);
    });
  });

  it('copies on several threads what one would copy, whatever the sizes, in both formats and cast', async function () {
    this.timeout(60_000);
    await inFolder(async folder => {
      // Tensors below, at and above a thread's chunk and its run, at odd places.
      const made = [1, 3, 4096, 131_071, 131_072, 131_073, 1_000_001, (8 << 20) + 1, 2, 2_000_003]
        .map((bytes, index) => ({ key: `t${index}`, dtype: 'U8', shape: [bytes], bytes: noise(bytes, index + 1) } as const));
      const floats = [5, 70_000, 1_000_001].map((count, index) => ({ key: `f${index}`, dtype: 'BF16', shape: [count], bytes: noise(2 * count, index + 50) } as const));
      const expected = new Map<string, Buffer>([...made, ...floats].map(({ key, bytes }) => [key, Buffer.from(bytes)]));
      await extract(madeCase([...made, ...floats]).plan, VALID, to(join(folder, 'source')));
      const source = await openCheckpoint(join(folder, 'source'));
      try {
        for (const format of ['safetensors', 'torch'] as const) {
          for (const dtype of ['keep', 'f32'] as const) {
            const out = join(folder, `${format}-${dtype}`);
            let progressed = 0;
            const { bytes, files } = await extract(makePlan(source, KEEP_ALL), VALID, to(out, { format, dtype, onProgress: ({ done }) => { progressed = done; } }));
            assert.equal(progressed, bytes);
            assert.deepEqual((await verify(out, { source })).differences, []);
            const output = await openCheckpoint(join(out, files[0]!));
            for (const tensor of output.tensors) {
              const wanted = expected.get(tensor.key);
              assert.ok(wanted);
              const widened = tensor.dtype === 'F32' ? Buffer.from(Uint32Array.from(new Uint16Array(Uint8Array.from(wanted).buffer), half => half << 16).buffer) : wanted;
              assert.ok(widened.equals(await bytesOf(output, tensor)), `${tensor.key} of ${out}`);
            }
            await output.close();
            if (format === 'torch') assert.equal(python(['-c', 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).testzip())', join(out, files[0]!)]).trim(), 'None');
          }
        }
      } finally {
        await source.close();
      }
    });
  });

  it('copies thousands of tiny tensors, empty ones among them, in both formats', async function () {
    this.timeout(60_000);
    await inFolder(async folder => {
      // More than one run's parts.
      const made = Array.from({ length: 6000 }, (_, index) => ({ key: `t${index}`, dtype: 'U8', shape: [index % 3], bytes: noise(index % 3, index) } as const));
      await extract(madeCase(made).plan, VALID, to(join(folder, 'source')));
      const source = await openCheckpoint(join(folder, 'source'));
      try {
        for (const format of ['safetensors', 'torch'] as const) {
          await extract(makePlan(source, KEEP_ALL), VALID, to(join(folder, format), { format }));
          const { ok, checkedTensors, differences } = await verify(join(folder, format), { source });
          assert.deepEqual([ok, checkedTensors, differences], [true, made.length, []]);
        }
      } finally {
        await source.close();
      }
    });
  });

  it('copies several files one after the other, of which the last holds fewer tensors than there are pieces to write', async function () {
    this.timeout(60_000);
    await inFolder(async folder => {
      const bytes = (8 << 20) + 64;
      const made = Array.from({ length: 5 }, (_, index) => ({ key: `t${index}`, dtype: 'U8', shape: [bytes], bytes: noise(bytes, index + 1) } as const));
      await extract(madeCase(made).plan, VALID, to(join(folder, 'source')));
      const source = await openCheckpoint(join(folder, 'source'));
      try {
        const labels = new Set<string>();
        const { files } = await extract(makePlan(source, KEEP_ALL), VALID, to(join(folder, 'out'), { format: 'torch', maxShardBytes: 4 * bytes, onProgress: ({ label = '' }) => { labels.add(label); } }));
        assert.deepEqual(files.filter(name => name.endsWith('.bin')).length, 2);
        assert.deepEqual((await verify(join(folder, 'out'), { source })).differences, []);
        assert.deepEqual(made.filter(({ key }) => !labels.has(key)), []);
      } finally {
        await source.close();
      }
    });
  });

  it('writes zip64 records around tensors beyond 4 GiB, for our reader and for Python\'s', async function () {
    await inFolder(async folder => {
      const tensors = [
        { key: 'small', dtype: 'U8', shape: [3], length: 3 },
        { key: 'large', dtype: 'F32', shape: [1 << 15, 1 << 15, 2], length: 2 ** 33 },
        { key: 'after', dtype: 'BF16', shape: [2, 2], length: 8 },
      ] as const;
      const { parts, size } = torchLayout(tensors, 'archive');
      const path = join(folder, 'large.bin');
      const file = await open(path, 'w');
      const positions: number[] = [];
      let position = 0;
      // The tensors stay holes in the file: zeros.
      for (const part of parts) {
        if (part.kind === 'tensor') positions[part.index] = position;
        else await file.write(part.bytes, 0, undefined, position);
        position += partLength(part);
      }
      await file.close();
      assert.equal(position, size);
      const source = await openFile(path);
      try {
        const parsed = await readTorchZip(source);
        assert.deepEqual(parsed.tensors.map(({ key, dtype, shape, offset, length }) => ({ key, dtype, shape, offset, length })), tensors.map((tensor, i) => ({ ...tensor, offset: positions[i] })));
      } finally {
        await source.close();
      }
      needTorch(this);
      const program = 'import sys, zipfile, json\nz = zipfile.ZipFile(sys.argv[1])\nfor n in ("data/0", "data/2", "version"): z.open("archive/" + n)\nprint(json.dumps([i.file_size for i in z.infolist()][2:]))';
      assert.deepEqual(JSON.parse(python(['-c', program, path])), [3, 2 ** 33, 8, 2]);
    });
  });
});
