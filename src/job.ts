import { t } from '@vscode/l10n';
import { readBytes } from './checkpoint/byteSource';
import type { Checkpoint } from './checkpoint/checkpoint';
import { configName, isObject, parseConfig, type ConfigDocument } from './architecture/config';
import type { Detection, Family } from './architecture/family';
import { relay, type Relayout } from './architecture/relayout';
import { absentEncoder, detectFamily, FAMILIES, familyById } from './architecture/registry';
import { UserError } from './errors';
import { openClipRule, timmRule, writtenRule, type PictureRule } from './image/preprocessorConfig';
import { decodeUtf8, MAX_TEXT_BYTES } from './json';
import type { RunOptions } from './progress';
import { makePlan, type Plan } from './recipe/plan';
import type { Recipe } from './recipe/recipe';
import { validate } from './validation/validate';
import type { Validation } from './validation/validation';

/**
 * The main job's state: a checkpoint with the recipe and config chosen for it, and what follows from them.
 * Immutable; the editor and the command line make a new one for every change.
 */
export interface Job {
  readonly checkpoint: Checkpoint;
  /** Undefined when neither the keys nor the recipe tell: the keys can be browsed, nothing validates. */
  readonly family: Family | undefined;
  /** Why the family's preset was picked; undefined when the recipe came from a file. */
  readonly detection: Detection | undefined;
  readonly config: ConfigDocument | undefined;
  /** Why the config beside the checkpoint cannot be used; nothing validates until another is chosen. */
  readonly configProblem: UserError | undefined;
  /** That the encoder is not in this checkpoint, and which model to get in its place; undefined where it is there, or nobody knows. */
  readonly elsewhere: string | undefined;
  readonly recipe: Recipe;
  readonly plan: Plan;
  readonly validation: Validation | undefined;
}

export interface JobOptions extends RunOptions {
  /** A config.json to use instead of the one beside the checkpoint. */
  readonly config?: ConfigDocument;
  readonly recipe?: Recipe;
  /** A family's id, to use its preset instead of the one that is recognised. */
  readonly family?: string;
}

/** The files that an extraction writes beside the weights. */
export interface CompanionFiles {
  readonly config: Record<string, unknown>;
  readonly preprocessor: Record<string, unknown>;
}

/** Reads the config beside the checkpoint, recognises its family, applies the preset (or the given recipe) and validates. */
export async function openJob(checkpoint: Checkpoint, options: JobOptions = {}): Promise<Job> {
  const beside = options.config === undefined
    ? await tryConfig(checkpoint, 'config.json', options.signal)
    : { config: options.config, configProblem: undefined, brokenConfig: undefined };
  const { config, configProblem, brokenConfig } = options.config === undefined ? await preferOwnConfig(checkpoint, beside, options.signal) : beside;
  const { family, detection, recipe } = options.recipe === undefined
    ? presetFor(checkpoint, config, options.family)
    : { family: knownFamily(options.recipe.family), detection: undefined, recipe: options.recipe };
  const elsewhere = family === undefined ? await whyAbsent(checkpoint, config, brokenConfig, options.signal) : undefined;
  return assemble({ checkpoint, family, detection, config, configProblem, elsewhere, recipe });
}

/** The job with another recipe or config. */
export function updateJob(job: Job, changes: { readonly recipe?: Recipe; readonly config?: ConfigDocument }): Job {
  const recipe = changes.recipe ?? job.recipe;
  return assemble({
    checkpoint: job.checkpoint,
    family: recipe.family === job.recipe.family ? job.family : knownFamily(recipe.family),
    detection: job.detection,
    config: changes.config ?? job.config,
    configProblem: changes.config === undefined ? job.configProblem : undefined,
    elsewhere: changes.config === undefined ? job.elsewhere : absentEncoder(job.checkpoint.tensors, changes.config) ?? job.elsewhere,
    recipe,
    // Planning is the dear part for a large checkpoint, and a new config does not change it.
    plan: changes.recipe === undefined ? job.plan : undefined,
  });
}

/** The job's encoder in the layout of another class, all its parts with it; its bytes are those of the same files. */
export function relaidJob(job: Job, relayout: Relayout): Job {
  const { family: before, validation: { hyperparameters } } = validated(job);
  const family = familyById(relayout.to);
  const checkpoint = relay(job.plan, relayout);
  const fields = { ...relayout.config?.(hyperparameters) ?? before.encoderConfig(hyperparameters, job.config), ...(job.config?.value.preprocess_cfg !== undefined && { preprocess_cfg: job.config.value.preprocess_cfg }) };
  const config = parseConfig(JSON.stringify(fields), job.config?.location ?? checkpoint.location);
  return assemble({ checkpoint, family, detection: undefined, config, configProblem: undefined, elsewhere: undefined, recipe: family.recipe('', checkpoint.tensors) });
}

