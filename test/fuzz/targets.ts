import { parseConfig } from '../../src/architecture/config';
import { absentEncoder, detectFamily, FAMILIES, familyById } from '../../src/architecture/registry';
import type { ByteSource } from '../../src/checkpoint/byteSource';
import type { Checkpoint, ParsedFile, Tensor } from '../../src/checkpoint/checkpoint';
import { readSafetensors } from '../../src/checkpoint/safetensors';
import { parseShardIndex } from '../../src/checkpoint/shardIndex';
import { sniff } from '../../src/checkpoint/sniff';
import { isStoredName } from '../../src/checkpoint/storedName';
import { tensorBytes } from '../../src/checkpoint/tensorBytes';
import { readTorchLegacy } from '../../src/checkpoint/torch/torchLegacy';
import { readTorchZip } from '../../src/checkpoint/torch/torchZip';
import { openCheckpoint } from '../../src/checkpoint/open';
import { forwardGraph } from '../../src/architecture/forwardGraphs';
import { parseRemoved } from '../../src/batch/indexFile';
import { holderOf } from '../../src/batch/lock';
import { parseShard } from '../../src/batch/shard';
import { encoderModel } from '../../src/encoder/model';
import { UserError } from '../../src/errors';
import { parseJournal } from '../../src/extraction/journal';
import { parseManifest } from '../../src/extraction/manifest';
import { parseReplacement } from '../../src/extraction/replacement';
import { decoderFromConfig } from '../../src/handover/decoders';
import { decodeImage } from '../../src/image/decode';
import { openClipRule, pictureRule, timmRule, writtenRule } from '../../src/image/preprocessorConfig';
import { fromInspectorSchema } from '../../src/inspectorProtocol';
import { decodeUtf8, parseJson } from '../../src/json';
import { fromWebviewSchema } from '../../src/protocol';
import { makePlan } from '../../src/recipe/plan';
import { parseRecipe, recipeToJson } from '../../src/recipe/recipe';
import { validate } from '../../src/validation/validate';
import { MemorySource } from '../unit/checkpoint/memorySource';
import { archivesIn, PICKLE, ZIP } from './archives';
import { makeScript, readAnswers } from './httpAnswers';
import { BYTES, jsonToken, mutated, type Mutation } from './mutate';
import type { Random } from './random';
import { judge } from './safetensorsModel';
import { seedFiles } from './seeds';

/** One parser of what comes from outside. */
export interface Target {
  readonly name: string;
  /** Input number `index` of a run. */
  make(random: Random): Buffer;
  /** Reads it. @throws UserError to refuse it; anything else that it throws is a finding. */
  read(bytes: Buffer): Promise<void> | void;
}

/** The verdict or the result is wrong, though nothing was thrown. */
export class WrongResult extends Error {}

function check(condition: boolean, what: string): asserts condition {
  if (!condition) throw new WrongResult(what);
}

/** Most bytes of one tensor that are read: enough for each way of reading. */
const MOST_READ = 1 << 20;

async function readTensors(source: ByteSource, { tensors, warnings }: ParsedFile): Promise<void> {
  check(tensors.every(({ shape, length }) => length >= 0 && shape.every(size => Number.isSafeInteger(size) && size >= 0)), 'a tensor is of a negative or inexact size');
  check(warnings.every(warning => warning.length > 10), 'a warning says nothing');
  for (const tensor of tensors.slice(0, 8)) {
    if (tensor.indirect === undefined) check(tensor.offset >= 0 && tensor.offset + tensor.length <= source.size, `${tensor.key} lies outside the file`);
    if (tensor.length > MOST_READ) continue;
    let length = 0;
    for await (const chunk of tensorBytes(source, tensor)) length += chunk.length;
    check(length === tensor.length, `${tensor.key} has ${tensor.length} bytes and gave ${length}`);
  }
}

