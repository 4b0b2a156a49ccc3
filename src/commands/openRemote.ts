import * as vscode from 'vscode';
import { formatCount } from '../format';
import { Hub, type FoundModel, type HubRefs } from '../remote/hub';
import { cachedModels, type CachedModel } from '../remote/hubCache';
import { HubRefusal } from '../remote/hubErrors';
import { hubCacheFolder, hubEndpoint } from '../remote/hubOptions';
import { DEFAULT_REVISION, hubAddress, hubPage, isRemote, parseLocation, shortLocation } from '../remote/location';
import { isAbort, UserError } from '../errors';
import { label, visible } from '../views/markdown';
import { command, type App } from './app';
import { openLocation } from './open';

/** A search is asked for when nothing was typed for so long. */
const TYPING_MS = 300;
/** Shorter words are in every other name. */
const SHORTEST_QUERY = 2;

/** What a row of the list opens; a row that only says something opens nothing. */
interface Row extends vscode.QuickPickItem {
  /** A path or an address that is complete. */
  readonly location?: string;
  /** A model whose revision is still to be chosen. */
  readonly repo?: string;
  readonly run?: () => Promise<void>;
}

export function openRemoteCommands(app: App): vscode.Disposable[] {
  return [
    command(app, 'openHub', () => openFromHub(app)),
    command(app, 'openAddress', () => openAddress(app)),
    command(app, 'openRecent', () => openRecent(app)),
    command(app, 'setHubToken', async () => { await app.hub.setToken(); }),
    command(app, 'forgetHubToken', () => app.hub.forgetToken()),
  ];
}

async function openFromHub(app: App): Promise<void> {
  const row = await pickModel(app);
  if (row?.run !== undefined) return row.run();
  const location = row?.repo === undefined ? row?.location : await pickRevision(app, row.repo);
  if (location !== undefined) await openLocation(app, location);
}

async function openAddress(app: App): Promise<void> {
  const address = await askAddress(vscode.l10n.t('Open from Address'), vscode.l10n.t('A weights file, an index, or a folder with one, on any server that serves byte ranges. Only headers are downloaded.'));
  if (address !== undefined) await openLocation(app, address);
}

/** Asks for an address; undefined when none is given. */
export async function askAddress(title: string, prompt: string): Promise<string | undefined> {
  const text = await vscode.window.showInputBox({
    title, prompt, ignoreFocusOut: true,
    placeHolder: 'https://example.org/model/model.safetensors.index.json',
    validateInput: value => (value.trim() === '' ? undefined : addressProblem(value)),
  });
  return text === undefined || text.trim() === '' ? undefined : text.trim();
}

