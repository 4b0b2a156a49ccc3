import * as vscode from 'vscode';
import * as z from 'zod';
import { UserError } from '../errors';
import { parseBytes } from '../format';

/** How the encoder is written. */
export interface OutputOptions {
  readonly format: 'safetensors' | 'torch';
  readonly dtype: 'keep' | 'bf16' | 'f16' | 'f32';
  readonly maxShardBytes?: number;
}

const configured = z.object({
  format: z.enum(['safetensors', 'torch']),
  dtype: z.enum(['keep', 'bf16', 'f16', 'f32']),
  maxShardSize: z.string(),
});

/** @throws UserError when a setting holds what it cannot mean. */
export function configuredOutput(): OutputOptions {
  const settings = vscode.workspace.getConfiguration('visionEncoder.extract');
  const parsed = configured.safeParse({ format: settings.get('format'), dtype: settings.get('dtype'), maxShardSize: settings.get('maxShardSize') });
  if (!parsed.success) throw new UserError(vscode.l10n.t('The setting visionEncoder.extract.{0} has a value that is not known. Correct it in the settings.', String(parsed.error.issues[0]?.path[0] ?? '')));
  const { format, dtype, maxShardSize } = parsed.data;
  return { format, dtype, ...shardLimit(maxShardSize) };
}

/** Asks for format, dtype and shard size, one after the other; undefined when the person turns back. */
export async function chooseOutput(current: OutputOptions): Promise<OutputOptions | undefined> {
  const format = await step(1, vscode.l10n.t('Format'), current.format, [
    { value: 'safetensors', label: 'safetensors', description: 'model.safetensors' },
    { value: 'torch', label: 'PyTorch', description: vscode.l10n.t('pytorch_model.bin, for torch.load(weights_only=True)') },
  ]);
  if (format === undefined) return undefined;
  const dtype = await step(2, vscode.l10n.t('Element Type'), current.dtype, [
    { value: 'keep', label: vscode.l10n.t('As it is'), description: vscode.l10n.t('the bytes are copied unchanged') },
    { value: 'bf16', label: 'bfloat16' }, { value: 'f16', label: 'float16' }, { value: 'f32', label: 'float32' },
  ]);
  if (dtype === undefined) return undefined;
  const size = await vscode.window.showInputBox({
    title: vscode.l10n.t('{0} ({1}/3)', vscode.l10n.t('Largest File'), 3), value: current.maxShardBytes === undefined ? '' : String(current.maxShardBytes),
    prompt: vscode.l10n.t('For example 5GB or 500MB; empty for one file.'),
    validateInput: text => (text.trim() === '' || parseBytes(text) !== undefined ? undefined : vscode.l10n.t('A size such as 5GB, 500MB or 2GiB.')),
  });
  return size === undefined ? undefined : { format, dtype, ...shardLimit(size) };
}

interface Choice<T> {
  readonly value: T;
  readonly label: string;
  readonly description?: string;
}

async function step<T extends string>(number: number, title: string, current: T, choices: readonly Choice<T>[]): Promise<T | undefined> {
  // What is in force comes first: Enter keeps it.
  const items = [...choices].sort((a, b) => Number(b.value === current) - Number(a.value === current));
  return (await vscode.window.showQuickPick(items, { title: vscode.l10n.t('{0} ({1}/3)', title, number), placeHolder: title }))?.value;
}

function shardLimit(text: string): { readonly maxShardBytes?: number } {
  if (text.trim() === '') return {};
  const bytes = parseBytes(text);
  if (bytes === undefined) throw new UserError(vscode.l10n.t('The setting visionEncoder.extract.maxShardSize is “{0}”, which is no size. Write for example 5GB, or leave it empty.', text));
  return { maxShardBytes: bytes };
}
