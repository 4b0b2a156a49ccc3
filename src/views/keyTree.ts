import * as vscode from 'vscode';
import { formatBytes, formatCount } from '../format';
import type { Job } from '../job';
import type { Target } from '../recipe/edit';
import { groupItem, groupTooltip, stateWord, tensorItem, tensorTooltip } from './keyItem';
import { droppedUris, URI_LIST } from './dropped';
import { isRemote, shortLocation } from '../remote/location';
import { isFiltering, matching, NO_FILTER, type KeyFilter } from './keyFilter';
import { visible } from './markdown';
import type { Session, SessionChange } from './session';
import { targetsOf } from './targets';
import { groupStats, KeyTree, nodeChanged, type GroupNode, type GroupStats, type KeyNode } from './treeModel';
import { problemsBySource } from './validationModel';

export const KEYS_VIEW = 'visionEncoder.keys';
/** Up to so many matches, a filtered tree is shown unfolded. */
const UNFOLD = 400;
/** How deep a newly opened checkpoint unfolds towards the cut between what is taken and what stays. */
const UNFOLD_DEPTH = 3;

/** The checkpoint's tensors as a tree, with their marks. */
export class KeyTreeView implements vscode.TreeDataProvider<KeyNode>, vscode.TreeDragAndDropController<KeyNode>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<KeyNode[] | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  readonly dropMimeTypes = [URI_LIST];
  readonly dragMimeTypes = [];
  readonly view: vscode.TreeView<KeyNode>;

  private tree: KeyTree | undefined;
  private filter: KeyFilter = NO_FILTER;
  private shown: Uint32Array = new Uint32Array();
  /** Told to VS Code with every row's id, so that a new tree does not inherit what was folded in the old one. */
  private generation = 0;
  private stats = new WeakMap<GroupNode, GroupStats>();
  private expanded = new WeakMap<GroupNode, boolean>();
  private problems: ReadonlyMap<string, string> = new Map();
  private readonly subscriptions: { dispose(): void }[] = [];

  constructor(private readonly session: Session, private readonly onDrop: (uris: vscode.Uri[]) => Promise<void>) {
    this.view = vscode.window.createTreeView(KEYS_VIEW, { treeDataProvider: this, dragAndDropController: this, canSelectMany: true, showCollapseAll: true });
    this.subscriptions.push(this.view, this.changed, session.onDidChange(change => { this.follow(change); }));
  }

  get currentFilter(): KeyFilter {
    return this.filter;
  }

  /** How many tensors the filter lets through, of how many. */
  get counts(): { readonly shown: number; readonly all: number } {
    return { shown: this.shown.length, all: this.session.job?.checkpoint.tensors.length ?? 0 };
  }

  setFilter(filter: KeyFilter): void {
    this.filter = filter;
    this.rebuild();
  }

  /** What a command was called on: the clicked row with the selection that it is part of, or the selection alone. */
  targets(clicked: KeyNode | undefined, selected: readonly KeyNode[] | undefined): Target[] {
    const job = this.session.job;
    if (job === undefined || this.tree === undefined) return [];
    return targetsOf(this.nodes(clicked, selected), this.tree, job.checkpoint.tensors);
  }

  nodes(clicked: KeyNode | undefined, selected: readonly KeyNode[] | undefined): readonly KeyNode[] {
    return selected ?? (clicked === undefined ? this.view.selection : [clicked]);
  }

  /** Selects the tensor and scrolls to it; a filter that hides it is dropped. */
  async reveal(index: number): Promise<void> {
    if (this.tree?.find(index) === undefined) this.setFilter(NO_FILTER);
    const node = this.tree?.find(index);
    if (node !== undefined) await this.view.reveal(node, { select: true, focus: true });
  }

  getChildren(node?: KeyNode): KeyNode[] {
    if (this.tree === undefined || node?.kind === 'tensor') return [];
    return [...(node === undefined ? this.tree.roots() : this.tree.children(node))];
  }

  getParent(node: KeyNode): KeyNode | undefined {
    return node.parent;
  }

  getTreeItem(node: KeyNode): vscode.TreeItem {
    const job = this.session.job;
    const item = job === undefined ? new vscode.TreeItem(node.label) : this.item(node, job);
    item.id = `${this.generation} ${node.id}`;
    return item;
  }

  resolveTreeItem(item: vscode.TreeItem, node: KeyNode): vscode.TreeItem {
    const job = this.session.job;
    if (job === undefined) return item;
    if (node.kind === 'group') {
      item.tooltip = groupTooltip(node, this.statsOf(node, job));
    } else {
      const planned = job.plan.tensors[node.index];
      if (planned !== undefined) item.tooltip = tensorTooltip(planned, job, this.problems.get(planned.tensor.key));
    }
    return item;
  }

  async handleDrop(_target: KeyNode | undefined, data: vscode.DataTransfer): Promise<void> {
    await this.onDrop(await droppedUris(data));
  }

  private item(node: KeyNode, job: Job): vscode.TreeItem {
    if (node.kind === 'group') {
      const problems = this.problems.size === 0 ? 0 : node.indices.reduce((count, index) => count + (this.hasProblem(job, index) ? 1 : 0), 0);
      return groupItem(node, this.statsOf(node, job), problems, this.isExpanded(node, job), this.filter.text);
    }
    const planned = job.plan.tensors[node.index];
    return planned === undefined ? new vscode.TreeItem(node.label) : tensorItem(node, planned, this.hasProblem(job, node.index), this.filter.text);
  }

  private hasProblem(job: Job, index: number): boolean {
    return this.problems.has(job.plan.tensors[index]?.tensor.key ?? '');
  }

  private statsOf(node: GroupNode, job: Job): GroupStats {
    let stats = this.stats.get(node);
    if (stats === undefined) {
      stats = groupStats(node.indices, job.plan.tensors);
      this.stats.set(node, stats);
    }
    return stats;
  }

  /** Decided once per group: what a person folded or unfolded afterwards stays so. */
  private isExpanded(node: GroupNode, job: Job): boolean {
    let expanded = this.expanded.get(node);
    if (expanded === undefined) {
      expanded = isFiltering(this.filter) ? this.shown.length <= UNFOLD : depth(node) < UNFOLD_DEPTH && this.statsOf(node, job).state === 'mixed';
      this.expanded.set(node, expanded);
    }
    return expanded;
  }

  private follow({ before, after }: SessionChange): void {
    const problemsBefore = this.problems;
    this.problems = after?.validation === undefined ? new Map<string, string>() : problemsBySource(after.validation);
    if (before === undefined || before.checkpoint !== after?.checkpoint) {
      this.filter = NO_FILTER;
      this.rebuild();
    } else if (this.filter.states !== undefined) {
      // The marks have changed, and with them what the filter lets through.
      this.rebuild();
    } else {
      this.stats = new WeakMap();
      const roots = this.tree?.roots() ?? [];
      const anyProblem = problemsBefore.size + this.problems.size > 0;
      const touched = (key: string): boolean => problemsBefore.get(key) !== this.problems.get(key);
      const stale = roots.filter(root => nodeChanged(root, before.plan.tensors, after.plan.tensors) || (anyProblem && holds(root, touched, after)));
      if (stale.length > 0) this.changed.fire(stale);
      this.describe();
    }
  }

  private rebuild(): void {
    const job = this.session.job;
    this.generation += 1;
    this.stats = new WeakMap();
    if (job === undefined) {
      this.tree = undefined;
      this.shown = new Uint32Array();
    } else {
      this.shown = matching(job.plan.tensors, this.filter);
      this.tree = new KeyTree(job.checkpoint.tensors, this.shown);
    }
    void vscode.commands.executeCommand('setContext', 'visionEncoder.filtered', isFiltering(this.filter));
    this.changed.fire(undefined);
    this.describe();
  }

  /** What stands above the tree: the checkpoint, its totals, and the filter. */
  private describe(): void {
    const job = this.session.job;
    this.view.description = job === undefined ? '' : isRemote(job.checkpoint.location) ? visible(shortLocation(job.checkpoint.store.location)) : job.checkpoint.name;
    // An undefined message removes the line; the typings do not say so.
    this.view.message = job === undefined ? '' : isFiltering(this.filter) ? this.filterMessage() : totals(job);
    const wrong = this.problemCount(job);
    this.view.badge = wrong === 0 ? undefined : { value: wrong, tooltip: vscode.l10n.t('{0} in the strict validation', formatCount(wrong, 'problem')) };
  }

  private problemCount(job: Job | undefined): number {
    const result = job?.validation;
    return result === undefined ? 0 : result.missing.length + result.unexpected.length + result.mismatched.length + result.duplicates.length;
  }

  private filterMessage(): string {
    const { shown, all } = this.counts;
    const marks = this.filter.states === undefined ? '' : [...this.filter.states].map(stateWord).join(', ');
    const what = [this.filter.text.trim() === '' ? '' : `“${this.filter.text.trim()}”`, marks].filter(part => part !== '').join(' · ');
    return vscode.l10n.t('Filter: {0} — {1} of {2}', what, shown.toLocaleString('en-US'), formatCount(all, 'tensor'));
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
  }
}

function totals({ plan, family }: Job): string {
  const kept = plan.kept.length;
  const all = formatCount(plan.tensors.length, 'tensor');
  if (kept === 0) {
    return family === undefined
      ? vscode.l10n.t('No vision encoder was recognised. Choose a preset, or mark the tensors to keep.')
      : vscode.l10n.t('None of {0} is kept.', all);
  }
  return vscode.l10n.t('{0}: {1} of {2}, {3}', plan.recipe.name, kept.toLocaleString('en-US'), all, formatBytes(plan.keptBytes));
}

function depth(node: KeyNode): number {
  let count = 0;
  for (let parent = node.parent; parent !== undefined; parent = parent.parent) count += 1;
  return count;
}

function holds(node: KeyNode, test: (key: string) => boolean, job: Job): boolean {
  const has = (index: number): boolean => test(job.checkpoint.tensors[index]?.key ?? '');
  return node.kind === 'tensor' ? has(node.index) : node.indices.some(has);
}
