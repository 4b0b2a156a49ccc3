import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before } from 'mocha';
import type { Tensor } from '../../../src/checkpoint/checkpoint';
import { readBytes } from '../../../src/checkpoint/byteSource';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { extract } from '../../../src/extraction/extract';
import { readManifest } from '../../../src/extraction/manifest';
import { safetensorsLayout } from '../../../src/extraction/safetensorsWriter';
import { bytesOf, FIXTURES, inFolder, madeCase, needTorch, noise, python, TINY, tinyCase, to, type Case, type MadeTensor } from './support';

const REFERENCE = join(__dirname, '../../reference/qwen_vl.py');

/** The reference script's rule: keep what contains `visual`, drop `transformer.visual.proj`, delete the prefix. */
async function referenceRule({ checkpoint }: Case): Promise<Map<string, { tensor: Tensor; bytes: Buffer }>> {
  const wanted = checkpoint.tensors.filter(({ key }) => key.includes('visual') && !key.includes('transformer.visual.proj'));
  const result = new Map<string, { tensor: Tensor; bytes: Buffer }>();
  for (const tensor of wanted) result.set(tensor.key.replaceAll('transformer.visual.', ''), { tensor, bytes: await bytesOf(checkpoint, tensor) });
  return result;
}

/** What npm's safetensors reads of a file; it throws on `__metadata__`, which is therefore blanked in the copy. */
async function readByNpm(path: string): Promise<Map<string, { dtype: string; shape: number[]; bytes: Uint8Array }>> {
  const bytes = new Uint8Array(await readFile(path));
  const metadata = '"__metadata__":{"format":"pt"},';
  assert.equal(Buffer.from(bytes.subarray(9, 9 + metadata.length)).toString(), metadata);
  const own = new Uint8Array(bytes);
  own.fill(0x20, 9, 9 + metadata.length);
  const reader = new SafeTensor(own);
  return new Map([...reader.metadata].map(([key, { dtype, shape }]) => [key, { dtype, shape, bytes: reader.getTensor(key) }]));
}

/** The package has no types. */
const { SafeTensor } = createRequire(__filename)('safetensors') as { SafeTensor: new (bytes: Uint8Array) => NpmReader };

interface NpmReader {
  metadata: Map<string, { dtype: string; shape: number[] }>;
  getTensor(key: string): Uint8Array;
}

