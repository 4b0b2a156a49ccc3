import * as vscode from 'vscode';
import { isAbort, UserError } from '../errors';
import { HubRefusal } from '../remote/hubErrors';
import type { KeyTreeView } from '../views/keyTree';
import { unlinked } from '../views/markdown';
import type { Session } from '../views/session';
import type { ValidationTreeView } from '../views/validationTree';
import type { HubAccess } from './hubAccess';
import type { RecentCheckpoints } from './recent';

/** What commands work on. */
export interface App {
  readonly session: Session;
  readonly keys: KeyTreeView;
  readonly validation: ValidationTreeView;
  readonly log: vscode.LogOutputChannel;
  /** Where the extension itself is installed. */
  readonly extensionFolder: string;
  /** Where the extension keeps files, for all workspaces. */
  readonly storageFolder: string;
  readonly hub: HubAccess;
  readonly recent: RecentCheckpoints;
}

/** Registers a command whose errors reach the person. */
export function command(app: Pick<App, 'log' | 'hub'>, id: string, run: (...args: never[]) => Promise<void> | void): vscode.Disposable {
  return vscode.commands.registerCommand(`visionEncoder.${id}`, async (...args: never[]) => {
    try {
      await run(...args);
    } catch (error) {
      if (!(error instanceof HubRefusal)) report(app.log, error);
      // Giving a token instead can fail in its turn.
      else await app.hub.explain(error).catch((failure: unknown) => { report(app.log, failure); });
    }
  });
}

/** Tells the person about an error, in its own sentence when it has one for people. A cancelled run is no error. */
export function report(log: vscode.LogOutputChannel, error: unknown): void {
  if (isAbort(error)) return;
  const forPeople = error instanceof UserError;
  logWithCauses(log, error);
  if (forPeople && error.detail !== undefined) log.error(error.detail);
  const message = forPeople ? error.message : vscode.l10n.t('Something went wrong in Vision Encoder Extractor: {0}', error instanceof Error ? error.message : String(error));
  const details = vscode.l10n.t('Show Details');
  const more = !forPeople || error.detail !== undefined || error.cause !== undefined ? [details] : [];
  vscode.window.showErrorMessage(unlinked(message), ...more).then(choice => {
    if (choice === details) log.show();
  }, (failure: unknown) => { log.error(String(failure)); });
}

function logWithCauses(log: vscode.LogOutputChannel, error: unknown): void {
  log.error(error instanceof Error ? error.stack ?? error.message : String(error));
  if (error instanceof Error && error.cause !== undefined) logWithCauses(log, error.cause);
}
