import * as vscode from 'vscode';
import { InspectorEditors, INSPECTOR_TYPES } from '../views/inspector/inspectorEditor';
import { UserError } from '../errors';
import { openLocation as openAt } from '../remote/open';
import { shardLocation } from '../views/keyItem';
import type { KeyNode } from '../views/treeModel';
import { command, report, type App } from './app';
import { plannedOf } from './find';
import { openLocation } from './open';
import { askAddress } from './openRemote';

/** Looking inside weights files. */
export function inspectCommands(app: App, extension: vscode.Uri): vscode.Disposable[] {
  const editors = new InspectorEditors({
    extension,
    log: app.log,
    report: error => { report(app.log, error); },
    openInViews: place => openLocation(app, place),
    openRemote: async address => {
      const checkpoint = await app.hub.retrying(async () => openAt(address, { hub: await app.hub.options() }));
      if (checkpoint === undefined) throw new UserError(vscode.l10n.t('The file was not opened. Reload it to try again.'));
      return checkpoint;
    },
  });
  return [
    ...INSPECTOR_TYPES.map(type => vscode.window.registerCustomEditorProvider(type, editors, { supportsMultipleEditorsPerDocument: true })),
    command(app, 'inspect', async (node?: KeyNode) => {
      const chosen = node ?? app.keys.view.selection[0];
      const { job } = app.session;
      const planned = chosen?.kind === 'tensor' ? plannedOf(app, chosen) : undefined;
      const location = planned === undefined || job === undefined ? undefined : shardLocation(planned, job);
      if (planned !== undefined && location !== undefined) await editors.show(location, planned.tensor.key);
    }),
    command(app, 'inspectAddress', async () => {
      const address = await askAddress(vscode.l10n.t('Look Inside an Address'), vscode.l10n.t('A weights file or an index on the Hugging Face Hub or any server that serves byte ranges. Only headers are downloaded, and the tensors that you look at.'));
      if (address !== undefined) await editors.show(address);
    }),
  ];
}
