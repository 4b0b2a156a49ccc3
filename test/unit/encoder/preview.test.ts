import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { openCheckpoint } from '../../../src/checkpoint/open';
import { EncoderClient } from '../../../src/encoder/client';
import { modelInfo, Preview, type PictureFile, type PreviewModel } from '../../../src/encoder/preview';
import { UserError } from '../../../src/errors';
import { openJob, type Job } from '../../../src/job';
import { switchParts } from '../../../src/parts';
import { previewModel } from '../../../src/previewModel';
import { answerSchemas, toWebviewSchema, type EncoderStatus, type PatchMap, type PictureInfo, type Subject } from '../../../src/protocol';
import { FIXTURES } from '../support/checkpoints';
import { ENTRY, expected, fixturePath, readFloats, relativeError, type Known } from './fixture';

async function modelAt(folder: string, change = (job: Job): Job => job): Promise<PreviewModel> {
  const checkpoint = await openCheckpoint(folder);
  try {
    return await previewModel(change(await openJob(checkpoint)));
  } finally {
    await checkpoint.close();
  }
}

/** What the panel is told, and a way to wait for it. */
class Told {
  pictures: readonly PictureInfo[] = [];
  show: string | undefined;
  status: EncoderStatus | undefined;
  readonly pixels: string[] = [];
  readonly thumbnails: string[] = [];
  readonly errors: unknown[] = [];
  private waiters: (() => void)[] = [];

  readonly events = {
    onStatus: (status: EncoderStatus) => { toWebviewSchema.parse({ type: 'encoder', status }); this.status = status; this.wake(); },
    onPictures: (pictures: readonly PictureInfo[], show: string | undefined) => { toWebviewSchema.parse({ type: 'pictures', pictures, show }); this.pictures = pictures; this.show = show ?? this.show; this.wake(); },
    onPixels: (id: string) => { this.pixels.push(id); },
    onDecoded: ({ name }: PictureFile) => { this.thumbnails.push(name); },
    onError: (error: unknown) => { this.errors.push(error); },
  };

  get statuses(): string[] {
    return this.pictures.map(({ status }) => status);
  }

  async until(check: () => boolean): Promise<void> {
    while (!check()) await new Promise<void>(resolve => { this.waiters.push(resolve); });
  }

  private wake(): void {
    for (const waiter of this.waiters.splice(0)) waiter();
  }
}

/** How test/reference/tiny.py normalises a picture's levels. */
const REFERENCE_PIXELS = { filter: 'bicubic', rescale: 1 / 255, normalize: { mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] } } as const;

/** The picture that a reference's pixels are of. */
async function pictureOf({ shape: [, , height = 0, width = 0], data }: Known): Promise<PictureFile> {
  const levels = Uint8Array.from({ length: 3 * height * width }, (_, at) => Math.round(((data[at % 3 * height * width + Math.floor(at / 3)] ?? NaN) * 0.25 + 0.5) * 255));
  return { name: 'levels.png', bytes: await sharp(levels, { raw: { width, height, channels: 3 } }).png().toBuffer() };
}