for (const [name, index] of Object.entries(TINY)) {
  describe(`extract: qwen-vl-tiny-${name}`, () => {
    let tiny: Case;
    let expected: Awaited<ReturnType<typeof referenceRule>>;
    before(async () => {
      tiny = await tinyCase(index);
      expected = await referenceRule(tiny);
    });
    after(async () => { await tiny.checkpoint.close(); });

    it('is what the reference rule gives, key for key and bit for bit, as npm\'s safetensors reads it', async () => {
      await inFolder(async folder => {
        await extract(tiny.plan, tiny.validation, to(join(folder, 'out')));
        const read = await readByNpm(join(folder, 'out/model.safetensors'));
        assert.deepEqual([...read.keys()].sort(), [...expected.keys()].sort());
        for (const [key, { tensor, bytes }] of expected) {
          const found = read.get(key)!;
          assert.equal(found.dtype, tensor.dtype);
          assert.deepEqual(found.shape, tensor.shape);
          assert.equal(Buffer.compare(found.bytes, bytes), 0, key);
        }
      });
    });

    for (const [what, maxShardBytes, file] of [['one file', undefined, 'pytorch_model.bin'], ['shards', 100_000, 'pytorch_model.bin.index.json']] as const) {
      it(`loads with strict=True in PyTorch from ${what}, in state-dict order, bit for bit`, async function () {
        needTorch(this);
        this.timeout(120_000);
        await inFolder(async folder => {
          const out = join(folder, 'out');
          await extract(tiny.plan, tiny.validation, to(out, { format: 'torch', ...(maxShardBytes !== undefined && { maxShardBytes }) }));
          const loaded = JSON.parse(python([REFERENCE, join(out, file), join(index, '../config.json')])) as Record<string, unknown>;
          assert.deepEqual(Object.keys(loaded), [...expected.keys()]);
          const torchName = { BF16: 'torch.bfloat16', F16: 'torch.float16' } as Record<string, string>;
          for (const [key, { tensor, bytes }] of expected) {
            assert.deepEqual(loaded[key], { dtype: torchName[tensor.dtype], shape: tensor.shape, contiguous: true, sha256: createHash('sha256').update(bytes).digest('hex') }, key);
          }
        });
      });
    }

    it('is read back by our own readers, in both formats, whole and sharded', async () => {
      await inFolder(async folder => {
        for (const format of ['safetensors', 'torch'] as const) {
          for (const maxShardBytes of [Infinity, 50_000]) {
            const out = join(folder, `${format}-${maxShardBytes}`);
            const { files } = await extract(tiny.plan, tiny.validation, to(out, { format, maxShardBytes }));
            const weights = files.find(file => file.endsWith('.index.json')) ?? files[0]!;
            const again = await openCheckpoint(join(out, weights));
            try {
              assert.equal(again.tensors.length, expected.size);
              if (format === 'torch') assert.deepEqual(again.tensors.map(({ key }) => key), [...expected.keys()]);
              for (const tensor of again.tensors) assert.equal(Buffer.compare(await bytesOf(again, tensor), expected.get(tensor.key)!.bytes), 0, tensor.key);
              assert.equal(again.files.length > 1, maxShardBytes !== Infinity);
            } finally {
              await again.close();
            }
          }
        }
      });
    });

    it('writes config, preprocessor and a manifest that accounts for every byte', async () => {
      await inFolder(async folder => {
        const out = join(folder, 'a/b/out');
        const result = await extract(tiny.plan, tiny.validation, to(out));
        assert.deepEqual((await readdir(out)).sort(), ['config.json', 'manifest.json', 'model.safetensors', 'preprocessor_config.json']);
        assert.deepEqual(JSON.parse(await readFile(join(out, 'config.json'), 'utf8')), { model_type: 'test' });
        assert.deepEqual(JSON.parse(await readFile(join(out, 'preprocessor_config.json'), 'utf8')), { size: 448 });
        const manifest = await readManifest(out);
        assert.deepEqual(manifest, JSON.parse(JSON.stringify(result.manifest)));
        for (const { name: file, size, sha256, treeSha256 } of manifest.output.files) {
          const bytes = await readFile(join(out, file));
          assert.equal(bytes.length, size);
          const hashed = file === 'model.safetensors' ? withDigests(bytes) : bytes;
          assert.equal(createHash('sha256').update(hashed).digest('hex'), file === 'model.safetensors' ? treeSha256 : sha256, file);
        }
        assert.deepEqual(manifest.output.tensors.map(({ key, sha256 }) => [key, sha256]), [...expected].map(([key, { bytes }]) => [key, createHash('sha256').update(bytes).digest('hex')]));
        for (const file of manifest.source.files) {
          const digests = manifest.output.tensors.filter(tensor => tensor.sourceFile === file.name).map(tensor => tensor.sourceSha256);
          assert.equal(file.sha256, createHash('sha256').update(Buffer.from(digests.join(''), 'hex')).digest('hex'));
          assert.equal(file.tensors, digests.length);
        }
        assert.deepEqual(manifest.recipe, tiny.plan.recipe);
        assert.equal(manifest.validation.matchedCount, expected.size);
      });
    });
  });
}

