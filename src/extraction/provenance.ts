import { createHash } from 'node:crypto';
import type { CheckpointFile } from '../checkpoint/checkpoint';
import type { Plan } from '../recipe/plan';
import type { Validation } from '../validation/validation';
import type { CopiedFile } from './copy';
import type { OutputTensor } from './fileLayout';
import type { Manifest } from './manifest';
import type { FileState } from './sourceFiles';

type ManifestTensor = Manifest['output']['tensors'][number];

/** A weight file that was written: which of the outputs it holds, and the checksums. */
export interface WrittenFile {
  readonly name: string;
  /** Indices into the outputs. */
  readonly tensors: readonly number[];
  readonly copied: CopiedFile;
}

/** The manifest's entry for each output tensor, in state-dict order. */
export function manifestTensors(plan: Plan, outputs: readonly OutputTensor[], files: readonly WrittenFile[]): ManifestTensor[] {
  const entries = new Map<number, ManifestTensor>();
  for (const file of files) {
    file.tensors.forEach((index, i) => {
      const [output, planned, digests] = [outputs[index], plan.kept[index], file.copied.tensors[i]];
      if (output === undefined || planned === undefined || digests === undefined) throw new RangeError(`${file.name} names tensor ${index}.`);
      const { tensor } = planned;
      entries.set(index, {
        key: output.key,
        sourceKey: tensor.key,
        file: file.name,
        sourceFile: plan.checkpoint.files[tensor.file]?.name ?? '',
        dtype: output.dtype,
        sourceDtype: tensor.dtype,
        shape: [...output.shape],
        ...digests,
      });
    });
  }
  return [...entries].sort(([a], [b]) => a - b).map(([, entry]) => entry);
}

/** The manifest's account of where the bytes came from. */
export function manifestSource(plan: Plan, tensors: readonly ManifestTensor[], states: ReadonlyMap<CheckpointFile, FileState>): Manifest['source'] {
  return {
    name: plan.checkpoint.name,
    location: plan.checkpoint.location,
    files: [...states].map(([file, state]) => {
      const taken = plan.kept.filter(({ tensor }) => plan.checkpoint.files[tensor.file] === file);
      const hash = createHash('sha256');
      for (const tensor of tensors) if (tensor.sourceFile === file.name) hash.update(tensor.sourceSha256, 'hex');
      return {
        name: file.name,
        size: state.size,
        mtime: state.mtime,
        tensors: taken.length,
        bytes: taken.reduce((sum, { tensor }) => sum + tensor.length, 0),
        sha256: hash.digest('hex'),
      };
    }),
  };
}

/** The validation that allowed the extraction, in short. */
export function manifestValidation(validation: Validation): Manifest['validation'] {
  return {
    valid: validation.valid,
    family: validation.family,
    config: validation.config ?? null,
    hyperparameters: Object.fromEntries([...validation.hyperparameters].map(([name, { value, origin }]) => [name, { value, origin: origin.kind }])),
    expectedCount: validation.expectedCount,
    matchedCount: validation.matchedCount,
    warnings: validation.warnings.map(warning => warning.message),
  };
}
