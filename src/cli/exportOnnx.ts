import { existsSync, statSync } from 'node:fs';
import { dirname, extname, join, resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { forwardGraph, gridOf, pictureSizes } from '../architecture/forwardGraphs';
import { mergedNames } from '../architecture/outputs';
import { printable } from '../checkpoint/wording';
import { exportOnnx } from '../encoder/exportOnnx';
import { jsonFile } from '../extraction/extraFiles';
import { formatBytes } from '../format';
import { writtenRule } from '../image/preprocessorConfig';
import type { Job } from '../job';
import { preprocessingOrFamilys } from '../preprocessing';
import { parsePath } from './input';
import { cacheOptions, runnable, type CacheOptions } from './runnable';
import type { Terminal } from './terminal';

/** How pictures become the model's input, for the engine that runs it. */
const RULE_NAME = 'preprocessor_config.json';

export interface ExportCommandOptions extends CacheOptions {
  readonly out: string;
  readonly outputs?: readonly string[];
  readonly weights: 'one-file' | 'in-place';
  readonly pictureSize?: { readonly width: number; readonly height: number };
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

export function exportOptions(command: Command): Command {
  return cacheOptions(command
    .requiredOption('--out <model.onnx>', 'the model to write', parseModelPath)
    .option('--outputs <names>', 'features, embeddings, hidden_states.N, attn_pool.weights, ..., with commas between (default: features, and what a merger or projector that is taken in makes of them)', (text: string) => text.split(',').map(name => name.trim()))
    .addOption(new Option('--weights <how>', 'copy the weights into one file beside the model, or point at the checkpoint\'s own files, which must lie in the model\'s folder or below').choices(['one-file', 'in-place']).default('one-file'))
    .option('--picture-size <WxH>', 'pixels of the pictures that the model takes, such as 448x672, for encoders that take pictures of any size', parsePictureSize)
    .option('--overwrite', 'replace the model if it exists'))
    .addHelpText('after', `
preprocessor_config.json beside the model says how pictures become its input, unless one is there already. How to run both on
many machines: examples/ray_data.py, which the extension brings in its media folder.

Examples:
  $ vision-encoder export Qwen-VL-Chat --out onnx/encoder.onnx --outputs features,hidden_states.47
  $ vision-encoder export qwen-encoder --out qwen-encoder/encoder.onnx --weights in-place`);
}

/** Writes the model; gives what `--json` prints. */
export async function runExport(job: Job, options: ExportCommandOptions, terminal: Terminal, signal: AbortSignal) {
  const model = await runnable(job, options, terminal, signal);
  const outputs = options.outputs ?? ['features', ...mergedNames(forwardGraph(model.graph))];
  const { pictureSize } = options;
  const sizes = pictureSizes(model.graph);
  const preprocessing = await preprocessingOrFamilys(job, sizes, signal);
  const rule = join(dirname(resolve(options.out)), RULE_NAME);
  // The one of a checkpoint, where the model is written into its folder, is not ours to replace.
  const beside = existsSync(rule) ? [] : [jsonFile(RULE_NAME, writtenRule(preprocessing.spec, pictureSize ?? { width: sizes.side, height: sizes.side }))];
  const bar = terminal.progress('Exporting');
  let paths: string[];
  try {
    paths = await exportOnnx(model, { path: resolve(options.out), outputs, weights: options.weights, beside, overwrite: options.overwrite === true, signal, ...(pictureSize && { grid: gridOf(model.graph, pictureSize.height, pictureSize.width) }), onProgress: bar.report });
  } finally {
    bar.stop();
  }
  if (beside.length === 0) terminal.note(`${printable(rule)} was there already and stays as it is.`);
  terminal.note(`Pictures are prepared by ${preprocessing.from}${sizes.unit === undefined ? '' : ', straight to the size that the model takes'}.`);
  const files = paths.map(path => ({ path, size: statSync(path).size }));
  if (options.json !== true) {
    terminal.print(`${terminal.style('green', '✓')} ${printable(model.name)} as ONNX, with ${outputs.join(', ')}`);
    for (const { path, size } of files) terminal.print(`  ${printable(path)}  ${formatBytes(size)}`);
  }
  return { files, outputs, weights: options.weights };
}

function parsePictureSize(text: string): { width: number; height: number } {
  const [, width, height] = /^(\d{1,5})x(\d{1,5})$/.exec(text) ?? [];
  if (width === undefined || height === undefined) throw new InvalidArgumentError('It is width x height in pixels, for example 448x672.');
  return { width: Number(width), height: Number(height) };
}

function parseModelPath(text: string): string {
  if (extname(text).toLowerCase() !== '.onnx') throw new InvalidArgumentError('It is the path of a file with the extension .onnx.');
  return parsePath(text);
}
