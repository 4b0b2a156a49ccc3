import * as vscode from 'vscode';
import { join } from 'node:path';
import { formatBytes, formatCount, formatShape } from '../format';
import type { Job } from '../job';
import { describeRule } from '../recipe/describe';
import type { PlannedTensor } from '../recipe/plan';
import { highlights } from './keyFilter';
import { code, plain, visible } from './markdown';
import { keyState, type GroupNode, type GroupStats, type KeyState, type TensorNode } from './treeModel';

/** Rows of one state share one address; the decoration provider colours them by it. */
export const KEY_SCHEME = 'vision-encoder-key';

/** Whether a row has a problem itself or holds rows that have. */
export type RowProblem = 'own' | 'inside';

const ICONS: Readonly<Record<KeyState | 'mixed', string>> = {
  keep: 'pass', strip: 'arrow-circle-right', exclude: 'circle-slash', unwanted: 'circle-outline', mixed: 'color-mode',
};

export function stateIcon(state: KeyState | 'mixed'): vscode.ThemeIcon {
  return new vscode.ThemeIcon(ICONS[state], new vscode.ThemeColor(`visionEncoder.${state}`));
}

/** The state in words, for tooltips and screen readers. */
export function stateWord(state: KeyState | 'mixed'): string {
  switch (state) {
    case 'keep': return vscode.l10n.t('keep');
    case 'strip': return vscode.l10n.t('strip');
    case 'exclude': return vscode.l10n.t('excluded by a rule');
    case 'unwanted': return vscode.l10n.t('not wanted by any rule');
    case 'mixed': return vscode.l10n.t('mixed');
  }
}

export function tensorItem(node: TensorNode, planned: PlannedTensor, problem: boolean, filterText: string): vscode.TreeItem {
  const state = keyState(planned);
  const { dtype, shape, length } = planned.tensor;
  const item = new vscode.TreeItem(label(node.label, filterText));
  item.description = `${dtype.toLowerCase()} · ${formatShape(shape)} · ${formatBytes(length)}${state === 'exclude' ? ` · ${vscode.l10n.t('excluded')}` : ''}`;
  item.iconPath = stateIcon(state);
  item.resourceUri = rowUri(state, problem ? 'own' : '');
  item.contextValue = `tensor ${state}${planned.decision?.source === 'override' ? ' override' : ''}`;
  item.accessibilityInformation = { label: `${visible(node.label)}, ${stateWord(state)}, ${item.description}${problem ? `, ${vscode.l10n.t('has a problem')}` : ''}` };
  return item;
}

export function groupItem(node: GroupNode, stats: GroupStats, problems: number, expanded: boolean, filterText: string): vscode.TreeItem {
  const item = new vscode.TreeItem(label(node.label, filterText), expanded ? vscode.TreeItemCollapsibleState.Expanded : vscode.TreeItemCollapsibleState.Collapsed);
  const taken = stats.counts.keep + stats.counts.strip;
  const count = stats.state === 'mixed' && taken > 0
    ? vscode.l10n.t('{0} of {1}', taken.toLocaleString('en-US'), stats.tensors.toLocaleString('en-US'))
    : formatCount(stats.tensors, 'tensor');
  item.description = `${count} · ${formatBytes(stats.bytes)}`;
  item.iconPath = stateIcon(stats.state);
  item.resourceUri = rowUri(stats.state, problems > 0 ? 'inside' : '');
  item.contextValue = `group ${stats.state}`;
  item.accessibilityInformation = { label: `${visible(node.label)}, ${stateWord(stats.state)}, ${item.description}${problems > 0 ? `, ${vscode.l10n.t('{0} with a problem', formatCount(problems, 'tensor'))}` : ''}` };
  return item;
}

export function tensorTooltip(planned: PlannedTensor, job: Job, problem: string | undefined): vscode.MarkdownString {
  const { tensor, outputKey, decision } = planned;
  const file = job.checkpoint.files[tensor.file];
  const state = keyState(planned);
  const facts = [
    `${vscode.l10n.t('Mark')}: **${plain(stateWord(state))}**`,
    ...(outputKey === undefined ? [] : [`${vscode.l10n.t('In the encoder')}: ${code(outputKey)}`]),
    ...(decision === undefined ? [] : [`${decision.source === 'override' ? vscode.l10n.t('Edited by hand') : vscode.l10n.t('Rule')}: ${code(describeRule(decision.rule))}`]),
    ...(decision?.rule.why === undefined ? [] : [plain(decision.rule.why)]),
  ];
  const place = [
    `${tensor.dtype} · ${formatShape(tensor.shape)} · ${formatBytes(tensor.length)}`,
    ...(file === undefined ? [] : [`${vscode.l10n.t('Shard')}: ${code(file.name)}`]),
    byteRange(planned),
  ];
  return markdown([code(tensor.key), ...(problem === undefined ? [] : [`**${plain(problem)}**`]), facts.join(BREAK), place.join(BREAK)]);
}

export function groupTooltip(node: GroupNode, stats: GroupStats): vscode.MarkdownString {
  const counts = (['keep', 'strip', 'exclude', 'unwanted'] as const).filter(state => stats.counts[state] > 0)
    .map(state => `- ${plain(stateWord(state))}: ${stats.counts[state].toLocaleString('en-US')}`);
  return markdown([code(node.part ? `${node.prefix}[${node.label}]` : node.prefix.slice(0, -1)), `${formatCount(stats.tensors, 'tensor')} · ${formatBytes(stats.bytes)}`, counts.join('\n')]);
}

/** The shard's path on this disk, when it has one. */
export function shardPath(planned: PlannedTensor, job: Job): string | undefined {
  const file = job.checkpoint.files[planned.tensor.file];
  return file === undefined ? undefined : file.source.path ?? (file.source.remote === undefined ? join(job.checkpoint.store.location, file.name) : undefined);
}

/** The location that opens the shard alone, on this disk or elsewhere. */
export function shardLocation(planned: PlannedTensor, job: Job): string | undefined {
  const file = job.checkpoint.files[planned.tensor.file];
  return file === undefined ? undefined : shardPath(planned, job) ?? `${job.checkpoint.store.location}/${file.name}`;
}

function byteRange({ tensor }: PlannedTensor): string {
  if (tensor.indirect?.deflate !== undefined) return vscode.l10n.t('Compressed inside the file; inflated on the way');
  const range = `${tensor.offset.toLocaleString('en-US')} – ${(tensor.offset + tensor.length).toLocaleString('en-US')}`;
  return tensor.indirect === undefined ? vscode.l10n.t('Bytes {0}', range) : vscode.l10n.t('From byte {0}, as a view that is copied element by element', tensor.offset.toLocaleString('en-US'));
}

function label(text: string, filterText: string): vscode.TreeItemLabel {
  const shown = text === '' ? '""' : visible(text);
  return { label: shown, highlights: highlights(shown, filterText) };
}

function rowUri(state: KeyState | 'mixed', problem: RowProblem | ''): vscode.Uri {
  return vscode.Uri.from({ scheme: KEY_SCHEME, path: `/${state}`, query: problem });
}

/** A line break inside a paragraph (CommonMark 6.7). */
const BREAK = '  \n';

/** Not trusted, without HTML: what stands in it came from a file. */
export function markdown(paragraphs: readonly string[]): vscode.MarkdownString {
  const text = new vscode.MarkdownString(paragraphs.join('\n\n'));
  text.isTrusted = false;
  text.supportHtml = false;
  text.supportThemeIcons = false;
  return text;
}
