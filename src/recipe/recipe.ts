import * as z from 'zod';
import { t } from '@vscode/l10n';
import { UserError } from '../errors';
import { parseJson } from '../json';
import { inWords, printable, quoted } from '../checkpoint/wording';

/** In the order of `ruleSchema`'s choices. */
const TARGETS = ['key', 'module', 'pattern'] as const;

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

/** For the JSON schema only, which cannot call `ruleFault`: prefixes go with strip rules. */
const prefixWithStrip = { if: { properties: { mark: { const: 'strip' } }, required: ['mark'] }, else: { properties: { prefix: false } } };
const stripNeedsPrefix = { ...prefixWithStrip, then: { required: ['prefix'] } };

/** A rule names tensors in one of three ways, all anchored at whole key segments. */
export const ruleSchema = z.union([
  z.strictObject({ ...common, key: z.string().describe('Exactly this key.') }).meta(stripNeedsPrefix),
  z.strictObject({ ...common, module: z.string().min(1).describe('Every tensor of this module: the path itself and all keys below it.') }).meta(prefixWithStrip),
  z.strictObject({ ...common, pattern: z.string().min(1).describe('A pattern over key segments: * is any run of characters inside one segment, ** is any number of segments.') }).meta(stripNeedsPrefix),
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
  $schema: z.string().optional().describe('Where the schema of recipe files lies, for editors.'),
  version: z.literal(1).describe('The version of the recipe format.'),
  name: z.string().min(1).describe('What people call this recipe.'),
  family: z.string().min(1).describe('The encoder family that the result is validated as, for example qwen-vl.'),
  rules: z.array(ruleSchema).describe('In order; the first that matches a key decides.'),
  overrides: z.array(ruleSchema).default([]).describe('Edits made by hand. They are looked at before the rules, in order.'),
  settings: settingsSchema.default({}).describe('Hyperparameters that the config does not hold or has wrong, for example output_dim.'),
});
export type Recipe = z.infer<typeof recipeSchema>;

/**
 * Reads a recipe file.
 * @throws UserError naming `location`, the path inside and what is expected there.
 */
export function parseRecipe(text: string, location: string): Recipe {
  const { value } = parseJson(text, location);
  const parsed = recipeSchema.safeParse(value);
  if (!parsed.success) throw new UserError(t`${location} is not a valid recipe: ${describeIssue(parsed.error.issues[0], value)}.`);
  const recipe = parsed.data;
  for (const list of ['overrides', 'rules'] as const) {
    recipe[list].forEach((rule, index) => {
      const fault = ruleFault(rule);
      if (fault !== undefined) throw new UserError(t`${location} is not a valid recipe: ${list}[${index}] ${fault}.`);
    });
  }
  return recipe;
}

/** The recipe file's text: fields in the schema's order, two spaces, a final line feed; empty lists and settings left out. */
export function recipeToJson(recipe: Recipe): string {
  const { $schema, version, name, family, rules, overrides, settings } = recipe;
  return JSON.stringify({
    $schema,
    version,
    name,
    family,
    rules: rules.map(orderFields),
    overrides: overrides.length > 0 ? overrides.map(orderFields) : undefined,
    settings: Object.keys(settings).length > 0 ? settings : undefined,
  }, undefined, 2) + '\n';
}

function orderFields(rule: Rule): Record<string, string | undefined> {
  const target = 'key' in rule ? { key: rule.key } : 'module' in rule ? { module: rule.module } : { pattern: rule.pattern };
  return { mark: rule.mark, ...target, prefix: rule.prefix, why: rule.why };
}

function ruleFault(rule: Rule): string | undefined {
  if (rule.mark !== 'strip') return rule.prefix === undefined ? undefined : t`has a prefix, which only strip rules take, and its mark is ${rule.mark}`;
  if (rule.prefix !== undefined || 'module' in rule) return undefined;
  return t('strips by key or pattern and must say with "prefix" what to remove from the front of the key');
}

type Issue = z.core.$ZodIssue;

function describeIssue(issue: Issue | undefined, root: unknown, base: readonly PropertyKey[] = []): string {
  if (issue === undefined) return t('it does not fit the schema');
  const path = [...base, ...issue.path];
  const value = path.reduce<unknown>((inner, step) => (isRecord(inner) ? inner[step] : undefined), root);
  const where = path.length === 0 ? t('the file') : formatPath(path);
  if (issue.code === 'invalid_union') {
    if (!isRecord(value) || Array.isArray(value)) return t`${where} must be an object, not ${inWords(value)}`;
    const named = TARGETS.filter(target => Object.hasOwn(value, target));
    if (named.length === 0) return t`${where} must say with one of "key", "module" or "pattern" which tensors it means`;
    if (named.length > 1) return t`${where} has ${named.map(name => `"${name}"`).join(t(' and '))}, and a rule takes only one of them; write two rules`;
    const choice = TARGETS.findIndex(target => target === named[0]);
    return describeIssue(issue.errors[choice]?.[0], root, path);
  }
  if (issue.code === 'unrecognized_keys') return t`${where} has ${issue.keys.map(quoted).join(', ')}, which recipes do not know`;
  if (issue.code === 'invalid_value') return t`${where} must be ${issue.values.map(one => JSON.stringify(one)).join(t(' or '))}, not ${inWords(value)}`;
  if (issue.code === 'invalid_type') return t`${where} must be ${EXPECTED[issue.expected] ?? issue.expected}, not ${inWords(value)}`;
  if (issue.code === 'too_small') return t`${where} must not be empty`;
  return `${where}: ${issue.message}`;
}

const EXPECTED: Readonly<Record<string, string>> = { string: t('a string'), number: t('a finite number'), array: t('a list'), object: t('an object'), record: t('an object') };

function formatPath(path: readonly PropertyKey[]): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : (index > 0 ? '.' : '') + printable(String(step)))).join('');
}

function isRecord(value: unknown): value is Readonly<Record<PropertyKey, unknown>> {
  return typeof value === 'object' && value !== null;
}
