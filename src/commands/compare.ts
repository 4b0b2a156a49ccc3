import * as vscode from 'vscode';
import { compareJobs, type Scope } from '../compareJobs';
import { reportLines } from '../comparison/report';
import { UserError } from '../errors';
import { formatBytes } from '../format';
import type { Job } from '../job';
import { isRemote, shortLocation } from '../remote/location';
import { ComparisonDocuments } from '../views/comparisonDocuments';
import { label, unlinked, visible } from '../views/markdown';
import { command, type App } from './app';
import { pick, readJob } from './open';
import { addressProblem } from './openRemote';
import { withProgress } from './progress';

/** What a comparison looks at. */
type Depth = 'encoders' | 'checkpoints' | 'keys';

export function compareCommands(app: App): Pick<vscode.Disposable, 'dispose'>[] {
  const documents = new ComparisonDocuments();
  return [
    documents,
    command(app, 'compare', async (uri?: vscode.Uri, depth?: Depth) => {
      const left = app.session.job;
      if (left === undefined) throw new UserError(vscode.l10n.t('Open a checkpoint first: the other one is compared with it.'));
      const location = uri?.fsPath ?? await pickPlace(app, left);
      if (location === undefined) return;
      const right = await app.hub.retrying(() => readJob(app, location));
      if (right === undefined) return;
      try {
        const chosen = depth ?? await pickDepth(left, right);
        if (chosen !== undefined) await compare(app, documents, left, right, chosen);
      } finally {
        await right.checkpoint.close();
      }
    }),
  ];
}

async function compare(app: App, documents: ComparisonDocuments, left: Job, right: Job, depth: Depth): Promise<void> {
  const [one, other] = [titleOf(left), titleOf(right)];
  const scope: Scope = depth === 'checkpoints' ? 'checkpoints' : 'encoders';
  const compared = await app.hub.retrying(() => app.session.reading(left.checkpoint, () =>
    withProgress(vscode.l10n.t('Comparing {0} with {1}', one, other), options => compareJobs(left, right, scope, { ...options, keysOnly: depth === 'keys' }))));
  if (compared === undefined) return;
  const { comparison, verdict } = compared;
  app.log.info(`Compared ${left.checkpoint.location} with ${right.checkpoint.location}: ${verdict}`);
  await documents.show(vscode.l10n.t('{0} and {1}', one, other), [visible(verdict), '', ...reportLines(comparison), ''].join('\n'));
  // Not awaited: it stays until the person is done with it.
  void vscode.window.showInformationMessage(unlinked(verdict));
}

interface PlaceRow extends vscode.QuickPickItem {
  readonly choose: () => Promise<string | undefined>;
}

/** Where the other checkpoint is; undefined when the person turns back. */
async function pickPlace(app: App, left: Job): Promise<string | undefined> {
  const openLabel = vscode.l10n.t('Compare');
  const rows: PlaceRow[] = [
    { label: vscode.l10n.t('Folder…'), iconPath: new vscode.ThemeIcon('folder-opened'), choose: async () => (await pick({ canSelectFolders: true, canSelectFiles: false, openLabel, title: vscode.l10n.t('The folder that holds the other checkpoint') }))?.fsPath },
    {
      label: vscode.l10n.t('File…'), iconPath: new vscode.ThemeIcon('file'),
      choose: async () => (await pick({
        canSelectFiles: true, openLabel, title: vscode.l10n.t('The other checkpoint: a weights file or a shard index'),
        filters: { [vscode.l10n.t('Checkpoints')]: ['safetensors', 'bin', 'pt', 'pth', 'ckpt', 'json'], [vscode.l10n.t('All files')]: ['*'] },
      }))?.fsPath,
    },
    { label: vscode.l10n.t('Hub Model or Address…'), iconPath: new vscode.ThemeIcon('cloud'), choose: typeAddress },
    ...app.recent.list().filter(({ location }) => location !== left.checkpoint.location).map(({ name, location }): PlaceRow => ({
      label: label(name), iconPath: new vscode.ThemeIcon(isRemote(location) ? 'cloud' : 'history'), description: label(shortLocation(location)), choose: () => Promise.resolve(location),
    })),
  ];
  const row = await vscode.window.showQuickPick(rows, { title: vscode.l10n.t('Compare {0} with…', titleOf(left)), placeHolder: vscode.l10n.t('The other checkpoint: a full model or an extracted encoder'), matchOnDescription: true });
  return row?.choose();
}

async function typeAddress(): Promise<string | undefined> {
  const text = await vscode.window.showInputBox({
    title: vscode.l10n.t('Compare with a Checkpoint That Is Elsewhere'), ignoreFocusOut: true, placeHolder: 'hf://openai/clip-vit-large-patch14',
    prompt: vscode.l10n.t('A Hub model as hf://owner/model, or the https address of a weights file, an index or a folder with one.'),
    validateInput: value => (value.trim() === '' ? undefined : addressProblem(value.trim())),
  });
  return text === undefined || text.trim() === '' ? undefined : text.trim();
}

/** How much is compared, with what has to be read for it. */
async function pickDepth(left: Job, right: Job): Promise<Depth | undefined> {
  const bytes = (job: Job): number => job.checkpoint.tensors.reduce((sum, { length }) => sum + length, 0);
  const reads = (one: number, other: number): string => vscode.l10n.t('reads {0} and {1}', formatBytes(one), formatBytes(other));
  const rows: (vscode.QuickPickItem & { readonly depth: Depth })[] = [
    { depth: 'encoders', label: vscode.l10n.t('The Vision Encoders'), description: reads(left.plan.keptBytes, right.plan.keptBytes), detail: vscode.l10n.t('What the recipes take out, by the keys in the encoder: was it frozen in this fine-tune?') },
    { depth: 'keys', label: vscode.l10n.t('The Encoders’ Keys, Shapes and Dtypes'), description: vscode.l10n.t('reads no weights') },
    { depth: 'checkpoints', label: vscode.l10n.t('Everything'), description: reads(bytes(left), bytes(right)), detail: vscode.l10n.t('All tensors of both, by their own keys.') },
  ];
  const row = await vscode.window.showQuickPick(rows, { title: vscode.l10n.t('Compare {0} with {1}', titleOf(left), titleOf(right)), placeHolder: vscode.l10n.t('What is compared?'), ignoreFocusOut: true });
  return row?.depth;
}

function titleOf({ checkpoint: { store, name } }: Job): string {
  return visible(store.title ?? name, 60);
}