async function readSafetensorsFile(bytes: Buffer): Promise<void> {
  const verdict = judge(bytes);
  const source = new MemorySource(bytes, 'model.safetensors');
  let parsed: ParsedFile;
  try {
    parsed = await readSafetensors(source);
  } catch (error) {
    if (error instanceof UserError) check(verdict.kind !== 'accepted', `the reference accepts what was refused: ${error.message}`);
    throw error;
  }
  check(verdict.kind !== 'rejected', 'the reference refuses what was accepted');
  if (verdict.kind === 'accepted') {
    const dataStart = 8n + bytes.readBigUInt64LE(0);
    const plain = ({ key, dtype, shape, offset, length }: ParsedFile['tensors'][number]): string => JSON.stringify([key, dtype, shape.map(String), String(offset), String(offset + length)]);
    const expected = verdict.tensors.map(({ key, dtype, shape, start, end }) => JSON.stringify([key, dtype, shape.map(String), String(dataStart + start), String(dataStart + end)]));
    check(JSON.stringify(parsed.tensors.map(plain)) === JSON.stringify(expected), 'the tensors differ from the reference\'s');
  }
  await readTensors(source, parsed);
}

/** Takes a safetensors file apart, changes the header's JSON, and puts it together with a length that is mostly right. */
const header: Mutation = (random, bytes, others) => {
  const [text, data] = parts(bytes);
  const changed = jsonToken(random, text, others.map(other => parts(other)[0]));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Math.max(0, changed.length + (random.chance(0.1) ? random.pick([-1, 1, 8, -8]) : 0))));
  const resized = random.chance(0.1) ? Buffer.concat([data, Buffer.alloc(random.below(16))]) : data;
  return Buffer.concat([length, changed, resized]);
};

function parts(bytes: Buffer): [header: Buffer, data: Buffer] {
  const length = bytes.length < 8 ? 0 : Number(bytes.readBigUInt64LE(0));
  const end = 8 + Math.min(length, bytes.length);
  return [bytes.subarray(8, end), bytes.subarray(end)];
}

/** Some tensors of several families, for configs and recipes to be held against. */
function tensorsOf(keys: readonly string[]): Checkpoint {
  const tensors = keys.map((key, index): Tensor => ({ key, dtype: 'BF16', shape: [4, 4 + index % 3], file: 0, offset: index * 64, length: 8 * (4 + index % 3) }));
  const source = new MemorySource(Buffer.alloc(0));
  return {
    name: 'fuzz', location: 'fuzz', store: { location: 'fuzz', list: () => Promise.resolve([]), open: () => Promise.reject(new UserError('There is no such file.')) },
    files: [{ name: 'fuzz', format: 'safetensors', source, metadata: new Map() }], tensors, others: [], warnings: [], close: () => Promise.resolve(),
  };
}

interface Index { readonly metadata?: unknown; readonly weight_map: Readonly<Record<string, string>> }
const wholeIndexes = seedFiles(['qwen-vl-tiny-bin', 'qwen-vl-tiny-safetensors', 'real/files', 'real/models'], /index\.json$/, 1 << 17).map(bytes => JSON.parse(bytes.toString('utf8')) as Index);
/** As real ones begin: the rest is more of the same. */
const indexes = wholeIndexes.map(({ metadata, weight_map: map }) => Buffer.from(JSON.stringify({ metadata, weight_map: Object.fromEntries(Object.entries(map).slice(0, 12)) })));
const checkpoint = tensorsOf([
  ...Object.keys(wholeIndexes[0]?.weight_map ?? {}),
  'vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight', 'vision_model.embeddings.patch_embedding.weight', 'visual.blocks.0.attn.qkv.weight', 'a'.repeat(4000), `${'a.'.repeat(200)}b`, '', '..', '__proto__',
]);

