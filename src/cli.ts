import { Command, CommanderError, Option } from 'commander';
import { runCompare, type CompareCommandOptions } from './cli/compare';
import { exportOptions, runExport, type ExportCommandOptions } from './cli/exportOnnx';
import { runExtract, type ExtractCommandOptions } from './cli/extract';
import { featuresOptions, runFeatures, type FeaturesCommandOptions } from './cli/features';
import { handOverOptions, runHandOver, type HandOverCommandOptions } from './cli/handOver';
import { parsePart, parsePath, parseSetting, parseSize, withInput, type InputOptions } from './cli/input';
import { inspectOptions, runInspect, type InspectCommandOptions } from './cli/inspect';
import { keysToJson, printKeys, type KeysOptions } from './cli/keys';
import { printRecipe } from './cli/recipe';
import { withOption } from './cli/remedies';
import { Terminal } from './cli/terminal';
import { runValidate } from './cli/validate';
import { runVerify } from './cli/verify';
import { Interrupted, isAbort, UserError } from './errors';
import { TOOL } from './version';

/** What scripts read from the exit code. */
const EXIT = { valid: 0, invalid: 1, failed: 2 } as const;
/** 128 and the signal's number, as shells have it. */
const INTERRUPTED = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

const terminal = new Terminal();
const controller = new AbortController();
const { signal } = controller;
let interrupted: number = INTERRUPTED.SIGINT;

const program = new Command('vision-encoder')
  .description('Take the vision encoder out of a multimodal checkpoint: from headers and byte ranges, strictly validated.')
  .version(TOOL.version)
  .option('--verbose', 'print technical detail with errors')
  .exitOverride()
  .showHelpAfterError('Run vision-encoder --help, or vision-encoder COMMAND --help.')
  .addHelpText('after', `
CHECKPOINT is a folder, a weights file (.safetensors, .bin, .pt, .pth) or an index (.index.json), on this machine or
remote: hf://owner/model, hf://owner/model@revision, the address of a Hub page, or another https address of such a file
or of a folder with an index. Of a remote checkpoint only headers and the wanted byte ranges are fetched. Private and
gated models need a token in HF_TOKEN or from "hf auth login"; HF_ENDPOINT names another Hub.

Examples:
  $ vision-encoder keys Qwen-VL-Chat                          what is in it, and what would be taken
  $ vision-encoder validate Qwen-VL-Chat                      would the encoder load strictly?
  $ vision-encoder extract Qwen-VL-Chat --out qwen-encoder    write the encoder
  $ vision-encoder extract hf://Qwen/Qwen-VL-Chat --out enc   the same without downloading the rest of the model
  $ vision-encoder verify qwen-encoder                        prove it equal to the source, bit for bit
  $ vision-encoder compare qwen-encoder my-finetune           was the vision tower frozen?
  $ vision-encoder inspect my-finetune --values               any NaN in it?
  $ vision-encoder handover Qwen-VL-Chat                      who can load it next?
  $ vision-encoder features cat.jpg --checkpoint qwen-encoder --out cat.safetensors

Results go to standard output, everything else to standard error.
Exit codes: 0 valid or equal, 1 invalid or different, 2 wrong usage or a file that cannot be read or written, 130 cancelled.`);

takesInput(program.command('keys').description('List the tensor keys, each with its mark: + keep, ~ strip, - exclude. Reads headers only.'))
  .option('--filter <text>', 'only keys that contain this text, in capitals or not')
  .addOption(new Option('--mark <mark>', 'only keys with this mark').choices(['keep', 'strip', 'exclude']))
  .addHelpText('after', `
Examples:
  $ vision-encoder keys Qwen-VL-Chat --filter attn_pool
  $ vision-encoder keys Qwen-VL-Chat --json | jq '.tensors[] | select(.mark != "exclude") | .outputKey'`)
  .action((location: string, options: InputOptions & KeysOptions & JsonOption) => finish(options, () => withInput(location, options, terminal, signal, job => {
    job.checkpoint.warnings.forEach(warning => { terminal.warn(warning); });
    const problem = job.configProblem ?? job.validation?.problem;
    if (problem !== undefined) terminal.warn(problem.message);
    if (options.json === true) printJson(keysToJson(job, options));
    else printKeys(job, options, terminal);
    return EXIT.valid;
  })));

takesInput(program.command('recipe').description('Print the recipe in use as JSON, to save, edit and give back with --recipe.'))
  .addHelpText('after', `
Examples:
  $ vision-encoder recipe Qwen-VL-Chat > qwen.recipe.json
  $ vision-encoder extract Qwen-VL-Chat --recipe qwen.recipe.json --out qwen-encoder`)
  .action((location: string, options: InputOptions & JsonOption) => finish(options, () => withInput(location, options, terminal, signal, job => {
    printRecipe(job, terminal);
    return EXIT.valid;
  })));

