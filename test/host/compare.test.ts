import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import * as vscode from 'vscode';
import { demo, waitFor } from './checkpoint';

/** Flips a bit of a tensor's first element in a folder of safetensors shards. */
async function changeTensor(folder: string, key: string): Promise<void> {
  for (const name of (await readdir(folder)).filter(file => file.endsWith('.safetensors'))) {
    const bytes = await readFile(path.join(folder, name));
    const headerBytes = Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerBytes)) as Record<string, { readonly data_offsets: readonly [number, number] } | undefined>;
    const entry = header[key];
    if (entry === undefined) continue;
    const at = 8 + headerBytes + entry.data_offsets[0];
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    await writeFile(path.join(folder, name), bytes);
    return;
  }
  assert.fail(`${key} is in no shard`);
}

function comparisons(): string[] {
  return vscode.workspace.textDocuments.filter(({ uri }) => uri.scheme === 'vision-encoder-comparison').map(document => document.getText());
}

describe('comparing with another checkpoint', () => {
  let copy: string;
  before(async () => {
    copy = await mkdtemp(path.join(tmpdir(), 'vision-encoder-compare-'));
    await cp(demo().fsPath, copy, { recursive: true });
    await vscode.commands.executeCommand('visionEncoder.openFolder', demo());
  });
  after(async () => {
    await vscode.commands.executeCommand('visionEncoder.close');
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    await rm(copy, { recursive: true, force: true });
  });

  it('shows a read-only document with the verdict, equal or not', async () => {
    await vscode.commands.executeCommand('visionEncoder.compare', vscode.Uri.file(copy), 'encoders');
    assert.match(await waitFor(() => comparisons()[0]), /^The encoders are equal, bit for bit\.\n\nLeft .*\nRight .*\n/);
    await changeTensor(copy, 'transformer.visual.transformer.resblocks.1.ln_1.weight');
    await vscode.commands.executeCommand('visionEncoder.compare', vscode.Uri.file(copy), 'encoders');
    const different = await waitFor(() => comparisons().find(text => text.includes('differs')));
    assert.match(different, /^Blocks? .* equal \(frozen\), block 1 differs, by /);
    assert.match(different, /Tensors that differ: 1\n.*\n {2}transformer\.resblocks\.1\.ln_1\.weight /);
    assert.equal(vscode.window.activeTextEditor?.document.uri.scheme, 'vision-encoder-comparison');
  });
});
