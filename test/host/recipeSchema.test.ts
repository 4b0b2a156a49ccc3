import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import * as vscode from 'vscode';
import { diagnosticsOf, waitFor } from './checkpoint';

describe('recipe files in the editor', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'recipes-'));
  after(async () => {
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    rmSync(folder, { recursive: true });
  });

  async function show(name: string, text: string): Promise<vscode.TextDocument> {
    const file = path.join(folder, name);
    await writeFile(file, text);
    const document = await vscode.workspace.openTextDocument(file);
    await vscode.window.showTextDocument(document);
    return document;
  }

  it('are checked: a mark that does not exist is underlined where it stands', async () => {
    const document = await show('wrong.recipe.json', '{\n  "version": 1,\n  "name": "n",\n  "family": "qwen-vl",\n  "rules": [{ "mark": "drop", "key": "a" }]\n}\n');
    const found = await diagnosticsOf(document.uri, all => all.length > 0);
    assert.ok(found.some(({ range, message }) => range.start.line === 4 && /"keep".*"strip".*"exclude"/.test(message)), found.map(one => one.message).join('; '));
  });

  it('are checked: what is missing is said', async () => {
    const document = await show('short.recipe.json', '{ "version": 1 }\n');
    const found = await diagnosticsOf(document.uri, all => all.length >= 3);
    for (const property of ['name', 'family', 'rules']) assert.ok(found.some(({ message }) => message.includes(`"${property}"`)), property);
  });

  it('are completed: the marks that there are', async () => {
    const text = '{\n  "version": 1, "name": "n", "family": "qwen-vl",\n  "rules": [{ "key": "a", "mark":  }]\n}\n';
    const document = await show('new.vision-recipe.json', text);
    const labels = await waitFor(async () => {
      const list = await vscode.commands.executeCommand<vscode.CompletionList>('vscode.executeCompletionItemProvider', document.uri, document.positionAt(text.indexOf('"mark": ') + 8));
      const offered = list.items.map(({ label }) => (typeof label === 'string' ? label : label.label));
      return offered.length > 0 ? offered : undefined;
    });
    for (const mark of ['"keep"', '"strip"', '"exclude"']) assert.ok(labels.includes(mark), labels.join(' '));
  });

  it('are left alone under other names', async () => {
    const document = await show('other.json', '{ "rules": [{ "mark": "drop" }] }\n');
    await new Promise(resolve => { setTimeout(resolve, 1000); });
    assert.deepEqual(vscode.languages.getDiagnostics(document.uri), []);
  });
});
