import assert from 'node:assert/strict';
import * as vscode from 'vscode';

interface Manifest {
  readonly contributes: { readonly commands: readonly { readonly command: string }[] };
}

/** The extension under test, as VS Code has it installed. */
export function findExtension(): vscode.Extension<unknown> {
  const extension = vscode.extensions.getExtension('vision-encoder-extractor.vision-encoder-extractor');
  assert(extension, 'The extension is not installed.');
  return extension;
}

/** The ids of the commands that package.json contributes. */
export function contributedCommands(): string[] {
  return (findExtension().packageJSON as Manifest).contributes.commands.map(({ command }) => command);
}
