import type { Command } from 'commander';
import { elementCount } from '../checkpoint/dtype';
import type { Checkpoint, Tensor } from '../checkpoint/checkpoint';
import { printable } from '../checkpoint/wording';
import { formatPercent } from '../comparison/percent';
import { UserError } from '../errors';
import type { Distribution, Histogram } from '../features/statistics';
import { formatBytes, formatCount, formatShape } from '../format';
import { elementReader } from '../inspection/elements';
import { HeldTensor } from '../inspection/heldTensor';
import { tensorStatistics } from '../inspection/tensorStatistics';
import type { Progress } from '../progress';
import { table } from '../table';
import { groupBy } from '../validation/groupBy';
import { blockOf, foldBlocks, groupByModule } from '../validation/modules';
import { openAnywhere } from './input';
import type { Terminal } from './terminal';

export interface InspectCommandOptions {
  readonly filter?: string;
  readonly values?: boolean;
  readonly json?: boolean;
}

/** A tensor with what its values are like; without where several of them share a byte, which nothing here reads. */
interface Read {
  readonly tensor: Tensor;
  readonly distribution?: Distribution;
}

export function inspectOptions(command: Command): Command {
  return command
    .option('--filter <text>', 'only tensors whose keys contain this text, in capitals or not')
    .option('--values', 'read the values too: extremes, mean, deviation, zeros, NaN and infinities, and a histogram of each tensor')
    .option('--json', 'print one JSON document')
    .addHelpText('after', `
Without --values headers alone are read: the files with their metadata, the bytes by dtype and by module. With it every
chosen tensor is read once or twice, piece by piece, whatever its size. No recipe is needed: any checkpoint will do.

Examples:
  $ vision-encoder inspect Qwen-VL-Chat
  $ vision-encoder inspect qwen-encoder --values --filter attn_pool
  $ vision-encoder inspect my-finetune --values > /dev/null || echo "NaN or infinite weights"

Exit codes: 0, 1 when --values finds NaN or infinite values, 2 wrong usage or a file that cannot be read.`);
}

/** Tells what is in a checkpoint; `finite` decides the exit code. */
export async function runInspect(location: string, { filter, values = false, json = false }: InspectCommandOptions, terminal: Terminal, signal: AbortSignal): Promise<{ finite: boolean; json?: unknown }> {
  const checkpoint = await openAnywhere(location, terminal, signal);
  try {
    checkpoint.warnings.forEach(warning => { terminal.warn(warning); });
    const wanted = filter?.toLowerCase();
    const tensors = wanted === undefined ? checkpoint.tensors : checkpoint.tensors.filter(({ key }) => key.toLowerCase().includes(wanted));
    if (tensors.length === 0 && filter !== undefined) throw new UserError(`No key of ${checkpoint.location} contains ${filter}. List them with: vision-encoder keys.`);
    const read = values ? await readValues(checkpoint, tensors, terminal, signal) : undefined;
    const unhealthy = read?.filter(isUnhealthy) ?? [];
    if (json) return { finite: unhealthy.length === 0, json: toJson(checkpoint, tensors, read) };
    const lines = read === undefined ? overview(checkpoint, tensors) : valuesTable(read);
    for (const line of lines) terminal.print(printable(line));
    if (read !== undefined) summarise(read, unhealthy, terminal);
    return { finite: unhealthy.length === 0 };
  } finally {
    await checkpoint.close();
  }
}

/** The files with their metadata, and where the bytes are. */
function overview({ location, files, others }: Checkpoint, tensors: readonly Tensor[]): string[] {
  const total = bytesOf(tensors);
  const share = (of: readonly Tensor[]): string[] => [of.length.toLocaleString('en-US'), formatBytes(bytesOf(of)), total === 0 ? '' : formatPercent(bytesOf(of) / total)];
  const amounts = [1, 2, 3];
  return [
    `${location}: ${formatCount(tensors.length, 'tensor')} in ${formatCount(files.length, 'file')}, ${formatBytes(total)}`,
    '',
    ...table([['File', 'Format', 'Size'], ...files.map(({ name, format, source }) => [name, format, formatBytes(source.size)])], [2]),
    ...metadataLines(files),
    '',
    ...table([['Dtype', 'Tensors', 'Bytes', 'Share'], ...[...groupBy(tensors, ({ dtype }) => dtype)].map(([dtype, of]) => [dtype, ...share(of)])], amounts),
    '',
    ...table([['Module', 'Tensors', 'Bytes', 'Share'], ...modulesOf(tensors).map(({ name, tensors: of }) => [name, ...share(of)])], amounts),
    ...(others.length === 0 ? [] : ['', ...table([['Not tensors', ''], ...others.map(({ key, description }) => [key, description])])]),
  ];
}

/** What the files say of themselves; what all shards say alike once. */
function metadataLines(files: Checkpoint['files']): string[] {
  const entries = files.flatMap(({ name, metadata }) => [...metadata].map(([key, value]) => ({ name, key, value })));
  const alike = groupBy(entries, ({ key, value }) => JSON.stringify([key, value]));
  return [...alike.values()].flatMap(([first, ...more]) => first === undefined ? [] : [`${more.length + 1 === files.length ? '' : `${first.name}: `}${first.key} = ${first.value}`]);
}

/** The modules with their tensors; layers of a stack that hold as much in the same dtypes as one. */
function modulesOf(tensors: readonly Tensor[]): { readonly name: string; readonly tensors: readonly Tensor[] }[] {
  const modules = [...groupByModule(tensors, ({ key }) => key)].map(([name, of]) => ({ name, block: blockOf(name), tensors: of, like: `${of.length} ${bytesOf(of)} ${[...new Set(of.map(({ dtype }) => dtype))].sort().join()}` }));
  return foldBlocks(modules, (a, b) => a.like === b.like).map(({ name, members }) => ({ name, tensors: members.flatMap(member => member.tensors) }));
}