takesInput(program.command('validate').description('Check the encoder strictly against its config, as load_state_dict(strict=True) would, before anything is copied.'))
  .addHelpText('after', `
Examples:
  $ vision-encoder validate Qwen-VL-Chat
  $ vision-encoder validate Qwen-VL-Chat --config clip-bigG/config.json --set output_dim=4096`)
  .action((location: string, options: InputOptions & JsonOption) => finish(options, () => withInput(location, options, terminal, signal, job => {
    const { valid, json } = runValidate(job, terminal, options.json === true);
    if (json !== undefined) printJson(json);
    return valid ? EXIT.valid : EXIT.invalid;
  })));

takesInput(program.command('extract').description('Validate strictly, then copy the encoder into a folder with its config, preprocessor config and manifest.'))
  .requiredOption('--out <dir>', 'the folder to write', parsePath)
  .addOption(new Option('--format <format>', 'safetensors, or torch for a pytorch_model.bin').choices(['safetensors', 'torch']).default('safetensors'))
  .addOption(new Option('--dtype <dtype>', 'cast floating point tensors on the way').choices(['keep', 'bf16', 'f16', 'f32']).default('keep'))
  .option('--max-shard-size <size>', 'split the weights into files of at most this size, for example 5GB', parseSize)
  .option('--overwrite', 'replace an encoder that is already in the folder')
  .addHelpText('after', `
Examples:
  $ vision-encoder extract Qwen-VL-Chat --out qwen-encoder
  $ vision-encoder extract Qwen-VL-Chat --out qwen-encoder --format torch --dtype f16 --max-shard-size 2GB`)
  .action((location: string, options: InputOptions & ExtractCommandOptions & JsonOption) => finish(options, () => withInput(location, options, terminal, signal, async job => {
    const { valid, json } = await runExtract(job, options, terminal, options.json === true, signal);
    if (json !== undefined) printJson(json);
    return valid ? EXIT.valid : EXIT.invalid;
  })));

program.command('verify').description('Re-read an extracted encoder and prove it equal, tensor for tensor, to the checkpoint it came from.')
  .argument('<dir>', 'the folder that extract wrote', parsePath)
  .option('--source <checkpoint>', 'where the checkpoint is now (default: where it was when the encoder was extracted)', parsePath)
  .option('--json', 'print one JSON document')
  .addHelpText('after', `
Examples:
  $ vision-encoder verify qwen-encoder
  $ vision-encoder verify qwen-encoder --source /elsewhere/Qwen-VL-Chat
  $ vision-encoder verify qwen-encoder --source hf://Qwen/Qwen-VL-Chat`)
  .action((dir: string, options: { readonly source?: string } & JsonOption) => finish(options, async () => {
    const { ok, json } = await runVerify(dir, options, terminal, options.json === true, signal);
    if (json !== undefined) printJson(json);
    return ok ? EXIT.valid : EXIT.invalid;
  }));

program.command('compare').description('Compare two checkpoints tensor by tensor: was the vision tower frozen in this fine-tune? is it still the original?')
  .argument('<left>', 'a checkpoint, which differences are relative to: the original', parsePath)
  .argument('<right>', 'another one: a fine-tune, an extracted encoder', parsePath)
  .option('--recipe <file>', 'a recipe for both (default: the preset of the family that is recognised in each)', parsePath)
  .option('--left-recipe <file>', 'a recipe for LEFT alone', parsePath)
  .option('--right-recipe <file>', 'a recipe for RIGHT alone', parsePath)
  .addOption(new Option('--all', 'compare everything, by the keys as they are, instead of the encoders').conflicts(['recipe', 'leftRecipe', 'rightRecipe']))
  .option('--keys-only', 'compare keys, shapes and dtypes; no weights are read')
  .option('--json', 'print one JSON document')
  .addHelpText('after', `
The encoders are compared: what each side's recipe takes out, by the keys in the encoder, so that a full model can be held
against a standalone encoder. Either can be remote; of it only the encoder's byte ranges are fetched.

What the table says of a tensor, a block or a module:
  equal         the same bytes; in a fine-tune it was frozen
  equal values  the same numbers in another dtype, such as bf16 weights stored as f32
  differs       Relative is ||left - right|| / ||left||, Largest the largest |left - right|, Cosine that of the angle between
                them; of a block, taken over its tensors that differ

Examples:
  $ vision-encoder compare Qwen-VL-Chat my-finetune
  $ vision-encoder compare hf://openai/clip-vit-large-patch14-336 llava-1.5-7b
  $ vision-encoder compare base tuned --all --json | jq -r '.tensors[] | select(.outcome == "different") | .key'

Exit codes: 0 equal (in bytes or in values), 1 different, 2 wrong usage or a file that cannot be read.`)
  .action((left: string, right: string, options: CompareCommandOptions) => finish(options, async () => {
    const { equal, json } = await runCompare(left, right, options, terminal, signal);
    if (json !== undefined) printJson(json);
    return equal ? EXIT.valid : EXIT.invalid;
  }));

