import { basename } from 'node:path';
import { t } from '@vscode/l10n';
import { valueOf } from '../architecture/hyperparameters';
import { noLevel } from './transformers';
import type { Encoder, Target } from './target';

/**
 * DeepSpeed-VisualChat (microsoft/DeepSpeedExamples at 83757d9c, applications/DeepSpeed-VisualChat/utils/model/modeling_dsvl.py):
 * a path with "qwen" in it is Qwen-VL's encoder, loaded strictly from pytorch_model.bin into a class of its own, one with
 * "clip" a CLIPVisionModel. preprocessor_config.json is read from the folder, the sizes of Qwen-VL's encoder are not.
 */
export const deepSpeedVisualChat: Target = {
  id: 'deepspeed-visualchat',
  title: 'DeepSpeed-VisualChat',
  writes: () => t('a folder with “qwen” or “clip” in its name: pytorch_model.bin, config.json, preprocessor_config.json'),
  format: 'torch',
  whyNot: ({ id, title }) => (isQwen(id) || id === 'clip' ? undefined : t`DeepSpeed-VisualChat loads the encoders of Qwen-VL and of Hugging Face's CLIP, not those of ${title}.`),
  parts: ({ id }) => (id === 'clip' ? { projection: false, projector: false } : {}),
  folderFault: (folder, { id, title }) => {
    const word = wordOf(id);
    if (!basename(folder).toLowerCase().includes(word)) return t`DeepSpeed-VisualChat knows a ${title} encoder by “${word}” in its folder's name, which ${basename(folder)} does not have. Call it for example ${basename(folder)}-${word}.`;
    if (!isQwen(id) && folder.toLowerCase().includes('qwen')) return t`DeepSpeed-VisualChat takes every path with “qwen” in it for Qwen-VL's encoder, and this is ${title}'s: ${folder}. Choose a folder elsewhere.`;
    return undefined;
  },
  folderName: (base, { id }) => (base.toLowerCase().includes(wordOf(id)) ? base : `${base}-${wordOf(id)}`),
  notes: encoder => {
    if (!isQwen(encoder.family.id)) return valueOf(encoder.hyperparameters, 'vision_model') === 1 ? [] : [noLevel()];
    const other = Object.entries(BUILT).filter(([name, value]) => valueOf(encoder.hyperparameters, name) !== value);
    if (other.length === 0) return [];
    return [t`DeepSpeed-VisualChat builds Qwen-VL's encoder with ${other.map(([name, value]) => `${name} ${value}`).join(', ')}, and this one has ${other.map(([name]) => valueOf(encoder.hyperparameters, name)).join(', ')}: change that in its modeling_dsvl.py.`];
  },
  files: () => [],
  python: encoder => (isQwen(encoder.family.id) ? qwen(encoder) : CLIP),
};

/** What modeling_dsvl.py builds the encoder with, whatever the folder's config says. */
const BUILT = { image_size: 448, patch_size: 14, width: 1664, layers: 48, heads: 16, mlp_size: 8192, output_dim: 4096, n_queries: 256 };

const TRAIN = 'training/main.py --vision_model_name_or_path FOLDER --vis_proj baseline';

function qwen({ hyperparameters }: Encoder) {
  const sizes = Object.keys(BUILT).map(name => `${name}=${valueOf(hyperparameters, name)}`).join(', ');
  return {
    about: [
      'Qwen-VL\'s vision encoder, for DeepSpeed-VisualChat.',
      'In applications/DeepSpeed-VisualChat of microsoft/DeepSpeedExamples: PYTHONPATH=. python FOLDER/load.py',
      `Training takes the folder as it is, for this encoder with no other projection: ${TRAIN}`,
    ],
    imports: ['import torch', 'from utils.model.third_party_model.qwen_clip.qwen_clip import VisionTransformer'],
    load: [
      `encoder = VisionTransformer(${sizes})`,
      'encoder.load_state_dict(torch.load(folder / \'pytorch_model.bin\', map_location=\'cpu\'), strict=True)',
    ],
    train: 'model.projection',
  };
}

const CLIP = {
  about: [
    'CLIP\'s vision encoder, for DeepSpeed-VisualChat.',
    `Training takes the folder as it is: ${TRAIN}`,
    // utils/model/vis_proj.py
    '(--vis_proj vit has one more CLIPEncoderLayer of the encoder\'s config before the linear layer, perceiver an attention pool; it makes both itself.)',
  ],
  imports: ['from transformers import CLIPVisionModel'],
  load: ['encoder = CLIPVisionModel.from_pretrained(folder)'],
  train: 'model.projection',
};

function isQwen(id: string): boolean {
  return id === 'qwen-vl';
}

function wordOf(id: string): string {
  return isQwen(id) ? 'qwen' : 'clip';
}
