import * as z from 'zod';
import { t } from '@vscode/l10n';
import { printable } from '../checkpoint/wording';
import { UserError } from '../errors';
import { parseJson } from '../json';

/** A language decoder among whose token embeddings an encoder's features are put. */
export interface Decoder {
  readonly title: string;
  /** Width of its token embeddings. */
  readonly width: number;
}

/**
 * Decoders by the names that --decoder takes. Widths: hidden_size of meta-llama/Llama-2-*-hf's config.json (arXiv 2307.09288),
 * and of facebook/opt-*'s (arXiv 2205.01068, table 1). OPT-350m alone has token embeddings of another width than its
 * hidden states (word_embed_proj_dim 512, hidden_size 1024) and projects them itself (`project_in`, also for
 * `inputs_embeds`: transformers, models/opt/modeling_opt.py), so features that stand among them must have 512.
 */
export const DECODERS = {
  'llama-2-7b': { title: 'LLaMA-2-7B', width: 4096 },
  'llama-2-13b': { title: 'LLaMA-2-13B', width: 5120 },
  'llama-2-70b': { title: 'LLaMA-2-70B', width: 8192 },
  'opt-125m': { title: 'OPT-125m', width: 768 },
  'opt-350m': { title: 'OPT-350m', width: 512 },
  'opt-1.3b': { title: 'OPT-1.3b', width: 2048 },
  'opt-2.7b': { title: 'OPT-2.7b', width: 2560 },
  'opt-6.7b': { title: 'OPT-6.7b', width: 4096 },
  'opt-13b': { title: 'OPT-13b', width: 5120 },
  'opt-30b': { title: 'OPT-30b', width: 7168 },
  'opt-66b': { title: 'OPT-66b', width: 9216 },
  'opt-175b': { title: 'OPT-175b', width: 12288 },
} as const satisfies Readonly<Record<string, Decoder>>;

/** The decoder of this name; undefined when it is none, and so the path of a config.json. */
export function namedDecoder(name: string): Decoder | undefined {
  const id = name.toLowerCase();
  return Object.entries<Decoder>(DECODERS).find(([known]) => known === id)?.[1];
}

/** Where configs say the width of the token embeddings, the first that is there: OPT's own, most models', GPT-2's, BLOOM's, MPT's and T5's, Mistral's params.json. */
const FIELDS = ['word_embed_proj_dim', 'hidden_size', 'n_embd', 'n_embed', 'd_model', 'dim'] as const;
/** Where configs of multimodal models describe their decoder. */
const WITHIN = ['text_config', 'llm_config', 'language_config', 'language_model_config'] as const;

const width = z.int().positive().max(1_048_576).optional();
const fields = z.object(Object.fromEntries(FIELDS.map(name => [name, width])) as Record<(typeof FIELDS)[number], typeof width>);
const configSchema = fields.extend(Object.fromEntries(WITHIN.map(name => [name, fields.optional()])) as Record<(typeof WITHIN)[number], z.ZodOptional<typeof fields>>)
  .extend({ _name_or_path: z.string().optional(), model_type: z.string().optional() });

/**
 * The decoder that a config.json describes; of a multimodal model's, its language part.
 * @param location where the text comes from, for messages
 * @throws UserError when the text is no config or says no width
 */
export function decoderFromConfig(text: string, location: string): Decoder {
  const { value } = parseJson(text, location);
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path.join('.') ?? '';
    const detail = z.prettifyError(parsed.error);
    if (field === '') throw new UserError(t`${location} is no config of a language decoder: it must be an object. Give the decoder's config.json.`, { detail });
    throw new UserError(t`${location} is no config of a language decoder: ${printable(field)} must be a positive whole number, or an object with one. Give the decoder's config.json.`, { detail });
  }
  const config = parsed.data;
  const described = WITHIN.flatMap(name => config[name] ?? [])[0] ?? config;
  const found = FIELDS.flatMap(name => described[name] ?? [])[0];
  if (found === undefined) throw new UserError(t`${location} does not say how wide the decoder's token embeddings are (${FIELDS.join(', ')}). Give the decoder's config.json.`);
  return { title: config._name_or_path === undefined || config._name_or_path === '' ? config.model_type ?? t('the decoder') : config._name_or_path, width: found };
}