const configs = seedFiles(['real/models', 'qwen-vl-tiny-safetensors', 'families'], /(?:^|\/)(?:config|params|open_clip_config|RN50|ViT[^/]*|coca[^/]*)\.json$/);
const recipes = [
  ...FAMILIES.slice(0, 12).map(family => Buffer.from(recipeToJson(family.recipe('visual.')))),
  Buffer.from(JSON.stringify({ version: 1, name: 'x', family: 'clip', rules: [{ mark: 'strip', pattern: '**.a.*', prefix: 'a.' }, { mark: 'keep', key: 'b' }, { mark: 'exclude', module: 'c', why: 'd' }], overrides: [{ mark: 'keep', pattern: 'a.**.b.**' }], settings: { output_dim: 3 } })),
];
const preprocessors = [
  ...seedFiles(['real/models', 'qwen-vl-tiny-safetensors'], /preprocessor_config\.json$/),
  Buffer.from(JSON.stringify({ image_processor_type: 'CLIPImageProcessor', size: { shortest_edge: 224 }, crop_size: { height: 224, width: 224 }, resample: 3, do_center_crop: true, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], rescale_factor: 0.00392 })),
  Buffer.from(JSON.stringify({ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], resize_mode: 'squash', interpolation: 'bicubic', fill_color: 0, mode: 'RGB', size: 224 })),
];
const manifest = Buffer.from(JSON.stringify({
  version: 1, tool: { name: 'x', version: '0' }, createdAt: '2026-01-01T00:00:00.000Z',
  source: { name: 'a', location: '/a', files: [{ name: 'm.safetensors', size: 3, mtime: 1.5, tensors: 1, bytes: 2, sha256: 'a'.repeat(64) }] },
  recipe: { version: 1, name: 'x', family: 'clip', rules: [{ mark: 'keep', key: 'b' }] },
  validation: { valid: true, family: 'clip', config: null, hyperparameters: { width: { value: 3, origin: 'config' } }, expectedCount: 1, matchedCount: 1, warnings: [] },
  output: { format: 'safetensors', dtype: 'keep', files: [{ name: 'model.safetensors', size: 3, sha256: 'b'.repeat(64) }], tensors: [{ key: 'a', sourceKey: 'b', file: 'model.safetensors', sourceFile: 'm.safetensors', dtype: 'F32', sourceDtype: 'F32', shape: [1], sha256: 'c'.repeat(64), sourceSha256: 'd'.repeat(64) }] },
}));
const journal = Buffer.from('{"version":1,"fingerprint":"f","out":"/out"}\n{"file":"model.safetensors","bytes":3,"crc":4}\n\n{"file":"b","bytes":9,"crc":1}\n');

