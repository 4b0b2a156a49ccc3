import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { deepSpeedVisualChat } from './deepSpeed';
import { onnx } from './onnx';
import { openClipTarget } from './openClip';
import type { Target } from './target';
import { transformers } from './transformers';

/** Everything that an encoder can be handed over to. */
export const TARGETS: readonly Target[] = [deepSpeedVisualChat, transformers, openClipTarget, onnx];

/** @throws UserError naming the known targets when there is none of this id */
export function targetById(id: string): Target {
  const target = TARGETS.find(one => one.id === id);
  if (target === undefined) throw new UserError(t`There is no target "${id}". There are: ${TARGETS.map(one => one.id).join(', ')}.`);
  return target;
}