describe('extract', () => {
  it('writes safetensors byte for byte as the reference does', async () => {
    // Files that safetensors.torch.save_file wrote, of many dtypes; rewriting them must give the same bytes.
    const checkpoint = await openCheckpoint(join(FIXTURES, 'real/files/FluxML+SafeTensors.jl/test/sharded/model.safetensors.index.json'));
    try {
      for (const [index, { source, name }] of checkpoint.files.entries()) {
        const tensors = checkpoint.tensors.filter(({ file }) => file === index).reverse();
        const parts = await Promise.all(safetensorsLayout(tensors).parts.map(async part => {
          if (part.kind === 'late') throw new Error('A safetensors file has nothing that depends on checksums.');
          return part.kind === 'bytes' ? part.bytes : await bytesOf(checkpoint, tensors[part.index]!);
        }));
        assert.equal(Buffer.compare(Buffer.concat(parts), await readBytes(source, 0, source.size)), 0, name);
      }
      assert.equal(checkpoint.files.length, 6);
    } finally {
      await checkpoint.close();
    }
  });

  const MIXED: MadeTensor[] = [
    { key: 'bool', dtype: 'BOOL', shape: [3], bytes: Uint8Array.of(1, 0, 1) },
    { key: 'empty', dtype: 'F32', shape: [0, 4], bytes: new Uint8Array() },
    { key: 'scalar', dtype: 'I64', shape: [], bytes: noise(8, 3) },
    { key: 'ключ "quoted"\n', dtype: 'U8', shape: [5], bytes: noise(5, 4) },
    { key: 'f64', dtype: 'F64', shape: [3, 5], bytes: new Uint8Array(Float64Array.from({ length: 15 }, (_, i) => i / 7 - 1).buffer) },
    { key: 'f32', dtype: 'F32', shape: [700_001], bytes: new Uint8Array(Float32Array.from({ length: 700_001 }, (_, i) => Math.sin(i)).buffer) },
    { key: 'f16', dtype: 'F16', shape: [7], bytes: new Uint8Array(Uint16Array.of(0x3c00, 0x0001, 0x7bff, 0x8000, 0xfc00, 0x3555, 0x1234).buffer) },
    { key: 'i16', dtype: 'I16', shape: [2, 2], bytes: noise(8, 5) },
    { key: 'big', dtype: 'BF16', shape: [1025, 1023], bytes: noise(1025 * 1023 * 2, 6) },
    { key: '__proto__', dtype: 'I8', shape: [1], bytes: noise(1, 8) },
  ];

  for (const format of ['safetensors', 'torch'] as const) {
    it(`writes every kind of tensor to ${format}: empty, scalar, larger than a buffer, cut at any byte`, async () => {
      await inFolder(async folder => {
        const { plan, validation } = madeCase(MIXED);
        const { files } = await extract(plan, validation, to(join(folder, 'out'), { format }));
        const again = await openCheckpoint(join(folder, 'out', files[0]!));
        try {
          for (const { key, dtype, shape, bytes } of MIXED) {
            const tensor = again.tensors.find(one => one.key === key);
            assert.ok(tensor, key);
            assert.deepEqual([tensor.dtype, tensor.shape], [dtype, shape]);
            assert.equal(Buffer.compare(await bytesOf(again, tensor), bytes), 0, key);
          }
          assert.equal(again.tensors.length, MIXED.length);
        } finally {
          await again.close();
        }
      });
    });
  }

  it('writes a .bin that PyTorch and unzipping tools read, CRCs included', async function () {
    needTorch(this);
    this.timeout(120_000);
    await inFolder(async folder => {
      const tensors = MIXED.filter(({ key }) => key !== '__proto__');
      const { plan, validation } = madeCase(tensors);
      const out = join(folder, 'out');
      await extract(plan, validation, to(out, { format: 'torch' }));
      const program = `
import sys, json, zipfile, hashlib, torch
zip = zipfile.ZipFile(sys.argv[1])
assert zip.testzip() is None
for info in zip.infolist():
    zip.fp.seek(info.header_offset + 26)
    name, extra = int.from_bytes(zip.fp.read(2), 'little'), int.from_bytes(zip.fp.read(2), 'little')
    assert (info.header_offset + 30 + name + extra) % 64 == 0, info.filename
state = torch.load(sys.argv[1], weights_only=True)
print(json.dumps([[key, list(t.shape), hashlib.sha256(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() and t.dim() else t.numpy().tobytes()).hexdigest()] for key, t in state.items()]))
`;
      const loaded = JSON.parse(python(['-c', program, join(out, 'pytorch_model.bin')])) as unknown;
      assert.deepEqual(loaded, tensors.map(({ key, shape, bytes }) => [key, shape, createHash('sha256').update(bytes).digest('hex')]));
    });
  });

  it('writes to .bin the dtypes that PyTorch keeps in untyped storages', async () => {
    await inFolder(async folder => {
      const tensors = [['U16', 2], ['U32', 4], ['U64', 8], ['F8_E4M3', 1], ['F8_E5M2', 1], ['F8_E4M3FNUZ', 1], ['F8_E5M2FNUZ', 1], ['F8_E8M0', 1], ['F4', 0.5]] as const;
      const made = tensors.map(([dtype, size], i) => ({ key: dtype, dtype, shape: [3, 4], bytes: noise(12 * size, i + 1) }));
      const { plan, validation } = madeCase(made);
      await extract(plan, validation, to(folder, { format: 'torch' }));
      const again = await openCheckpoint(join(folder, 'pytorch_model.bin'));
      try {
        for (const { key, dtype, shape, bytes } of made) {
          const tensor = again.tensors.find(one => one.key === key)!;
          assert.deepEqual([tensor.dtype, tensor.shape], [dtype, shape]);
          assert.equal(Buffer.compare(await bytesOf(again, tensor), bytes), 0, key);
        }
      } finally {
        await again.close();
      }
    });
  });

  it('casts floating point only, and remembers what was taken', async () => {
    await inFolder(async folder => {
      const { plan, validation } = madeCase(MIXED);
      for (const [dtype, written] of [['f32', 'F32'], ['f16', 'F16'], ['bf16', 'BF16']] as const) {
        const { manifest } = await extract(plan, validation, to(join(folder, dtype), { dtype }));
        for (const entry of manifest.output.tensors) {
          const { dtype: from, bytes } = MIXED.find(one => one.key === entry.key)!;
          assert.equal(entry.sourceDtype, from);
          assert.equal(entry.dtype, ['F64', 'F32', 'F16', 'BF16'].includes(from) ? written : from);
          assert.equal(entry.sourceSha256, createHash('sha256').update(bytes).digest('hex'), entry.key);
          assert.equal(entry.sha256 === entry.sourceSha256, entry.dtype === from || bytes.length === 0, entry.key);
        }
      }
      const narrow = await openCheckpoint(join(folder, 'f32/model.safetensors'));
      try {
        const f64 = narrow.tensors.find(tensor => tensor.key === 'f64')!;
        assert.deepEqual([...new Float32Array(Uint8Array.from(await bytesOf(narrow, f64)).buffer)], Array.from({ length: 15 }, (_, i) => Math.fround(i / 7 - 1)));
      } finally {
        await narrow.close();
      }
    });
  });

  it('splits in order at the shard size, with an index of the whole', async () => {
    await inFolder(async folder => {
      const tensors = [3, 4, 5, 20, 1].map((length, i) => ({ key: `t${i}`, dtype: 'U8', shape: [length], bytes: noise(length, i + 1) }) as const);
      const { plan, validation } = madeCase(tensors);
      const { manifest, files } = await extract(plan, validation, to(join(folder, 'out'), { maxShardBytes: 8 }));
      assert.deepEqual(manifest.output.tensors.map(({ file }) => file.slice(6, 11)), ['00001', '00001', '00002', '00003', '00004']);
      assert.ok(files.includes('model-00004-of-00004.safetensors'));
      const index = JSON.parse(await readFile(join(folder, 'out/model.safetensors.index.json'), 'utf8')) as { metadata: unknown; weight_map: Record<string, string> };
      assert.deepEqual(index.metadata, { total_size: 33 });
      assert.deepEqual(Object.entries(index.weight_map), manifest.output.tensors.map(({ key, file }) => [key, file]));
    });
  });

  it('reports progress that only grows and ends at all', async () => {
    await inFolder(async folder => {
      const { plan, validation } = madeCase(MIXED);
      const seen: number[] = [];
      const { bytes } = await extract(plan, validation, to(join(folder, 'out'), { onProgress: ({ done, total }) => { seen.push(done); assert.ok(done <= total); } }));
      assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
      assert.equal(seen.at(-1), bytes);
    });
  });
});

/** A safetensors file with each tensor's bytes replaced by their SHA-256. */
function withDigests(file: Buffer): Buffer {
  const start = 8 + Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, start)) as Record<string, { data_offsets?: [number, number] }>;
  const ranges = Object.values(header).flatMap(({ data_offsets: range }) => range === undefined || range[0] === range[1] ? [] : [range]).sort(([a], [b]) => a - b);
  return Buffer.concat([file.subarray(0, start), ...ranges.map(([from, to]) => createHash('sha256').update(file.subarray(start + from, start + to)).digest())]);
}
