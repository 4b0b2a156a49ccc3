import * as vscode from 'vscode';
import { basename, dirname } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint';
import type { Hyperparameter } from '../architecture/family';
import { formatCount, formatShape } from '../format';
import type { Job } from '../job';
import type { Fix, ValidationWarning } from '../validation/validation';
import { markdown } from './keyItem';
import { code, plain, visible } from './markdown';
import { documentUri } from './remoteDocuments';
import type { RecipeOrigin, Session } from './session';
import { isCause, remedies, sections, sourceKeyOf, type Cause, type Finding, type FindingKind, type Remedy, type Section } from './validationModel';

export const VALIDATION_VIEW = 'visionEncoder.validation';
/** Rows of one list; what is more is counted. */
const LONGEST_LIST = 1000;
/** Longer lists come folded: a thousand rows that nobody asked for take VS Code longer to draw than the mark that made them. */
const LONGEST_OPEN = 200;

export type ValidationNode =
  | { readonly kind: 'summary' | 'config' | 'recipe' | 'settings' | 'warnings' | 'others' }
  | { readonly kind: 'other'; readonly other: Checkpoint['others'][number] }
  | { readonly kind: 'remedy'; readonly remedy: Remedy }
  | { readonly kind: 'setting'; readonly parameter: Hyperparameter }
  | { readonly kind: 'section'; readonly section: Section }
  | { readonly kind: 'cause'; readonly cause: Cause; readonly of: FindingKind }
  | { readonly kind: 'finding'; readonly finding: Finding }
  | { readonly kind: 'warning'; readonly warning: ValidationWarning }
  | { readonly kind: 'more'; readonly count: number };

/** What one click can do about the row. */
export function fixesOf(node: ValidationNode): readonly Fix[] {
  if (node.kind === 'cause') return node.cause.fixes;
  if (node.kind === 'section') return node.section.fixes;
  return node.kind === 'finding' ? node.finding.finding.fixes : [];
}

/** The result of the strict validation, with all that it was made from. */
export class ValidationTreeView implements vscode.TreeDataProvider<ValidationNode>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  readonly view: vscode.TreeView<ValidationNode>;
  private readonly subscription: vscode.Disposable;

  constructor(private readonly session: Session) {
    this.view = vscode.window.createTreeView(VALIDATION_VIEW, { treeDataProvider: this });
    this.subscription = session.onDidChange(() => { this.changed.fire(undefined); });
  }

  async revealSummary(): Promise<void> {
    await vscode.commands.executeCommand(`${VALIDATION_VIEW}.focus`);
  }

  getChildren(node?: ValidationNode): ValidationNode[] {
    const job = this.session.job;
    if (job === undefined) return [];
    switch (node?.kind) {
      case undefined: return roots(job);
      case 'settings': return [...job.validation?.hyperparameters.values() ?? []].map(parameter => ({ kind: 'setting', parameter }));
      case 'section': return capped(node.section.entries.map(entry => (isCause(entry) ? { kind: 'cause', cause: entry, of: node.section.kind } : { kind: 'finding', finding: entry })));
      case 'cause': return capped(node.cause.findings.map(finding => ({ kind: 'finding', finding })));
      case 'others': return capped(job.checkpoint.others.map(other => ({ kind: 'other', other })));
      case 'warnings': return capped(warningsOf(job).map(warning => ({ kind: 'warning', warning })));
      default: return [];
    }
  }

  getTreeItem(node: ValidationNode): vscode.TreeItem {
    const job = this.session.job;
    return job === undefined ? new vscode.TreeItem('') : item(node, job, this.session.origin);
  }

  dispose(): void {
    this.subscription.dispose();
    this.view.dispose();
    this.changed.dispose();
  }
}

function roots(job: Job): ValidationNode[] {
  const { validation } = job;
  return [
    { kind: 'summary' },
    ...(validation === undefined ? [] : remedies(validation)).map(remedy => ({ kind: 'remedy', remedy }) as const),
    ...(validation === undefined ? [] : sections(validation)).map(section => ({ kind: 'section', section }) as const),
    ...(warningsOf(job).length === 0 ? [] : [{ kind: 'warnings' } as const]),
    { kind: 'config' },
    { kind: 'recipe' },
    ...(validation === undefined || validation.hyperparameters.size === 0 ? [] : [{ kind: 'settings' } as const]),
    ...(job.checkpoint.others.length === 0 ? [] : [{ kind: 'others' } as const]),
  ];
}

