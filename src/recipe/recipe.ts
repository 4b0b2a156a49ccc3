import { z } from 'zod';

/**
 * What happens to a tensor:
 * - keep: it goes into the encoder under the name it has;
 * - strip: it goes in with the rule's prefix removed;
 * - exclude: it stays behind.
 */
export const markSchema = z.enum(['keep', 'strip', 'exclude']);
export type Mark = z.infer<typeof markSchema>;

const common = {
  mark: markSchema.describe('keep: goes in under its own name. strip: goes in without the prefix. exclude: stays behind.'),
  prefix: z.string().min(1).optional().describe('What a strip rule removes from the front of a key. A module rule removes the module\'s own path when this is absent. The rule matches only keys that start with it.'),
  why: z.string().optional().describe('Why the rule is there, for people.'),
};

/** A rule names tensors in one of three ways, all anchored at whole key segments. */
export const ruleSchema = z.union([
  z.strictObject({ ...common, key: z.string().describe('Exactly this key.') }),
  z.strictObject({ ...common, module: z.string().min(1).describe('Every tensor of this module: the path itself and all keys below it.') }),
  z.strictObject({ ...common, pattern: z.string().min(1).describe('A pattern over key segments: * is any run of characters inside one segment, ** is any number of segments.') }),
]);
export type Rule = z.infer<typeof ruleSchema>;

export const settingsSchema = z.record(z.string(), z.number());
/** Hyperparameters given by hand, by the family's name for them; they win over the config. */
export type Settings = z.infer<typeof settingsSchema>;

/**
 * Which tensors make the encoder, and how it is validated. The first rule that matches decides,
 * overrides before rules; a tensor that no rule matches stays behind.
 */
export const recipeSchema = z.strictObject({
  $schema: z.string().optional(),
  version: z.literal(1),
  name: z.string().min(1).describe('What people call this recipe.'),
  family: z.string().min(1).describe('The encoder family that the result is validated as, for example qwen-vl.'),
  rules: z.array(ruleSchema).describe('In order; the first that matches a key decides.'),
  overrides: z.array(ruleSchema).default([]).describe('Edits made by hand. They are looked at before the rules, in order.'),
  settings: settingsSchema.default({}).describe('Hyperparameters that the config does not hold or has wrong, for example output_dim.'),
});
export type Recipe = z.infer<typeof recipeSchema>;
