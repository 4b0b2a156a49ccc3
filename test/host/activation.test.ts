import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { contributedCommands, findExtension } from './extension';

describe('activation', () => {
  it('registers every command that the manifest contributes', async () => {
    await findExtension().activate();
    const registered = new Set(await vscode.commands.getCommands(true));
    const contributed = contributedCommands();
    assert.ok(contributed.length > 0);
    assert.deepEqual(contributed.filter(command => !registered.has(command)), []);
  });

  it('keeps its commands under one prefix', () => {
    assert.deepEqual(contributedCommands().filter(command => !command.startsWith('visionEncoder.')), []);
  });
});
