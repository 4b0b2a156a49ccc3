import * as vscode from 'vscode';
import type { Array32 } from '../../encoder/encoder';
import { UserError } from '../../errors';
import { encodeNpy } from '../../features/npy';
import { encodeSafetensors } from '../../features/valuesFile';
import type { ModelInfo } from '../../protocol';

/** Saves a picture of what is seen, where the person says. */
export async function savePng(name: string, bytes: Uint8Array): Promise<void> {
  await save(name, { PNG: ['png'] }, () => Promise.resolve(bytes));
}

/** Saves the features of a picture: the output as .npy, or that with every hidden state and what mergers make of it as safetensors. */
export async function saveFeatures(picture: string, format: 'npy' | 'safetensors', valuesOf: (names: readonly string[]) => Promise<Map<string, Array32>>, { layers, merged }: ModelInfo): Promise<void> {
  const stem = picture.replace(/\.[^.]*$/, '');
  if (format === 'safetensors') {
    const hidden = Array.from({ length: layers }, (_, layer) => `hidden_states.${layer}`);
    await save(`${stem}.safetensors`, { safetensors: ['safetensors'] }, async () => encodeSafetensors(await valuesOf(['pixel_values', ...hidden, 'features', ...merged?.names ?? [], 'attn_pool.weights'])));
    return;
  }
  await save(`${stem}.npy`, { NumPy: ['npy'] }, async () => {
    const features = (await valuesOf(['features'])).get('features');
    if (features === undefined) throw new UserError(vscode.l10n.t('{0} has no output, as only the first blocks ran. Save it as safetensors, which holds their hidden states.', picture));
    return encodeNpy(features.data, features.shape);
  });
}

async function save(name: string, filters: Record<string, string[]>, make: () => Promise<Uint8Array>): Promise<void> {
  const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
  const safeName = name.replace(/[\\/:*?"<>|]/g, '_');
  const target = await vscode.window.showSaveDialog({ filters, ...(folder === undefined ? {} : { defaultUri: vscode.Uri.joinPath(folder, safeName) }) });
  if (target !== undefined) await vscode.workspace.fs.writeFile(target, await make());
}
