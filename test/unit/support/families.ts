import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ConfigDocument } from '../../../src/architecture/config';
import type { Detection, Family } from '../../../src/architecture/family';
import { detectFamily } from '../../../src/architecture/registry';
import type { Checkpoint } from '../../../src/checkpoint/checkpoint';
import { makePlan, type Plan } from '../../../src/recipe/plan';
import type { Settings } from '../../../src/recipe/recipe';
import { validate } from '../../../src/validation/validate';
import type { Validation } from '../../../src/validation/validation';
import { fakeCheckpoint, FIXTURES, type FakeTensor } from './checkpoints';

type Shapes = Readonly<Record<string, readonly number[]>>;

/** A class of transformers with the keys and shapes that its versions 4 and 5 give it. */
export interface StateDicts {
  readonly class: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly '4': Shapes;
  readonly '5'?: Shapes;
}

export const STATE_DICTS = readFixture('statedicts.json') as Readonly<Record<string, StateDicts>>;
/** What each of `STATE_DICTS` is: its family, the model_type of its config, and what of it the presets leave out. */
export interface StateDictCase {
  readonly family: string;
  /** By version where the file's names differ so much that each is a family of its own. */
  readonly family5?: string;
  readonly type: string;
  readonly switched?: Readonly<Record<string, boolean>>;
}

export const STATE_DICT_CASES: Readonly<Record<string, StateDictCase>> = {
  clip_vision: { family: 'clip', type: 'clip_vision_model' },
  clip_vision_proj: { family: 'clip', type: 'clip_vision_model', switched: { projection: true } },
  siglip_vision: { family: 'siglip', type: 'siglip_vision_model' },
  siglip_vision_nohead: { family: 'siglip', type: 'siglip_vision_model' },
  siglip2_vision: { family: 'siglip2', type: 'siglip2_vision_model' },
  smolvlm_vision: { family: 'siglip', type: 'smolvlm_vision' },
  qwen2_vl_vision: { family: 'qwen2-vl', type: 'qwen2_vl', switched: { merger: true } },
  qwen2_5_vl_vision: { family: 'qwen2.5-vl', type: 'qwen2_5_vl', switched: { merger: true } },
  qwen3_vl_vision: { family: 'qwen3-vl', type: 'qwen3_vl', switched: { merger: true } },
  internvl_hf_vision: { family: 'internvl-hf', type: 'internvl_vision' },
  dinov2: { family: 'dinov2', family5: 'dinov2-v5', type: 'dinov2' },
  dinov2_reg: { family: 'dinov2', family5: 'dinov2-v5', type: 'dinov2_with_registers' },
  dinov2_swiglu: { family: 'dinov2', family5: 'dinov2-v5', type: 'dinov2' },
  dinov3_vit: { family: 'dinov3', type: 'dinov3_vit' },
  blip2_vision: { family: 'eva-vit-g', type: 'blip_2_vision_model' },
  instructblip_vision: { family: 'eva-vit-g', type: 'instructblip_vision_model' },
  mllama_vision: { family: 'mllama', type: 'mllama_vision_model' },
  pixtral_vision: { family: 'pixtral', type: 'pixtral' },
  glm4v_vision: { family: 'glm4v', type: 'glm4v', switched: { merger: true } },
  llama4_vision: { family: 'llama4', type: 'llama4_vision_model', switched: { adapter: true } },
  aimv2_vision: { family: 'aimv2', type: 'aimv2_vision_model' },
};
export const DEFAULTS = readFixture('defaults.json') as Readonly<Record<string, { readonly '4'?: Record<string, unknown>; readonly '5'?: Record<string, unknown> }>>;

function readFixture(name: string): unknown {
  return JSON.parse(readFileSync(path.join(FIXTURES, 'transformers', name), 'utf8'));
}

export function tensorsOf(shapes: Shapes, prefix = ''): FakeTensor[] {
  return Object.entries(shapes).map(([key, shape]) => ({ key: prefix + key, shape }));
}

export interface Outcome {
  readonly family: Family;
  readonly detection: Detection;
  readonly plan: Plan;
  readonly validation: Validation;
}

/** What opening a checkpoint does: recognise, apply the preset (with parts switched), validate. */
export function open(checkpoint: Checkpoint, config?: ConfigDocument, { switched = {}, settings = {} }: { readonly switched?: Readonly<Record<string, boolean>>; readonly settings?: Settings } = {}): Outcome {
  const match = detectFamily(checkpoint.tensors, config);
  if (match === undefined) throw new Error('No family is recognised.');
  const { family, detection } = match;
  const preset = family.recipe(detection.prefix, checkpoint.tensors);
  const overrides = Object.entries(switched).flatMap(([id, kept]) => {
    const found = family.switches?.find(one => one.id === id);
    if (found === undefined) throw new Error(`${family.id} has no switch ${id}.`);
    return found.rules(detection.prefix, kept, checkpoint.tensors);
  });
  const plan = makePlan(checkpoint, { ...preset, overrides, settings });
  return { family, detection, plan, validation: validate(plan, family, config) };
}

/** A checkpoint that holds what the family's module has, in real shapes, among a language model's tensors. */
export function checkpointOf(family: Family, config: ConfigDocument | undefined, prefix: string, settings: Readonly<Record<string, number>> = {}): Checkpoint {
  const expected = family.expectedTensors(family.resolve(config, settings));
  return fakeCheckpoint([...LANGUAGE_MODEL, ...expected.map(({ key, shape }) => ({ key: prefix + key, shape }))]);
}

export const LANGUAGE_MODEL: readonly FakeTensor[] = ['model.embed_tokens.weight', 'model.layers.0.self_attn.q_proj.weight', 'model.layers.0.mlp.gate_proj.weight', 'model.layers.0.mlp.up_proj.weight', 'model.layers.0.input_layernorm.weight', 'model.norm.weight', 'lm_head.weight'].map(key => ({ key: `language_model.${key}`, shape: [64, 64] }));

/** Values of a family's resolved hyperparameters. */
export function valuesOf(validation: Validation): Record<string, number> {
  return Object.fromEntries([...validation.hyperparameters].map(([name, { value }]) => [name, value]));
}
