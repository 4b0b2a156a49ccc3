import { readdir, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { pictureSizes } from '../architecture/forwardGraphs';
import { encodeFolder, type EncodedFolder } from '../batch/encodeFolder';
import { printable, someOf } from '../checkpoint/wording';
import { EncoderClient } from '../encoder/client';
import type { Precision } from '../encoder/deviceEncoder';
import { DEVICE_NAMES, type DeviceChoice, type LoadReport } from '../encoder/devices';
import { featureOutputs, type FeatureChoice } from '../encoder/features';
import type { EncoderModel } from '../encoder/model';
import { writeFeatures, type WrittenFeatures } from '../encoder/writeFeatures';
import { systemErrorCode, UserError } from '../errors';
import { formatBytes, formatCount, formatDuration, formatShape } from '../format';
import { PICTURE_EXTENSIONS } from '../image/format';
import { withMostPixels } from '../image/preprocess';
import type { Job } from '../job';
import { modelPreprocessing, preprocessingOrFamilys, withGeometry, type Preprocessing } from '../preprocessing';
import type { Progress } from '../progress';
import { parsePath } from './input';
import { withOption } from './remedies';
import { cacheOptions, runnable, type CacheOptions } from './runnable';
import type { Terminal } from './terminal';

export interface FeaturesCommandOptions extends CacheOptions {
  readonly checkpoint: string;
  readonly out: string;
  readonly device: DeviceName;
  readonly precision: Precision;
  readonly layers: FeatureChoice['layers'];
  readonly attentionPool?: boolean;
  readonly resize?: Geometry;
  readonly maxPixels?: number;
  readonly batchSize?: number;
  readonly skipBroken?: boolean;
  readonly shardPictures?: number;
  readonly overwrite?: boolean;
  readonly prune?: boolean;
  readonly json?: boolean;
}

type Geometry = 'square' | 'crop';

/** As people call them, and as ONNX Runtime does. */
const DEVICES = { auto: 'auto', cpu: 'cpu', webgpu: 'webgpu', cuda: 'cuda', directml: 'dml', coreml: 'coreml' } as const satisfies Record<string, DeviceChoice>;
type DeviceName = keyof typeof DEVICES;

/** Pictures that run together, unless told: each weight is then read once for so many. Hidden states are large; with all of them pictures run singly. */
const BATCH = 4;

export function featuresOptions(command: Command): Command {
  return cacheOptions(command
    .argument('<picture...>', 'picture files, or folders of them; one folder where OUT is one', (text: string, before: string[] | undefined) => [...before ?? [], parsePath(text)])
    .requiredOption('--checkpoint <checkpoint>', 'a checkpoint or an extracted encoder: a folder, a weights file or an index', parsePath)
    .requiredOption('--out <path>', 'the file to write: .safetensors, or .npy for the features alone; or a folder, for shards with an index', parsePath)
    .addOption(new Option('--device <device>', 'where to run').choices(Object.keys(DEVICES)).default('auto'))
    .addOption(new Option('--precision <precision>', 'what a device multiplies in: half needs half the memory of single; the CPU always takes single').choices(['float32', 'float16']).default('float32'))
    .option('--layers <layers>', 'hidden states to write too: all, or block numbers such as 0,11,23', parseLayers, [])
    .option('--attention-pool', 'write the attention pool\'s weights too')
    .addOption(new Option('--resize <how>', 'straight to the square, or the shorter side and the centre (default: as preprocessor_config.json or open_clip_config.json says, else the family\'s rule)').choices(['square', 'crop']))
    .option('--max-pixels <count>', 'at most so many pixels of a picture, for encoders that take pictures of any size (default: as preprocessor_config.json says)', parseCount)
    .option('--batch-size <count>', `pictures that run together (default: ${BATCH}, or 1 with --layers all)`, parseBatchSize)
    .option('--skip-broken', 'leave out pictures that cannot be read, with a warning (a folder always does)')
    .option('--shard-pictures <count>', 'of a folder: pictures in a shard at most (default: 256, or as many as make 256 MB)', parseCount)
    .option('--prune', 'of a folder: take what pictures had before they changed or went out of the shards')
    .option('--overwrite', 'replace the file if it exists; of a folder: start over'))
    .addHelpText('after', `
Keys: features, hidden_states.N, attn_pool.weights, pixel_values; float32, one row per picture in the order given. With
--with merger or --with projector (keys lists which there is) also merged, what the language model gets, and deepstack.N, what its first
layers get (Qwen3-VL).
A row of hidden_states.N has the class token and registers first, if there are any, then the patches, row by row, whatever order
the model's own code has them in. Of pictures with different numbers of patches, each has its own keys: pictures.0.features, ...

Where OUT is a folder (a path without an extension, or one that exists) the pictures of one folder, and of those below it,
go into OUT/features-00001.safetensors and so on, and OUT/index.json says of each picture its shard and row. A run that was
cancelled or killed goes on where it stopped when it is started again; later runs do what has come or changed since.

Examples:
  $ vision-encoder features cat.jpg --checkpoint Qwen-VL-Chat --out cat.safetensors --layers all --attention-pool
  $ vision-encoder features photos/ --checkpoint qwen-encoder --out photos.npy --device cpu
  $ vision-encoder features photos/ --checkpoint qwen-encoder --out photos-features/`);
}

/** Writes the features of all pictures; gives what `--json` prints. */
export async function runFeatures(job: Job, locations: readonly string[], options: FeaturesCommandOptions, terminal: Terminal, signal: AbortSignal) {
  const format = await formatOf(options);
  const folder = format === 'shards' ? await oneFolder(locations) : undefined;
  const model = await runnable(job, options, terminal, signal);
  const preprocessing = await preprocessingFor(job, model, options.resize, signal);
  const client = new EncoderClient({ entry: join(__dirname, 'encoder.js') });
  /** Decodes the next pictures while these run; it starts when it is first asked. */
  const decoder = new EncoderClient({ entry: join(__dirname, 'encoder.js') });
  const bars = phases(terminal);
  const request = {
    signal,
    out: options.out,
    outputs: format === 'npy' ? ['features'] : featureOutputs(model, { layers: options.layers, attentionPool: options.attentionPool === true }),
    preprocessing: options.maxPixels === undefined ? preprocessing.spec : withMostPixels(preprocessing.spec, options.maxPixels),
    device: DEVICES[options.device],
    batchSize: options.batchSize ?? (options.layers === 'all' ? 1 : BATCH),
    precision: options.precision,
    onProgress: bars.report,
    onLoaded: (report: LoadReport): void => {
      bars.stop();
      if (report.warning !== undefined) terminal.warn(report.warning);
      for (const { device, reason } of report.rejected) terminal.note(printable(`${DEVICE_NAMES[device]} was not used: ${reason}`));
    },
  };
  const started = Date.now();
  const seconds = (): number => (Date.now() - started) / 1000;
  try {
    if (format === 'shards') {
      const encoded = await encodeFolder(client, model, {
        ...request, decoder, folder: folder ?? '', startOver: options.overwrite === true, prune: options.prune === true,
        ...(options.shardPictures !== undefined && { shardPictures: options.shardPictures }),
        onPlan: ({ kept, pending }) => {
          bars.stop();
          if (kept > 0) terminal.note(`${formatCount(kept, 'picture')} ${kept === 1 ? 'is' : 'are'} done already, ${formatCount(pending, 'picture')} to go.`);
        },
      });
      bars.stop();
      return folderResult(encoded, preprocessing, seconds(), options, terminal);
    }
    const skipped: { picture: string; reason: string }[] = [];
    const written = await writeFeatures(client, model, {
      ...request, format, pictures: await findPictures(locations), overwrite: options.overwrite === true,
      ...(options.skipBroken === true && { onBroken: (picture: string, { message, remedy }: UserError) => { skipped.push({ picture, reason: withOption(message, remedy) }); } }),
    });
    bars.stop();
    return fileResult(written, skipped, preprocessing, seconds(), options, terminal);
  } finally {
    bars.stop();
    await Promise.all([client.close(), decoder.close()]);
  }
}

/** Says what was written into a file; gives what `--json` prints. */
function fileResult(written: WrittenFeatures, skipped: readonly { picture: string; reason: string }[], preprocessing: Preprocessing, seconds: number, { json }: FeaturesCommandOptions, terminal: Terminal) {
  const { device: report, shapes, milliseconds, memory } = written;
  for (const { reason } of skipped) terminal.warn(`Left out: ${reason}`);
  terminal.note(`Pictures are prepared by ${preprocessing.from}.`);
  if (json !== true) {
    terminal.print(`${terminal.style('green', '✓')} ${formatCount(written.pictures.length, 'picture')} on ${DEVICE_NAMES[report.device]}: ${printable(written.out)} (${formatDuration(seconds)})`);
    for (const [key, shape] of Object.entries(shapes)) terminal.print(`  ${key}  ${formatShape(shape)}`);
    terminal.note(`${Math.round(milliseconds.run / written.pictures.length)} ms per picture${memory === undefined ? '' : `, at most ${formatBytes(memory.peakBytes)} of memory`}`);
  }
  return {
    out: written.out, device: report.device, precision: report.precision, rejected: report.rejected, warning: report.warning ?? null,
    preprocessing: preprocessing.from, pictures: written.pictures, grids: written.grids, skipped, shapes, seconds, milliseconds, memory: memory ?? null,
  };
}

/** Pictures that are named one by one; index.json has all of them. */
const NAMED = 10;

/** Says what was written into a folder; gives what `--json` prints. */
function folderResult({ out, pictures, encoded, shards, skipped, removed, newlyRemoved, stale, pruned, device }: EncodedFolder, preprocessing: Preprocessing, seconds: number, { json }: FeaturesCommandOptions, terminal: Terminal) {
  for (const { reason, remedy } of skipped.slice(0, NAMED)) terminal.warn(`Left out: ${withOption(reason, remedy)}`);
  if (skipped.length > NAMED) terminal.warn(`Left out: ${formatCount(skipped.length - NAMED, 'morePicture')}, which index.json names.`);
  if (newlyRemoved.length > 0) terminal.warn(`Not in the folder any more, and taken out of the index: ${someOf(newlyRemoved)}.`);
  // Told when it has become more, not at every run.
  if (stale > 0 && (newlyRemoved.length > 0 || encoded > 0)) terminal.note(`The shards still hold features of ${formatCount(stale, 'picture')} that changed or went; --prune takes them out.`);
  if (pruned > 0) terminal.note(`Taken out of the shards: features of ${formatCount(pruned, 'picture')} that changed or went.`);
  terminal.note(`Pictures are prepared by ${preprocessing.from}.`);
  if (json !== true) {
    const new_ = encoded === pictures ? '' : `, ${encoded.toLocaleString('en-US')} of them new`;
    terminal.print(`${terminal.style('green', '✓')} ${formatCount(pictures, 'picture')}${new_}${device === undefined ? '' : ` on ${DEVICE_NAMES[device.device]}`}: ${printable(out)}, ${formatCount(shards.length, 'shard')} (${formatDuration(seconds)})`);
  }
  return {
    out, pictures, encoded, shards, skipped: skipped.map(({ name, reason }) => ({ picture: name, reason })), removed, stale, pruned,
    device: device?.device ?? null, precision: device?.precision ?? null, rejected: device?.rejected ?? [], warning: device?.warning ?? null,
    preprocessing: preprocessing.from, seconds,
  };
}

/** One bar after the other, each under the name of what is done. */
function phases(terminal: Terminal): { report: (progress: Progress) => void; stop: () => void } {
  const pictures = (amount: number): string => formatCount(Number(amount.toFixed(1)), 'picture');
  const named: Readonly<Record<string, () => ReturnType<Terminal['progress']>>> = {
    decoding: () => terminal.progress('Reading pictures', pictures),
    hashing: () => terminal.progress('Reading the encoder'),
    loading: () => terminal.progress('Loading the encoder', blocks => `${blocks} blocks`),
    running: () => terminal.progress('Encoding', pictures),
    pruning: () => terminal.progress('Pruning', pictures),
  };
  let phase: string | undefined;
  let bar: ReturnType<Terminal['progress']> | undefined;
  const stop = (): void => {
    bar?.stop();
    bar = phase = undefined;
  };
  return {
    stop,
    report: progress => {
      if (progress.label !== phase) {
        stop();
        phase = progress.label;
        bar = named[phase ?? '']?.();
      }
      bar?.report(progress);
    },
  };
}

async function formatOf({ out, layers, attentionPool, shardPictures, prune }: FeaturesCommandOptions): Promise<'safetensors' | 'npy' | 'shards'> {
  const extension = extname(out).toLowerCase();
  const isFolder = await stat(out).then(stats => stats.isDirectory(), () => false);
  if (extension === '' || isFolder || /[\\/]$/.test(out)) return 'shards';
  if (prune === true) throw new UserError(`--prune is for folders, and ${out} would be a file. End it with / to write a folder of shards.`);
  if (shardPictures !== undefined) throw new UserError(`--shard-pictures is for folders, and ${out} would be a file. End it with / to write a folder of shards.`);
  if (extension === '.safetensors') return 'safetensors';
  if (extension !== '.npy') throw new UserError(`${out} has no known extension. Name it .safetensors, .npy for the features alone, or end it with / for a folder of shards.`);
  if (attentionPool === true || layers === 'all' || layers.length > 0) throw new UserError('A .npy file holds the features alone. Name the file .safetensors to have hidden states or the attention pool\'s weights too.');
  return 'npy';
}

async function oneFolder(locations: readonly string[]): Promise<string> {
  const [folder, ...more] = locations;
  if (folder === undefined || more.length > 0 || (await namesIn(folder)) === undefined) throw new UserError('Into a folder of shards go the pictures of one folder. Name that folder alone, or a file to write.');
  return folder;
}

/** --resize decides the geometry alone; colours are treated as the checkpoint or its family says. */
async function preprocessingFor(job: Job, { graph }: EncoderModel, resize: Geometry | undefined, signal: AbortSignal): Promise<Preprocessing> {
  const sizes = pictureSizes(graph);
  if (resize !== undefined) return { spec: withGeometry((await preprocessingOrFamilys(job, sizes, signal)).spec, sizes.side, resize), from: `--resize ${resize}` };
  try {
    return await modelPreprocessing(job, sizes, signal);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(error.message, { remedy: 'choose a resize', detail: error.detail, cause: error });
  }
}

/** The files named, and the pictures directly inside the folders named, by name. */
async function findPictures(locations: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const location of locations) {
    const names = await namesIn(location);
    if (names === undefined) {
      found.push(location);
      continue;
    }
    const pictures = names.filter(name => PICTURE_EXTENSIONS.includes(extname(name).slice(1).toLowerCase()));
    if (pictures.length === 0) throw new UserError(`${location} has no pictures directly inside it (${PICTURE_EXTENSIONS.join(', ')}). Name the folder that has them.`);
    found.push(...pictures.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).map(name => join(location, name)));
  }
  return found;
}

/** Undefined when it is no folder. */
async function namesIn(location: string): Promise<string[] | undefined> {
  try {
    return (await stat(location)).isDirectory() ? (await readdir(location, { withFileTypes: true })).filter(entry => !entry.isDirectory()).map(({ name }) => name) : undefined;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new UserError(`${location} does not exist. Check the path of the picture.`, { cause: error });
    if (code === 'EACCES' || code === 'EPERM') throw new UserError(`${location} may not be read. Check its permissions.`, { cause: error });
    throw error;
  }
}

function parseLayers(text: string): FeatureChoice['layers'] {
  if (text === 'all') return 'all';
  if (!/^\d+(,\d+)*$/.test(text)) throw new InvalidArgumentError('It is "all", or numbers with commas between, for example 0,11,23.');
  return [...new Set(text.split(',').map(Number))];
}

function parseBatchSize(text: string): number {
  const size = Number(text);
  if (!Number.isInteger(size) || size < 1 || size > 1024) throw new InvalidArgumentError('It is a whole number from 1 to 1024.');
  return size;
}

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1) throw new InvalidArgumentError('It is a whole number of at least 1.');
  return count;
}
