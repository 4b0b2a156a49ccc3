import * as vscode from 'vscode';
import { InspectorEditors, INSPECTOR_TYPES } from '../views/inspector/inspectorEditor';
import { shardPath } from '../views/keyItem';
import type { KeyNode } from '../views/treeModel';
import { command, report, type App } from './app';
import { plannedOf } from './find';

/** Looking inside weights files. */
export function inspectCommands(app: App, extension: vscode.Uri): vscode.Disposable[] {
  const editors = new InspectorEditors({
    extension,
    log: app.log,
    report: error => { report(app.log, error); },
    openInViews: uri => vscode.commands.executeCommand('visionEncoder.openResource', uri),
  });
  return [
    ...INSPECTOR_TYPES.map(type => vscode.window.registerCustomEditorProvider(type, editors, { supportsMultipleEditorsPerDocument: true })),
    command(app, 'inspect', async (node?: KeyNode) => {
      const chosen = node ?? app.keys.view.selection[0];
      const { job } = app.session;
      const planned = chosen?.kind === 'tensor' ? plannedOf(app, chosen) : undefined;
      const path = planned === undefined || job === undefined ? undefined : shardPath(planned, job);
      if (planned !== undefined && path !== undefined) await editors.show(vscode.Uri.file(path), planned.tensor.key);
    }),
  ];
}
