import { t } from '@vscode/l10n';
import { relayoutFrom } from '../architecture/relayout';
import { UserError } from '../errors';
import { PLAIN, type Target } from './target';

/** Where transformers (4.57) defines the classes of encoders that stand alone: models/<module>/modeling_<module>.py. */
const MODULES: Readonly<Record<string, string>> = {
  CLIPVisionModel: 'clip', CLIPVisionModelWithProjection: 'clip', SiglipVisionModel: 'siglip', Siglip2VisionModel: 'siglip2',
  Dinov2Model: 'dinov2', Dinov2WithRegistersModel: 'dinov2_with_registers', DINOv3ViTModel: 'dinov3_vit', InternVLVisionModel: 'internvl',
  Blip2VisionModel: 'blip_2', MllamaVisionModel: 'mllama', PixtralVisionModel: 'pixtral', Llama4VisionModel: 'llama4', Aimv2VisionModel: 'aimv2',
  Qwen2VisionTransformerPretrainedModel: 'qwen2_vl', Qwen2_5_VisionTransformerPretrainedModel: 'qwen2_5_vl', Qwen3VLVisionModel: 'qwen3_vl', Glm4vVisionModel: 'glm4v',
  Qwen2_5OmniVisionEncoder: 'qwen2_5_omni', Qwen3OmniMoeVisionEncoder: 'qwen3_omni_moe', Florence2VisionBackbone: 'florence2',
};

const BESIDE = { projector: false };

/** The families of these classes, with the optional parts that the class always has (true) or does not have (false). */
const FAMILIES: Readonly<Record<string, Readonly<Record<string, boolean>>>> = {
  clip: BESIDE, siglip: BESIDE, siglip2: {}, dinov2: {}, dinov3: {}, 'internvl-hf': BESIDE, 'eva-vit-g': {}, mllama: BESIDE, pixtral: BESIDE, aimv2: {}, 'florence2-hf': {},
  llama4: { adapter: true, ...BESIDE }, 'qwen2-vl': { merger: true }, 'qwen2.5-vl': { merger: true }, 'qwen3-vl': { merger: true }, 'qwen2.5-omni': { merger: true }, 'qwen3-omni': { merger: true }, glm4v: { merger: true },
};

/** Families whose class is a Python file in the model's own repository. */
const REMOTE_CODE = new Set(['internvit', 'moonvit', 'florence2', 'cogvlm', 'molmo']);

/** What keeps the weights of other makers' classes out of the class that transformers has for the same model. */
const WHY_NOT: Readonly<Record<string, string>> = {
  'open-clip': t('CLIPVisionModelWithProjection has a norm before its blocks, no layer scale, no attention pool, and pools the class token alone; this encoder differs.'),
  'dinov2-v5': t('from_pretrained reads DINOv2 under the keys of its files, and these are those that transformers 5 has in memory: load them with load_state_dict there, and save_pretrained writes the others.'),
  'pixtral-mistral': t('PixtralVisionModel turns other pairs of channels than Mistral\'s own code, so that rows of its q and k stand in another order, which is not changed here. Take the checkpoint that is published for transformers.'),
  'eva-vit-g-lavis': t('Blip2VisionModel has a bias of the keys and a final norm within, which LAVIS\'s class has not. Take the checkpoint that is published for transformers.'),
  'aimv2-apple': t('Aimv2VisionModel has q, k and v apart and other names than Apple\'s files. Take the checkpoint that is published for transformers.'),
};

/** Why transformers of DeepSpeed-VisualChat's days would find no weights. */
export function noLevel(): string {
  return t('The keys have no level vision_model, as transformers 5.6 and later write them; earlier ones do not find them.');
}

/** Hugging Face transformers: a folder that `from_pretrained` of the encoder's own class reads. */
export const transformers: Target = {
  ...PLAIN,
  id: 'transformers',
  title: 'Hugging Face transformers',
  writes: () => t('model.safetensors, config.json and preprocessor_config.json, for from_pretrained of the encoder\'s own class'),
  format: 'safetensors',
  whyNot: ({ id, title }) => {
    if (Object.hasOwn(FAMILIES, id)) return undefined;
    if (REMOTE_CODE.has(id)) return t`The class of ${title} is not in transformers: it is a Python file in the model's own repository (trust_remote_code).`;
    return WHY_NOT[id] ?? t`transformers has no class of its own for ${title} encoders.`;
  },
  relayout: ({ id }) => relayoutFrom(id),
  parts: ({ id }) => FAMILIES[id] ?? {},
  notes: ({ hyperparameters }) => (hyperparameters.get('vision_model')?.value === 0 ? [noLevel()] : []),
  python: ({ config, family }) => {
    const [name] = Array.isArray(config.architectures) ? config.architectures as readonly unknown[] : [];
    const module = typeof name === 'string' && Object.hasOwn(MODULES, name) ? MODULES[name] : undefined;
    if (typeof name !== 'string' || module === undefined) throw new UserError(t`It is not known which class of transformers loads this ${family.title} encoder.`);
    return {
      about: [`${family.title}'s vision encoder, for Hugging Face transformers: python FOLDER/load.py`],
      imports: [`from transformers.models.${module}.modeling_${module} import ${name}`],
      load: [
        `encoder, info = ${name}.from_pretrained(folder, output_loading_info=True)`,
        'assert not info[\'missing_keys\'] and not info[\'unexpected_keys\'], info',
      ],
    };
  },
};
