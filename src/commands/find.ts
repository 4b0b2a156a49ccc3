import * as vscode from 'vscode';
import { formatBytes, formatCount, formatShape } from '../format';
import type { PlannedTensor } from '../recipe/plan';
import { NO_FILTER, search } from '../views/keyFilter';
import { shardPath, stateIcon, stateWord } from '../views/keyItem';
import { hubEndpoint } from '../remote/hubOptions';
import { hubPage, parseLocation } from '../remote/location';
import { unlinked, visible } from '../views/markdown';
import { KEY_STATES, keyState, type KeyNode, type KeyState } from '../views/treeModel';
import { command, type App } from './app';

const TYPING_MS = 80;
/** Rows of the list of found keys: more are not looked at, and a list of 100,000 is slow. */
const FOUND = 200;

export function findCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'filter', () => { filterAsTyped(app); }),
    command(app, 'filterByMark', () => filterByMark(app)),
    command(app, 'clearFilter', () => { app.keys.setFilter(NO_FILTER); }),
    command(app, 'goToKey', () => { goToKey(app); }),
    command(app, 'revealKey', async (key: string) => {
      const index = app.session.job?.plan.tensors.findIndex(planned => planned.tensor.key === key || planned.outputKey === key) ?? -1;
      if (index >= 0) await app.keys.reveal(index);
    }),
    command(app, 'copyKey', async (node?: KeyNode, selected?: KeyNode[]) => {
      const keys = app.keys.nodes(node, selected).map(chosen => (chosen.kind === 'group' ? chosen.prefix.slice(0, -1) : plannedOf(app, chosen)?.tensor.key ?? ''));
      if (keys.length > 0) await vscode.env.clipboard.writeText(keys.join('\n'));
    }),
    command(app, 'copyOutputKey', async (node?: KeyNode, selected?: KeyNode[]) => {
      const keys = app.keys.nodes(node, selected).flatMap(chosen => (chosen.kind === 'tensor' ? plannedOf(app, chosen)?.outputKey ?? [] : []));
      if (keys.length > 0) await vscode.env.clipboard.writeText(keys.join('\n'));
    }),
    command(app, 'revealShard', async (node?: KeyNode) => {
      const chosen = node ?? app.keys.view.selection[0];
      const job = app.session.job;
      const planned = chosen?.kind === 'tensor' ? plannedOf(app, chosen) : undefined;
      const path = planned === undefined || job === undefined ? undefined : shardPath(planned, job);
      if (path !== undefined) await reveal(vscode.Uri.file(path));
      else if (planned !== undefined && job !== undefined) await showRemoteShard(`${job.checkpoint.store.location}/${job.checkpoint.files[planned.tensor.file]?.name ?? ''}`);
    }),
  ];
}

/** In the Explorer when the workspace holds it, else in the system's file manager. */
export async function reveal(uri: vscode.Uri): Promise<void> {
  await vscode.commands.executeCommand(vscode.workspace.getWorkspaceFolder(uri) === undefined ? 'revealFileInOS' : 'revealInExplorer', uri);
}

/** A shard that is elsewhere: its page where there is one, else its address. */
async function showRemoteShard(address: string): Promise<void> {
  const endpoint = hubEndpoint();
  const place = parseLocation(address, endpoint);
  const open = vscode.l10n.t('Open Page');
  const copy = vscode.l10n.t('Copy Address');
  const choice = await vscode.window.showInformationMessage(unlinked(vscode.l10n.t('The shard is not on this machine: {0}', visible(address))), ...(place.kind === 'hub' ? [open] : []), copy);
  if (choice === copy) await vscode.env.clipboard.writeText(address);
  if (choice === open && place.kind === 'hub') await vscode.env.openExternal(vscode.Uri.parse(hubPage(place, endpoint), true));
}

/** The tensor of a row as the plan has it. */
export function plannedOf(app: App, node: KeyNode): PlannedTensor | undefined {
  return node.kind === 'tensor' ? app.session.job?.plan.tensors[node.index] : undefined;
}

