import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { printable } from '../checkpoint/wording';
import { encoderModel } from '../encoder/model';
import { UserError } from '../errors';
import { formatBytes } from '../format';
import { handOver, readyFor, whyNot, type HandedOver } from '../handOver';
import { decoderFromConfig, DECODERS, namedDecoder, type Decoder } from '../handover/decoders';
import { FORMS, MAX_SEED, projectionModule, type ProjectionForm } from '../handover/projection';
import { targetById, TARGETS } from '../handover/targets';
import { validated, type Job } from '../job';
import { validationToJson } from '../validation/report';
import { noteDownload, type ExtractCommandOptions } from './extract';
import { parsePath, readText } from './input';
import { recipeLine } from './keys';
import { cacheOptions, runnable, type CacheOptions } from './runnable';
import { shellWord, type Terminal } from './terminal';
import { reportText } from './validate';

export interface HandOverCommandOptions extends CacheOptions, Pick<ExtractCommandOptions, 'dtype' | 'overwrite'> {
  readonly for?: string;
  readonly out?: string;
  readonly decoder?: string;
  readonly projection: ProjectionForm;
  readonly seed: number;
}

export function handOverOptions(command: Command): Command {
  return cacheOptions(command
    .addOption(new Option('--for <target>', 'who loads it next (default: list who can load this encoder)').choices(TARGETS.map(target => target.id)))
    .option('--out <dir>', 'the folder to write', parsePath)
    .option('--decoder <name or file>', 'write a projection to this language decoder too, initialised for training: a name below, or a decoder\'s config.json', parsePath)
    .addOption(new Option('--projection <form>', 'baseline: a linear layer, then a norm, as DeepSpeed-VisualChat has it; norm-first: the other way round').choices([...FORMS]).default('baseline'))
    .option('--seed <number>', 'what the projection is initialised from; equal to torch.manual_seed', parseSeed, 0)
    .addOption(new Option('--dtype <dtype>', 'cast floating point tensors on the way').choices(['keep', 'bf16', 'f16', 'f32']).default('keep'))
    .option('--overwrite', 'replace what is already in the folder'))
    .addHelpText('after', `
Decoders: ${Object.keys(DECODERS).join(', ')}

Examples:
  $ vision-encoder handover Qwen-VL-Chat
  $ vision-encoder handover Qwen-VL-Chat --for deepspeed-visualchat --out qwen-clip --decoder llama-2-13b
  $ vision-encoder handover llava-1.5-7b --for transformers --out clip-vit-l --decoder Mistral-7B/config.json`);
}

/** Writes the folder, or lists who can load the encoder; gives what `--json` prints. */
export async function runHandOver(job: Job, options: HandOverCommandOptions, terminal: Terminal, asJson: boolean, signal: AbortSignal): Promise<{ valid: boolean; json?: unknown }> {
  const { for: id, out } = options;
  if (id === undefined) return listTargets(job, terminal, asJson);
  if (out === undefined) throw new UserError('Give the folder to write with --out.');
  const target = targetById(id);
  const decoder = options.decoder === undefined ? undefined : await readDecoder(options.decoder);
  const ready = readyFor(job, target);
  const { validation } = validated(ready);
  terminal.note(recipeLine(ready));
  if (!validation.valid) {
    if (asJson) return { valid: false, json: { handedOver: false, validation: validationToJson(validation) } };
    terminal.print(reportText(validation));
    terminal.fail('Nothing was written: the encoder would not load strictly.');
    return { valid: false };
  }
  if (target.format !== 'onnx') noteDownload(ready, terminal);
  const model = target.format === 'onnx' ? await runnable(ready, options, terminal, signal) : undefined;
  const bar = terminal.progress('Writing');
  let result: HandedOver;
  try {
    result = await handOver(ready, target, {
      out, asked: job, dtype: options.dtype, overwrite: options.overwrite === true, signal, onProgress: bar.report,
      model: () => model ?? encoderModel(ready.plan, validated(ready).family, validation.hyperparameters, ready.config),
      onResume: bytes => { terminal.note(`Going on from ${formatBytes(bytes)} that an interrupted run left.`); },
      ...(decoder && { projection: { form: options.projection, decoder, seed: options.seed } }),
    });
  } finally {
    bar.stop();
  }
  const files = result.files.map(name => ({ name, size: statSync(join(result.out, name)).size }));
  const { projection, notes, snippet } = result;
  if (asJson) return { valid: true, json: { handedOver: true, target: target.id, out: result.out, files, ...(projection && { projection: { ...projection, module: projectionModule(projection) } }), notes, python: snippet } };
  terminal.print(`${terminal.style('green', '✓')} For ${target.title}: ${printable(result.out)}`);
  for (const { name, size } of files) terminal.print(`  ${printable(name)}  ${formatBytes(size)}`);
  if (projection !== undefined) terminal.print(`  projection to ${printable(projection.decoder.title)}: ${projectionModule(projection)}, seed ${projection.seed}`);
  notes.forEach(note => { terminal.warn(note); });
  terminal.print();
  for (const line of snippet.trimEnd().split('\n')) terminal.print(printable(line));
  if (target.format !== 'onnx') terminal.note(`Prove it: vision-encoder verify ${shellWord(printable(resolve(out)))}`);
  return { valid: true };
}

function listTargets(job: Job, terminal: Terminal, asJson: boolean): { valid: true; json?: unknown } {
  validated(job);
  const rows = TARGETS.map(target => ({ target: target.id, title: target.title, writes: target.writes(), whyNot: whyNot(job, target) ?? null }));
  if (asJson) return { valid: true, json: { targets: rows } };
  for (const { target, writes, whyNot: reason } of rows) {
    terminal.print(`${reason === null ? terminal.style('green', '✓') : terminal.style('dim', '-')} ${target.padEnd(20)}  ${reason ?? writes}`);
  }
  terminal.note('Choose one with --for TARGET --out DIR.');
  return { valid: true };
}

async function readDecoder(name: string): Promise<Decoder> {
  const known = namedDecoder(name);
  if (known !== undefined) return known;
  try {
    return decoderFromConfig(await readText(name), resolve(name));
  } catch (error) {
    const isName = error instanceof UserError && /^[\w.-]+$/.test(name) && !name.endsWith('.json');
    throw isName ? new UserError(`There is no decoder "${name}", nor a file of that name. Known are: ${Object.keys(DECODERS).join(', ')}; or give a decoder's config.json.`, { cause: error }) : error;
  }
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || seed > MAX_SEED) throw new InvalidArgumentError('It is a whole number from 0.');
  return seed;
}