/** The checkpoint's warnings stand with the validation's: a person looks in one place. */
function warningsOf(job: Job): ValidationWarning[] {
  return [...job.validation?.warnings ?? [], ...job.checkpoint.warnings.map(message => ({ message }))];
}

function capped(nodes: ValidationNode[]): ValidationNode[] {
  return nodes.length <= LONGEST_LIST ? nodes : [...nodes.slice(0, LONGEST_LIST), { kind: 'more', count: nodes.length - LONGEST_LIST }];
}

function item(node: ValidationNode, job: Job, origin: RecipeOrigin): vscode.TreeItem {
  switch (node.kind) {
    case 'summary': return summaryItem(job);
    case 'config': return configItem(job);
    case 'recipe': return recipeItem(job, origin);
    case 'settings': return row(vscode.l10n.t('Settings'), { icon: 'settings', folded: true, description: settingsDescription(job), tooltip: [vscode.l10n.t('The numbers that size the encoder. Each can be set by hand; the recipe keeps what you set.'), plain(settingsDescription(job))] });
    case 'remedy': return remedyItem(node.remedy);
    case 'setting': return settingItem(node.parameter, job);
    case 'section': return sectionItem(node.section);
    case 'cause': return causeItem(node.cause);
    case 'finding': return findingItem(node.finding);
    case 'warnings': return row(vscode.l10n.t('Warnings'), { icon: 'warning', colour: 'list.warningForeground', open: true, description: String(warningsOf(job).length) });
    case 'others': return row(vscode.l10n.t('Beside the Tensors'), { icon: 'list-flat', folded: true, description: formatCount(job.checkpoint.others.length, 'entry'), tooltip: [vscode.l10n.t('What the checkpoint holds besides tensors that can be extracted. It stays behind.')] });
    case 'other': return row(visible(node.other.key), { icon: 'symbol-misc', description: visible(node.other.description) });
    case 'warning': return warningItem(node.warning);
    case 'more': return row(vscode.l10n.t('… and {0} more', node.count.toLocaleString('en-US')), {});
  }
}

function summaryItem(job: Job): vscode.TreeItem {
  const { validation, configProblem } = job;
  const { family, elsewhere } = job;
  if (family === undefined && elsewhere !== undefined) return row(vscode.l10n.t('The vision encoder is elsewhere'), { icon: 'info', description: elsewhere, tooltip: [plain(elsewhere)] });
  if (configProblem !== undefined) {
    return row(vscode.l10n.t('The config cannot be used'), { icon: 'error', colour: 'visionEncoder.invalid', description: configProblem.message, tooltip: [plain(configProblem.message)] });
  }
  if (validation === undefined) {
    return row(vscode.l10n.t('Not validated'), { icon: 'question', description: vscode.l10n.t('choose a preset or a recipe'), command: 'visionEncoder.choosePreset', tooltip: [vscode.l10n.t('No family of vision encoders was recognised. Choose a preset, or load a recipe that names its family.')] });
  }
  const { valid, matchedCount, expectedCount, problem } = validation;
  if (problem !== undefined) {
    const shown = row(vscode.l10n.t('Cannot be validated'), { icon: 'error', colour: 'visionEncoder.invalid', context: 'summary invalid', description: problem.message, tooltip: [plain(problem.message)], command: 'visionEncoder.chooseConfig' });
    if (problem.place !== undefined) shown.command = openPlace(problem.place);
    return shown;
  }
  const matched = vscode.l10n.t('{0} of {1} match', matchedCount.toLocaleString('en-US'), expectedCount.toLocaleString('en-US'));
  if (valid) {
    return row(vscode.l10n.t('Loads strictly'), { icon: 'pass-filled', colour: 'visionEncoder.valid', context: 'summary valid', description: matched });
  }
  return row(vscode.l10n.t('Does not load strictly'), { icon: 'error', colour: 'visionEncoder.invalid', context: 'summary invalid', description: matched });
}

