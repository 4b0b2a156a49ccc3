import { t } from '@vscode/l10n';
import { isObject } from '../architecture/config';
import { jsonFile } from '../extraction/extraFiles';
import { PLAIN, type Encoder, type Target } from './target';

const CONFIG = 'open_clip_config.json';

/**
 * OpenCLIP (mlfoundations/open_clip, src/open_clip/model.py): the vision tower of its models, `model.visual`, which
 * `_build_vision_tower` makes alone. The keys are the tower's own, so that both load strictly.
 */
export const openClipTarget: Target = {
  ...PLAIN,
  id: 'open-clip',
  title: 'OpenCLIP',
  writes: () => t`model.safetensors and ${CONFIG}, for the vision tower of an OpenCLIP model`,
  format: 'safetensors',
  whyNot: ({ id, title }) => {
    if (id === 'open-clip') return undefined;
    if (id === 'clip') return t('OpenCLIP names CLIP\'s tensors otherwise and has q, k and v in one; these are Hugging Face\'s, for transformers.');
    return t`OpenCLIP's vision transformer has other tensors than ${title} encoders.`;
  },
  // The class always has it.
  parts: () => ({ projection: true }),
  files: encoder => [jsonFile(CONFIG, { model_cfg: modelConfig(encoder), preprocess_cfg: preprocessConfig(encoder) })],
  python: () => ({
    about: ['The vision tower of a CLIP model, for OpenCLIP: python FOLDER/load.py', 'In a whole model: open_clip.create_model(NAME).visual.load_state_dict(weights, strict=True)'],
    imports: ['import json', 'from open_clip.model import _build_vision_tower', 'from safetensors.torch import load_file'],
    load: [
      `config = json.loads((folder / '${CONFIG}').read_text())['model_cfg']`,
      'encoder = _build_vision_tower(config[\'embed_dim\'], config[\'vision_cfg\'], config[\'quick_gelu\']).eval()',
      'weights = load_file(folder / \'model.safetensors\')',
      'encoder.load_state_dict(weights, strict=True)',
    ],
  }),
};

/** The tower's, and what the checkpoint's own config says of the rest of the model. */
function modelConfig({ config, source }: Encoder): Record<string, unknown> {
  const whole = source?.value.model_cfg ?? source?.value;
  return { ...(isObject(whole) && 'vision_cfg' in whole ? whole : {}), ...config };
}

function preprocessConfig({ source, preprocessor }: Encoder): Record<string, unknown> {
  const own = source?.value.preprocess_cfg;
  return isObject(own) ? { ...own } : { mean: preprocessor.image_mean, std: preprocessor.image_std, interpolation: 'bicubic', resize_mode: 'shortest' };
}
