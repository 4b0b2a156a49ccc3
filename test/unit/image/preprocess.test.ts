import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { decodeImage } from '../../../src/image/decode';
import { patchArea, patchAt, seenArea } from '../../../src/image/geometry';
import { atSize, clipPreprocessing, preprocess, type PreprocessSpec } from '../../../src/image/preprocess';

interface Case { picture: string; geometry: 'square' | 'crop' | 'pad'; size: number; shape: number[]; sha256: string }
const cases = JSON.parse(readFileSync('test/fixtures/preprocess/expected.json', 'utf8')) as Case[];

function specOf({ geometry, size }: Case): PreprocessSpec {
  if (geometry !== 'pad') return clipPreprocessing(size, geometry);
  const { filter, rescale, normalize } = clipPreprocessing(size, 'square');
  return { filter, rescale, normalize: normalize!, crop: { width: size + 3, height: size } };
}

const blank = (width: number, height: number): { width: number; height: number; data: Uint8Array } => ({ width, height, data: new Uint8Array(3 * width * height) });

describe('preprocess', () => {
  for (const expected of cases) {
    it(`${expected.picture}, ${expected.geometry} ${expected.size}: every float32 as Pillow and numpy make it`, async () => {
      const image = await decodeImage(readFileSync(`test/fixtures/${expected.picture}`));
      const { pixels, geometry } = preprocess(image, specOf(expected));
      assert.deepEqual([3, geometry.height, geometry.width], expected.shape);
      assert.equal(createHash('sha256').update(new Uint8Array(pixels.buffer)).digest('hex'), expected.sha256);
    });
  }

  for (const fixture of ['qwen-vl-tiny-bin', 'qwen-vl-tiny-safetensors']) {
    it(`${fixture}: the pixel_values that PyTorch's encoder was given`, async () => {
      const file = readFileSync(`test/fixtures/${fixture}/expected.safetensors`);
      const headerSize = Number(file.readBigUInt64LE(0));
      const header = JSON.parse(file.toString('utf8', 8, 8 + headerSize)) as { pixel_values: { data_offsets: [number, number] } };
      const [start, end] = header.pixel_values.data_offsets;
      const image = await decodeImage(readFileSync(`test/fixtures/${fixture}/picture.png`));
      const { pixels } = preprocess(image, clipPreprocessing(112, 'square'));
      assert.deepEqual(Buffer.from(pixels.buffer), file.subarray(8 + headerSize + start, 8 + headerSize + end));
    });
  }

  it('leaves levels as they are when nothing is to be done', () => {
    const image = { width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 253, 254, 255) };
    assert.deepEqual([...preprocess(image, { filter: 'bicubic', rescale: 1 }).pixels], [1, 253, 2, 254, 3, 255]);
  });

  it('cuts the centre out of a very long picture without making all of it', () => {
    const { geometry } = preprocess(blank(1, 8000), clipPreprocessing(448, 'crop'));
    assert.deepEqual(geometry, { source: { width: 1, height: 8000 }, resized: { width: 448, height: 3_584_000 }, left: 0, top: 1_791_776, width: 448, height: 448 });
  });
});

