import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { demo, waitFor } from './checkpoint';
import { findExtension } from './extension';

/** The report that is written, as soon as it says `words`. */
async function reportThatSays(words: string): Promise<string> {
  await vscode.commands.executeCommand('visionEncoder.reportIssue');
  return waitFor(() => vscode.workspace.textDocuments.map(document => document.getText()).find(text => text.includes(words)));
}

describe('help', () => {
  after(() => vscode.commands.executeCommand('visionEncoder.close'));

  it('writes a report that names the versions and the checkpoint, and no path', async () => {
    const { version } = findExtension().packageJSON as { version: string };
    const before = await reportThatSays('no checkpoint is open');
    for (const part of [version, vscode.version, process.platform]) assert.ok(before.includes(part), `${part} is not in:\n${before}`);
    await vscode.commands.executeCommand('visionEncoder.openFolder', demo());
    const text = await reportThatSays('loads strictly');
    for (const part of ['qwen-vl', '3 files, safetensors', '65 tensors kept']) assert.ok(text.includes(part), `${part} is not in:\n${text}`);
    assert.ok(!text.includes(demo().fsPath), text);
  });
});
