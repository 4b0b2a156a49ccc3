import { t } from '@vscode/l10n';
import type { Tensor } from '../checkpoint/checkpoint';
import { configName, type ConfigDocument } from './config';
import { keyIndex } from './keyIndex';
import { storageOf } from './storage';

/** What else names the model that has the encoder. */
export interface AbsenceHints {
  /** The text of a config.json that is no JSON, as LISA's, where a name is looked up all the same. */
  readonly brokenConfig?: string;
  /** An adapter's base model, as adapter_config.json names it. */
  readonly baseModel?: string;
}

/**
 * Why a checkpoint in which no family is recognised has no encoder to extract, and what to get in its place:
 * LLaVA-like models trained with a frozen tower hold only the projector, adapters only their changes.
 */
export function explainAbsence(tensors: readonly Tensor[], config: ConfigDocument | undefined, { brokenConfig = '', baseModel }: AbsenceHints = {}): string | undefined {
  const tower = config === undefined ? nameIn(brokenConfig) : namedTower(config);
  const { prefixesOf } = keyIndex(tensors);
  const projector = ['mm_projector.weight', 'mm_projector.bias', 'mm_projector.0.weight'].find(leaf => prefixesOf(leaf).length > 0);
  if (tower !== undefined) {
    return t`This checkpoint holds no vision encoder of its own: ${config === undefined ? 'config.json' : configName(config)} names ${tower} as its vision tower, which is loaded from there. Get ${tower} and open that.`;
  }
  if (projector !== undefined) {
    return t('This checkpoint holds a projector (mm_projector), but not the vision encoder in front of it: the model loads that from elsewhere. The config.json of the model names it as mm_vision_tower; get that model and open it.');
  }
  if (storageOf(tensors)?.kind === 'adapter') {
    const base = baseModel === undefined ? t('the base model that adapter_config.json names') : t`its base model ${baseModel}`;
    return t`This is a LoRA adapter: it holds changes to a model, not the model. Open ${base}, or merge the adapter into it first.`;
  }
  return undefined;
}

/** `mm_vision_tower` of LLaVA and its kin; a local path stands for what its last folder is called. */
function namedTower({ value }: ConfigDocument): string | undefined {
  const tower = [value.mm_vision_tower, value.vision_tower].find(one => typeof one === 'string' && one !== '');
  return typeof tower === 'string' ? modelName(tower) : undefined;
}

function nameIn(text: string): string | undefined {
  const [, tower] = /"(?:mm_)?vision_tower"\s*:\s*"([^"\\]{1,512})"/.exec(text) ?? [];
  return tower === undefined ? undefined : modelName(tower);
}

function modelName(tower: string): string | undefined {
  return /^([/~.]|[A-Za-z]:[\\/])/.test(tower) ? tower.split(/[\\/]/).filter(Boolean).at(-1) : tower;
}
