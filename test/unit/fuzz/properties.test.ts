import assert from 'node:assert/strict';
import { posix, win32 } from 'node:path';
import fc from 'fast-check';
import { DTYPES } from '../../../src/checkpoint/dtype';
import { readSafetensors } from '../../../src/checkpoint/safetensors';
import { isStoredName } from '../../../src/checkpoint/storedName';
import { readTorchZip } from '../../../src/checkpoint/torch/torchZip';
import { readZipDirectory } from '../../../src/checkpoint/zip';
import { UserError } from '../../../src/errors';
import { decodeBmp } from '../../../src/image/bmp';
import { parseRecipe } from '../../../src/recipe/recipe';
import { compileRecipe } from '../../../src/recipe/rules';
import { judge } from '../../fuzz/safetensorsModel';
import { memorySource, safetensorsFile } from '../checkpoint/support';
import { p, torchFile, zipFile } from '../checkpoint/torch/support';

const OPTIONS = { seed: Number(process.env.FUZZ_SEED ?? 1), numRuns: 400 };

/** What `read` gives, or undefined when it refuses with a sentence. */
async function orRefused<T>(read: () => Promise<T> | T): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof UserError) return undefined;
    throw error;
  }
}

/** Whole numbers as headers have them, and others that they should not have. */
const size = fc.oneof({ weight: 6, arbitrary: fc.nat(9) }, fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 60, -1, 0.5));
const shape = fc.array(size, { maxLength: 4 });