const replacement = Buffer.from(JSON.stringify({ names: ['model.safetensors', 'config.json', 'manifest.json'], before: ['model.safetensors', 'manifest.json', 'model-2.safetensors'] }));
const lock = Buffer.from(JSON.stringify({ host: 'host', pid: 7, booted: 1795000000000, process: '12345' }));
/** What a shard of features says of itself, a line each: settings, layout, pictures. */
const shards = ['stacked', 'apart'].map(layout => Buffer.from([
  JSON.stringify({ version: 1, encoder: { name: 'a', family: 'clip', digest: 'b' }, outputs: ['features', 'hidden_states.1'], preprocessing: { filter: 'bicubic', rescale: 0.5, resize: { kind: 'exact', width: 224, height: 224 } }, precision: 'float32' }),
  layout,
  JSON.stringify([{ name: 'a.png', size: 3, modified: '2026-01-01T00:00:00.000Z', grid: [16, 16] }, { name: 'below/b.png', size: 0, modified: '', grid: [1, 2] }]),
].join('\n')));
const openClips = seedFiles(['families'], /open_clip_config\.json$/).map((bytes, index) => Buffer.from(JSON.stringify({
  ...JSON.parse(bytes.toString('utf8')) as object,
  preprocess_cfg: { mean: [0.5, 0.4, 0.3], std: [0.5, 0.5, 0.5], interpolation: 'bicubic', resize_mode: ['squash', 'shortest', 'longest'][index % 3], fill_color: index % 2 === 0 ? 0 : [1, 2, 3], mode: 'RGB', size: [224, 224] },
})));
const decoders = [
  ...seedFiles(['real/models', 'families'], /(?:^|\/)(?:config|params)\.json$/),
  Buffer.from('{"n_embd": 768, "model_type": "gpt2"}'), Buffer.from('{"_name_or_path": "facebook/opt-350m", "word_embed_proj_dim": 512, "hidden_size": 1024}'),
  Buffer.from('{"text_config": {"hidden_size": 4096}, "llm_config": {"d_model": 3}, "language_config": {"dim": 5}, "model_type": "llava"}'),
];
const subject = { encoder: 'main', picture: 'a'.repeat(64) };
const messages = [
  { type: 'ready' }, { type: 'addSample', picture: 'a'.repeat(64) }, { type: 'flip', by: -1 }, { type: 'device', device: 'cpu' }, { type: 'restart', device: 'webgpu' },
  { type: 'ask', request: 3, question: { type: 'map', subject, map: { kind: 'norm', layer: 1 } } },
  { type: 'ask', request: 3, question: { type: 'compare', pictures: ['a'.repeat(64), 'b'.repeat(64)], temperature: 0.07 } },
  { type: 'saveFeatures', picture: 'a'.repeat(64), format: 'npy' },
  { type: 'state', state: { overlay: 'pca', layer: 3, head: null, query: 0, channel: 4, patch: null, opacity: 0.5, arrangement: 'overlay', grid: true, shown: null, compared: null, temperature: null } },
  { type: 'ask', request: 1, question: { type: 'heatMap', tensor: 0, matrix: 0, region: { row: 0, column: 0, rows: 4, columns: 4 } } }, { type: 'copy', text: 'x' }, { type: 'cancel', request: 2 },
].map(message => Buffer.from(JSON.stringify(message)));

/** Small encoders whose weights do not change while their configs do. */
export const ENCODERS = ['timm-vit', 'timm-eva02', 'open-clip', 'clip', 'siglip2', 'dinov3', 'qwen2.5-vl', 'qwen3-vl', 'pixtral', 'mllama', 'internvl-hf', 'moonvit'];
const encoders = ENCODERS.map(name => {
  const file = name === 'open-clip' ? 'open_clip_config.json' : 'config.json';
  return { file, config: seedFiles([`families/${name}`], new RegExp(`^${file.replace('.', '\\.')}$`))[0] ?? Buffer.alloc(0), folder: `test/fixtures/families/${name}` };
});
const opened = new Map<string, Promise<Checkpoint>>();

const safetensors = seedFiles(['malformed/safetensors', 'real/files'], /\.safetensors$/);
const zips = [...seedFiles(['malformed/torch', 'real/torch', 'real/files'], /\.(?:bin|pt|pth)$/)].filter(bytes => bytes.subarray(0, 2).toString('latin1') === 'PK');
const legacies = [...seedFiles(['malformed/torch', 'real/torch', 'real/files'], /\.(?:bin|pt|pth)$/)].filter(bytes => bytes.subarray(0, 2).toString('latin1') !== 'PK');
const archives = archivesIn(zips);
const pickles = archives.map(({ pickle }) => pickle);
const heads = [...safetensors, ...zips.slice(0, 20), ...legacies].map(bytes => bytes.subarray(0, 1024));
const bitmaps = seedFiles(['pictures'], /\.bmp$/);

const json = (seeds: readonly Buffer[]) => (random: Random): Buffer => mutated(random, seeds, [jsonToken, jsonToken, jsonToken, jsonToken, ...BYTES.slice(0, 3)]);
const parsed = (bytes: Buffer, name: string): unknown => parseJson(decodeUtf8(bytes, name), name).value;

