import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'mocha';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { UserError } from '../../../src/errors';
import { extract } from '../../../src/extraction/extract';
import { readManifest, type Manifest } from '../../../src/extraction/manifest';
import { verify } from '../../../src/extraction/verify';
import { makePlan } from '../../../src/recipe/plan';
import { inFolder, KEEP_ALL, madeCase, noise, TINY, tinyCase, to, VALID, type Case } from './support';

/** Adds one to the byte at `position`, counted from the end when negative. */
async function tamper(path: string, position: number): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    const at = position < 0 ? (await handle.stat()).size + position : position;
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, at);
    await handle.write(Buffer.of((byte[0]! + 1) % 256), 0, 1, at);
  } finally {
    await handle.close();
  }
}

for (const [name, index] of Object.entries(TINY)) {
  describe(`verify: qwen-vl-tiny-${name}`, () => {
    let tiny: Case;
    before(async () => { tiny = await tinyCase(index); });
    after(async () => { await tiny.checkpoint.close(); });

    it('proves every format and cast equal to the source', async () => {
      await inFolder(async folder => {
        for (const format of ['safetensors', 'torch'] as const) {
          for (const dtype of ['keep', 'bf16', 'f16', 'f32'] as const) {
            const out = join(folder, `${format}-${dtype}`);
            const { manifest } = await extract(tiny.plan, tiny.validation, to(out, { format, dtype, ...(dtype === 'f16' && { maxShardBytes: 60_000 }) }));
            const report = await verify(out, { source: tiny.checkpoint });
            assert.deepEqual(report, { ok: true, checkedTensors: manifest.output.tensors.length, checkedBytes: report.checkedBytes, comparedWithSource: true, differences: [] });
            assert.equal(report.checkedBytes, tiny.plan.keptBytes * (dtype === 'f32' ? 2 : 1));
          }
        }
        const report = await verify(join(folder, 'torch-keep'));
        assert.deepEqual([report.ok, report.comparedWithSource], [true, false]);
      });
    });

    for (const format of ['safetensors', 'torch'] as const) {
      it(`finds one changed byte in a tensor of ${format}`, async () => {
        await inFolder(async folder => {
          const { files } = await extract(tiny.plan, tiny.validation, to(folder, { format }));
          const [file] = files;
          // The middle of the file lies inside a weight in both formats.
          await tamper(join(folder, file!), 200_001);
          const report = await verify(folder, { source: tiny.checkpoint });
          assert.equal(report.ok, false);
          assert.deepEqual(report.differences.filter(({ key }) => key === undefined).map(one => one.file), [file]);
          const [difference, ...others] = report.differences.filter(({ key }) => key !== undefined);
          assert.deepEqual(others, []);
          assert.match(difference!.message, /differs from transformer\.visual\..* first at element \d+/);
          assert.equal(report.checkedTensors, tiny.plan.kept.length - 1);
          assert.equal((await verify(folder)).differences.length, 2);
        });
      });
    }
  });
}

