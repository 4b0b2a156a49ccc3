import assert from 'node:assert/strict';
import { readBytes } from '../../../src/checkpoint/byteSource';
import { inflateRange } from '../../../src/checkpoint/inflate';
import { readZipDirectory, zipDataOffsets } from '../../../src/checkpoint/zip';
import { MemorySource } from './memorySource';
import { collect, rejects, zipFile } from './torch/support';

const records = [
  { name: 'a/one', data: Buffer.from('first'), padding: 11 },
  { name: 'a/two', data: Buffer.alloc(100_000, 'second '), deflated: true },
  { name: 'a/drei-é', data: Buffer.alloc(0) },
];
const archive = zipFile(records);

/** `bytes` with some of them replaced. */
function patched(bytes: Buffer, edit: (copy: Buffer) => void): MemorySource {
  const copy = Buffer.from(bytes);
  edit(copy);
  return new MemorySource(copy, 'x.bin');
}

const centralAt = archive.indexOf('PK\x01\x02');
const endAt = archive.length - 22;

describe('zip directory', () => {
  it('lists entries and finds their data, stored and deflated', async () => {
    const source = new MemorySource(archive);
    const { entries, duplicates } = await readZipDirectory(source);
    assert.equal(source.reads, 1);
    assert.deepEqual([...entries.keys()], records.map(({ name }) => name));
    assert.deepEqual(duplicates, []);
    const offsets = await zipDataOffsets(source, entries.values());
    assert.equal(source.reads, 2, 'headers near each other are read together');
    for (const { name, data } of records) {
      const entry = entries.get(name);
      assert.ok(entry !== undefined);
      const offset = offsets.get(entry) ?? -1;
      const bytes = entry.method === 'stored' ? await readBytes(source, offset, entry.length) : await collect(inflateRange(source, { ...entry, offset }, 0, entry.length));
      assert.deepEqual(Buffer.from(bytes), data);
    }
  });

  it('inflates a part, and refuses another size than declared', async () => {
    const source = new MemorySource(archive);
    const entry = (await readZipDirectory(source)).entries.get('a/two');
    assert.ok(entry !== undefined);
    const offset = (await zipDataOffsets(source, [entry])).get(entry) ?? -1;
    const deflated = { offset, compressedLength: entry.compressedLength, length: entry.length };
    assert.equal((await collect(inflateRange(source, deflated, 70_000, 13))).toString(), 'second second');
    await rejects(collect(inflateRange(source, { ...deflated, length: 99_999 }, 0, 99_999)), /do not hold the 99999 bytes/);
    await rejects(collect(inflateRange(source, { ...deflated, length: 100_001 }, 0, 100_001)), /do not hold the 100001 bytes/);
    await rejects(collect(inflateRange(source, { ...deflated, length: 10 ** 9 }, 0, 10 ** 9)), /which is impossible/);
    await rejects(collect(inflateRange(source, { ...deflated, offset: offset + 1 }, 0, 100_000)), /do not hold/);
  });

  it('reads a directory that lies before the last 128 KiB', async () => {
    const many = zipFile(Array.from({ length: 4000 }, (_, i) => ({ name: `archive/data/${i}`, data: Buffer.from([i & 255]) })));
    const source = new MemorySource(many);
    const { entries } = await readZipDirectory(source);
    assert.equal(entries.size, 4000);
    assert.equal((await zipDataOffsets(source, entries.values())).size, 4000);
    assert.ok(source.reads < 10, `${source.reads} requests`);
  });

  it('allows a comment and bytes behind the archive', async () => {
    assert.equal((await readZipDirectory(new MemorySource(Buffer.concat([archive, Buffer.from('behind')])))).entries.size, 3);
  });

  it('reads zip64 sizes and offsets', async () => {
    const name = Buffer.from('a/big');
    const big = 5 * 2 ** 30;
    const extra = Buffer.alloc(20);
    extra.writeUInt16LE(1, 0);
    extra.writeUInt16LE(16, 2);
    extra.writeBigUInt64LE(BigInt(big), 4);
    extra.writeBigUInt64LE(BigInt(big), 12);
    const central = Buffer.alloc(46);
    central.write('PK\x01\x02', 'latin1');
    central.writeUInt16LE(8, 8);
    central.fill(0xff, 20, 28);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt16LE(extra.length, 30);
    const directory = Buffer.concat([central, name, extra]);
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), Buffer.alloc(22), Buffer.from([name.length, 0, 0, 0]), name]);
    const directoryOffset = local.length + big;
    const end64 = Buffer.alloc(56);
    end64.write('PK\x06\x06', 'latin1');
    end64.writeBigUInt64LE(1n, 32);
    end64.writeBigUInt64LE(BigInt(directory.length), 40);
    end64.writeBigUInt64LE(BigInt(directoryOffset), 48);
    const locator = Buffer.alloc(20);
    locator.write('PK\x06\x07', 'latin1');
    locator.writeBigUInt64LE(BigInt(directoryOffset + directory.length), 8);
    const end = Buffer.alloc(22);
    end.write('PK\x05\x06', 'latin1');
    end.writeUInt16LE(1, 10);
    end.writeUInt32LE(directory.length, 12);
    end.fill(0xff, 16, 20);
    const behind = Buffer.concat([directory, end64, locator, end]);
    // Five gigabytes of zeros between the local header and the directory, without holding them.
    const source = {
      name: 'big.bin', size: directoryOffset + behind.length,
      readInto(target: Uint8Array, position: number) {
        target.fill(0);
        target.set(local.subarray(Math.min(position, local.length), Math.min(position + target.length, local.length)));
        const from = directoryOffset - position;
        if (from < target.length) target.set(behind.subarray(Math.max(0, -from), target.length - from), Math.max(0, from));
        return Promise.resolve();
      },
      close: () => Promise.resolve(),
    };
    const { entries } = await readZipDirectory(source);
    const entry = entries.get('a/big');
    assert.ok(entry !== undefined);
    assert.equal(entry.length, big);
    assert.equal((await zipDataOffsets(source, [entry])).get(entry), local.length);
  });

  it('refuses what contradicts itself', async () => {
    const refuses = (edit: (copy: Buffer) => void, message: RegExp): Promise<void> => rejects(readZipDirectory(patched(archive, edit)), message);
    await rejects(readZipDirectory(new MemorySource(archive.subarray(0, -1), 'x.bin')), /x\.bin is an incomplete zip archive/);
    await rejects(readZipDirectory(new MemorySource(Buffer.concat([Buffer.from('junk'), archive]))), /4 bytes stand before the archive/);
    await refuses(copy => { copy.writeUInt32LE(0xfffffff0, endAt + 16); }, /its directory lies outside the file/);
    await refuses(copy => { copy.writeUInt16LE(4, endAt + 10); }, /entry 4 of 4 is missing/);
    await refuses(copy => { copy.writeUInt16LE(1, centralAt + 8); }, /"a\/one" is encrypted/);
    await refuses(copy => { copy.writeUInt32LE(4, centralAt + 20); }, /two different sizes/);
    await refuses(copy => { copy.writeUInt32LE(0xffffffff, centralAt + 42); }, /lacks its 64-bit size or offset/);
    await refuses(copy => { copy.writeUInt32LE(50_000, centralAt + 20); copy.writeUInt32LE(50_000, centralAt + 24); }, /does not fit into the file/);
    await refuses(copy => { copy.writeUInt32LE(60, centralAt + 20); copy.writeUInt32LE(60, centralAt + 24); }, /"a\/one" and "a\/two" overlap/);
    const second = archive.indexOf('PK\x01\x02', centralAt + 4);
    await refuses(copy => { copy.writeUInt32LE(0, second + 42); }, /overlap/);
  });

  it('refuses a local header that contradicts the directory', async () => {
    for (const edit of [
      (copy: Buffer): void => { copy.write('XX', 0); },
      (copy: Buffer): void => { copy.write('z', 30); },
      (copy: Buffer): void => { copy.writeUInt32LE(6, 18); },
      (copy: Buffer): void => { copy.writeUInt16LE(0xffff, 28); },
    ]) {
      const source = patched(archive, edit);
      const { entries } = await readZipDirectory(source);
      await rejects(zipDataOffsets(source, [...entries.values()].slice(0, 1)), /contradicts its directory/);
    }
  });
});
