import { resolve } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint';
import { printable } from '../checkpoint/wording';
import { readManifest } from '../extraction/manifest';
import { sourcePlace } from '../extraction/sourcePlace';
import { verify } from '../extraction/verify';
import { UserError } from '../errors';
import { formatBytes, formatCount } from '../format';
import { openAnywhere } from './input';
import { shellWord, type Terminal } from './terminal';

/** Re-reads an extracted encoder and compares it with its manifest and, where it can be opened, its source. */
export async function runVerify(dir: string, options: { readonly source?: string }, terminal: Terminal, asJson: boolean, signal: AbortSignal): Promise<{ ok: boolean; json?: unknown }> {
  const folder = resolve(dir);
  const source = await openSource(folder, options.source, terminal, signal);
  const bar = terminal.progress('Verifying');
  try {
    const report = await verify(folder, { signal, onProgress: bar.report, ...(source === undefined ? {} : { source }) });
    bar.stop();
    if (asJson) return { ok: report.ok, json: { dir: folder, ...report } };
    const amount = `${formatCount(report.checkedTensors, 'tensor')}, ${formatBytes(report.checkedBytes)}`;
    if (report.ok) {
      const proof = report.comparedWithSource ? 'equal to the source, tensor for tensor' : 'equal to the manifest (the source was not compared)';
      terminal.print(`${terminal.style('green', '✓')} ${amount}: ${proof}.`);
    } else {
      for (const { key, file, message } of report.differences) terminal.print(printable(`${key ?? file ?? folder}: ${message}`));
      terminal.fail(`${formatCount(report.differences.length, 'difference')} in ${folder}. Extract the encoder again.`);
    }
    return { ok: report.ok };
  } finally {
    bar.stop();
    await source?.close();
  }
}

/** The checkpoint to compare with: the given one must open; the manifest's own may be gone, and is opened unasked only from this disk. */
async function openSource(folder: string, given: string | undefined, terminal: Terminal, signal: AbortSignal): Promise<Checkpoint | undefined> {
  if (given !== undefined) return openAnywhere(given, terminal, signal);
  const { source: { location } } = await readManifest(folder);
  switch (sourcePlace(location)) {
    case 'network':
      terminal.note(printable(`The source is not on this disk, so it is not opened unasked. To compare with it too, say --source ${shellWord(location)}`));
      return undefined;
    case 'foreign':
      terminal.warn(`The source cannot be compared: ${location} is no path of this machine. Say where it is with --source.`);
      return undefined;
    case 'disk':
  }
  try {
    return await openAnywhere(location, terminal, signal);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    terminal.warn(`The source cannot be compared: ${error.message} Say where it is with --source.`);
    return undefined;
  }
}