describe('verify', () => {
  const TENSORS = [
    { key: 'a', dtype: 'F32', shape: [2, 3], bytes: noise(24) },
    { key: 'b', dtype: 'U8', shape: [3_000_000], bytes: noise(3_000_000, 2) },
    { key: 'e', dtype: 'F16', shape: [0], bytes: new Uint8Array() },
  ] as const;
  const { plan, checkpoint } = madeCase(TENSORS);

  async function messages(folder: string, withSource = false): Promise<string[]> {
    const report = await verify(folder, withSource ? { source: checkpoint } : {});
    assert.equal(report.ok, report.differences.length === 0);
    return report.differences.map(({ key, file, message }) => `${file ?? ''} ${key ?? ''}: ${message}`);
  }

  async function rewriteManifest(folder: string, change: (manifest: Manifest) => void): Promise<void> {
    const manifest = await readManifest(folder);
    change(manifest);
    await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  }

  it('finds a missing file, a file cut off, a changed config and a stray weight file', async () => {
    await inFolder(async folder => {
      await extract(plan, VALID, to(folder));
      assert.deepEqual(await messages(folder), []);
      await tamper(join(folder, 'config.json'), 3);
      await copyFile(join(folder, 'model.safetensors'), join(folder, 'pytorch_model.bin'));
      const [stray, config] = await messages(folder);
      assert.match(stray!, /^pytorch_model\.bin : is not part of this output/);
      assert.match(config!, /^config\.json : has other bytes/);
      await rm(join(folder, 'config.json'));
      const handle = await open(join(folder, 'model.safetensors'), 'r+');
      await handle.truncate(1_000_000);
      await handle.close();
      const found = await messages(folder);
      assert.ok(found.some(message => message.startsWith('config.json : config.json does not exist')), found.join());
      assert.ok(found.some(message => /^model\.safetensors : is 1000000 bytes, the manifest says \d+/.test(message)), found.join());
    });
  });

  it('finds any changed byte around the tensors, in both formats, also by manifests of version 1', async () => {
    for (const format of ['safetensors', 'torch'] as const) {
      await inFolder(async folder => {
        const { files } = await extract(plan, VALID, to(folder, { format }));
        const path = join(folder, files[0]!);
        const check = async (): Promise<void> => {
          assert.deepEqual(await messages(folder), []);
          // In safetensors the header's padding, in a .bin the padding of the record version.
          const bytes = await readFile(path);
          const padding = format === 'torch' ? bytes.lastIndexOf('ZZ') : Number(bytes.readBigUInt64LE()) + 7;
          await tamper(path, padding);
          assert.ok((await messages(folder)).some(message => message.startsWith(`${files[0]} `)));
          await writeFile(path, bytes);
        };
        await check();
        const sha256 = createHash('sha256').update(await readFile(path)).digest('hex');
        await rewriteManifest(folder, changed => {
          changed.version = 1;
          changed.output.files = changed.output.files.map(({ treeSha256, ...file }) => treeSha256 === undefined ? file : { ...file, sha256 });
        });
        await check();
      });
    }
  });

  it('finds tensors that are too many, too few, or not what the manifest says', async () => {
    await inFolder(async folder => {
      await extract(plan, VALID, to(folder));
      await rewriteManifest(folder, ({ output }) => {
        output.tensors[0]!.key = 'renamed';
        output.tensors[1]!.shape = [1000, 3000];
        output.tensors[2]!.dtype = 'BF16';
      });
      const found = await messages(folder);
      assert.deepEqual(found, [
        'model.safetensors a: is in the file and not in the manifest.',
        'model.safetensors renamed: is missing: the manifest has it and the file does not.',
        'model.safetensors b: has the shape 3000000, the manifest says 1000×3000.',
        'model.safetensors e: is F16, the manifest says BF16.',
      ]);
    });
  });

  it('finds what the source has otherwise, listing every tensor', async () => {
    await inFolder(async folder => {
      await extract(plan, VALID, to(folder));
      const changed = Uint8Array.from(TENSORS[1].bytes);
      changed[2_999_999]! ^= 1;
      const other = madeCase([{ ...TENSORS[0], shape: [3, 2] }, { ...TENSORS[1], bytes: changed }]);
      const report = await verify(folder, { source: other.checkpoint });
      assert.deepEqual(report.differences.map(({ message }) => message), [
        'has the shape 2×3, a in the source 3×2.',
        'differs from b in the source, first at element 2999999.',
        'comes from e, which the source does not have.',
      ]);
    });
  });

  it('finds a manifest that leaves out what the recipe takes, or takes what it leaves', async () => {
    await inFolder(async folder => {
      const { manifest } = await extract(plan, VALID, to(folder));
      // An extraction of two of the three, whose manifest is made to say that its recipe took all.
      const two = makePlan(checkpoint, { ...plan.recipe, rules: [{ mark: 'exclude', key: 'a' }, ...plan.recipe.rules] });
      await extract(two, VALID, to(folder, { overwrite: true }));
      assert.deepEqual(await messages(folder, true), []);
      await rewriteManifest(folder, changed => { changed.recipe = manifest.recipe; });
      assert.deepEqual(await messages(folder), []);
      assert.deepEqual(await messages(folder, true), [' a: is missing: the recipe takes a out of the source, and the manifest does not have it.']);
      await rewriteManifest(folder, changed => { changed.recipe.rules = [{ mark: 'keep', key: 'a' }, { mark: 'keep', key: 'b' }]; });
      assert.deepEqual((await messages(folder, true)).at(-1), ' e: comes from e, which the recipe does not take out of the source.');
    });
  });

  it('finds a manifest that lists no file or no tensor, and so would prove nothing', async () => {
    await inFolder(async folder => {
      await extract(plan, VALID, to(folder));
      await rewriteManifest(folder, ({ output }) => { output.files = output.files.filter(({ name }) => name !== 'model.safetensors'); });
      assert.deepEqual(await messages(folder), [
        'model.safetensors : is not part of this output, and a loader may read it instead. Move it elsewhere.',
        'model.safetensors : holds tensors by the manifest, which does not list it among the files.',
      ]);
      await rewriteManifest(folder, ({ output }) => { output.tensors = []; });
      await assert.rejects(verify(folder), (error: unknown) => error instanceof UserError && error.message.includes('not a manifest of this tool: output.tensors'));
    });
  });

  it('stops when it is cancelled and reports progress to the end otherwise', async () => {
    await inFolder(async folder => {
      await extract(plan, VALID, to(folder));
      let last = { done: 0, total: 1 };
      await verify(folder, { source: checkpoint, onProgress: progress => { last = progress; } });
      assert.equal(last.done, last.total);
      await assert.rejects(verify(folder, { signal: AbortSignal.abort() }), { name: 'AbortError' });
    });
  });

  it('says what is wrong with a folder that is no output, and with a broken manifest', async () => {
    await inFolder(async folder => {
      await assert.rejects(verify(folder), (error: unknown) => error instanceof UserError && error.message.includes('There is no manifest.json'));
      await extract(plan, VALID, to(join(folder, 'out')));
      const path = join(folder, 'out/manifest.json');
      const text = await readFile(path, 'utf8');
      await writeFile(path, text.slice(0, 500));
      await assert.rejects(verify(join(folder, 'out')), (error: unknown) => error instanceof UserError && error.message.includes('is not JSON'));
      for (const name of ['../secret', 'a/b', '..']) {
        const manifest = JSON.parse(text) as Manifest;
        manifest.output.files[0]!.name = name;
        await writeFile(path, JSON.stringify(manifest));
        await assert.rejects(verify(join(folder, 'out')), (error: unknown) => error instanceof UserError && error.message.includes('not a manifest of this tool: output.files.0.name'));
      }
      await mkdir(join(folder, 'dir/manifest.json'), { recursive: true });
      await assert.rejects(verify(join(folder, 'dir')), (error: unknown) => error instanceof UserError && error.message.includes('EISDIR'));
      assert.deepEqual((await readdir(folder)).sort(), ['dir', 'out']);
    });
  });

  it('finds a source that changed within the same size and time', async () => {
    await inFolder(async folder => {
      await extract(plan, VALID, to(join(folder, 'first')));
      const path = join(folder, 'source.safetensors');
      await rename(join(folder, 'first/model.safetensors'), path);
      await utimes(path, 1000, 1000);
      const source = await openCheckpoint(path);
      try {
        const before = await stat(path);
        const out = join(folder, 'out');
        await extract(makePlan(source, KEEP_ALL), VALID, to(out));
        assert.equal((await verify(out, { source })).ok, true);
        await tamper(path, -1); // inside b, the last
        await utimes(path, 1000, 1000);
        const after = await stat(path);
        assert.deepEqual([after.size, after.mtimeMs], [before.size, before.mtimeMs]);
        const report = await verify(out, { source });
        assert.deepEqual(report.differences.map(({ key, message }) => [key, message]), [['b', 'differs from b in the source, first at element 2999999.']]);
      } finally {
        await source.close();
      }
    });
  });
});
