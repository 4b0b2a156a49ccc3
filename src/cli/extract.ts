import { resolve } from 'node:path';
import { printable } from '../checkpoint/wording';
import { downloadEstimate } from '../extraction/downloadEstimate';
import { extract, type ExtractOptions } from '../extraction/extract';
import { formatBytes, formatCount, formatDuration } from '../format';
import { companionFiles, validated, type Job } from '../job';
import { validationToJson } from '../validation/report';
import { recipeLine } from './keys';
import { shellWord, type Terminal } from './terminal';
import { reportText } from './validate';

export interface ExtractCommandOptions {
  readonly out: string;
  readonly format: ExtractOptions['format'];
  readonly dtype: ExtractOptions['dtype'];
  readonly maxShardSize?: number;
  readonly overwrite?: boolean;
}

/** Validates, then extracts; an encoder that would not load strictly is not written. */
export async function runExtract(job: Job, options: ExtractCommandOptions, terminal: Terminal, asJson: boolean, signal: AbortSignal): Promise<{ valid: boolean; json?: unknown }> {
  const { validation } = validated(job);
  job.checkpoint.warnings.forEach(warning => { terminal.warn(warning); });
  terminal.note(recipeLine(job));
  if (!validation.valid) {
    if (asJson) return { valid: false, json: { extracted: false, validation: validationToJson(validation) } };
    terminal.print(reportText(validation));
    terminal.fail('Nothing was extracted: the encoder would not load strictly.');
    return { valid: false };
  }
  validation.warnings.forEach(({ message }) => { terminal.warn(message); });

  noteDownload(job, terminal);
  const started = Date.now();
  const bar = terminal.progress('Extracting');
  let result: Awaited<ReturnType<typeof extract>>;
  try {
    result = await extract(job.plan, validation, {
      ...(await companionFiles(job, signal)),
      out: resolve(options.out),
      format: options.format,
      dtype: options.dtype,
      overwrite: options.overwrite === true,
      signal,
      onProgress: bar.report,
      onResume: bytes => { terminal.note(`Going on from ${formatBytes(bytes)} that an interrupted run left.`); },
      ...(options.maxShardSize === undefined ? {} : { maxShardBytes: options.maxShardSize }),
    });
  } finally {
    bar.stop();
  }
  const seconds = (Date.now() - started) / 1000;
  if (asJson) return { valid: true, json: { extracted: true, seconds, out: result.out, manifest: result.manifest, validation: validationToJson(validation) } };
  const { tensors, files } = result.manifest.output;
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  terminal.print(`${terminal.style('green', '✓')} ${formatCount(tensors.length, 'tensor')}, ${formatBytes(bytes)}, strictly valid: ${printable(result.out)} (${formatDuration(seconds)})`);
  for (const { name, size } of files) terminal.print(`  ${printable(name)}  ${formatBytes(size)}`);
  terminal.note(`Prove it: vision-encoder verify ${shellWord(printable(options.out))}`);
  return { valid: true };
}

/** Says what comes over the network, if anything does. */
export function noteDownload({ plan }: Job, terminal: Terminal): void {
  const estimate = downloadEstimate(plan);
  if (estimate !== undefined) terminal.note(`Downloading ${formatBytes(estimate.download)} of ${formatBytes(estimate.total)}; the other ${formatBytes(estimate.saved)} are not needed.`);
}
