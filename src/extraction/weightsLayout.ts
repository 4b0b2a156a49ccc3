import type { FileLayout, OutputTensor } from './fileLayout';
import type { Manifest } from './manifest';
import { safetensorsLayout } from './safetensorsWriter';
import { torchLayout } from './torchWriter';

export type OutputFormat = Manifest['output']['format'];

/** What a file of weights consists of. @throws UserError when the format has no dtype for a tensor */
export function weightsLayout(name: string, tensors: readonly OutputTensor[], format: OutputFormat): FileLayout {
  return format === 'safetensors' ? safetensorsLayout(tensors) : torchLayout(tensors, name.replace(/\.bin$/, ''));
}