export const TARGETS: readonly Target[] = [
  { name: 'safetensors', make: random => mutated(random, safetensors, [header, header, header, ...BYTES]), read: readSafetensorsFile },
  {
    name: 'zip',
    make: random => mutated(random, zips, ZIP),
    async read(bytes) {
      const source = new MemorySource(bytes);
      await readTensors(source, await readTorchZip(source));
    },
  },
  {
    name: 'pickle',
    make(random) {
      const archive = random.pick(archives);
      return archive.with(mutated(random, [archive.pickle], PICKLE, pickles), random.chance(0.02));
    },
    async read(bytes) {
      const source = new MemorySource(bytes);
      await readTensors(source, await readTorchZip(source));
    },
  },
  {
    name: 'legacy',
    make: random => mutated(random, legacies, PICKLE),
    async read(bytes) {
      const source = new MemorySource(bytes);
      await readTensors(source, await readTorchLegacy(source));
    },
  },
  { name: 'sniff', make: random => mutated(random, heads, BYTES), read: async bytes => { await sniff(new MemorySource(bytes)); } },
  {
    name: 'index',
    make: json(indexes),
    read(bytes) {
      const { shards, weightMap } = parseShardIndex(bytes, 'model.safetensors.index.json');
      check(shards.every(isStoredName), 'a shard lies outside the folder');
      check(weightMap.size > 0 && [...weightMap.values()].every(shard => shards.includes(shard)), 'a key is in no shard');
    },
  },
  {
    name: 'config',
    make: json(configs),
    read(bytes) {
      const config = parseConfig(decodeUtf8(bytes, 'config.json'), 'config.json');
      const found = detectFamily(checkpoint.tensors, config);
      absentEncoder(checkpoint.tensors, config);
      // A family that somebody chose is held against any config.
      const family = found?.family ?? FAMILIES[bytes.length % FAMILIES.length]!;
      const { missing, problem, hyperparameters } = validate(makePlan(checkpoint, family.recipe(found?.detection.prefix ?? '')), family, config);
      check(problem === undefined || problem.message.length > 10, 'a problem without a sentence');
      check(missing.length < 2_000_000 && [...hyperparameters.values()].every(({ value }) => Number.isFinite(value)), 'a hyperparameter is no number');
    },
  },
  {
    name: 'recipe',
    make: json(recipes),
    read(bytes) {
      const recipe = parseRecipe(decodeUtf8(bytes, 'x.recipe.json'), 'x.recipe.json');
      const plan = makePlan(checkpoint, recipe);
      check(plan.kept.every(({ outputKey }) => outputKey !== undefined), 'a kept tensor has no key');
      check(recipeToJson(parseRecipe(recipeToJson(recipe), 'again')) === recipeToJson(recipe), 'the recipe does not survive being written');
      try {
        validate(plan, familyById(recipe.family), undefined);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
    },
  },
  {
    name: 'preprocessor',
    make: json(preprocessors),
    read(bytes) {
      const value = parsed(bytes, 'preprocessor_config.json');
      const { spec } = bytes.length % 2 === 0 ? pictureRule(value, { side: 224, patch: 14, ...(bytes.length % 4 === 0 && { unit: 28 }) }) : bytes.length % 4 === 1 ? openClipRule(value, 224) : timmRule(value, 224);
      check(Number.isFinite(spec.rescale), 'a rescale factor is no number');
    },
  },
  {
    name: 'openclip',
    make: json(openClips),
    read(bytes) {
      const value = parsed(bytes, 'open_clip_config.json') as { preprocess_cfg?: unknown } | undefined;
      const { spec } = openClipRule(value?.preprocess_cfg, 224);
      const again = pictureRule(writtenRule(spec, { width: 224, height: 224 }), { side: 224, patch: 14 });
      check(again.spec.filter === spec.filter, 'the rule does not survive being written');
    },
  },
  {
    // First a byte that says which encoder, then its config.
    name: 'graph',
    make(random) {
      const which = random.below(encoders.length);
      return Buffer.concat([Buffer.from([which]), mutated(random, [encoders[which]?.config ?? Buffer.alloc(0)], [jsonToken], encoders.map(({ config }) => config))]);
    },
    async read(bytes) {
      const encoder = encoders[(bytes[0] ?? 0) % encoders.length]!;
      const checkpoint = opened.get(encoder.folder) ?? openCheckpoint(encoder.folder);
      opened.set(encoder.folder, checkpoint);
      const { tensors, ...rest } = await checkpoint;
      const config = parseConfig(decodeUtf8(bytes.subarray(1), encoder.file), encoder.file);
      const found = detectFamily(tensors, config);
      if (found === undefined) throw new UserError('No family is recognised in these keys.');
      const plan = makePlan({ ...rest, tensors }, found.family.recipe(found.detection.prefix));
      const { valid, hyperparameters } = validate(plan, found.family, config);
      if (!valid) throw new UserError('The encoder would not load strictly.');
      check(JSON.stringify(found.family.encoderConfig(hyperparameters, config)).length > 2, 'the encoder has no config');
      found.family.preprocessorConfig(hyperparameters);
      const graph = forwardGraph(encoderModel(plan, found.family, hyperparameters, config).graph);
      check(graph.layers > 0, 'a forward pass of no layers');
    },
  },
  {
    name: 'decoder',
    make: json(decoders),
    read(bytes) {
      const { title, width } = decoderFromConfig(decodeUtf8(bytes, 'config.json'), 'config.json');
      check(Number.isSafeInteger(width) && width > 0 && width <= 1_048_576 && typeof title === 'string', 'a decoder of no width');
    },
  },
  {
    name: 'shard',
    make: json(shards),
    read(bytes) {
      const [settings = '', layout = '', pictures = ''] = bytes.toString('utf8').split('\n');
      const shard = parseShard('/out/features-00001.safetensors', 'features-00001.safetensors', new Map([['settings', settings], ['layout', layout], ['pictures', pictures]]), 9);
      check(shard.settings.outputs.length > 0, 'a shard of no outputs');
    },
  },
  { name: 'folder index', make: json([Buffer.from(',\n"skipped": {"a.png": "It is no picture."},\n"removed": ["b.png","below/c.png"]\n}\n')]), read: bytes => { check(parseRemoved(bytes.toString('utf8')).every(name => typeof name === 'string'), 'a name that is none'); } },
  {
    name: 'replacement',
    make: json([replacement]),
    read(bytes) {
      const record = parseReplacement(bytes.toString('utf8'));
      if (record === undefined) throw new UserError('This is no record of a replacement.');
      check([...record.names, ...record.before].every(name => !/[\\/\0]|^\.\.?$/.test(name)), 'a name leads out of the folder');
    },
  },
  {
    name: 'lock',
    make: json([lock]),
    read(bytes) {
      const holder = holderOf(bytes.toString('utf8'));
      if (holder === undefined) throw new UserError('This is no lock of a run.');
      check(Number.isSafeInteger(holder.pid) && holder.pid > 0, 'a process of no number, or a group of them');
    },
  },
  {
    name: 'message',
    make: json(messages),
    read(bytes) {
      const value = parsed(bytes, 'message');
      if (!fromWebviewSchema.safeParse(value).success && !fromInspectorSchema.safeParse(value).success) throw new UserError('This is none of the messages that are expected.');
    },
  },
  { name: 'manifest', make: json([manifest]), read: bytes => { parseManifest(bytes.toString('utf8'), 'manifest.json'); } },
  { name: 'journal', make: json([journal]), read: bytes => { check([...parseJournal(bytes.toString('utf8'))?.files.values() ?? []].every(({ bytes: length }) => length >= 0), 'a negative length'); } },
  { name: 'http', make: makeScript, read: readAnswers },
  {
    name: 'bmp',
    make: random => mutated(random, bitmaps, BYTES),
    async read(bytes) {
      const image = await decodeImage(bytes, { maxPixels: 1 << 20 });
      check(image.data.length === 3 * image.width * image.height && image.width > 0 && image.height > 0, 'a picture of another size than it says');
    },
  },
];

/** A target by its name. */
export function targetNamed(name: string): Target {
  const target = TARGETS.find(one => one.name === name);
  if (target === undefined) throw new UserError(`There is no target ${name}. There are: ${TARGETS.map(one => one.name).join(', ')}.`);
  return target;
}
