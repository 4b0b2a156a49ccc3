import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import { UserError } from '../errors';
import { explainAbsence, type AbsenceHints } from './absent';
import type { ConfigDocument } from './config';
import type { Detection, Family } from './family';
import { aimv2, aimv2Apple } from './families/aimv2';
import { clip, openClip } from './families/clip';
import { dinov2, dinov2Memory, dinov2Meta, dinov3 } from './families/dino';
import { cogVlm, evaGiant, evaLavis } from './families/eva';
import { florence2, florence2Hf } from './families/florence2';
import { internVit, internVlHf } from './families/internVit';
import { llama4, mllama } from './families/llamaVision';
import { molmo } from './families/molmo';
import { qwen25Omni, qwen25Vl, qwen2Vl, qwen3Omni, qwen3Vl } from './families/qwenVision';
import { glm4v, moonVit, pixtral, pixtralMistral } from './families/rotary';
import { siglip, siglip2 } from './families/siglip';
import { timmVit } from './families/timm';
import { timmEva, timmEva02 } from './families/timmEva';
import { generic } from './generic';
import { qwenVl } from './qwenVl';

/** Every encoder family that the product knows, in the order of the published table; of two that fit alike, the first wins. */
export const FAMILIES: readonly Family[] = [
  qwenVl, clip, openClip, siglip, siglip2, qwen2Vl, qwen25Vl, qwen25Omni, qwen3Vl, qwen3Omni, internVit, internVlHf,
  dinov2, dinov2Memory, dinov2Meta, dinov3, evaGiant, evaLavis, mllama, pixtral, pixtralMistral, moonVit, glm4v, cogVlm, llama4, aimv2, aimv2Apple, molmo, timmVit, timmEva, timmEva02, florence2, florence2Hf, generic,
];

/** @throws UserError naming the known families when there is none of this id. */
export function familyById(id: string): Family {
  const family = FAMILIES.find(one => one.id === id);
  if (family === undefined) {
    throw new UserError(t`The encoder family "${id}" is not known. Known are: ${FAMILIES.map(one => one.id).join(', ')}.`);
  }
  return family;
}

/**
 * The family that fits best, or undefined when none recognises anything. No encoder is guessed at where it is known
 * that the model's own is not there: `absentEncoder` says so then.
 */
export function detectFamily(tensors: readonly Tensor[], config?: ConfigDocument): { readonly family: Family; readonly detection: Detection } | undefined {
  const found = FAMILIES.filter(family => family !== generic).flatMap(family => {
    const detection = family.detect(tensors, config);
    return detection === undefined ? [] : [{ family, detection }];
  });
  const [best] = found.sort((a, b) => b.detection.confidence - a.detection.confidence);
  const guess = best === undefined && explainAbsence(tensors, config) === undefined ? generic.detect(tensors, config) : undefined;
  const { family, detection } = best ?? (guess && { family: generic, detection: guess }) ?? {};
  if (family === undefined || detection === undefined) return undefined;
  // That it cannot be run is said with why it was taken, before anybody asks for a preview.
  return { family, detection: family.notRun === undefined ? detection : { ...detection, reason: `${detection.reason} ${family.notRun}` } };
}

/** Why the checkpoint has no encoder to extract, and which model to get in its place, in a sentence or two; undefined when it has one, or nobody knows. */
export function absentEncoder(tensors: readonly Tensor[], config?: ConfigDocument, hints: AbsenceHints = {}): string | undefined {
  return detectFamily(tensors, config) === undefined ? explainAbsence(tensors, config, hints) : undefined;
}
