import * as vscode from 'vscode';
import { formatBytes } from '../format';
import type { Job } from '../job';
import { TOOL } from '../version';
import { command, type App } from './app';

/** Help: the tour, the log, and a report that fills itself in with what does not identify anybody: no paths, no names of files or people, no tokens. */
export function helpCommands(app: App, extensionId: string): vscode.Disposable[] {
  return [
    command(app, 'reportIssue', async () => {
      const content = reportText(app.session.job);
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ language: 'markdown', content }));
    }),
    command(app, 'walkthrough', async () => { await vscode.commands.executeCommand('workbench.action.openWalkthrough', `${extensionId}#start`, false); }),
    command(app, 'showLog', () => { app.log.show(); }),
  ];
}

function reportText(job: Job | undefined): string {
  return [
    `# ${vscode.l10n.t('What happened')}`, '', '', '',
    `# ${vscode.l10n.t('What you expected')}`, '', '', '',
    `# ${vscode.l10n.t('Where')}`, '',
    `- ${TOOL.name} ${TOOL.version}`,
    `- ${vscode.env.appName} ${vscode.version}, ${vscode.env.uiKind === vscode.UIKind.Web ? 'web' : 'desktop'}, ${vscode.env.remoteName === undefined ? 'local' : 'remote'}`,
    `- ${process.platform} ${process.arch}, Node ${process.versions.node}`,
    ...checkpointLines(job), '',
    vscode.l10n.t('Add what the output channel says: run the command Vision Encoder: Show Log, and copy the lines from the time of the problem. Read them first: they name files.'), '',
  ].join('\n');
}

function checkpointLines(job: Job | undefined): string[] {
  if (job === undefined) return ['- no checkpoint is open'];
  const { checkpoint, family, plan, recipe, validation, configProblem } = job;
  const formats = [...new Set(checkpoint.files.map(({ format }) => format))].join(', ');
  const bytes = checkpoint.files.reduce((sum, { source }) => sum + source.size, 0);
  const found = validation === undefined ? 'not validated'
    : validation.valid ? 'loads strictly'
    : `${validation.missing.length} missing, ${validation.unexpected.length} unexpected, ${validation.mismatched.length} mismatched`;
  return [
    `- checkpoint: ${checkpoint.files.length} files, ${formats}, ${formatBytes(bytes)}, ${checkpoint.tensors.length} tensors`,
    `- encoder: ${family?.id ?? 'not recognised'}, ${plan.kept.length} tensors kept, ${recipe.overrides.length} edits`,
    `- validation: ${found}${configProblem === undefined ? '' : ', config unreadable'}`,
  ];
}