function configItem({ checkpoint, config, configProblem }: Job): vscode.TreeItem {
  if (config === undefined) {
    return row(vscode.l10n.t('Config'), { icon: 'json', context: 'config', command: 'visionEncoder.chooseConfig', description: configProblem === undefined ? vscode.l10n.t('none found: choose one') : vscode.l10n.t('choose another') });
  }
  const opened = documentUri(config.location);
  const shown = row(vscode.l10n.t('Config'), { icon: 'json', context: 'config open', description: dirname(config.location) === checkpoint.store.location ? basename(config.location) : vscode.workspace.asRelativePath(opened), tooltip: [code(config.location)] });
  shown.command = { command: 'vscode.open', title: vscode.l10n.t('Open Config'), arguments: [opened] };
  return shown;
}

function recipeItem({ recipe }: Job, origin: RecipeOrigin): vscode.TreeItem {
  const edits = recipe.overrides.length;
  const source = origin.kind === 'preset' ? vscode.l10n.t('preset') : origin.kind === 'file' ? basename(origin.path) : '';
  const description = [recipe.name, source, edits === 0 ? '' : vscode.l10n.t('{0} by hand', formatCount(edits, 'edit'))].filter(part => part !== '').map(part => visible(part)).join(' · ');
  return row(vscode.l10n.t('Recipe'), {
    icon: 'list-ordered', context: 'recipe', description,
    tooltip: [`**${plain(recipe.name)}**`, ...(origin.kind === 'preset' ? [plain(origin.reason)] : origin.kind === 'file' ? [code(origin.path)] : [])],
  });
}

/** What no config has said, in plain sight: those set by hand, then those that are mere defaults. */
function settingsDescription({ validation }: Job): string {
  const of = (kind: Hyperparameter['origin']['kind']): string => [...validation?.hyperparameters.values() ?? []].filter(({ origin }) => origin.kind === kind).map(({ name, value }) => `${name} ${value}`).join(', ');
  const [byHand, byDefault] = [of('setting'), of('default')];
  return [byHand === '' ? '' : vscode.l10n.t('by hand: {0}', byHand), byDefault === '' ? '' : vscode.l10n.t('by default: {0}', byDefault)].filter(part => part !== '').join(' · ');
}

function settingItem({ name, value, origin }: Hyperparameter, { family }: Job): vscode.TreeItem {
  const source = origin.kind === 'config' ? vscode.l10n.t('from config: {0}', origin.path.join('.'))
    : origin.kind === 'setting' ? vscode.l10n.t('set by hand')
    : origin.kind === 'checkpoint' ? vscode.l10n.t('read off the tensors') : vscode.l10n.t('default');
  const about = family?.hyperparameters.find(spec => spec.name === name)?.description;
  return row(name, {
    icon: origin.kind === 'setting' ? 'edit' : 'symbol-number', context: `setting ${origin.kind}`,
    description: `${value} · ${source}`, tooltip: [`**${plain(name)}** = ${value} (${plain(source)})`, ...(about === undefined ? [] : [plain(about)])],
  });
}

function sectionItem({ kind, count, entries, fixes }: Section): vscode.TreeItem {
  const titles: Readonly<Record<FindingKind, string>> = {
    missing: vscode.l10n.t('Missing keys'), unexpected: vscode.l10n.t('Unexpected keys'), mismatched: vscode.l10n.t('Size mismatches'), duplicate: vscode.l10n.t('Duplicate keys'),
  };
  return row(titles[kind], { icon: SECTION_ICONS[kind], colour: 'visionEncoder.invalid', open: entries.length <= LONGEST_OPEN, folded: true, context: fixable('section', fixes), description: count.toLocaleString('en-US') });
}

const SECTION_ICONS: Readonly<Record<FindingKind, string>> = { missing: 'question', unexpected: 'diff-added', mismatched: 'symbol-ruler', duplicate: 'files' };

function remedyItem({ fix, count }: Remedy): vscode.TreeItem {
  const shown = row(visible(fix.title), { icon: 'lightbulb-autofix', colour: 'list.warningForeground', context: 'remedy', description: vscode.l10n.t('settles {0}', formatCount(count, 'key')), tooltip: [plain(fix.title), vscode.l10n.t('Click to apply; undo takes it back.')] });
  shown.command = { command: 'visionEncoder.applyFix', title: vscode.l10n.t('Quick Fix'), arguments: [fix] };
  return shown;
}

function causeItem({ blame, findings, fixes }: Cause): vscode.TreeItem {
  const shown = row(visible(blame.message), { icon: 'info', folded: true, context: fixable('cause', fixes), description: formatCount(findings.length, 'key'), tooltip: [plain(blame.message), ...fixLines(fixes)] });
  if (blame.place !== undefined) shown.command = openPlace(blame.place);
  return shown;
}

