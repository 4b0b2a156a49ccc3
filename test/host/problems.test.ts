import assert from 'node:assert/strict';
import * as vscode from 'vscode';
import { demo, diagnosticsOf } from './checkpoint';

const SOURCE = 'Vision Encoder';

describe('problems and quick fixes', () => {
  const config = demo('encoder-config.json');

  before(async () => {
    await vscode.commands.executeCommand('visionEncoder.openFolder', demo());
    await vscode.window.showTextDocument(config);
    await vscode.commands.executeCommand('visionEncoder.chooseConfig', config);
  });

  after(async () => {
    await vscode.commands.executeCommand('visionEncoder.close');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  it('reports at the config\'s first line what the config does not hold, with the keys behind it', async () => {
    const [problem] = await diagnosticsOf(config, found => found.length === 1, SOURCE);
    assert.ok(problem);
    assert.equal(problem.severity, vscode.DiagnosticSeverity.Error);
    assert.equal(problem.range.start.line, 0);
    assert.match(problem.message, /The checkpoint's output_dim is 128; .* the default of Qwen-VL is 4096\. \(13 keys\)/);
    assert.equal(problem.relatedInformation?.length, 13);
    assert.match(problem.relatedInformation[0]?.message ?? '', /size mismatch: attn_pool\.pos_embed/);
  });

  it('points at the field that disagrees as it is typed, before the file is saved', async () => {
    const editor = await vscode.window.showTextDocument(config);
    const field = editor.document.positionAt(editor.document.getText().indexOf('"num_hidden_layers"'));
    const value = editor.document.lineAt(field.line).text.indexOf('4');
    await editor.edit(edit => { edit.replace(new vscode.Range(field.line, value, field.line, value + 1), '6'); });
    const found = await diagnosticsOf(config, all => all.length === 2, SOURCE);
    const depth = found.find(({ message }) => message.includes('4 blocks'));
    assert.equal(depth?.range.start.line, field.line);
    assert.match(depth.message, /The checkpoint has 4 blocks; encoder-config\.json says vision_config\.num_hidden_layers 6\. \(24 keys\)/);
    await vscode.commands.executeCommand('undo');
    await diagnosticsOf(config, all => all.length === 1, SOURCE);
    assert.equal(editor.document.isDirty, false);
  });

  it('offers the value found as a quick fix, which makes the encoder valid', async () => {
    const [problem] = await diagnosticsOf(config, found => found.length === 1, SOURCE);
    assert.ok(problem);
    const actions = await vscode.commands.executeCommand<vscode.CodeAction[]>('vscode.executeCodeActionProvider', config, problem.range, vscode.CodeActionKind.QuickFix.value);
    const fix = actions.find(({ title }) => title === 'Use output_dim 128, as the checkpoint has it');
    assert.ok(fix?.command);
    await vscode.commands.executeCommand(fix.command.command, ...(fix.command.arguments ?? []) as unknown[]);
    await diagnosticsOf(config, found => found.length === 0, SOURCE);
  });

  it('takes the problems away with the checkpoint', async () => {
    await vscode.commands.executeCommand('visionEncoder.undo');
    await diagnosticsOf(config, found => found.length === 1, SOURCE);
    await vscode.commands.executeCommand('visionEncoder.close');
    await diagnosticsOf(config, found => found.length === 0, SOURCE);
  });
});
