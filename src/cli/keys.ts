import { printable } from '../checkpoint/wording';
import { formatBytes, formatCount, formatShape } from '../format';
import { notRecognised, type Job } from '../job';
import { optionalParts } from '../parts';
import { describeDecision } from '../recipe/describe';
import type { Mark } from '../recipe/recipe';
import type { PlannedTensor } from '../recipe/plan';
import type { Terminal } from './terminal';

const SYMBOLS = { keep: '+', strip: '~', exclude: '-' } as const satisfies Record<Mark, string>;
const COLOURS = { keep: 'green', strip: 'cyan', exclude: 'gray' } as const satisfies Record<Mark, string>;

export interface KeysOptions {
  readonly filter?: string;
  readonly mark?: Mark;
}

/** Lists the checkpoint's tensors, each with its mark, and what the recipe takes in all. */
export function printKeys(job: Job, options: KeysOptions, terminal: Terminal): void {
  const { checkpoint, plan } = job;
  const shown = select(plan.tensors, options);
  const keyWidth = Math.min(72, shown.reduce((width, { tensor }) => Math.max(width, tensor.key.length), 0));
  for (const { tensor, mark, outputKey, decision } of shown) {
    const what = mark === 'exclude' ? (decision === undefined ? '' : `  (${describeDecision({ decision })})`) : mark === 'strip' && outputKey !== undefined ? `  → ${outputKey}` : '';
    const facts = `${tensor.dtype.padEnd(5)} ${formatShape(tensor.shape).padEnd(16)} ${formatBytes(tensor.length).padStart(8)}`;
    terminal.print(terminal.style(COLOURS[mark], printable(`${SYMBOLS[mark]} ${tensor.key.padEnd(keyWidth)}  ${facts}${what}`)));
  }
  for (const { key, description } of checkpoint.others) terminal.note(printable(`  ${key}: ${description}`));

  const bytes = plan.tensors.reduce((sum, { tensor }) => sum + tensor.length, 0);
  const counts = (['keep', 'strip', 'exclude'] as const)
    .map(mark => `${SYMBOLS[mark]} ${mark} ${plan.tensors.filter(planned => planned.mark === mark).length}`);
  terminal.note('');
  terminal.note(`${formatCount(plan.tensors.length, 'tensor')} in ${formatCount(checkpoint.files.length, 'file')}, ${formatBytes(bytes)}${shown.length === plan.tensors.length ? '' : `; ${shown.length} shown`}`);
  terminal.note(`${counts.join('   ')}   into the encoder: ${formatCount(plan.kept.length, 'tensor')}, ${formatBytes(plan.keptBytes)}`);
  terminal.note(recipeLine(job));
  const parts = optionalParts(job).map(({ id, kept }) => (kept ? `${id} is taken in (--without ${id} leaves it behind)` : `${id} is left behind (--with ${id} takes it in)`));
  if (parts.length > 0) terminal.note(`Optional parts: ${parts.join('; ')}`);
}

/** What `keys --json` prints. */
export function keysToJson(job: Job, options: KeysOptions) {
  const { checkpoint, plan, recipe, family, detection, config } = job;
  return {
    checkpoint: checkpoint.location,
    files: checkpoint.files.map(({ name, format, source }) => ({ name, format, size: source.size })),
    family: family?.id ?? null,
    detection: detection?.reason ?? null,
    config: config?.location ?? null,
    recipe,
    parts: optionalParts(job),
    kept: { tensors: plan.kept.length, bytes: plan.keptBytes },
    tensors: select(plan.tensors, options).map(planned => ({
      key: planned.tensor.key,
      outputKey: planned.outputKey ?? null,
      mark: planned.mark,
      rule: planned.decision === undefined ? null : describeDecision(planned),
      dtype: planned.tensor.dtype,
      shape: planned.tensor.shape,
      file: checkpoint.files[planned.tensor.file]?.name ?? null,
      offset: planned.tensor.offset,
      length: planned.tensor.length,
    })),
    others: checkpoint.others,
    warnings: checkpoint.warnings,
  };
}

/** Says which recipe marked the keys, and why it was picked. */
export function recipeLine(job: Job): string {
  const { recipe, detection, family } = job;
  if (family === undefined) return `No rule marks these keys. ${notRecognised(job)}`;
  return detection === undefined ? `Recipe: ${recipe.name}` : `Recipe: ${recipe.name} (preset; ${detection.reason})`;
}

function select(tensors: readonly PlannedTensor[], { filter, mark }: KeysOptions): readonly PlannedTensor[] {
  const wanted = filter?.toLowerCase();
  return tensors.filter(planned =>
    (wanted === undefined || planned.tensor.key.toLowerCase().includes(wanted)) && (mark === undefined || planned.mark === mark));
}