async function readValues(checkpoint: Checkpoint, tensors: readonly Tensor[], terminal: Terminal, signal: AbortSignal): Promise<Read[]> {
  const total = bytesOf(tensors);
  const held = new HeldTensor();
  const bar = terminal.progress('Reading');
  const read: Read[] = [];
  let before = 0;
  try {
    for (const tensor of tensors) {
      // Of a tensor that is read twice, each pass counts half.
      const onProgress = ({ done, total: all }: Progress): void => { bar.report({ done: before + (all === 0 ? 0 : done / all * tensor.length), total }); };
      read.push(await readTensor(checkpoint, tensor, held, { signal, onProgress }));
      before += tensor.length;
    }
    return read;
  } finally {
    bar.stop();
  }
}

async function readTensor(checkpoint: Checkpoint, tensor: Tensor, held: HeldTensor, options: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void }): Promise<Read> {
  const file = checkpoint.files[tensor.file];
  if (file === undefined) throw new Error(`${tensor.key} is in no file`);
  if (elementReader(tensor.dtype) === undefined) return { tensor };
  // Of what is downloaded first, the passes over it afterwards take no time worth telling.
  const source = await held.sourceFor(file.source, tensor, options);
  return { tensor, distribution: await tensorStatistics(source, tensor, source === file.source ? options : { signal: options.signal }) };
}

const COLUMNS = ['Key', 'Dtype', 'Shape', 'Min', 'Max', 'Mean', 'Std', 'Zeros', 'NaN', 'Inf', 'From min to max'];

function valuesTable(read: readonly Read[]): string[] {
  return table([COLUMNS, ...read.map(({ tensor: { key, dtype, shape }, distribution }) => {
    const facts = [key, dtype, formatShape(shape)];
    if (distribution === undefined) return [...facts, ...COLUMNS.slice(facts.length + 1).map(() => ''), 'several values share a byte: not read'];
    const { count, min, max, mean, standardDeviation, zeros, nans, infinities } = distribution.statistics;
    const amount = (of: number): string => (of === 0 ? '' : formatPercent(of / count));
    return [...facts, ...[min, max, mean, standardDeviation].map(short), amount(zeros), amount(nans), amount(infinities), sparkline(distribution.histogram)];
  })], [3, 4, 5, 6, 7, 8, 9]);
}

function short(value: number): string {
  return Number.isNaN(value) ? '' : Number(value.toPrecision(4)).toString();
}

const BARS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const BAR_COUNT = 16;

/** The histogram in a few characters: a bin with nothing in it is blank, any other at least the lowest bar. */
function sparkline({ counts }: Histogram): string {
  const width = Math.ceil(counts.length / BAR_COUNT);
  const sums = Array.from({ length: BAR_COUNT }, (_, bar) => [...counts.slice(bar * width, (bar + 1) * width)].reduce((sum, count) => sum + count, 0));
  const most = Math.max(...sums);
  return sums.map(sum => (sum === 0 ? ' ' : BARS[Math.min(BARS.length - 1, Math.floor(sum / most * BARS.length))] ?? '')).join('');
}

function summarise(read: readonly Read[], unhealthy: readonly Read[], terminal: Terminal): void {
  const values = read.reduce((sum, { distribution }) => sum + (distribution?.statistics.count ?? 0), 0);
  const all = `${formatCount(values, 'value')} of ${formatCount(read.filter(({ distribution }) => distribution !== undefined).length, 'tensor')}`;
  terminal.print();
  if (unhealthy.length === 0) {
    terminal.print(`${terminal.style('green', '✓')} ${all}: none is NaN or infinite.`);
  } else {
    const nans = unhealthy.reduce((sum, { distribution }) => sum + (distribution?.statistics.nans ?? 0), 0);
    const infinities = unhealthy.reduce((sum, { distribution }) => sum + (distribution?.statistics.infinities ?? 0), 0);
    terminal.print(`${terminal.style('red', '✗')} ${all}: ${nans.toLocaleString('en-US')} NaN, ${infinities.toLocaleString('en-US')} infinite.`);
    for (const { tensor } of unhealthy) terminal.print(`  ${printable(tensor.key)}`);
  }
}

function isUnhealthy({ distribution }: Read): boolean {
  return distribution !== undefined && distribution.statistics.nans + distribution.statistics.infinities > 0;
}

function toJson({ location, files, others, warnings }: Checkpoint, tensors: readonly Tensor[], read: readonly Read[] | undefined): unknown {
  const distributions = new Map(read?.map(({ tensor, distribution }) => [tensor, distribution]));
  return {
    checkpoint: location,
    files: files.map(({ name, format, source, metadata }) => ({ name, format, size: source.size, metadata: Object.fromEntries(metadata) })),
    bytes: bytesOf(tensors),
    tensors: tensors.map(tensor => {
      const { key, dtype, shape, file, offset, length } = tensor;
      const distribution = distributions.get(tensor);
      return {
        key, dtype, shape, elements: elementCount(shape), file: files[file]?.name ?? null, offset, length,
        ...(distribution && { statistics: distribution.statistics, histogram: { ...distribution.histogram, counts: [...distribution.histogram.counts] } }),
      };
    }),
    others,
    warnings,
  };
}

function bytesOf(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { length }) => sum + length, 0);
}