function findingItem(entry: Finding): vscode.TreeItem {
  const { finding } = entry;
  const shown = row(visible(finding.key), {
    icon: 'key', context: fixable(`finding ${entry.kind}`, finding.fixes), description: findingDescription(entry),
    tooltip: [code(finding.key), ...(finding.blame === undefined ? [] : [plain(finding.blame.message)]), ...nearestLines(entry), ...fixLines(finding.fixes)],
  });
  const source = sourceKeyOf(entry) ?? (entry.kind === 'missing' ? entry.finding.nearest : undefined);
  if (source !== undefined) shown.command = { command: 'visionEncoder.revealKey', title: vscode.l10n.t('Show in the Tree'), arguments: [source] };
  else if (finding.blame?.place !== undefined) shown.command = openPlace(finding.blame.place);
  return shown;
}

function findingDescription(entry: Finding): string {
  switch (entry.kind) {
    case 'missing': {
      const { nearest, shape } = entry.finding;
      return nearest === undefined ? formatShape(shape) : vscode.l10n.t('nearest: {0}', visible(nearest));
    }
    case 'unexpected': {
      const { nearest, shape } = entry.finding;
      return nearest === undefined ? formatShape(shape) : vscode.l10n.t('nearest: {0}', visible(nearest));
    }
    case 'mismatched': return vscode.l10n.t('found {0}, expected {1}', formatShape(entry.finding.found), formatShape(entry.finding.expected));
    case 'duplicate': return vscode.l10n.t('from {0}', entry.finding.sourceKeys.map(key => visible(key)).join(', '));
  }
}

function nearestLines(entry: Finding): string[] {
  const nearest = entry.kind === 'missing' || entry.kind === 'unexpected' ? entry.finding.nearest : undefined;
  return nearest === undefined ? [] : [`${vscode.l10n.t('Nearest key')}: ${code(nearest)}`];
}

function fixLines(fixes: readonly Fix[]): string[] {
  return fixes.map(fix => `${vscode.l10n.t('Quick fix')}: ${plain(fix.title)}`);
}

function fixable(context: string, fixes: readonly Fix[]): string {
  return fixes.length === 0 ? context : `${context} fixable`;
}

function warningItem({ message, sourceKey }: ValidationWarning): vscode.TreeItem {
  const shown = row(visible(message), { icon: 'warning', colour: 'list.warningForeground', tooltip: [plain(message)] });
  if (sourceKey !== undefined) shown.command = { command: 'visionEncoder.revealKey', title: vscode.l10n.t('Show in the Tree'), arguments: [sourceKey] };
  return shown;
}

function openPlace({ location, range }: { location: string; range: { startLine: number; startColumn: number; endLine: number; endColumn: number } }): vscode.Command {
  const selection = new vscode.Range(range.startLine, range.startColumn, range.endLine, range.endColumn);
  return { command: 'vscode.open', title: vscode.l10n.t('Open Config'), arguments: [documentUri(location), { selection } satisfies vscode.TextDocumentShowOptions] };
}

interface Row {
  readonly icon?: string;
  readonly colour?: string;
  readonly description?: string;
  readonly context?: string;
  readonly tooltip?: readonly string[];
  readonly command?: string | undefined;
  /** Has children, and shows them at first. */
  readonly open?: boolean;
  /** Has children, and hides them at first unless `open`. */
  readonly folded?: boolean;
}

function row(label: string, { icon, colour, description, context, tooltip, command, open, folded }: Row): vscode.TreeItem {
  const { Expanded, Collapsed, None } = vscode.TreeItemCollapsibleState;
  const shown = new vscode.TreeItem(label, open === true ? Expanded : folded === true ? Collapsed : None);
  if (icon !== undefined) shown.iconPath = new vscode.ThemeIcon(icon, colour === undefined ? undefined : new vscode.ThemeColor(colour));
  if (description !== undefined) shown.description = description;
  if (context !== undefined) shown.contextValue = context;
  shown.tooltip = markdown(tooltip ?? [plain(description === undefined || description === '' ? label : `${label}: ${description}`)]);
  if (command !== undefined) shown.command = { command, title: label };
  return shown;
}
