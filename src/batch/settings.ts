import { t } from '@vscode/l10n';
import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { printable } from '../checkpoint/wording';
import type { Precision } from '../encoder/deviceEncoder';
import type { EncoderModel } from '../encoder/model';
import type { PreprocessSpec } from '../image/preprocess';

/** What decides the values that a folder of features holds; written into every shard, equal in all of them. */
const settingsSchema = z.object({
  version: z.literal(1),
  /** `digest` as `encoderDigest` makes it. */
  encoder: z.object({ name: z.string(), family: z.string(), digest: z.string() }),
  /** Names as `wantedOutputs` knows them, sorted. */
  outputs: z.array(z.string()).min(1),
  /** A PreprocessSpec, which is compared and not interpreted. */
  preprocessing: z.record(z.string(), z.unknown()),
  /** What a device multiplies in, as it was asked for. */
  precision: z.string(),
});
export type RunSettings = Readonly<z.infer<typeof settingsSchema>>;

export function runSettings({ name, family }: EncoderModel, digest: string, outputs: readonly string[], preprocessing: PreprocessSpec, precision: Precision): RunSettings {
  return parseSettings(JSON.stringify({ version: 1, encoder: { name, family, digest }, outputs: [...new Set(outputs)].sort(), preprocessing: { ...preprocessing }, precision } satisfies z.input<typeof settingsSchema>));
}

/** @throws what zod and JSON throw when `text` is no settings of this version */
export function parseSettings(text: string): RunSettings {
  return settingsSchema.parse(JSON.parse(text));
}

/** In which ways the settings of a folder differ from those of a run, as noun phrases about the folder; empty when they agree. */
export function differences(folder: RunSettings, run: RunSettings): string[] {
  const shown = (outputs: readonly string[]): string => printable(outputs.join(', '));
  return [
    ...(folder.encoder.digest === run.encoder.digest ? [] : [t`another encoder (${printable(folder.encoder.name)})`]),
    ...(isDeepStrictEqual(folder.outputs, run.outputs) ? [] : [t`other outputs (${shown(folder.outputs)} instead of ${shown(run.outputs)})`]),
    ...(isDeepStrictEqual(folder.preprocessing, run.preprocessing) ? [] : [t('pictures prepared in another way')]),
    ...(folder.precision === run.precision ? [] : [t`another precision (${printable(folder.precision)})`]),
  ];
}