/** The tree follows each letter; Enter keeps the filter, Escape brings back the one before. */
function filterAsTyped(app: App): void {
  const before = app.keys.currentFilter;
  const input = vscode.window.createInputBox();
  let accepted = false;
  let timer: NodeJS.Timeout | undefined;
  const apply = (): void => {
    clearTimeout(timer);
    app.keys.setFilter({ ...app.keys.currentFilter, text: input.value });
    const { shown, all } = app.keys.counts;
    input.prompt = input.value.trim() === '' ? vscode.l10n.t('Words in any order; * stands for anything.') : vscode.l10n.t('{0} of {1}', shown.toLocaleString('en-US'), formatCount(all, 'tensor'));
  };
  input.title = vscode.l10n.t('Filter Keys');
  input.placeholder = vscode.l10n.t('For example: attn weight, or resblocks.*.ln_1');
  input.prompt = vscode.l10n.t('Words in any order; * stands for anything.');
  if (before.text !== '') input.value = before.text;
  input.onDidChangeValue(() => {
    clearTimeout(timer);
    timer = setTimeout(apply, TYPING_MS);
  });
  input.onDidAccept(() => {
    accepted = true;
    apply();
    input.hide();
  });
  input.onDidHide(() => {
    clearTimeout(timer);
    if (!accepted && app.keys.currentFilter !== before) app.keys.setFilter(before);
    input.dispose();
  });
  input.show();
}

async function filterByMark(app: App): Promise<void> {
  const job = app.session.job;
  if (job === undefined) return;
  const counts = new Map<KeyState, { tensors: number; bytes: number }>(KEY_STATES.map(state => [state, { tensors: 0, bytes: 0 }]));
  for (const planned of job.plan.tensors) {
    const count = counts.get(keyState(planned));
    if (count === undefined) continue;
    count.tensors += 1;
    count.bytes += planned.tensor.length;
  }
  const items = [...counts].map(([state, count]) => ({
    label: stateWord(state), iconPath: stateIcon(state), description: `${formatCount(count.tensors, 'tensor')} · ${formatBytes(count.bytes)}`,
    picked: app.keys.currentFilter.states?.has(state) ?? true, state,
  }));
  const chosen = await vscode.window.showQuickPick(items, { title: vscode.l10n.t('Filter by Mark'), placeHolder: vscode.l10n.t('Show the tensors that are marked …'), canPickMany: true });
  if (chosen === undefined) return;
  const all = chosen.length === 0 || chosen.length === KEY_STATES.length;
  app.keys.setFilter({ ...app.keys.currentFilter, states: all ? undefined : new Set(chosen.map(item => item.state)) });
}

function goToKey(app: App): void {
  const job = app.session.job;
  if (job === undefined) return;
  const keys = job.checkpoint.tensors.map(tensor => tensor.key);
  const list = vscode.window.createQuickPick<vscode.QuickPickItem & { readonly index: number }>();
  const fill = (): void => {
    list.items = search(keys, list.value, FOUND).flatMap(index => {
      const planned = job.plan.tensors[index];
      if (planned === undefined) return [];
      const { key, dtype, shape } = planned.tensor;
      // The list is searched here: VS Code's own matching would hide what words in another order found.
      return [{ label: visible(key).replaceAll('$(', '$ ('), description: `${dtype.toLowerCase()} · ${formatShape(shape)}`, iconPath: stateIcon(keyState(planned)), alwaysShow: true, index }];
    });
  };
  list.title = vscode.l10n.t('Go to Key');
  list.placeholder = vscode.l10n.t('Search {0}', formatCount(keys.length, 'key'));
  list.onDidChangeValue(fill);
  list.onDidAccept(() => {
    const [chosen] = list.activeItems;
    list.hide();
    if (chosen !== undefined) void app.keys.reveal(chosen.index);
  });
  list.onDidHide(() => { list.dispose(); });
  fill();
  list.show();
}