/** The names of the files beside the checkpoint that its family can be validated against; config.json first. */
export async function findConfigs(job: Job, signal?: AbortSignal): Promise<string[]> {
  const { checkpoint, family } = job;
  if (family === undefined) return [];
  const found: string[] = [];
  for (const { name, size } of await checkpoint.store.list(signal)) {
    if (!name.endsWith('.json') || name.endsWith('.index.json') || size > MAX_TEXT_BYTES) continue;
    const config = await readConfig(checkpoint, name, signal).catch((error: unknown) => {
      if (error instanceof UserError) return undefined;
      throw error;
    });
    if (config !== undefined && family.acceptsConfig(config)) found.push(name);
  }
  return found.sort((a, b) => Number(b === 'config.json') - Number(a === 'config.json') || a.localeCompare(b));
}

/**
 * The config.json and preprocessor_config.json to write beside the extracted encoder.
 * The checkpoint's own preprocessor_config.json wins over OpenCLIP's preprocess_cfg or timm's pretrained_cfg, and those over the family's.
 * @throws UserError when the job has no family or no validation, or the checkpoint's preprocessor_config.json is broken.
 */
export async function companionFiles(job: Job, signal?: AbortSignal): Promise<CompanionFiles> {
  const { config } = job;
  const { family, validation } = validated(job);
  const own = await ownPreprocessor(job, signal);
  const side = validation.hyperparameters.get('image_size')?.value;
  const rule = own === undefined && side !== undefined ? (await makersRule(job, side, signal))?.rule : undefined;
  return {
    config: family.encoderConfig(validation.hyperparameters, config),
    preprocessor: own?.value
      ?? (rule === undefined || side === undefined ? family.preprocessorConfig(validation.hyperparameters) : writtenRule(rule.spec, { width: side, height: side })),
  };
}

/**
 * The rule for pictures in a config of the model's makers, for squares of `side`: OpenCLIP's preprocess_cfg, else timm's pretrained_cfg;
 * with the name of its file.
 * @throws UserError naming the field that is wrong
 */
export async function makersRule(job: Job, side: number, signal?: AbortSignal): Promise<{ readonly rule: PictureRule; readonly name: string } | undefined> {
  const openClip = await openClipPreprocessing(job, signal);
  if (openClip !== undefined) return { rule: openClipRule(openClip.value, side, openClip.name), name: openClip.name };
  const { config } = job;
  return config !== undefined && isObject(config.value.pretrained_cfg) ? { rule: timmRule(config.value.pretrained_cfg, side, configName(config)), name: configName(config) } : undefined;
}

/** The preprocess_cfg of OpenCLIP's config, the one in use or else the one beside, which does not describe timm's towers; with its file's name. */
async function openClipPreprocessing(job: Job, signal?: AbortSignal): Promise<{ readonly value: Readonly<Record<string, unknown>>; readonly name: string } | undefined> {
  const rulesOf = (config: ConfigDocument | undefined) => (isObject(config?.value.preprocess_cfg) ? { value: config.value.preprocess_cfg, name: configName(config) } : undefined);
  return rulesOf(job.config) ?? rulesOf(await configBeside(job, 'open_clip_config.json', signal));
}

/** A file beside the checkpoint as a config; undefined when there is none of that name. */
export function configBeside({ checkpoint }: Job, name: string, signal?: AbortSignal): Promise<ConfigDocument | undefined> {
  return readConfig(checkpoint, name, signal);
}

/** The preprocessor_config.json beside the checkpoint, if there is one. */
export function ownPreprocessor({ checkpoint }: Job, signal?: AbortSignal): Promise<ConfigDocument | undefined> {
  return readConfig(checkpoint, 'preprocessor_config.json', signal);
}

/**
 * The job's family and validation.
 * @throws UserError saying why nothing could be validated: no family is known, or the config is absent, unreadable or impossible.
 */
export function validated(job: Job): { readonly family: Family; readonly validation: Validation } {
  const { family, validation } = job;
  if (family === undefined && job.elsewhere !== undefined) throw new UserError(job.elsewhere);
  if (job.configProblem !== undefined) throw job.configProblem;
  if (family === undefined || validation === undefined) throw new UserError(notRecognised(job));
  if (validation.problem !== undefined) throw new UserError(validation.problem.message);
  return { family, validation };
}

/** Why no family is known: the encoder is not in this checkpoint, or nobody knows it. */
export function notRecognised({ checkpoint, elsewhere }: Job): string {
  return elsewhere
    ?? t`${checkpoint.name} is not recognised as a checkpoint with a vision encoder that this version knows (${knownFamilies()}). Choose a recipe that names its family.`;
}

