import type { Checkpoint, Tensor } from '../checkpoint/checkpoint';
import type { Located } from '../extraction/thread/sources';
import type { Plan } from '../recipe/plan';

/** One of the two things that are compared: tensors by the key under which their counterparts are looked up. */
export interface Side {
  /** Where its checkpoint was opened from. */
  readonly location: string;
  /** The encoder's family, when it is known and matters. */
  readonly family: string | undefined;
  readonly tensors: ReadonlyMap<string, Located>;
}

/** A key of either side with what each has under it; at least one has something. */
export interface Pair {
  readonly key: string;
  readonly left: Located | undefined;
  readonly right: Located | undefined;
}

/** The encoder in a checkpoint, by its keys in the encoder: so a full model can be held against a standalone encoder. */
export function encoderSide(plan: Plan, family: string | undefined): Side {
  return { ...sideOf(plan.checkpoint, plan.kept.map(({ tensor, outputKey }) => [outputKey ?? tensor.key, tensor])), family };
}

/** Everything in a checkpoint, by its own keys. */
export function wholeSide(checkpoint: Checkpoint): Side {
  return { ...sideOf(checkpoint, checkpoint.tensors.map(tensor => [tensor.key, tensor])), family: undefined };
}

/** In the left side's order, then what only the right one has. */
export function pairsOf(left: Side, right: Side): Pair[] {
  return [
    ...[...left.tensors].map(([key, tensor]) => ({ key, left: tensor, right: right.tensors.get(key) })),
    ...[...right.tensors].filter(([key]) => !left.tensors.has(key)).map(([key, tensor]) => ({ key, left: undefined, right: tensor })),
  ];
}

/** Of tensors under one key, the first: which a strict load reports as duplicates. */
function sideOf({ files, location }: Checkpoint, entries: readonly (readonly [string, Tensor])[]): Pick<Side, 'location' | 'tensors'> {
  const tensors = new Map<string, Located>();
  for (const [key, tensor] of entries) {
    const file = files[tensor.file];
    if (file !== undefined && !tensors.has(key)) tensors.set(key, { source: file.source, tensor });
  }
  return { location, tensors };
}