describe('whatever is generated', () => {
  it('as a safetensors header, the reader and the model of the reference give the same verdict', async () => {
    const entry = fc.record({ dtype: fc.constantFrom(...DTYPES, 'F128', ''), shape, data_offsets: fc.tuple(fc.nat(40), fc.nat(40)), extra: fc.jsonValue() }, { requiredKeys: ['dtype', 'shape', 'data_offsets'] });
    const nearlyEntry = fc.oneof({ weight: 8, arbitrary: entry }, fc.jsonValue());
    const header = fc.array(fc.tuple(fc.oneof(fc.string(), fc.constantFrom('__metadata__', '__proto__', 'a', 'b')), nearlyEntry), { maxLength: 4 });
    const verdicts = new Set<string>();
    await fc.assert(fc.asyncProperty(header, fc.nat(60), async (entries, data) => {
      const file = safetensorsFile(`{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`, data);
      const verdict = judge(file);
      const parsed = await orRefused(() => readSafetensors(memorySource(file)));
      verdicts.add(verdict.kind);
      if (verdict.kind !== 'undecided') assert.equal(parsed !== undefined, verdict.kind === 'accepted');
    }), OPTIONS);
    assert.ok(verdicts.has('rejected'));
  });

  it('as a well-formed safetensors file, both accept it', async () => {
    const tensor = fc.record({ dtype: fc.constantFrom<[string, number]>(['U8', 1], ['BF16', 2], ['F64', 8]), shape: fc.array(fc.nat(4), { maxLength: 3 }) });
    await fc.assert(fc.asyncProperty(fc.uniqueArray(fc.tuple(fc.string(), tensor), { selector: ([key]) => key, maxLength: 5 }), async tensors => {
      let end = 0;
      const entries = tensors.filter(([key]) => key !== '__metadata__').map(([key, { dtype: [dtype, bytes], shape }]) => {
        const start = end;
        end += shape.reduce((product, dim) => product * dim, 1) * bytes;
        return `${JSON.stringify(key)}:${JSON.stringify({ dtype, shape, data_offsets: [start, end] })}`;
      });
      const file = safetensorsFile(`{${entries.join(',')}}`, end);
      assert.equal(judge(file).kind, 'accepted');
      assert.equal((await readSafetensors(memorySource(file))).tensors.length, entries.length);
    }), OPTIONS);
  });

  it('as a pickle program, it makes tensors inside their storage or is refused', async () => {
    const whole = fc.oneof({ weight: 9, arbitrary: fc.nat(4) }, fc.integer({ min: -3, max: 40 }));
    const instruction: fc.Arbitrary<Buffer> = fc.oneof(
      fc.constantFrom(...Array.from('()]}0123Nbdehilaostu.RQ'), '\x81', '\x85', '\x86', '\x87', '\x8f', '\x90', '\x91', '\x92', '\x93', '\x94').map(code => p.op(code)),
      fc.integer().map(value => p.int(value | 0)),
      fc.string({ maxLength: 12 }).map(text => p.str(text)),
      fc.constantFrom(['torch._utils', '_rebuild_tensor_v2'], ['collections', 'OrderedDict'], ['os', 'system'], ['torch', 'FloatStorage']).map(([module = '', name = '']) => p.global(module, name)),
      fc.nat(12).map(index => p.op('q', index)), fc.nat(12).map(index => p.op('h', index)),
      fc.record({ count: fc.oneof({ weight: 4, arbitrary: fc.constant(16) }, whole), offset: whole, shape: fc.array(whole, { maxLength: 3 }), strides: fc.array(whole, { minLength: 3, maxLength: 3 }) })
        .map(({ count, offset, shape, strides: all }) => ({ count, offset, shape, strides: all.slice(0, shape.length) }))
        .map(({ count, offset, shape, strides }) => p.dict({ a: p.tensor(p.storage('0', count), offset, shape, strides) })),
    );
    let read = 0;
    await fc.assert(fc.asyncProperty(fc.array(instruction, { minLength: 1, maxLength: 6 }), async program => {
      const source = torchFile(Buffer.concat(program), { 0: new Uint8Array(64) });
      const parsed = await orRefused(() => readTorchZip(source));
      if (parsed === undefined) return;
      read++;
      for (const { offset, length, indirect } of parsed.tensors) assert.ok(indirect !== undefined || offset + length <= source.size);
    }), { ...OPTIONS, numRuns: 4000 });
    assert.ok(read > 0, 'no program made a tensor');
  });

  it('as a zip archive with other numbers in its records, its entries lie in the file, apart from each other', async () => {
    const records = fc.array(fc.record({ name: fc.string({ maxLength: 20 }), data: fc.uint8Array({ maxLength: 50 }), deflated: fc.boolean(), padding: fc.nat(70) }), { minLength: 1, maxLength: 5 });
    await fc.assert(fc.asyncProperty(records, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }), async (files, changes) => {
      const bytes = zipFile(files);
      for (const [at, value] of changes) bytes[bytes.length - 1 - at % Math.min(bytes.length, 200)] = value;
      const source = memorySource(bytes);
      const directory = await orRefused(() => readZipDirectory(source));
      let end = 0;
      for (const entry of [...directory?.entries.values() ?? []].sort((a, b) => a.headerOffset - b.headerOffset)) {
        assert.ok(entry.headerOffset >= end && entry.headerOffset + entry.compressedLength <= source.size);
        end = entry.headerOffset + entry.compressedLength;
      }
      if (changes.length === 0) assert.equal(directory?.entries.size, new Set(files.map(({ name }) => name)).size);
    }), OPTIONS);
  });

  it('as a bitmap, it becomes a picture of the size that it says, or an error', () => {
    const header = fc.record({
      headerSize: fc.constantFrom(12, 40, 52, 56, 108, 124, 16, 64, 7), width: fc.integer({ min: -2, max: 20 }), height: fc.integer({ min: -20, max: 20 }),
      bits: fc.constantFrom(1, 2, 4, 8, 16, 24, 32, 0), compression: fc.constantFrom(0, 1, 2, 3, 6, 9), pixelsAt: fc.constantFrom(54, 62, 66, 70, 118, 122, 138, 500, 5000), colours: fc.nat(300), masks: fc.array(fc.constantFrom(0xff, 0xff00, 0xff0000, 0, 0x7c00, 0x5, 0xff000000), { minLength: 4, maxLength: 4 }),
    });
    let read = 0;
    fc.assert(fc.property(header, fc.uint8Array({ minLength: 0, maxLength: 4000 }), (fields, data) => {
      const bytes = Buffer.concat([Buffer.alloc(138), data]);
      bytes.write('BM', 'latin1');
      bytes.writeUInt32LE(fields.pixelsAt, 10);
      bytes.writeUInt32LE(fields.headerSize, 14);
      bytes.writeInt32LE(fields.width, 18);
      bytes.writeInt32LE(fields.height, 22);
      bytes.writeUInt16LE(fields.bits, 28);
      bytes.writeUInt32LE(fields.compression, 30);
      bytes.writeUInt32LE(fields.colours, 46);
      fields.masks.forEach((mask, index) => { bytes.writeUInt32LE(mask, 54 + 4 * index); });
      let asked = 0;
      try {
        const image = decodeBmp(bytes, (width, height) => { asked = width * height; if (asked > 1e6) throw new UserError('The picture is too large.'); });
        assert.equal(image.data.length, 3 * asked);
        read++;
      } catch (error) {
        if (error instanceof RangeError || error instanceof TypeError || error instanceof assert.AssertionError) throw error;
      }
    }), { ...OPTIONS, numRuns: 2000 });
    assert.ok(read > 0, 'no bitmap was read');
  });

  it('as a recipe\'s patterns, deciding about a key takes no time that grows out of hand', () => {
    const segment = fc.constantFrom('*', '**', 'a', '*a*', '*a*a*a*a*b', 'a*');
    const keys = ['a'.repeat(3000), Array.from({ length: 400 }, () => 'a').join('.'), `${'aaaa.'.repeat(200)}b`];
    fc.assert(fc.property(fc.array(segment, { minLength: 1, maxLength: 30 }), segments => {
      const recipe = parseRecipe(JSON.stringify({ version: 1, name: 'x', family: 'clip', rules: [{ mark: 'keep', pattern: segments.join('.') }] }), 'x');
      const decide = compileRecipe(recipe);
      const started = process.cpuUsage();
      for (const key of keys) decide(key);
      const { user } = process.cpuUsage(started);
      assert.ok(user < 1e6, `${segments.join('.')} took ${user / 1e6} s of the processor`);
    }), { ...OPTIONS, numRuns: 200 });
  });

  it('as a name, what is taken for one inside the folder stays there, on every system', () => {
    const piece = fc.constantFrom('..', '.', 'a', '/', '\\', 'C:', '\0', ' ', 'a.safetensors', '%2e%2e', '//', '\\\\host\\share', '~');
    fc.assert(fc.property(fc.array(piece, { maxLength: 5 }).map(pieces => pieces.join('')), name => {
      if (!isStoredName(name)) return;
      for (const rules of [posix, win32]) assert.ok(!rules.relative(rules.resolve('/store'), rules.resolve('/store', name)).split(/[\\/]/).includes('..'), name);
    }), { ...OPTIONS, numRuns: 3000 });
  });
});
