import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import { EncoderClient } from '../../../src/encoder/client';
import { UserError } from '../../../src/errors';
import { clipPreprocessing, type PreprocessSpec } from '../../../src/image/preprocess';
import { ENTRY } from './fixture';

const PICTURES = join(import.meta.dirname, '../../fixtures/pictures');
const read = (name: string): Promise<Buffer> => readFile(join(PICTURES, name));
const SPEC = clipPreprocessing(224, 'square');

function pngChunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(data.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

/** A PNG, grey unless told, that claims a size and holds what it is given, right in every checksum. */
function png(width: number, height: number, rows: Uint8Array, [depth, colour]: readonly [number, number] = [8, 0]): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = depth;
  header[9] = colour;
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), pngChunk('IHDR', header), pngChunk('IDAT', deflateSync(rows)), pngChunk('IEND', Buffer.alloc(0))]);
}

/** A BMP of RLE8 with a palette of two colours whose runs end at once: 64 bytes, however large it claims to be. */
function rleBmp(width: number, height: number): Buffer {
  const bytes = Buffer.alloc(64);
  bytes.write('BM', 'latin1');
  bytes.writeUInt32LE(62, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(width, 18);
  bytes.writeInt32LE(height, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(8, 28);
  bytes.writeUInt32LE(1, 30);
  bytes.writeUInt32LE(2, 46);
  bytes.set([9, 8, 7, 0], 54);
  bytes.set([0, 1], 62);
  return bytes;
}

/** A GIF of so many frames of one colour: LZW codes of 3 bits, each pixel after a clear (GIF89a, appendix F). */
function gif(side: number, frames: number): Buffer {
  const header = Buffer.from([...Buffer.from('GIF89a', 'latin1'), side & 255, side >> 8, side & 255, side >> 8, 0x80, 0, 0, 10, 20, 30, 40, 50, 60]);
  const codes = [...Array.from({ length: side * side }, () => [4, 0]).flat(), 5];
  const packed = Buffer.alloc(Math.ceil(codes.length * 3 / 8));
  for (const [i, code] of codes.entries()) {
    for (let bit = 0; bit < 3; bit++) if ((code >> bit) & 1) packed[(3 * i + bit) >> 3] = (packed[(3 * i + bit) >> 3] ?? 0) | 1 << ((3 * i + bit) & 7);
  }
  const blocks: Buffer[] = [];
  for (let at = 0; at < packed.length; at += 255) blocks.push(Buffer.of(Math.min(255, packed.length - at)), packed.subarray(at, at + 255));
  const frame = Buffer.concat([Buffer.of(0x21, 0xf9, 4, 0, 1, 0, 0, 0, 0x2c, 0, 0, 0, 0, side & 255, side >> 8, side & 255, side >> 8, 0, 2), ...blocks, Buffer.of(0)]);
  return Buffer.concat([header, ...Array.from({ length: frames }, () => frame), Buffer.of(0x3b)]);
}

/** A little-endian TIFF of grey bytes, its data after its tags: [tag, type (3 short, 4 long), value], where undefined is where the data lie. */
function tiff(tags: readonly (readonly [number, 3 | 4, number | undefined])[], data: Uint8Array): Buffer {
  const at = 8 + 2 + 12 * tags.length + 4;
  const bytes = Buffer.alloc(at);
  bytes.write('II*\0', 'latin1');
  bytes.writeUInt32LE(8, 4);
  bytes.writeUInt16LE(tags.length, 8);
  for (const [i, [tag, type, value = at]] of tags.entries()) {
    bytes.writeUInt16LE(tag, 10 + 12 * i);
    bytes.writeUInt16LE(type, 12 + 12 * i);
    bytes.writeUInt32LE(1, 14 + 12 * i);
    bytes.writeUInt32LE(value, 18 + 12 * i);
  }
  return Buffer.concat([bytes, data]);
}

/** A copy with other bytes written at `at`. */
function patched(bytes: Buffer, at: number, ...values: number[]): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(values, at);
  return copy;
}

describe('hostile pictures in the encoder\'s process', function () {
  this.timeout(60_000);
  let client: EncoderClient;
  before(() => { client = new EncoderClient({ entry: ENTRY }); });
  after(() => client.close());

  /** Each must be one sentence that names the picture, and the process must live on as it was. */
  async function refuses(bytes: Uint8Array, says: RegExp, spec: PreprocessSpec = SPEC): Promise<void> {
    const pid = client.pid;
    await assert.rejects(client.preprocess('cat.jpg', bytes, spec), (error: unknown) => {
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, says);
      // eslint-disable-next-line no-control-regex -- a terminal or a list shows it
      assert.doesNotMatch(error.message, /[\u0000-\u001f]/);
      return true;
    });
    if (pid !== undefined) assert.equal(client.pid, pid, 'another process took its place');
  }

  it('a good one first, and after all others', async () => {
    const { pixels } = await client.preprocess('rgb.jpg', await read('rgb.jpg'), SPEC);
    assert.equal(pixels.data.length, 3 * 224 * 224);
  });

  it('that claim to be too large', async () => {
    const claim = /^cat\.jpg is \d+ x \d+, [\d.]+ million pixels; the limit is 100\.0 million\. Make it smaller first\.$/;
    await refuses(png(100_000, 100_000, Buffer.alloc(10)), claim);
    await refuses(rleBmp(100_000, 100_000), claim);
    const deep = [16, 6] as const; // red, green, blue and alpha of 16 bits
    await refuses(png(8_000, 8_000, Buffer.alloc(10), deep), /^cat\.jpg is 8000 x 8000, 64\.0 million pixels; the limit is 50\.0 million of 8 bytes each\. Make it smaller first\.$/);
    // An AVIF's decoder holds several copies: half as many pixels are taken. The size stands in the box "ispe".
    const avif = await read('lossless.avif');
    const ispe = avif.indexOf('ispe');
    assert.ok(ispe > 0);
    await refuses(patched(avif, ispe + 8, 0, 0, 0x1f, 0x40, 0, 0, 0x1f, 0x40), /^cat\.jpg is 8000 x 8000, 64\.0 million pixels; the limit is 50\.0 million of 8 bytes each\. Make it smaller first\.$/);
    const jpeg = await read('rgb.jpg');
    const frame = jpeg.indexOf(Buffer.of(0xff, 0xc0));
    assert.ok(frame > 0);
    await refuses(patched(jpeg, frame + 5, 0xfd, 0xe8, 0xfd, 0xe8), claim);
    const gif = await read('transparent.gif');
    const image = gif.indexOf(Buffer.of(0x2c, 0, 0, 0, 0));
    assert.ok(image > 0);
    await refuses(patched(patched(gif, 6, 0xff, 0xff, 0xff, 0xff), image + 5, 0xff, 0xff, 0xff, 0xff), claim);
  });

  it('that claim a size within the limit and hold no such picture', async () => {
    const damaged = /^cat\.jpg cannot be decoded: the (PNG|BMP) data are damaged, cut off or of an unsupported kind \(.+\)\.$/;
    await refuses(png(9_000, 9_000, Buffer.alloc(10)), damaged);
    await refuses((await read('rgb24.bmp')).subarray(0, 60), damaged);
  });

  for (const name of ['rgb.jpg', 'progressive.jpg', 'rgb16.png', 'lossy.webp', 'lossless.webp', 'animated.gif', 'lossless.avif', 'lzw.tif', 'bilevel-g4.tif', 'rle8.bmp']) {
    it(`${name}, cut off and damaged all over: a sentence or a picture`, async () => {
      const whole = await read(name);
      const decoder = /^cat\.jpg cannot be decoded: the \w+ data are damaged, cut off or of an unsupported kind \(.+\)\.$|^cat\.jpg is .+\.$/;
      await refuses(whole.subarray(0, Math.floor(whole.length / 2)), decoder);
      const { pid } = client;
      for (let seed = 1; seed <= 60; seed++) {
        const bytes = Buffer.from(whole);
        for (let i = 0, at = seed; i < 1 + seed % 8; i++) {
          at = Math.imul(at + i, 2654435761) >>> 0;
          bytes[16 + at % (bytes.length - 16)] = at >>> 24;
        }
        await client.preprocess('cat.jpg', bytes, SPEC).catch((error: unknown) => {
          assert.ok(error instanceof UserError, `seed ${seed}: ${String(error)}`);
          assert.match(error.message, decoder, `seed ${seed}`);
        });
        assert.equal(client.pid, pid, `seed ${seed} ended the process`);
      }
    });
  }

  it('long strips, which would become too large for the encoder', async () => {
    const strip = png(60_000, 1, Buffer.alloc(60_001));
    await refuses(strip, /^The picture of 60000 x 1 would become 60000 x 60000 for this encoder, more than 200 million pixels\. Cut or shrink it first\.$/, { ...SPEC, padToSquare: [0, 0, 0] });
    await refuses(strip, /would become 13440000 x 224/, { filter: 'bicubic', rescale: 1, resize: { kind: 'shortestEdge', size: 224 } });
    await refuses(png(70_000, 1, Buffer.alloc(70_001)), /^cat\.jpg is 70000 x 1; a side may have 65535 pixels\. Cut it first\.$/);
    assert.equal((await client.preprocess('cat.jpg', strip, SPEC)).pixels.data.length, 3 * 224 * 224);
  });

  it('the largest that is taken, of 64 bytes: its memory is the decoded picture\'s', async () => {
    const before = await client.memory();
    const { pixels } = await client.preprocess('cat.jpg', rleBmp(10_000, 10_000), { filter: 'nearest', rescale: 1, resize: { kind: 'exact', width: 2, height: 1 } });
    assert.deepEqual([...pixels.data], [7, 7, 8, 8, 9, 9]);
    const after = await client.memory();
    assert.ok(before !== undefined && after !== undefined);
    const taken = after.peakBytes - before.residentBytes;
    // Some of it may fit into what earlier pictures have left to the process; far less would mean that this measures nothing.
    assert.ok(taken > 200e6 && taken < 400e6, `${taken} bytes`);
  });

  describe('take no more memory than their pixels do', () => {
    const TINY = { filter: 'nearest', rescale: 1, resize: { kind: 'exact', width: 2, height: 1 } } as const;
    let own: EncoderClient;
    // The peak is a process' own.
    beforeEach(async () => {
      own = new EncoderClient({ entry: ENTRY });
      await own.preprocess('rgb.jpg', await read('rgb.jpg'), SPEC);
    });
    afterEach(() => own.close());

    /** Decodes what may be decoded, or gives the sentence; and what the process grew by at its peak. */
    async function grownBy(bytes: Uint8Array): Promise<{ pixels: readonly number[] | undefined; message: string; bytes: number }> {
      const before = await own.memory();
      let message = '';
      const outcome = await own.preprocess('cat.jpg', bytes, TINY).catch((error: unknown) => {
        assert.ok(error instanceof UserError, String(error));
        message = error.message;
        return undefined;
      });
      const after = await own.memory();
      assert.ok(before !== undefined && after !== undefined);
      return { pixels: outcome && [...outcome.pixels.data], message, bytes: after.peakBytes - before.residentBytes };
    }

    it('an AVIF of 847 bytes that holds 36 million pixels', async () => {
      const grown = await grownBy(await readFile(join(PICTURES, '../large.avif')));
      assert.deepEqual(grown.pixels?.map(level => Math.round(level / 0x11)), [4, 4, 6, 6, 8, 8]);
      // 659 MB were seen: 18 bytes a pixel, of the codec's planes and of copies.
      assert.ok(grown.bytes < 25 * 36e6, `${grown.bytes} bytes`);
    });

    it('a GIF of 20,000 frames: the first is decoded, the others are not', async () => {
      const bytes = gif(64, 20_000);
      const grown = await grownBy(bytes);
      assert.deepEqual(grown.pixels, [10, 10, 20, 20, 30, 30]);
      // The file itself, on its way between the processes, twice; all frames decoded would be 246 MB more.
      assert.ok(grown.bytes < 3 * bytes.length, `${grown.bytes} bytes`);
    });

    it('a TIFF whose one strip is deflated 1000 times', async () => {
      const side = 9_000;
      const strip = deflateSync(Buffer.alloc(side * side, 9));
      const grown = await grownBy(tiff([[256, 4, side], [257, 4, side], [258, 3, 8], [259, 3, 8], [262, 3, 1], [273, 4, undefined], [277, 3, 1], [278, 4, side], [279, 4, strip.length]], strip));
      assert.deepEqual(grown.pixels, [9, 9, 9, 9, 9, 9]);
      assert.ok(grown.bytes < 5 * side * side, `${grown.bytes} bytes`);
    });

    it('a small TIFF that claims tiles of 65,536 x 65,536, or strips of four billion rows', async () => {
      const tile = deflateSync(Buffer.alloc(1000));
      const tiled = await grownBy(tiff([[256, 4, 16], [257, 4, 16], [258, 3, 8], [259, 3, 8], [262, 3, 1], [277, 3, 1], [322, 4, 65_536], [323, 4, 65_536], [324, 4, undefined], [325, 4, tile.length]], tile));
      assert.match(tiled.message, /^cat\.jpg cannot be decoded: .*tile size/);
      const rows = await grownBy(tiff([[256, 4, 16], [257, 4, 16], [258, 3, 8], [259, 3, 8], [262, 3, 1], [273, 4, undefined], [277, 3, 1], [278, 4, 0xffffffff], [279, 4, tile.length]], tile));
      // As libtiff reads it: a strip that long ends with the picture.
      assert.deepEqual(rows.pixels, [0, 0, 0, 0, 0, 0]);
      assert.ok(tiled.bytes < 64e6 && rows.bytes < 64e6, `${tiled.bytes} and ${rows.bytes} bytes`);
    });
  });

  it('and the process runs on', async () => {
    const { pixels } = await client.preprocess('rgb.jpg', await read('rgb.jpg'), SPEC);
    assert.equal(pixels.data.length, 3 * 224 * 224);
  });
});