/** `brokenConfig`, the text of a config.json that is no JSON, may name the model all the same; an adapter's own config names its base. */
async function whyAbsent(checkpoint: Checkpoint, config: ConfigDocument | undefined, brokenConfig: string | undefined, signal: AbortSignal | undefined): Promise<string | undefined> {
  const adapter = (await tryConfig(checkpoint, 'adapter_config.json', signal)).config?.value.base_model_name_or_path;
  return absentEncoder(checkpoint.tensors, config, { ...(brokenConfig !== undefined && { brokenConfig }), ...(typeof adapter === 'string' && { baseModel: adapter }) });
}

function assemble(parts: Omit<Job, 'plan' | 'validation'> & { readonly plan?: Plan | undefined }): Job {
  const plan = parts.plan ?? makePlan(parts.checkpoint, parts.recipe);
  const validation = parts.family === undefined || parts.configProblem !== undefined
    ? undefined
    : validate(plan, parts.family, parts.config);
  return { ...parts, plan, validation };
}

function presetFor(checkpoint: Checkpoint, config: ConfigDocument | undefined, id: string | undefined) {
  if (id === undefined) {
    const match = detectFamily(checkpoint.tensors, config);
    if (match === undefined) return { family: undefined, detection: undefined, recipe: EMPTY_RECIPE };
    return { ...match, recipe: match.family.recipe(match.detection.prefix, checkpoint.tensors, config) };
  }
  const family = familyById(id);
  const detection = family.detect(checkpoint.tensors, config);
  if (detection === undefined) {
    throw new UserError(t`${checkpoint.name} has no tensors of a ${family.title} encoder. Choose a preset that is recognised in it.`, { remedy: 'recognise the family' });
  }
  return { family, detection, recipe: family.recipe(detection.prefix, checkpoint.tensors, config) };
}

/** What an unknown checkpoint starts with: nothing is wanted until the person marks it. */
const EMPTY_RECIPE: Recipe = { version: 1, name: t('No preset'), family: 'none', rules: [], overrides: [], settings: {} };

function knownFamily(id: string): Family | undefined {
  return id === EMPTY_RECIPE.family ? undefined : familyById(id);
}

function knownFamilies(): string {
  return FAMILIES.map(family => family.id).join(', ');
}

interface ConfigBeside extends Pick<Job, 'config' | 'configProblem'> {
  /** The text of one that cannot be used. */
  readonly brokenConfig?: string | undefined;
}

/** Configs under names of their own makers: OpenCLIP's and Mistral's. */
const OTHER_CONFIGS = ['open_clip_config.json', 'params.json'];

/** Where config.json is absent or another model's, a config under its maker's own name when the recognised family reads that. */
async function preferOwnConfig(checkpoint: Checkpoint, beside: ConfigBeside, signal: AbortSignal | undefined): Promise<ConfigBeside> {
  const family = detectFamily(checkpoint.tensors, beside.config)?.family;
  if (family === undefined || (beside.config !== undefined && family.acceptsConfig(beside.config))) return beside;
  for (const name of OTHER_CONFIGS) {
    const own = await tryConfig(checkpoint, name, signal);
    if (own.configProblem !== undefined || (own.config !== undefined && family.acceptsConfig(own.config))) return own;
  }
  return beside;
}

async function tryConfig(checkpoint: Checkpoint, name: string, signal: AbortSignal | undefined): Promise<ConfigBeside> {
  let text: string | undefined;
  try {
    const file = await readText(checkpoint, name, signal);
    text = file?.text;
    return { config: file && parseConfig(file.text, file.location), configProblem: undefined };
  } catch (error) {
    if (error instanceof UserError) return { config: undefined, configProblem: error, brokenConfig: text };
    throw error;
  }
}

/** Undefined when the checkpoint's folder has no file of that name. */
async function readConfig(checkpoint: Checkpoint, name: string, signal: AbortSignal | undefined): Promise<ConfigDocument | undefined> {
  const file = await readText(checkpoint, name, signal);
  return file && parseConfig(file.text, file.location);
}

async function readText(checkpoint: Checkpoint, name: string, signal: AbortSignal | undefined): Promise<{ readonly text: string; readonly location: string } | undefined> {
  const { store } = checkpoint;
  if (!(await store.list(signal)).some(file => file.name === name)) return undefined;
  const source = await store.open(name, signal);
  try {
    if (source.size > MAX_TEXT_BYTES) {
      throw new UserError(t`${source.name} is ${source.size} bytes, far too large for a config. Check that it is the right file.`);
    }
    const bytes = await readBytes(source, 0, source.size, signal);
    return { text: decodeUtf8(bytes, source.name), location: source.path ?? `${store.location}/${source.name}` };
  } finally {
    await source.close();
  }
}
