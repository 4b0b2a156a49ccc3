import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { demo, waitFor } from './checkpoint';

const previews = (): vscode.Tab[] => vscode.window.tabGroups.all.flatMap(({ tabs }) => tabs).filter(({ input }) => input instanceof vscode.TabInputWebview && input.viewType.endsWith('visionEncoder.preview'));

describe('the preview panel', () => {
  before(() => vscode.commands.executeCommand('visionEncoder.openFolder', demo()));

  after(async () => {
    await vscode.commands.executeCommand('visionEncoder.close');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  it('is one page, also after the recipe was edited', async () => {
    await vscode.commands.executeCommand('visionEncoder.preview');
    const [first] = await waitFor(() => (previews().length === 1 ? previews() : undefined));
    // Another config makes another job of the same checkpoint.
    await vscode.commands.executeCommand('visionEncoder.chooseConfig', demo('config.json'));
    await vscode.commands.executeCommand('visionEncoder.preview');
    assert.deepEqual(previews().map(({ label }) => label), [first?.label]);
  });

  it('is one page when it is asked for twice at once', async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await waitFor(() => (previews().length === 0 ? true : undefined));
    await Promise.all([vscode.commands.executeCommand('visionEncoder.preview'), vscode.commands.executeCommand('visionEncoder.preview')]);
    await waitFor(() => (previews().length > 0 ? true : undefined));
    assert.equal(previews().length, 1);
  });
});
