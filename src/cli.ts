import { Command, CommanderError, Option } from 'commander';
import { openInput, parseSetting, parseSize, type InputOptions } from './cli/input';
import { keysToJson, printKeys, type KeysOptions } from './cli/keys';
import { runExtract, type ExtractCommandOptions } from './cli/extract';
import { runValidate } from './cli/validate';
import { runVerify } from './cli/verify';
import { Terminal } from './cli/terminal';
import { isAbort, UserError } from './errors';
import { TOOL } from './version';

/** What scripts read from the exit code. */
export const EXIT = { valid: 0, invalid: 1, failed: 2, interrupted: 130 } as const;

const terminal = new Terminal();
const controller = new AbortController();
const { signal } = controller;

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

Exit codes: 0 valid, 1 invalid, 2 wrong usage or a file that cannot be read or written.`);

takesInput(program.command('keys').description('List the tensor keys, each with its mark: + keep, ~ strip, - exclude. Reads headers only.'))
  .option('--filter <text>', 'only keys that contain this text')
  .addOption(new Option('--mark <mark>', 'only keys with this mark').choices(['keep', 'strip', 'exclude']))
  .action((location: string, options: InputOptions & KeysOptions & JsonOption) => finish(options, async () => {
    const job = await openInput(location, options, terminal, signal);
    try {
      job.checkpoint.warnings.forEach(warning => { terminal.warn(warning); });
      if (job.configProblem !== undefined) terminal.warn(job.configProblem.message);
      if (options.json === true) printJson(keysToJson(job, options));
      else printKeys(job, options, terminal);
      return EXIT.valid;
    } finally {
      await job.checkpoint.close();
    }
  }));

takesInput(program.command('validate').description('Check the encoder strictly against its config, as load_state_dict(strict=True) would, before anything is copied.'))
  .addHelpText('after', `
Examples:
  $ vision-encoder validate Qwen-VL-Chat
  $ vision-encoder validate Qwen-VL-Chat --config clip-bigG/config.json --set output_dim=4096`)
  .action((location: string, options: InputOptions & JsonOption) => finish(options, async () => {
    const job = await openInput(location, options, terminal, signal);
    try {
      const { valid, json } = runValidate(job, terminal, options.json === true);
      if (json !== undefined) printJson(json);
      return valid ? EXIT.valid : EXIT.invalid;
    } finally {
      await job.checkpoint.close();
    }
  }));

takesInput(program.command('extract').description('Validate strictly, then copy the encoder into a folder with its config, preprocessor config and manifest.'))
  .requiredOption('--out <dir>', 'the folder to write')
  .addOption(new Option('--format <format>', 'safetensors, or torch for a pytorch_model.bin').choices(['safetensors', 'torch']).default('safetensors'))
  .addOption(new Option('--dtype <dtype>', 'cast floating point tensors on the way').choices(['keep', 'bf16', 'f16', 'f32']).default('keep'))
  .option('--max-shard-size <size>', 'split the weights into files of at most this size, for example 5GB', parseSize)
  .option('--overwrite', 'replace an encoder that is already in the folder')
  .addHelpText('after', `
Examples:
  $ vision-encoder extract Qwen-VL-Chat --out qwen-encoder
  $ vision-encoder extract Qwen-VL-Chat --out qwen-encoder --format torch --dtype f16 --max-shard-size 2GB`)
  .action((location: string, options: InputOptions & ExtractCommandOptions & JsonOption) => finish(options, async () => {
    const job = await openInput(location, options, terminal, signal);
    try {
      const { valid, json } = await runExtract(job, options, terminal, options.json === true, signal);
      if (json !== undefined) printJson(json);
      return valid ? EXIT.valid : EXIT.invalid;
    } finally {
      await job.checkpoint.close();
    }
  }));

program.command('verify').description('Re-read an extracted encoder and prove it equal, tensor for tensor, to the checkpoint it came from.')
  .argument('<dir>', 'the folder that extract wrote')
  .option('--source <checkpoint>', 'where the checkpoint is now (default: where it was when the encoder was extracted)')
  .option('--json', 'print one JSON document')
  .action((dir: string, options: { readonly source?: string } & JsonOption) => finish(options, async () => {
    const { ok, json } = await runVerify(dir, options, terminal, options.json === true, signal);
    if (json !== undefined) printJson(json);
    return ok ? EXIT.valid : EXIT.invalid;
  }));

interface JsonOption {
  readonly json?: boolean;
}

function takesInput(command: Command): Command {
  return command
    .argument('<checkpoint>', 'a folder, a weights file or an index; hf://owner/model@revision; or an https address')
    .option('--config <file>', 'the config.json to validate against (default: the one beside the checkpoint)')
    .option('--recipe <file>', 'a recipe file (default: the preset of the family that is recognised)')
    .option('--family <id>', 'the family whose preset to use (default: recognised from the keys)')
    .option('--set <name=value>', 'a hyperparameter, for example output_dim=128; may be given again', parseSetting, {})
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
    process.exitCode = report(error);
    if (options.json === true) printJson({ error: error instanceof Error ? error.message : String(error) });
  }
}

function report(error: unknown): number {
  if (isAbort(error)) {
    terminal.note('Cancelled. Nothing was left behind.');
    return EXIT.interrupted;
  }
  if (error instanceof UserError) {
    terminal.fail(error.message);
    if (program.opts<{ verbose?: boolean }>().verbose === true && error.detail !== undefined) terminal.note(error.detail);
    return EXIT.failed;
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  terminal.fail(`This is a defect of vision-encoder; please report it with the lines below.\n${message}`);
  return EXIT.failed;
}

process.once('SIGINT', () => { controller.abort(); });
process.once('SIGTERM', () => { controller.abort(); });
// A reader that has seen enough (`| head`) closes the pipe; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(process.exitCode ?? EXIT.valid);
});

program.parseAsync().catch((error: unknown) => {
  process.exitCode = error instanceof CommanderError
    ? (error.exitCode === 0 ? EXIT.valid : EXIT.failed)
    : report(error);
});