/** Why a text is no address of a checkpoint; undefined when it is one. */
export function addressProblem(text: string): string | undefined {
  try {
    return parseLocation(text, hubEndpoint()).kind === 'local' ? vscode.l10n.t('An address begins with https:// or hf://.') : undefined;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

async function openRecent(app: App): Promise<void> {
  const forget: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('close'), tooltip: vscode.l10n.t('Forget') };
  const list = vscode.window.createQuickPick<Row>();
  const fill = (): void => { list.items = recentRows(app).map(row => ({ ...row, buttons: [forget] })); };
  list.title = vscode.l10n.t('Open Recent Checkpoint');
  list.placeholder = vscode.l10n.t('Checkpoints that were opened last');
  list.matchOnDescription = true;
  list.onDidTriggerItemButton(async ({ item }) => {
    if (item.location !== undefined) await app.recent.remove(item.location);
    fill();
  });
  fill();
  const row = await chosen(list);
  if (row?.location !== undefined) await openLocation(app, row.location);
}

/** The list that searches as one types; undefined when it is left. */
async function pickModel(app: App): Promise<Row | undefined> {
  const setToken: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('key'), tooltip: vscode.l10n.t('Set Hugging Face Token…') };
  const list = vscode.window.createQuickPick<Row>();
  list.title = vscode.l10n.t('Open from the Hugging Face Hub');
  list.placeholder = vscode.l10n.t('owner/model, owner/model@revision, an address, or words to search for');
  list.buttons = [setToken];
  let searching = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let cached: readonly CachedModel[] = [];
  let found: readonly Row[] = [];
  const fill = (): void => { list.items = [...typedRows(list.value), ...cachedRows(cached, list.value), ...(list.value.trim() === '' ? recentRows(app) : []), ...found]; };
  const search = async (signal: AbortSignal): Promise<void> => {
    const query = queryOf(list.value);
    try {
      if (query === undefined) found = [];
      else found = (await (await Hub.connect(await app.hub.options())).search(query, signal)).map(modelRow);
      if (query !== undefined && found.length === 0) found = [note('info', vscode.l10n.t('No public model is named so.'))];
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      if (!(error instanceof UserError)) throw error;
      found = [note('warning', error instanceof HubRefusal ? error.sentence : error.message)];
    }
    if (signal.aborted) return;
    list.busy = false;
    fill();
  };
  const searchSoon = (): void => {
    searching.abort();
    searching = new AbortController();
    const { signal } = searching;
    clearTimeout(timer);
    list.busy = queryOf(list.value) !== undefined;
    timer = setTimeout(() => { search(signal).catch((error: unknown) => { app.log.error(error instanceof Error ? error : String(error)); }); }, TYPING_MS);
    fill();
  };
  list.onDidChangeValue(searchSoon);
  list.onDidTriggerItemButton(async ({ item: { repo } }) => { if (repo !== undefined) await vscode.env.openExternal(vscode.Uri.parse(hubPage({ repo, revision: DEFAULT_REVISION, path: '' }, hubEndpoint()), true)); });
  const tokenWanted = new Promise<Row>(resolve => { list.onDidTriggerButton(() => { resolve({ label: '', run: async () => { if (await app.hub.setToken()) await openFromHub(app); } }); }); });
  const folder = hubCacheFolder();
  if (folder !== undefined) {
    cachedModels(folder).then(models => { cached = models; fill(); }, (error: unknown) => { app.log.warn(error instanceof Error ? error.message : String(error)); });
  }
  fill();
  try {
    return await Promise.race([chosen(list), tokenWanted]);
  } finally {
    clearTimeout(timer);
    searching.abort();
    list.dispose();
  }
}

/** The address of the model at the revision that a person chooses; the only branch there is chosen without asking. */
async function pickRevision(app: App, repo: string): Promise<string | undefined> {
  const list = vscode.window.createQuickPick<Row>();
  const addressOf = (revision: string): string => hubAddress({ repo, revision, path: '' });
  const controller = new AbortController();
  list.title = repo;
  list.placeholder = vscode.l10n.t('A branch, a tag, or a commit');
  list.busy = true;
  let refs: HubRefs = { branches: [DEFAULT_REVISION], tags: [] };
  const fill = (): void => {
    const names = [...refs.branches].sort((a, b) => Number(b === DEFAULT_REVISION) - Number(a === DEFAULT_REVISION));
    const typed = list.value.trim();
    list.items = [
      ...names.map(name => ({ label: label(name), iconPath: new vscode.ThemeIcon('git-branch'), location: addressOf(name) })),
      ...refs.tags.map(name => ({ label: label(name), iconPath: new vscode.ThemeIcon('tag'), location: addressOf(name) })),
      ...(typed === '' || names.includes(typed) || refs.tags.includes(typed) ? [] : [{ label: label(typed), iconPath: new vscode.ThemeIcon('git-commit'), description: vscode.l10n.t('this revision'), alwaysShow: true, location: addressOf(typed) }]),
    ];
  };
  list.onDidChangeValue(fill);
  fill();
  const only = new Promise<Row>((resolve, reject) => {
    app.hub.options().then(options => Hub.connect(options)).then(hub => hub.refs(repo, controller.signal)).then(found => {
      if (found.branches.length > 0) refs = found;
      const [first] = refs.branches;
      if (first !== undefined && refs.branches.length === 1 && refs.tags.length === 0 && list.value === '') resolve({ label: first, location: addressOf(first) });
      list.busy = false;
      fill();
    }).catch((error: unknown) => {
      // What cannot be listed can be opened all the same, or opening it says why not.
      if (error instanceof UserError || isAbort(error)) resolve({ label: DEFAULT_REVISION, location: addressOf(DEFAULT_REVISION) });
      else reject(error instanceof Error ? error : new Error(String(error)));
    });
  });
  try {
    return (await Promise.race([chosen(list), only]))?.location;
  } finally {
    controller.abort();
    list.dispose();
  }
}

