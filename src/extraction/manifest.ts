import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { t } from '@vscode/l10n';
import { RELAYOUT_IDS } from '../architecture/relayout';
import { DTYPES, isDtype } from '../checkpoint/dtype';
import type { Dtype } from '../checkpoint/dtype';
import { systemErrorCode, UserError } from '../errors';
import { recipeSchema } from '../recipe/recipe';

export const MANIFEST_NAME = 'manifest.json';

const count = z.int().nonnegative();
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const dtype = z.custom<Dtype>(value => typeof value === 'string' && isDtype(value), { error: t`is not one of ${DTYPES.join(', ')}` });
/** A file directly in the output folder. */
const fileName = z.string().regex(/^[^/\\]+$/).refine(name => name !== '.' && name !== '..');

/** What was extracted from what, and how: written beside every output, last of all. */
export const manifestSchema = z.object({
  /** Version 1 has the plain SHA-256 of every file. */
  version: z.union([z.literal(1), z.literal(2)]),
  tool: z.object({ name: z.string(), version: z.string() }),
  /** ISO 8601. */
  createdAt: z.string(),
  source: z.object({
    name: z.string(),
    /** An absolute path or an address. */
    location: z.string(),
    /** The files that tensors were taken from. */
    files: z.array(z.object({
      name: z.string(),
      size: count,
      /** Milliseconds since 1970; null when the source has no such time. */
      mtime: z.number().nullable(),
      /** How many tensors and bytes were taken. */
      tensors: count,
      bytes: count,
      /**
       * SHA-256 of the bytes taken: of the concatenated 32-byte SHA-256 digests of the tensors taken from this file,
       * in the order of `output.tensors` (each one's `sourceSha256`).
       */
      sha256,
    })),
  }),
  recipe: recipeSchema,
  /** Given when the source's tensors were laid out anew first: how, and what they were under the source's own recipe; `recipe` is then of the new keys. */
  relaid: z.object({ id: z.enum(RELAYOUT_IDS), recipe: recipeSchema }).optional(),
  validation: z.object({
    valid: z.boolean(),
    family: z.string(),
    /** The config file validated against; null when there was none. */
    config: z.string().nullable(),
    hyperparameters: z.record(z.string(), z.object({ value: z.number(), origin: z.enum(['config', 'setting', 'checkpoint', 'default']) })),
    expectedCount: count,
    matchedCount: count,
    warnings: z.array(z.string()),
  }),
  output: z.object({
    format: z.enum(['safetensors', 'torch']),
    /** The cast asked for. */
    dtype: z.enum(['keep', 'bf16', 'f16', 'f32']),
    /** Every file written except this one: SHA-256 of JSON files, the tree hash of weight files (see `treeHash`). */
    files: z.array(z.object({ name: fileName, size: count, sha256: sha256.optional(), treeSha256: sha256.optional() })
      .refine(file => (file.sha256 === undefined) !== (file.treeSha256 === undefined), { error: t('has not one digest') })),
    /** In state-dict order. */
    tensors: z.array(z.object({
      key: z.string(),
      sourceKey: z.string(),
      /** The output file it is in, and the source file it came from. */
      file: fileName,
      sourceFile: z.string(),
      dtype,
      sourceDtype: dtype,
      shape: z.array(count),
      /** SHA-256 of its bytes in the output, and of those in the source: row-major, little-endian. */
      sha256,
      sourceSha256: sha256,
    })).min(1),
  }),
});
export type Manifest = z.infer<typeof manifestSchema>;

/**
 * Reads the manifest of an output folder.
 * @throws UserError when there is none or it is not one.
 */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, MANIFEST_NAME);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') throw new UserError(t`There is no ${MANIFEST_NAME} in ${folder}, so it is not the output of an extraction that finished. Give the folder that an extraction wrote.`);
    throw new UserError(t`${path} cannot be read${code === undefined ? '' : ` (${code})`}. Check that it is a file and that you may read it.`, { cause: error });
  }
  return parseManifest(text, path);
}

/** @throws UserError when `text` is no manifest; `path` is what to call it. */
export function parseManifest(text: string, path: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(t`${path} is not JSON: it was changed or cut off. Extract again.`, { cause: error });
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new UserError(t`${path} is not a manifest of this tool: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}. Extract again.`, { detail: z.prettifyError(parsed.error) });
  }
  return parsed.data;
}