describe('the preview', function () {
  this.timeout(60_000);
  let clients: EncoderClient[] = [];
  let picture: PictureFile;
  let others: PictureFile[];
  before(async () => {
    picture = { name: 'picture.png', bytes: await readFile(fixturePath('qwen-vl-tiny-safetensors', 'picture.png')) };
    others = await Promise.all(['rgb.jpg', 'rgb8.png', 'rgba8.png', 'grey8.png', 'rgb24.bmp', 'rgb16.png', 'lzw.tif'].map(async name => ({ name, bytes: await readFile(join(FIXTURES, 'pictures', name)) })));
  });
  afterEach(async () => {
    await Promise.all(clients.map(client => client.close()));
    clients = [];
  });

  async function open(folder = fixturePath('qwen-vl-tiny-safetensors'), change = (model: PreviewModel): PreviewModel => model): Promise<{ preview: Preview; told: Told; client: EncoderClient; model: PreviewModel }> {
    const client = new EncoderClient({ entry: ENTRY });
    clients.push(client);
    const told = new Told();
    const model = change(await modelAt(folder));
    return { preview: new Preview(client, model, told.events, { device: 'cpu', precision: 'float32', resize: 'model', kept: 'all' }), told, client, model };
  }

  const main = (id: string): Subject => ({ picture: id, encoder: 'main' });
  const only = (told: Told): string => {
    assert.equal(told.pictures.length, 1);
    return told.pictures[0]?.id ?? '';
  };

  it('answers with the reference\'s numbers', async () => {
    const { preview, told } = await open();
    preview.add([picture]);
    const known = await expected('qwen-vl-tiny-safetensors');
    const values = await preview.values(only(told), [...known.keys()]);
    for (const [key, { data }] of known) assert.ok(relativeError(values.get(key)?.data ?? [], data) < 1e-5, key);

    const hidden = known.get('hidden_states.1')?.data ?? new Float32Array();
    const patch = await preview.ask({ type: 'patch', subject: main(only(told)), layer: 1, patch: 9 });
    assert.ok(relativeError(patch, hidden.subarray(9 * 64, 10 * 64)) < 1e-5);
    const { values: norms, rows, columns } = await preview.ask({ type: 'map', subject: main(only(told)), map: { kind: 'norm', layer: 1 } });
    assert.deepEqual([rows, columns], [8, 8]);
    assert.ok(relativeError(norms ?? [], Array.from({ length: 64 }, (_, token) => Math.hypot(...hidden.subarray(token * 64, token * 64 + 64)))) < 1e-5);
    // One past the last block is the output, here the attention pool's.
    const { shape, statistics } = await preview.ask({ type: 'statistics', subject: main(only(told)), layer: 3 });
    const features = known.get('features')?.data ?? [];
    assert.deepEqual(shape, [1, 4, 64]);
    assert.ok(Math.abs(statistics.max - Math.max(...features)) < 1e-5);
    const { encodings } = told.pictures[0] ?? {};
    assert.deepEqual(encodings?.main?.grid, { rows: 8, columns: 8 });
    assert.deepEqual(told.thumbnails, ['picture.png']);
  });

  it('leaves out the tokens that are no patches', async () => {
    const { preview, told, model } = await open(join(FIXTURES, 'families/dinov2-registers'));
    const { prefixTokens, outputPerPatch, layers } = modelInfo(model);
    assert.ok(prefixTokens > 1 && outputPerPatch);
    preview.add([picture]);
    const { values } = await preview.ask({ type: 'map', subject: main(only(told)), map: { kind: 'norm', layer: layers } });
    const grid = told.pictures[0]?.encodings.main?.grid;
    assert.ok(grid && values);
    assert.equal(values.length, grid.rows * grid.columns);
    const features = (await preview.values(only(told), ['features'])).get('features');
    assert.ok(features);
    const [, tokens = 0, width = 0] = features.shape;
    assert.equal(tokens, prefixTokens + values.length);
    const first = Math.hypot(...features.data.subarray(prefixTokens * width, (prefixTokens + 1) * width));
    assert.ok(Math.abs((values[0] ?? 0) / first - 1) < 1e-5);
  });

  it('shows every stage of DaViT on its own grid', async () => {
    const { preview, told, model } = await open(join(FIXTURES, 'families/florence2'));
    const { layers, heads, width, stages } = modelInfo(model);
    assert.deepEqual([layers, heads, width], [5, 6, 24]);
    const widths = [8, 8, 12, 16, 16, 24];
    assert.deepEqual(stages, [2, 2, 3, 4, 4, 6].map((own, index) => ({ heads: own, width: widths[index] })));
    preview.add([picture]);
    const subject = main(only(told));
    const map = (layer: number, kind: 'norm' | 'attention', patch?: number): Promise<PatchMap> => preview.ask({ type: 'map', subject, map: kind === 'norm' ? { kind, layer } : { kind, layer, ...(patch !== undefined && { patch }) } });
    // The processor's 768 pixels.
    const sides = [192, 192, 96, 48, 48, 24];
    for (const [index, side] of sides.entries()) {
      const { rows, columns, values } = await map(index - 1, 'norm');
      assert.deepEqual([rows, columns, values?.length], [side, side, side * side]);
      assert.deepEqual((await preview.ask({ type: 'statistics', subject, layer: index - 1 })).shape, [1, side * side, widths[index]]);
    }
    const encoding = told.pictures[0]?.encodings.main;
    assert.deepEqual(encoding?.seen, { x: 0, y: 0, width: 1, height: 1 });
    assert.deepEqual([encoding.grid, encoding.grids], [{ rows: 24, columns: 24 }, sides.map(side => ({ rows: side, columns: side }))]);
    assert.deepEqual((await map(layers, 'norm')).values, (await map(layers - 1, 'norm')).values);
    // Windows of 5: the last patch of 48 x 48 is in one of 3 x 3, and of what it gives, the rest goes to padding.
    const { rows, values = new Float32Array() } = await map(2, 'attention', 48 * 48 - 1);
    assert.equal(rows, 48);
    const seen = [...values].flatMap((value, index) => (value === 0 ? [] : [index]));
    assert.deepEqual(seen, [45, 46, 47].flatMap(row => [45, 46, 47].map(column => row * 48 + column)));
    const total = values.reduce((sum, value) => sum + value, 0);
    assert.ok(total > 0.05 && total < 1, String(total));
    // A window that is whole gives to nothing else.
    const whole = (await map(2, 'attention', 48 + 1)).values ?? new Float32Array();
    assert.ok(Math.abs(whole.reduce((sum, value) => sum + value, 0) - 1) < 1e-5);
    assert.equal(whole.filter(value => value > 0).length, 25);
    await assert.rejects(map(2, 'attention'), /no class token/);
  });

  it('shows a picture on tiles as one grid, and counts no tokens that are not the picture\'s', async () => {
    const { preview, told, model } = await open(join(FIXTURES, 'families/mllama'));
    assert.deepEqual(modelInfo(model), { name: 'model.safetensors', family: 'Mllama', layers: 5, heads: 2, width: 8, queries: 0, prefixTokens: 1, outputPerPatch: true, resolutions: [] });
    assert.match(model.rule, /Mllama/);
    // 12 x 12 pixels a tile; the picture of 640 x 480 goes onto two by two of them.
    preview.add([{ name: 'wide.png', bytes: await sharp({ create: { width: 640, height: 480, channels: 3, background: '#804020' } }).png().toBuffer() }]);
    const { shape, statistics } = await preview.ask({ type: 'statistics', subject: main(only(told)), layer: 4 });
    const hidden = (await preview.values(only(told), ['hidden_states.4'])).get('hidden_states.4');
    assert.deepEqual(told.pictures[0]?.encodings.main?.grid, { rows: 6, columns: 6 });
    // Four class tokens and 36 patches; each tile has six tokens of padding besides, which come first.
    assert.deepEqual([hidden?.shape, shape], [[1, 64, 8], [1, 40, 8]]);
    assert.ok(Math.abs(statistics.max - Math.max(...hidden?.data.subarray(24 * 8) ?? [])) < 1e-6);
    const subject = main(only(told));
    const patch = await preview.ask({ type: 'patch', subject, layer: 4, patch: 7 });
    assert.deepEqual(patch, hidden?.data.subarray((28 + 7) * 8, (28 + 8) * 8));
    // The output has no padding, and is wider: earlier states are beside the last.
    const output = await preview.ask({ type: 'patch', subject, layer: 5, patch: 7 });
    assert.deepEqual([output.length, output.subarray(0, 8)], [24, patch]);
    const { values } = await preview.ask({ type: 'map', subject, map: { kind: 'attention', layer: 3, patch: 7 } });
    assert.ok(values?.length === 36 && values.every(weight => weight > 0 && weight < 1));
    assert.equal((await preview.ask({ type: 'map', subject, map: { kind: 'attention', layer: 0, head: 1 } })).values?.length, 36);
  });

  it('shows the attention that PyTorch computes: of a head, or the mean of all', async () => {
    const { preview, told } = await open();
    preview.add([picture]);
    const maps = await readFloats(fixturePath('qwen-vl-tiny-safetensors', '../attentions/qwen-vl-tiny.safetensors'));
    assert.equal(maps.size, 3);
    for (const [key, { data }] of maps) {
      const [, layer = '', head = ''] = key.split('.');
      for (const patch of [0, 27, 63]) {
        const { values = [] } = await preview.ask({ type: 'map', subject: main(only(told)), map: { kind: 'attention', layer: Number(layer), patch, ...(head !== 'mean' && { head: Number(head) }) } });
        const error = relativeError(values, data.subarray(patch * 64, (patch + 1) * 64));
        assert.ok(error < 1e-5, `${key} from patch ${patch}: relative error ${error}`);
      }
    }
    const pool = (await expected('qwen-vl-tiny-safetensors')).get('attn_pool.weights')?.data ?? new Float32Array();
    const { values = [] } = await preview.ask({ type: 'map', subject: main(only(told)), map: { kind: 'pool', query: 2 } });
    assert.ok(relativeError(values, pool.subarray(2 * 64, 3 * 64)) < 1e-5);
  });

  it('shows what mergers that were taken in make of the picture, as layers after the output', async () => {
    const folder = join(FIXTURES, 'families', 'qwen3-vl');
    const withMerger = await modelAt(folder, job => switchParts(job, { merger: true }));
    const { preview, told, model } = await open(folder, ({ preprocessing }) => ({ ...withMerger, preprocessing: { ...preprocessing, model: REFERENCE_PIXELS } }));
    const known = await readFloats(join(folder, 'expected/outputs.safetensors'));
    const pixels = known.get('pixel_values');
    assert.ok(pixels);
    preview.add([await pictureOf(pixels)]);
    const { layers, merged } = modelInfo(model);
    assert.deepEqual(merged, { names: ['merged', 'deepstack.0', 'deepstack.1'], width: 12 });
    for (const [index, name] of merged.names.entries()) {
      const reference = known.get(name);
      assert.ok(reference);
      const subject = main(only(told));
      const { values = [], rows, columns } = await preview.ask({ type: 'map', subject, map: { kind: 'norm', layer: layers + 1 + index } });
      assert.deepEqual([rows, columns], [10, 6]);
      const norm = (block: number): number => Math.hypot(...reference.data.subarray(12 * block, 12 * block + 12));
      const blocks = Array.from({ length: 60 }, (_, patch) => norm(3 * Math.floor(Math.floor(patch / 6) / 2) + Math.floor(patch % 6 / 2)));
      assert.ok(relativeError(values, blocks) < 1e-5, name);
      assert.deepEqual((await preview.ask({ type: 'statistics', subject, layer: layers + 1 + index })).shape, [1, 15, 12]);
    }
    await assert.rejects(preview.ask({ type: 'statistics', subject: main(only(told)), layer: layers + 4 }), UserError);
    assert.equal(modelInfo(await modelAt(folder)).merged, undefined);
  });

  // A class token, none, registers, windows of a picture that is not square, Qwen-VL's pool of two heads.
  for (const name of ['clip', 'siglip', 'dinov2-registers', 'qwen2.5-vl', 'qwen-vl']) {
    it(`shows the attention that PyTorch computes for ${name}, from the class token and from patches, and the pool's`, async () => {
      const { preview, told, model } = await open(join(FIXTURES, 'families', name), ({ preprocessing, ...rest }) => ({ ...rest, preprocessing: { ...preprocessing, model: REFERENCE_PIXELS } }));
      const known = await readFloats(join(FIXTURES, 'families', name, 'expected/outputs.safetensors'));
      const pixels = known.get('pixel_values');
      assert.ok(pixels);
      preview.add([await pictureOf(pixels)]);
      const { prefixTokens, queries } = modelInfo(model);
      const subject = main(only(told));
      const patchesOf = (data: Float32Array, tokens: number, row: number): Float32Array => data.subarray(row * tokens + prefixTokens, (row + 1) * tokens);
      const maps = [...known].filter(([key]) => key.startsWith('attentions.'));
      assert.equal(maps.length, 2);
      for (const [key, { data, shape: [, tokens = 0] }] of maps) {
        const [layer = 0, head = 0] = key.split('.').slice(1).map(Number);
        const asked = await preview.ask({ type: 'map', subject, map: { kind: 'attention', layer, head, patch: 3 } });
        assert.ok(relativeError(asked.values ?? [], patchesOf(data, tokens, prefixTokens + 3)) < 1e-5, key);
        if (prefixTokens === 0) continue;
        const fromClass = await preview.ask({ type: 'map', subject, map: { kind: 'attention', layer, head } });
        assert.ok(relativeError(fromClass.values ?? [], patchesOf(data, tokens, 0)) < 1e-5, key);
      }
      const pool = known.get('attn_pool.weights');
      assert.equal(pool === undefined, queries === 0);
      if (pool === undefined) return;
      const { values } = await preview.ask({ type: 'map', subject, map: { kind: 'pool', query: queries - 1 } });
      assert.ok(relativeError(values ?? [], patchesOf(pool.data, pool.shape[2] ?? 0, queries - 1)) < 1e-5);
    });
  }

  it('cancels the pictures that wait with the one that runs, and encodes them again when asked', async () => {
    const { preview, told } = await open();
    preview.add([picture, ...others.slice(0, 2)]);
    await told.until(() => told.statuses.includes('running'));
    preview.cancel();
    await told.until(() => told.status?.state === 'ready');
    assert.deepEqual(told.statuses, ['failed', 'failed', 'failed']);
    assert.ok(told.pictures.every(({ message }) => message === 'Cancelled.'));
    const [, second] = told.pictures;
    assert.ok(second);
    preview.encodeAgain(second.id);
    await told.until(() => told.statuses.includes('ready'));
    assert.deepEqual(told.statuses, ['failed', 'ready', 'failed']);
  });

  it('says what happened when its process is killed in the middle of a run, and goes on', async () => {
    const { preview, told, client } = await open();
    preview.add([picture, ...others.slice(0, 2)]);
    await told.until(() => told.statuses.includes('running'));
    assert.ok(client.pid !== undefined);
    process.kill(client.pid, 'SIGKILL');
    await told.until(() => told.status?.state === 'failed');
    assert.match(told.status?.message ?? '', /was killed/);
    assert.equal(told.errors.length, 1);
    await assert.rejects(preview.ask({ type: 'statistics', subject: main(told.pictures[0]?.id ?? ''), layer: 0 }), UserError);
    preview.start();
    await told.until(() => told.statuses.every(status => status === 'ready'));
    assert.equal(told.status?.state === 'failed', false);
  });

  it('encodes again by itself when its process went while it rested', async () => {
    const { preview, told, client } = await open();
    preview.add([picture]);
    const before = await preview.ask({ type: 'patch', subject: main(only(told)), layer: 2, patch: 0 });
    await told.until(() => told.status?.state === 'ready' && told.status.memoryBytes !== undefined);
    await client.stop();
    assert.deepEqual(await preview.ask({ type: 'patch', subject: main(only(told)), layer: 2, patch: 0 }), before);
  });

  it('says so when the encoder\'s files were deleted meanwhile, and goes on with a copy of them', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'preview-'));
    try {
      await cp(fixturePath('qwen-vl-tiny-safetensors'), folder, { recursive: true });
      const { preview, told, client } = await open(folder);
      preview.add([picture]);
      const question = { type: 'patch', subject: main(only(told)), layer: 2, patch: 0 } as const;
      const before = await preview.ask(question);
      await told.until(() => told.status?.state === 'ready' && told.status.memoryBytes !== undefined);
      await client.stop();
      await rm(folder, { recursive: true });
      await assert.rejects(preview.ask(question), (error: unknown) => error instanceof UserError && error.message.includes('is no longer there. Ask for its preview again'));
      preview.setModel(await modelAt(fixturePath('qwen-vl-tiny-safetensors')));
      assert.deepEqual(await preview.ask(question), before);

      // Fetched anew it lies where it lay: the same model, asked for again, is tried again.
      await cp(fixturePath('qwen-vl-tiny-safetensors'), folder, { recursive: true });
      const again = await modelAt(folder);
      preview.setModel(again);
      assert.deepEqual(await preview.ask(question), before);
      await told.until(() => told.status?.state === 'ready');
      await client.stop();
      await rm(folder, { recursive: true });
      await assert.rejects(preview.ask(question), /is no longer there/);
      await cp(fixturePath('qwen-vl-tiny-safetensors'), folder, { recursive: true });
      preview.setModel(again);
      assert.deepEqual(await preview.ask(question), before);
      // And nothing is done over while it works.
      const { pid } = client;
      preview.setModel(again);
      assert.deepEqual([told.statuses, client.pid], [['ready'], pid]);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('never starts an empty process for a question', async () => {
    const { preview, client, told } = await open();
    preview.add([picture]);
    await preview.ask({ type: 'statistics', subject: main(only(told)), layer: 0 });
    await client.stop();
    await assert.rejects(client.askAbout({ type: 'statistics', subject: main(only(told)), layer: 0 }), UserError);
    await assert.rejects(client.encodePicture(only(told), []), UserError);
    assert.equal(client.pid, undefined);
  });

  it('compares two encoders on the same pictures, until that ends', async () => {
    const { preview, told } = await open();
    preview.add([picture]);
    await preview.setOther({ model: await modelAt(fixturePath('qwen-vl-tiny-safetensors')), precision: 'float32' });
    const same = answerSchemas.errors.parse(await preview.ask({ type: 'errors', picture: only(told) }));
    // The patch embedding, three blocks, the output.
    assert.deepEqual(same.errors, [0, 0, 0, 0, 0]);
    assert.equal(told.status?.other?.device, 'CPU');

    await preview.setOther({ model: await modelAt(fixturePath('qwen-vl-tiny-bin')), precision: 'float32' });
    const { values } = await preview.ask({ type: 'map', subject: main(only(told)), map: { kind: 'difference', layer: 0 } });
    const [one, two] = [await expected('qwen-vl-tiny-safetensors'), await expected('qwen-vl-tiny-bin')].map(known => known.get('hidden_states.0')?.data ?? new Float32Array());
    const errors = Array.from({ length: 64 }, (_, token) => relativeError(two?.subarray(token * 64, token * 64 + 64) ?? [], one?.subarray(token * 64, token * 64 + 64) ?? []));
    assert.ok(relativeError(values ?? [], errors) < 1e-4);

    await preview.setOther(undefined);
    assert.equal(told.pictures[0]?.status, 'ready');
    await assert.rejects(preview.ask({ type: 'errors', picture: only(told) }), UserError);
  });

  it('shows a picture of a folder in the place of the one before, and remembers a few', async () => {
    const { preview, told } = await open();
    preview.add([picture]);
    const own = only(told);
    for (const [position, file] of others.entries()) {
      preview.add([{ ...file, folder: { name: 'pictures', position, count: others.length } }]);
      const page = told.pictures.find(({ folder }) => folder !== undefined);
      assert.deepEqual([told.pictures.length, page?.name, page?.folder?.position, told.show], [2, file.name, position, page?.id]);
      await preview.ask({ type: 'statistics', subject: main(page?.id ?? ''), layer: 0 });
    }
    assert.deepEqual(preview.files.map(({ name }) => name), ['picture.png']);
    assert.equal(told.pictures[0]?.id, own);
    // Back by one: decoded and encoded already, so nothing is decoded anew.
    const decoded = told.thumbnails.length;
    preview.add([{ ...(others.at(-2) ?? picture), folder: { name: 'pictures', position: others.length - 2, count: others.length } }]);
    assert.equal(told.pictures.find(({ folder }) => folder !== undefined)?.status, 'ready');
    assert.equal(told.thumbnails.length, decoded);
  });

  it('fits the colours of a PCA on what is shown together, the same in every run', async () => {
    const { preview, told } = await open();
    preview.add([picture, ...others.slice(0, 1)]);
    const [a, b] = told.pictures.map(({ id }) => main(id));
    assert.ok(a && b);
    const pca = async (subject: Subject, among: Subject[]) => preview.ask({ type: 'map', subject, map: { kind: 'pca', layer: 2, among } });
    const [alone, again, together] = [await pca(a, [a]), await pca(a, [a]), await pca(a, [a, b])];
    assert.deepEqual(alone.colours, again.colours);
    assert.notDeepEqual(alone.colours, together.colours);
    assert.deepEqual(together.explained, (await pca(b, [a, b])).explained);
  });

  it('keeps fewer hidden states where memory is short, and still knows where patches look', async () => {
    const { preview, told } = await open();
    preview.add([picture]);
    const map = { kind: 'attention', layer: 1, head: 2, patch: 5 } as const;
    const before = await preview.ask({ type: 'map', subject: main(only(told)), map });
    preview.setKept('quarter');
    // Of three blocks the last one's is kept.
    assert.deepEqual([...(await preview.values(only(told), ['hidden_states.0', 'hidden_states.1', 'hidden_states.2'])).keys()], ['hidden_states.2']);
    const after = await preview.ask({ type: 'map', subject: main(only(told)), map });
    assert.ok(relativeError(after.values ?? [], before.values ?? []) < 1e-6);
  });

  it('stops after the first blocks when asked to, and says what is not there then', async () => {
    const { preview, told } = await open();
    preview.add([picture]);
    await preview.ask({ type: 'statistics', subject: main(only(told)), layer: 3 });
    // The first half of three blocks is two.
    preview.setKept('firstHalf');
    const known = await expected('qwen-vl-tiny-safetensors');
    const values = await preview.values(only(told), [...known.keys()]);
    assert.deepEqual([...values.keys()], ['pixel_values', 'hidden_states.0', 'hidden_states.1']);
    for (const [key, { data }] of values) assert.ok(relativeError(data, known.get(key)?.data ?? []) < 1e-5, key);
    await assert.rejects(preview.ask({ type: 'statistics', subject: main(only(told)), layer: 3 }), /only the first blocks ran/);
    const maps = await readFloats(fixturePath('qwen-vl-tiny-safetensors', '../attentions/qwen-vl-tiny.safetensors'));
    const { values: attention } = await preview.ask({ type: 'map', subject: main(only(told)), map: { kind: 'attention', layer: 1, patch: 5 } });
    assert.ok(relativeError(attention ?? [], maps.get('attentions.1.mean')?.data.subarray(5 * 64, 6 * 64) ?? []) < 1e-5);
    preview.setKept('all');
    assert.ok((await preview.values(only(told), ['features'])).has('features'));
  });

  it('runs with the weights that are there when other layers are asked for, and not at all when they are fewer', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'preview-'));
    try {
      await cp(fixturePath('qwen-vl-tiny-safetensors', ''), folder, { recursive: true, filter: file => !file.endsWith('expected.safetensors') });
      const { preview, told } = await open(folder);
      preview.add([picture]);
      await preview.ask({ type: 'statistics', subject: main(only(told)), layer: 3 });
      // Whatever reads a weight again finds nothing.
      for (const name of await readdir(folder)) if (name.endsWith('.safetensors')) await truncate(join(folder, name));
      const run = told.pictures[0]?.encodings.main?.timings;
      for (const kept of ['quarter', 'firstHalf', 'all'] as const) {
        preview.setKept(kept);
        await preview.values(only(told), ['embeddings']);
        if (kept === 'quarter') assert.equal(told.pictures[0]?.encodings.main?.timings, run);
      }
      const known = await expected('qwen-vl-tiny-safetensors');
      const values = await preview.values(only(told), [...known.keys()]);
      for (const [key, { data }] of known) assert.ok(relativeError(values.get(key)?.data ?? [], data) < 1e-5, key);
      assert.deepEqual(told.errors, []);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('makes pictures no larger than a limit that can be raised to the model\'s own, and says what that would be', async () => {
    // Qwen2-VL's rule: up to 12.8 million pixels.
    const { preview, told, model } = await open(join(FIXTURES, 'families/qwen2-vl'));
    assert.deepEqual(model.pixelLimits, [401_408, 802_816, 1_605_632, 3_211_264, 12_845_056]);
    assert.deepEqual(modelInfo(model).resolutions[0], { pixels: 401_408, patches: 25_088 });
    // With patches of 4 pixels the tiny model would take a minute for so many; the limits are those of a hundredth.
    const limits = model.pixelLimits.map(limit => limit / 64);
    const small = await open(join(FIXTURES, 'families/qwen2-vl'), one => ({ ...one, pixelLimits: limits }));
    small.preview.add([{ name: 'large.png', bytes: await sharp({ create: { width: 160, height: 120, channels: 3, background: '#804020' } }).png().toBuffer() }]);
    await small.preview.ask({ type: 'statistics', subject: main(only(small.told)), layer: 0 });
    const shown = () => small.told.pictures[0]?.encodings.main;
    assert.deepEqual([shown()?.grid, shown()?.ownGrid], [{ rows: 16, columns: 22 }, { rows: 30, columns: 40 }]);
    small.preview.setPixels(limits.at(-1) ?? 0);
    await small.preview.ask({ type: 'statistics', subject: main(only(small.told)), layer: 0 });
    assert.deepEqual([shown()?.grid, shown()?.ownGrid], [{ rows: 30, columns: 40 }, undefined]);
    // Where the encoder takes one size there is nothing to choose.
    assert.deepEqual((await open()).model.pixelLimits, []);
    assert.deepEqual([told.errors, small.told.errors, preview.choices.pixels, small.preview.choices.pixels], [[], [], 401_408, limits.at(-1)]);
  });

  it('takes the softmax temperature from the model', async () => {
    assert.equal((await open()).model.temperature, undefined);
    // The fixture's logit_scale, ln(1 / temperature), is 0.
    assert.equal((await open(join(FIXTURES, 'families/clip'))).model.temperature, 1);
  });
});