describe('preprocess with a rim', () => {
  const levels = { filter: 'bicubic', rescale: 1 } as const;
  /** 40 x 20, each pixel of its own colour. */
  const wide = { width: 40, height: 20, data: Uint8Array.from({ length: 3 * 40 * 20 }, (_, index) => index * 7 % 256) };

  it('puts the picture in the middle of a square of one colour, and tells the patches in the picture\'s own pixels', () => {
    const { pixels, geometry } = preprocess(wide, { ...levels, padToSquare: [9, 8, 7], resize: { kind: 'exact', width: 40, height: 40 } });
    assert.deepEqual([...pixels.subarray(0, 400)], Array.from({ length: 400 }, () => 9));
    assert.deepEqual([...pixels.subarray(2 * 1600, 2 * 1600 + 400)], Array.from({ length: 400 }, () => 7));
    assert.deepEqual([...pixels.subarray(400, 1200)], [...wide.data.filter((_, index) => index % 3 === 0)]);
    assert.deepEqual(seenArea(geometry), { x: 0, y: -10, width: 40, height: 40 });
    assert.deepEqual(patchArea(geometry, 10, 5), { x: 10, y: 0, width: 10, height: 10 });
  });

  it('is the resize and crop of that square, drawn by hand', () => {
    const square = blank(40, 40);
    for (let y = 0; y < 40; y++) for (let x = 0; x < 40; x++) square.data.set(y >= 10 && y < 30 ? wide.data.subarray(3 * (40 * (y - 10) + x), 3 * (40 * (y - 10) + x) + 3) : [122, 116, 104], 3 * (40 * y + x));
    const spec = clipPreprocessing(28, 'crop');
    assert.deepEqual(preprocess(wide, { ...spec, padToSquare: [122, 116, 104] }).pixels, preprocess(square, spec).pixels);
  });

  it('brings the longer side to a size and fills what is left', () => {
    const { pixels, geometry } = preprocess(wide, { ...levels, resize: { kind: 'longestEdge', size: 40 }, crop: { width: 40, height: 40 }, fill: [1, 2, 3] });
    assert.deepEqual([pixels[0], pixels[1600], pixels[3200]], [1, 2, 3]);
    assert.deepEqual([...pixels.subarray(400, 440)], [...wide.data.filter((_, index) => index % 3 === 0).subarray(0, 40)]);
    assert.deepEqual({ ...geometry }, { source: { width: 40, height: 20 }, resized: { width: 40, height: 20 }, left: 0, top: -10, width: 40, height: 40 });
  });

  it('cuts the centre where torchvision does: half a pixel goes to the even side', () => {
    const left = (width: number, torchvision: boolean): number => preprocess(blank(width, 10), { ...levels, crop: { width: 10, height: 10, ...(torchvision && { torchvision: true }) } }).geometry.left;
    assert.deepEqual([11, 12, 13, 14, 15, 17].map(width => left(width, true)), [0, 1, 2, 2, 2, 4]);
    assert.deepEqual([11, 12, 13, 14, 15, 17].map(width => left(width, false)), [0, 1, 1, 2, 2, 3]);
  });
});

describe('atSize', () => {
  it('keeps a rule that makes that size, and changes the sides of another in proportion', () => {
    for (const geometry of ['square', 'crop'] as const) assert.deepEqual(atSize(clipPreprocessing(448, geometry), 448), clipPreprocessing(448, geometry));
    for (const geometry of ['square', 'crop'] as const) assert.deepEqual(atSize(clipPreprocessing(224, geometry), 448), clipPreprocessing(448, geometry));
    // DINOv2's file: 256, then 224.
    const { resize, crop } = atSize({ ...clipPreprocessing(224, 'crop'), resize: { kind: 'shortestEdge', size: 256 } }, 518);
    assert.deepEqual([resize, crop], [{ kind: 'shortestEdge', size: 592 }, { width: 518, height: 518 }]);
  });

  it('cuts to the square what a rule leaves free', () => {
    assert.deepEqual(atSize({ filter: 'bicubic', rescale: 1 }, 28).crop, { width: 28, height: 28 });
    assert.deepEqual(atSize({ filter: 'bicubic', rescale: 1, resize: { kind: 'shortestEdge', size: 10 } }, 28), { filter: 'bicubic', rescale: 1, resize: { kind: 'shortestEdge', size: 28 }, crop: { width: 28, height: 28 } });
  });
});

describe('geometry', () => {
  it('maps the patches of a squared picture onto all of it', () => {
    const { geometry } = preprocess(blank(400, 300), clipPreprocessing(112, 'square'));
    assert.deepEqual(seenArea(geometry), { x: 0, y: 0, width: 400, height: 300 });
    assert.deepEqual(patchArea(geometry, 14, 0), { x: 0, y: 0, width: 50, height: 37.5 });
    assert.deepEqual(patchArea(geometry, 14, 9), { x: 50, y: 37.5, width: 50, height: 37.5 });
  });

  it('maps the patches of a cropped picture onto its centre', () => {
    const { geometry } = preprocess(blank(400, 200), clipPreprocessing(100, 'crop'));
    assert.deepEqual(seenArea(geometry), { x: 100, y: 0, width: 200, height: 200 });
    assert.deepEqual(patchArea(geometry, 50, 3), { x: 200, y: 100, width: 100, height: 100 });
  });

  it('finds the patch under every point of its area, and none where the encoder did not look', () => {
    const { geometry } = preprocess(blank(401, 200), clipPreprocessing(112, 'crop'));
    for (let index = 0; index < 64; index++) {
      const { x, y, width, height } = patchArea(geometry, 14, index);
      for (const [dx, dy] of [[0.01, 0.01], [0.5, 0.5], [0.99, 0.99]] as const) {
        assert.equal(patchAt(geometry, 14, { x: x + dx * width, y: y + dy * height }), index);
      }
    }
    assert.equal(patchAt(geometry, 14, { x: 20, y: 100 }), undefined);
    assert.equal(patchAt(geometry, 14, { x: 390, y: 100 }), undefined);
    assert.equal(patchAt(geometry, 14, { x: 200, y: 201 }), undefined);
  });
});
