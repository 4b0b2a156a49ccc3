import { t } from '@vscode/l10n';
import type { TextRange } from '../architecture/config';
import type { Blame, DuplicateKey, Fix, MissingKey, SizeMismatch, UnexpectedKey, Validation } from '../validation/validation';
import { formatShape } from '../format';

export type Finding =
  | { readonly kind: 'missing'; readonly finding: MissingKey }
  | { readonly kind: 'unexpected'; readonly finding: UnexpectedKey }
  | { readonly kind: 'mismatched'; readonly finding: SizeMismatch }
  | { readonly kind: 'duplicate'; readonly finding: DuplicateKey };

export type FindingKind = Finding['kind'];

/** Several findings with one cause: 288 keys are missing because the config says 48 layers. */
export interface Cause {
  readonly blame: Blame;
  readonly findings: readonly Finding[];
  readonly fixes: readonly Fix[];
}

export interface Section {
  readonly kind: FindingKind;
  readonly count: number;
  readonly entries: readonly (Cause | Finding)[];
  /** What settles all of several findings at once: the first mark that each of them offers. */
  readonly fixes: readonly Fix[];
}

/** A setting that settles every finding with one cause at once. */
export interface Remedy {
  readonly fix: Fix;
  /** How many findings it settles. */
  readonly count: number;
}

/** The settings that are offered, each once; the one that settles most comes first. */
export function remedies(validation: Validation): Remedy[] {
  const found = new Map<string, { fix: Fix; count: number }>();
  for (const { finding } of findings(validation)) {
    for (const fix of finding.fixes) {
      if (fix.kind !== 'setting') continue;
      const remedy = found.get(fix.title);
      if (remedy === undefined) found.set(fix.title, { fix, count: 1 });
      else remedy.count += 1;
    }
  }
  return [...found.values()].sort((a, b) => b.count - a.count);
}

/** The findings by kind, those with the same cause together; kinds without findings are left out. */
export function sections(validation: Validation): Section[] {
  const all = findings(validation);
  return (['missing', 'unexpected', 'mismatched', 'duplicate'] as const).flatMap(kind => {
    const ofKind = all.filter(finding => finding.kind === kind);
    return ofKind.length === 0 ? [] : [{ kind, count: ofKind.length, entries: byCause(ofKind), fixes: commonMarks(ofKind) }];
  });
}

export function findings(validation: Validation): readonly Finding[] {
  let all = known.get(validation);
  if (all === undefined) known.set(validation, all = listed(validation));
  return all;
}

/** Several views list the same findings, which may be a hundred thousand. */
const known = new WeakMap<Validation, readonly Finding[]>();

function listed({ missing, unexpected, mismatched, duplicates }: Validation): Finding[] {
  return [
    ...missing.map(finding => ({ kind: 'missing', finding }) as const),
    ...unexpected.map(finding => ({ kind: 'unexpected', finding }) as const),
    ...mismatched.map(finding => ({ kind: 'mismatched', finding }) as const),
    ...duplicates.map(finding => ({ kind: 'duplicate', finding }) as const),
  ];
}

export function isCause(entry: Cause | Finding): entry is Cause {
  return 'findings' in entry;
}

/** The key in the checkpoint that a finding is about, when it is about one. */
export function sourceKeyOf({ kind, finding }: Finding): string | undefined {
  switch (kind) {
    case 'missing': return undefined;
    case 'duplicate': return finding.sourceKeys[0];
    default: return finding.sourceKey;
  }
}

/** What is wrong with each of the checkpoint's keys that a finding is about, in the words of a strict load. */
export function problemsBySource(validation: Validation): Map<string, string> {
  const problems = new Map<string, string>();
  for (const { sourceKey } of validation.unexpected) problems.set(sourceKey, t('Unexpected key: the encoder has no such parameter.'));
  for (const { sourceKey, expected, found } of validation.mismatched) problems.set(sourceKey, t`Size mismatch: found ${formatShape(found)}, expected ${formatShape(expected)}.`);
  for (const { key, sourceKeys } of validation.duplicates) for (const source of sourceKeys) problems.set(source, t`Duplicate: ${sourceKeys.length} tensors would be named ${key}.`);
  return problems;
}

/** Everything that one place in the config file is to blame for. */
export interface PlaceReport {
  readonly location: string;
  readonly range: TextRange;
  readonly message: string;
  readonly findings: readonly Finding[];
  readonly fixes: readonly Fix[];
}

/** Where a config is blamed for what it does not hold: its first character. */
const START: TextRange = { startLine: 0, startColumn: 0, endLine: 0, endColumn: 1 };

/** One report for each blamed place and message, in the order of the first finding. `config` is where the config lies. */
export function placeReports(validation: Validation, config: string | undefined): PlaceReport[] {
  const reports = new Map<string, { location: string; range: TextRange; message: string; findings: Finding[] }>();
  for (const finding of findings(validation)) {
    const blame = finding.finding.blame;
    if (blame === undefined) continue;
    const lacking = config !== undefined && validation.hyperparameters.get(blame.hyperparameter)?.origin.kind === 'default';
    const place = blame.place ?? (lacking ? { location: config, range: START } : undefined);
    if (place === undefined) continue;
    const { location, range } = place;
    const id = JSON.stringify([location, range, blame.message]);
    const report = reports.get(id);
    if (report === undefined) reports.set(id, { location, range, message: blame.message, findings: [finding] });
    else report.findings.push(finding);
  }
  return [...reports.values()].map(report => ({ ...report, fixes: distinctFixes(report.findings) }));
}

function byCause(all: readonly Finding[]): (Cause | Finding)[] {
  const entries: (Finding | Finding[])[] = [];
  const groups = new Map<string, Finding[]>();
  for (const finding of all) {
    const cause = finding.finding.blame?.message;
    const group = cause === undefined ? undefined : groups.get(cause);
    if (group !== undefined) {
      group.push(finding);
    } else if (cause === undefined) {
      entries.push(finding);
    } else {
      const first = [finding];
      groups.set(cause, first);
      entries.push(first);
    }
  }
  return entries.flatMap((entry): Cause | Finding | Finding[] => {
    if (!Array.isArray(entry)) return entry;
    const blame = entry[0]?.finding.blame;
    return blame === undefined || entry.length === 1 ? entry : { blame, findings: entry, fixes: distinctFixes(entry) };
  });
}

/** The settings that the findings agree on: a mark concerns one key alone and stays with its row. */
function distinctFixes(all: readonly Finding[]): Fix[] {
  const fixes = new Map<string, Fix>();
  for (const { finding } of all) for (const fix of finding.fixes) if (fix.kind === 'setting') fixes.set(fix.title, fix);
  return [...fixes.values()];
}

/** A mark for each of the findings, when there are several and every one offers one. */
function commonMarks(all: readonly Finding[]): Fix[] {
  const marks = all.flatMap(({ finding }) => finding.fixes.find(fix => fix.kind === 'mark') ?? []);
  return all.length > 1 && marks.length === all.length ? marks : [];
}
