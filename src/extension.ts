import './views/language';
import * as vscode from 'vscode';
import { report, type App } from './commands/app';
import { compareCommands } from './commands/compare';
import { configCommands } from './commands/config';
import { extractCommands } from './commands/extract';
import { findCommands } from './commands/find';
import { folderFeatureCommands } from './commands/folderFeatures';
import { handOverCommands } from './commands/handOver';
import { helpCommands } from './commands/help';
import { HubAccess } from './commands/hubAccess';
import { inspectCommands } from './commands/inspect';
import { markCommands } from './commands/marks';
import { openCommands, openDropped } from './commands/open';
import { openRemoteCommands } from './commands/openRemote';
import { previewCommands } from './commands/preview';
import { RecentCheckpoints } from './commands/recent';
import { recipeCommands } from './commands/recipes';
import { storedEncoderCommands } from './commands/storedEncoders';
import { verifyCommands } from './commands/verify';
import { ConfigWatcher } from './views/configWatcher';
import { Contexts } from './views/contexts';
import { ConfigDiagnostics } from './views/diagnostics';
import { DropView } from './views/dropView';
import { KeyDecorations } from './views/keyDecorations';
import { KeyTreeView } from './views/keyTree';
import { RecipeWatcher } from './views/recipeWatcher';
import { RemoteDocuments } from './views/remoteDocuments';
import { Session } from './views/session';
import { StatusBar } from './views/statusBar';
import { ValidationTreeView } from './views/validationTree';

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('Vision Encoder', { log: true });
  const session = new Session();
  const onDrop = async (uris: vscode.Uri[]): Promise<void> => {
    try {
      await openDropped(app, uris);
    } catch (error) {
      report(log, error);
    }
  };
  const keys = new KeyTreeView(session, onDrop);
  const validation = new ValidationTreeView(session);
  const app: App = {
    session, keys, validation, log,
    extensionFolder: context.extensionPath,
    storageFolder: context.globalStorageUri.fsPath,
    hub: new HubAccess(context.secrets, log),
    recent: new RecentCheckpoints(context.globalState),
  };
  context.subscriptions.push(
    log, session, keys, validation,
    new DropView(onDrop),
    new Contexts(session),
    new StatusBar(session),
    new RemoteDocuments(session),
    new ConfigDiagnostics(session),
    new ConfigWatcher(session, error => { report(log, error); }),
    new RecipeWatcher(session, error => { report(log, error); }),
    vscode.window.registerFileDecorationProvider(new KeyDecorations()),
    ...openCommands(app), ...openRemoteCommands(app), ...storedEncoderCommands(app), ...markCommands(app), ...findCommands(app), ...recipeCommands(app), ...configCommands(app), ...extractCommands(app), ...handOverCommands(app), ...verifyCommands(app), ...compareCommands(app), ...previewCommands(app, context), ...folderFeatureCommands(app, context), ...inspectCommands(app, context.extensionUri), ...helpCommands(app, context.extension.id),
  );
}