inspectOptions(takesCheckpoint(program.command('inspect').description('Look inside any checkpoint: metadata, where the bytes are, and what the values are like.')))
  .action((location: string, options: InspectCommandOptions) => finish(options, async () => {
    const { finite, json } = await runInspect(location, options, terminal, signal);
    if (json !== undefined) printJson(json);
    return finite ? EXIT.valid : EXIT.invalid;
  }));

inputOptions(featuresOptions(program.command('features').description('Run the encoder on pictures and write its features; the checkpoint\'s weights are used where they lie.')))
  .action((pictures: string[], options: InputOptions & FeaturesCommandOptions & JsonOption) => finish(options, () => withInput(options.checkpoint, options, terminal, signal, async job => {
    const json = await runFeatures(job, pictures, options, terminal, signal);
    if (options.json === true) printJson(json);
    return EXIT.valid;
  })));

exportOptions(takesInput(program.command('export').description('Write the encoder as an ONNX model with a dynamic batch, which any ONNX runtime loads.')))
  .action((location: string, options: InputOptions & ExportCommandOptions & JsonOption) => finish(options, () => withInput(location, options, terminal, signal, async job => {
    const json = await runExport(job, options, terminal, signal);
    if (options.json === true) printJson(json);
    return EXIT.valid;
  })));

handOverOptions(takesInput(program.command('handover').description('Write a folder that whoever loads the encoder next takes as it is: DeepSpeed-VisualChat, transformers, OpenCLIP, ONNX.')))
  .action((location: string, options: InputOptions & HandOverCommandOptions & JsonOption) => finish(options, () => withInput(location, options, terminal, signal, async job => {
    const { valid, json } = await runHandOver(job, options, terminal, options.json === true, signal);
    if (json !== undefined) printJson(json);
    return valid ? EXIT.valid : EXIT.invalid;
  })));

interface JsonOption {
  readonly json?: boolean;
}

function takesCheckpoint(command: Command): Command {
  return command.argument('<checkpoint>', 'a folder, a weights file or an index; hf://owner/model@revision; or an https address', parsePath);
}

function takesInput(command: Command): Command {
  return inputOptions(takesCheckpoint(command));
}

function inputOptions(command: Command): Command {
  return command
    .option('--config <file>', 'the config.json to validate against (default: the one beside the checkpoint)', parsePath)
    .option('--recipe <file>', 'a recipe file (default: the preset of the family that is recognised)', parsePath)
    .addOption(new Option('--family <id>', 'the family whose preset to use (default: recognised from the keys)').conflicts('recipe'))
    .option('--set <name=value>', 'a hyperparameter, for example output_dim=128; may be given again', parseSetting)
    .option('--with <part>', 'an optional part to take in, for example projection; may be given again', parsePart)
    .option('--without <part>', 'an optional part to leave behind, for example head; may be given again (keys lists the parts)', parsePart)
    .option('--json', 'print one JSON document');
}

function printJson(value: unknown): void {
  terminal.print(JSON.stringify(value, null, 2));
}

/** Runs a command and turns what it throws into a sentence and an exit code; for machines the sentence is JSON too. */
async function finish(options: JsonOption, run: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await run();
  } catch (error) {
    const { code, message } = report(error);
    process.exitCode = code;
    if (options.json === true) printJson({ error: message });
  }
}

/** Tells the person, on standard error, what went wrong. */
function report(error: unknown): { readonly code: number; readonly message: string } {
  if (isAbort(error)) {
    const message = error instanceof Interrupted ? error.message : 'Cancelled; nothing was left behind.';
    terminal.note(message);
    return { code: interrupted, message };
  }
  const message = error instanceof UserError ? withOption(error.message, error.remedy) : error instanceof Error ? error.message : String(error);
  if (error instanceof UserError) {
    terminal.fail(message);
    if (program.opts<{ verbose?: boolean }>().verbose === true && error.detail !== undefined) terminal.note(error.detail);
  } else {
    terminal.fail('This is a defect of vision-encoder; please report it with the lines below.');
    terminal.note(error instanceof Error ? (error.stack ?? message) : message);
  }
  return { code: EXIT.failed, message };
}

for (const name of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
  // Once: who asks again wants it to end at once.
  process.once(name, () => {
    interrupted = INTERRUPTED[name];
    controller.abort();
  });
}
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // A reader that has seen enough (`| head`) closes the pipe. That is no error, and the exit code stays the result's.
  if (error.code === 'EPIPE') return;
  terminal.fail(`Standard output cannot be written (${error.code ?? error.message}).`);
  process.exit(EXIT.failed);
});
// Nobody listens any more: no reason to give up what is being written.
process.stderr.on('error', () => undefined);

program.parseAsync().catch((error: unknown) => {
  // commander has printed its own message.
  process.exitCode = error instanceof CommanderError
    ? (error.exitCode === 0 ? EXIT.valid : EXIT.failed)
    : report(error).code;
});
