import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportOnnx } from '../../../src/encoder/exportOnnx';
import { decodeImage } from '../../../src/image/decode';
import { clipPreprocessing, preprocess, type PreprocessSpec } from '../../../src/image/preprocess';
import { openClipRule, paddedToSquare, pictureRule, writtenRule } from '../../../src/image/preprocessorConfig';
import { expected, fixturePath, relativeError, tinyModel } from '../encoder/fixture';
import { FIXTURES } from '../support/checkpoints';

const PYTHON = '/usr/bin/python3';
const EXAMPLES = join(import.meta.dirname, '../../../media/examples');
/** Stand-ins for packages that are not here: see test/unit/examples/python. */
const STAND_INS = join(import.meta.dirname, 'python');
const PICTURES = ['rgb8.png', 'grey8.png', 'grey16.png', 'rgba8.png', 'palette-transparent.png', 'palette.png', 'orientation-6.jpg', 'rgb.jpg', 'cmyk-plain.jpg', 'lossless.webp'];
/** Decoders of JPEG may differ by a level, which resizing spreads. */
const LEVEL = 1 / 255;

const SIDE = 112;
const square = { width: SIDE, height: SIDE };
const RULES: Readonly<Record<string, PreprocessSpec>> = {
  'straight to the square': clipPreprocessing(SIDE, 'square'),
  'the centre of the shorter side': clipPreprocessing(SIDE, 'crop'),
  'a crop larger than the picture': { ...clipPreprocessing(SIDE, 'crop'), resize: { kind: 'shortestEdge', size: 80 } },
  'a rim first, as LLaVA': paddedToSquare(clipPreprocessing(SIDE, 'crop')),
  'the longer side and a rim': { filter: 'bicubic', rescale: 1 / 255, normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] }, resize: { kind: 'longestEdge', size: SIDE, least: 14 }, crop: { ...square, torchvision: true }, fill: [127, 127, 127] },
  'the longer side as OpenCLIP': openClipRule({ resize_mode: 'longest', fill_color: 9 }, SIDE).spec,
  'unrounded, as DINOv3': { filter: 'bilinear', unrounded: true, rescale: 1 / 255, normalize: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }, resize: { kind: 'exact', ...square } },
  'OpenCLIP\'s': openClipRule({}, SIDE).spec,
  'bilinear, not normalised': { filter: 'bilinear', rescale: 1 / 255, resize: { kind: 'exact', width: 140, height: 84 } },
};

describe('a rule that is written as preprocessor_config.json', () => {
  for (const [name, spec] of Object.entries(RULES).filter(([, { resize }]) => resize?.kind !== 'exact' || resize.width === resize.height)) {
    it(`reads back the same: ${name}`, () => {
      // Where the crop is another size than the encoder's the reader fits it, which is not the writer's matter.
      const side = spec.crop?.width ?? SIDE;
      assert.deepEqual(pictureRule(JSON.parse(JSON.stringify(writtenRule(spec, square))), { side, patch: 14 }).spec, spec);
    });
  }

  it('gives pictures of any size the size that the model takes', () => {
    const { size, do_center_crop: crops } = writtenRule({ filter: 'bicubic', rescale: 1 / 255, resize: { kind: 'area', multiple: 28, minPixels: 1, maxPixels: 1e6, growFirst: false } }, { width: 448, height: 672 });
    assert.deepEqual([size, crops], [{ height: 672, width: 448 }, false]);
  });
});

describe('the example for Ray Data', function () {
  this.timeout(120_000);
  let folder: string;
  before(function () {
    if (spawnSync(PYTHON, ['-c', 'import numpy, PIL']).status === 0) return;
    console.log(`      skipped: ${PYTHON} has no numpy or no PIL (Debian's python3-numpy and python3-pil)`);
    this.skip();
  });
  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'ray-')); });
  afterEach(async () => { await rm(folder, { recursive: true, force: true }); });

  const python = (env: NodeJS.ProcessEnv, ...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync(PYTHON, args, { encoding: 'utf8', env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...env } });
    assert.equal(status, 0, stderr);
    return stdout + stderr;
  };
  const floats = async (file: string): Promise<Float32Array> => new Float32Array(new Uint8Array(await readFile(file)).buffer);

  it('prepares pictures as the preview and the command line do', async () => {
    const names = Object.keys(RULES);
    for (const [index, name] of names.entries()) await writeFile(join(folder, `${index}.json`), JSON.stringify(writtenRule(RULES[name]!, square)));
    python({ PYTHONPATH: EXAMPLES }, join(STAND_INS, 'prepare.py'), folder, String(names.length), ...PICTURES.map(name => join(FIXTURES, 'pictures', name)));
    for (const [index, name] of names.entries()) {
      const spec = RULES[name]!;
      for (const picture of PICTURES) {
        const { pixels } = preprocess(await decodeImage(await readFile(join(FIXTURES, 'pictures', picture))), spec);
        const theirs = await floats(join(folder, `${index}-${picture}.raw`));
        assert.equal(theirs.length, pixels.length, `${name}, ${picture}`);
        const unit = Math.max(...(spec.normalize?.std ?? [1]).map(std => LEVEL / std));
        const most = pixels.reduce((worst, value, at) => Math.max(worst, Math.abs(value - theirs[at]!)), 0);
        if (spec.unrounded === true) assert.ok(most < (/\.(png|webp)$/.test(picture) ? 3e-5 : unit * 1.001), `${name}, ${picture}: ${most}`);
        else if (/\.(png|webp)$/.test(picture)) assert.equal(most, 0, `${name}, ${picture}`);
        else assert.ok(most <= unit * 1.001, `${name}, ${picture}: ${most / unit} levels`);
      }
    }
  });

  it('runs from files to rows of features, with the exported model in ONNX Runtime', async () => {
    const pictures = join(folder, 'pictures');
    await mkdir(pictures);
    for (const name of ['a.png', 'b.png', 'c.png']) await cp(fixturePath('qwen-vl-tiny-bin', 'picture.png'), join(pictures, name));
    await writeFile(join(pictures, 'broken.png'), 'no picture');
    await writeFile(join(pictures, 'notes.txt'), 'notes');
    await exportOnnx(await tinyModel('qwen-vl-tiny-bin'), { path: join(folder, 'model', 'encoder.onnx'), outputs: ['features', 'hidden_states.1'], weights: 'one-file' });
    await writeFile(join(folder, 'model', 'preprocessor_config.json'), JSON.stringify(writtenRule(clipPreprocessing(SIDE, 'square'), square)));
    const env = { PYTHONPATH: STAND_INS, NODE: process.execPath, ORT: createRequire(import.meta.url).resolve('onnxruntime-node') };
    const said = python(env, join(EXAMPLES, 'ray_data.py'), join(folder, 'model', 'encoder.onnx'), pictures, join(folder, 'out'), '--actors', '2', '--batch-size', '2');
    assert.match(said, /Left out: .*broken\.png/);
    const known = await expected('qwen-vl-tiny-bin');
    const rows = JSON.parse(await readFile(join(folder, 'out', 'rows.json'), 'utf8')) as { path: string; features: number[]; 'hidden_states.1': number[] }[];
    assert.deepEqual(rows.map(({ path }) => path), ['a.png', 'b.png', 'c.png'].map(name => join(pictures, name)));
    for (const row of rows) for (const key of ['features', 'hidden_states.1'] as const) assert.ok(relativeError(row[key], known.get(key)!.data) < 1e-5, key);
  });
});