/** The row that is accepted; undefined when the list is left. Rows that open nothing are not accepted. */
function chosen(list: vscode.QuickPick<Row>): Promise<Row | undefined> {
  list.ignoreFocusOut = true;
  return new Promise(resolve => {
    list.onDidAccept(() => {
      const [row] = list.activeItems;
      if (row?.location !== undefined || row?.repo !== undefined) {
        resolve(row);
        list.hide();
      }
    });
    list.onDidHide(() => {
      resolve(undefined);
      list.dispose();
    });
    list.show();
  });
}

/** What was typed, when it names a place already. */
function typedRows(text: string): Row[] {
  const typed = text.trim();
  const named = /^[^\s/@:]+\/[^\s/@:]+(?:@\S+)?$/.test(typed) ? `hf://${typed}` : typed;
  if (!/^(?:hf|https?):\/\//i.test(named)) return [];
  try {
    const place = parseLocation(named, hubEndpoint());
    if (place.kind !== 'hub') return [{ label: typed, iconPath: new vscode.ThemeIcon('globe'), description: vscode.l10n.t('open this address'), alwaysShow: true, location: named }];
    const isWhole = place.revision === DEFAULT_REVISION && place.path === '' && !typed.includes('@');
    const description = [vscode.l10n.t('open this model'), ...(isWhole ? [] : [visible(place.revision, 60), visible(place.path, 60)])].filter(part => part !== '').join(' · ');
    return [{ label: typed, iconPath: new vscode.ThemeIcon('arrow-right'), description, alwaysShow: true, ...(isWhole ? { repo: place.repo } : { location: hubAddress(place) }) }];
  } catch (error) {
    if (error instanceof UserError) return [note('warning', error.message)];
    throw error;
  }
}

function cachedRows(models: readonly CachedModel[], text: string): Row[] {
  const words = (queryOf(text) ?? '').toLowerCase();
  return models.filter(({ repo }) => repo.toLowerCase().includes(words)).map(({ repo, commit, folder }) => ({
    label: label(repo), iconPath: new vscode.ThemeIcon('folder'), description: vscode.l10n.t('on this disk · commit {0}', commit.slice(0, 7)), alwaysShow: true, location: folder,
  }));
}

function recentRows(app: App): Row[] {
  return app.recent.list().map(({ name, location }) => ({
    label: label(name), iconPath: new vscode.ThemeIcon(isRemote(location) ? 'cloud' : 'history'), description: label(shortLocation(location)), location,
  }));
}

function modelRow({ id, downloads, likes, gated, isPrivate }: FoundModel): Row {
  const page: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon('link-external'), tooltip: vscode.l10n.t('Open Model Page') };
  const access = isPrivate ? [vscode.l10n.t('private')] : gated ? [vscode.l10n.t('gated')] : [];
  return {
    label: id, iconPath: new vscode.ThemeIcon(isPrivate || gated ? 'lock' : 'cloud'), alwaysShow: true, repo: id, buttons: [page],
    description: [formatCount(downloads, 'download'), formatCount(likes, 'like'), ...access].join(' · '),
  };
}

function note(icon: string, text: string): Row {
  return { label: label(text), iconPath: new vscode.ThemeIcon(icon), alwaysShow: true };
}

/** What to search for; undefined for too little, and for addresses. */
function queryOf(text: string): string | undefined {
  const [query = ''] = text.trim().split('@');
  return query.length < SHORTEST_QUERY || query.includes('://') ? undefined : query;
}
