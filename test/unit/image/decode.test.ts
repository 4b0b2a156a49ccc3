import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { UserError } from '../../../src/errors';
import { decodeImage } from '../../../src/image/decode';

const folder = 'test/fixtures/pictures';
const read = (name: string): Buffer => readFileSync(join(folder, name));

interface Expected { width: number; height: number; sha256: string; tolerance?: number }
const expected = JSON.parse(read('expected.json').toString()) as Record<string, Expected>;

/** The largest difference of a sample, in levels of 255. */
function largestDifference(a: Uint8Array, b: Uint8Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - b[i]!)), 0);
}

async function refusal(bytes: Uint8Array, options = {}): Promise<string> {
  try {
    await decodeImage(bytes, { name: 'cat.jpg', ...options });
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    return error.message;
  }
  assert.fail('The bytes were decoded.');
}

describe('decodeImage', () => {
  it('has an expectation for every picture, and one that must be refused', () => {
    const pictures = readdirSync(folder).filter(name => /\.(png|jpg|webp|gif|tif|avif|bmp)$/.test(name));
    assert.deepEqual(pictures.filter(name => !(name in expected)), ['float.tif']);
    assert.equal(Object.keys(expected).length, pictures.length - 1);
  });

  for (const [name, { width, height, sha256, tolerance }] of Object.entries(expected)) {
    it(`${name}: ${tolerance === undefined ? 'the same pixels as Pillow' : `within ${tolerance} levels of Pillow`}`, async () => {
      const image = await decodeImage(read(name));
      assert.deepEqual([image.width, image.height, image.data.length], [width, height, 3 * width * height]);
      if (tolerance === undefined) {
        assert.equal(createHash('sha256').update(image.data).digest('hex'), sha256);
      } else {
        assert.ok(largestDifference(image.data, read(`${name}.rgb`)) <= tolerance);
      }
    });
  }

  it('turns all eight EXIF orientations the right way', async () => {
    const [upright, ...turned] = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(n => decodeImage(read(`orientation-${n}.jpg`))));
    const { width, height, data } = upright!;
    // Where the pixel at (x, y) of the shown picture was stored, for orientations 2 to 8 (EXIF 2.32, section 4.6.5).
    const stored: ((x: number, y: number) => [number, number])[] = [
      (x, y) => [width - 1 - x, y], (x, y) => [width - 1 - x, height - 1 - y], (x, y) => [x, height - 1 - y],
      (x, y) => [y, x], (x, y) => [y, height - 1 - x], (x, y) => [width - 1 - y, height - 1 - x], (x, y) => [width - 1 - y, x],
    ];
    for (const [i, image] of turned.entries()) {
      for (let y = 0; y < image.height; y++) {
        for (let x = 0; x < image.width; x++) {
          const [fromX, fromY] = stored[i]!(x, y);
          const at = 3 * (y * image.width + x), from = 3 * (fromY * width + fromX);
          assert.deepEqual(image.data.subarray(at, at + 3), data.subarray(from, from + 3), `orientation ${i + 2} at ${x}, ${y}`);
        }
      }
    }
  });

  it('turns PNG, WebP and AVIF as their EXIF orientation says', async () => {
    const samples = Uint8Array.from({ length: 4 * 2 * 3 }, (_, i) => i * 37 % 256);
    // Orientation 6: what is stored first is shown in the upper right corner.
    const shown = Array.from({ length: 4 }, (_, y) => [1, 0].flatMap(row => [...samples.subarray(3 * (4 * row + y), 3 * (4 * row + y + 1))])).flat();
    const stored = sharp(samples, { raw: { width: 4, height: 2, channels: 3 } }).withMetadata({ orientation: 6 });
    for (const bytes of [await stored.clone().png().toBuffer(), await stored.clone().webp({ lossless: true }).toBuffer(), await stored.clone().avif({ lossless: true }).toBuffer()]) {
      const { width, height, data } = await decodeImage(bytes);
      assert.deepEqual([width, height, [...data]], [2, 4, shown]);
    }
  });

  it('lays a transparent AVIF over white', async () => {
    const samples = Uint8Array.of(255, 0, 0, 0, 0, 255, 0, 255, 0, 0, 255, 128, 9, 9, 9, 255);
    const bytes = await sharp(samples, { raw: { width: 2, height: 2, channels: 4 } }).avif({ lossless: true, chromaSubsampling: '4:4:4' }).toBuffer();
    assert.deepEqual([...(await decodeImage(bytes)).data], [255, 255, 255, 0, 255, 0, 127, 127, 255, 9, 9, 9]);
  });

  describe('refuses with a sentence', () => {
    it('what is not a picture', async () => {
      assert.equal(await refusal(Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\n')), 'cat.jpg is a Git LFS pointer. Run "git lfs pull" to fetch the picture itself.');
      assert.equal(await refusal(Buffer.from('\n<!DOCTYPE html><html></html>')), 'cat.jpg is a web page. Download the picture itself.');
      assert.match(await refusal(Buffer.from('<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>')), /is an SVG drawing\. Export it as PNG/);
      assert.match(await refusal(Buffer.from('{"error": "not found"}')), /is a JSON text/);
      assert.match(await refusal(Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic')), /is a HEIC picture\. Convert it to PNG or JPEG\./);
      assert.match(await refusal(Buffer.from('\0\0\0\x10ftypisom\0\0\0\0')), /is a video/);
      assert.match(await refusal(Buffer.from('hello')), /is no picture that can be read here\. JPEG, PNG, WebP/);
      assert.equal(await refusal(new Uint8Array(0)), 'cat.jpg is empty.');
    });

    for (const name of ['rgb.jpg', 'rgb16.png', 'lossy.webp', 'transparent.gif', 'lzw.tif', 'lossless.avif', 'rgb24.bmp', 'rle8.bmp', 'palette8.bmp', 'rgb565.bmp']) {
      it(`${name} cut off anywhere`, async () => {
        const bytes = read(name);
        for (const part of [0.1, 0.5, 0.7]) {
          assert.match(await refusal(bytes.subarray(0, Math.round(bytes.length * part))), /^cat\.jpg cannot be decoded: the (JPEG|PNG|WebP|GIF|TIFF|AVIF|BMP) data are damaged, cut off or of an unsupported kind \(.+\)\.$/);
        }
      });
    }

    it('samples that have no defined range', async () => {
      assert.match(await refusal(read('float.tif')), /TIFF with samples of type float/);
    });

    it('BMP headers that lie', async () => {
      const with32 = (at: number, value: number): Buffer => {
        const bytes = Buffer.from(read('palette4.bmp'));
        bytes.writeInt32LE(value, at);
        return bytes;
      };
      assert.match(await refusal(with32(14, 41)), /unknown header of 41 bytes/);
      assert.match(await refusal(with32(18, -5)), /a size of -5 x 17/);
      assert.match(await refusal(with32(22, 0)), /a size of 23 x 0/);
      assert.match(await refusal(with32(22, 18)), /bytes of pixels where \d+ are needed/);
      assert.match(await refusal(with32(30, 9)), /4 bits a pixel with compression 9/);
      assert.match(await refusal(with32(10, 4000)), /pixels at byte 4000/);
      assert.match(await refusal(with32(46, 2)), /colour \d+ of a palette of 2/);
    });

    it('a BMP run that leaves its row', async () => {
      const bytes = Buffer.from(read('rle8.bmp'));
      bytes[bytes.readUInt32LE(10)] = 255;
      assert.match(await refusal(bytes), /a run leaves row 0/);
    });

    it('more bytes or pixels than allowed, before decoding them', async () => {
      const bytes = read('rgb8.png');
      assert.match(await refusal(bytes, { maxBytes: 100 }), /has \d+ bytes, more than the limit of 100/);
      assert.match(await refusal(bytes, { maxPixels: 300 }), /is 23 x 17, 0\.0 million pixels/);
      const huge = Buffer.from(read('rgb24.bmp'));
      huge.writeInt32LE(100_000, 18);
      huge.writeInt32LE(100_000, 22);
      assert.match(await refusal(huge), /is 100000 x 100000, 10000\.0 million pixels; the limit is 100\.0 million/);
    });
  });

  it('stops when it is cancelled', async () => {
    await assert.rejects(decodeImage(read('rgb8.png'), { signal: AbortSignal.abort() }), { name: 'AbortError' });
  });
});
