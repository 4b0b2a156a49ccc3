import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile } from '../../../src/checkpoint/fileSource';
import { readTorchZip } from '../../../src/checkpoint/torch/torchZip';
import { partLength } from '../../../src/extraction/fileLayout';
import { torchLayout } from '../../../src/extraction/torchWriter';
import { inFolder, python, needTorch } from './support';

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
        else await file.write(part.kind === 'bytes' ? part.bytes : part.make(() => 0), 0, undefined, position);
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
