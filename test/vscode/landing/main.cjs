const vscode = require('vscode');

exports.activate = async () => {
  const folder = vscode.workspace.workspaceFolders?.[0];
  if (folder) await vscode.commands.executeCommand('visionEncoder.openFolder', folder.uri);
};
