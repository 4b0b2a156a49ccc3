import { basename, join, resolve } from 'node:path';
import { t } from '@vscode/l10n';
import { pictureSizes } from './architecture/forwardGraphs';
import { fits, type Relayout } from './architecture/relayout';
import { exportOnnx } from './encoder/exportOnnx';
import type { EncoderModel } from './encoder/model';
import { UserError } from './errors';
import { jsonFile, textFile, type ExtraFile } from './extraction/extraFiles';
import { extract, type ExtractOptions } from './extraction/extract';
import { MANIFEST_NAME } from './extraction/manifest';
import { recover } from './extraction/outputFolder';
import { checkFolder } from './extraction/preconditions';
import type { OutputFormat } from './extraction/weightsLayout';
import { featureWidth } from './handover/featureWidth';
import { handedOn, ONNX_MODEL } from './handover/onnx';
import { earlierProjection, projectionFiles, type Projection } from './handover/projection';
import { pythonSnippet, SNIPPET } from './handover/snippet';
import type { Encoder, Target } from './handover/target';
import { TARGETS } from './handover/targets';
import { writtenRule } from './image/preprocessorConfig';
import { companionFiles, relaidJob, validated, type Job } from './job';
import { optionalParts, switchParts } from './parts';
import { preprocessingOrFamilys } from './preprocessing';
import type { RunOptions } from './progress';

const PREPROCESSOR = 'preprocessor_config.json';

export interface HandOverOptions extends RunOptions, Pick<ExtractOptions, 'dtype' | 'overwrite' | 'onResume'> {
  /** The folder to write; made when it does not exist. */
  readonly out: string;
  /** A projection to a language decoder to write beside the encoder. */
  readonly projection?: Omit<Projection, 'features'>;
  /** The job before it was made ready, to say which of its parts the target does not take. */
  readonly asked?: Job;
  /** The encoder as it is run, on this machine; asked for when a target needs it. */
  readonly model: (job: Job) => EncoderModel | Promise<EncoderModel>;
}

export interface HandedOver {
  /** The absolute path of the folder. */
  readonly out: string;
  /** The names of its files. */
  readonly files: readonly string[];
  readonly projection: Projection | undefined;
  /** What to know before it is loaded: a sentence each. */
  readonly notes: readonly string[];
  /** Python that loads it from anywhere. */
  readonly snippet: string;
}

/** Why the job's encoder cannot be handed over to a target, in a sentence; undefined when it can. */
export function whyNot(job: Job, target: Target): string | undefined {
  const { family } = job;
  if (family === undefined) return t('No vision encoder is recognised in this checkpoint.');
  const fault = target.whyNot(family);
  if (fault !== undefined) return relayoutFor(job, target) === undefined ? fault : undefined;
  const there = new Set(optionalParts(job).map(part => part.id));
  const absent = Object.entries(target.parts(family)).find(([part, wanted]) => wanted && !there.has(part));
  return absent && t`${target.title} wants the ${family.title} encoder with its ${absent[0]}, and this checkpoint has none.`;
}

/** How the job's encoder is laid out anew for a target that cannot load it as it is. */
function relayoutFor({ family, validation, config }: Job, target: Target): Relayout | undefined {
  if (family === undefined || validation?.valid !== true || target.whyNot(family) === undefined) return undefined;
  const relayout = target.relayout?.(family);
  return relayout !== undefined && fits(relayout, validation.hyperparameters, family.encoderConfig(validation.hyperparameters, config)) ? relayout : undefined;
}

/**
 * The job with the optional parts that the target wants, and without those that it does not; laid out anew where the target has another class for it.
 * @throws UserError when the target cannot load such encoders
 */
export function readyFor(job: Job, target: Target): Job {
  const { family } = validated(job);
  const fault = whyNot(job, target);
  if (fault !== undefined) {
    const others = TARGETS.filter(other => whyNot(job, other) === undefined).map(other => other.title);
    throw new UserError(others.length === 0 ? fault : t`${fault} Hand it over to ${others.join(t(' or '))} instead.`);
  }
  const relayout = relayoutFor(job, target);
  if (relayout !== undefined) {
    const relaid = relaidJob(job, relayout);
    return switchParts(relaid, Object.fromEntries(optionalParts(relaid).filter(({ kept }) => !kept).map(({ id }) => [id, true])));
  }
  const wanted = target.parts(family);
  return switchParts(job, Object.fromEntries(optionalParts(job).flatMap(({ id, kept }) => (Object.hasOwn(wanted, id) && wanted[id] !== kept ? [[id, wanted[id] === true]] : []))));
}

/**
 * Writes a folder that the target loads as it is: the encoder, what goes with it, `load.py`, and a projection when asked.
 * It appears when it is whole; a failed or cancelled run leaves nothing behind.
 * @param job as `readyFor` gives it
 * @throws UserError when the encoder would not load strictly, the folder has the wrong name, or what extraction throws
 */
export async function handOver(job: Job, target: Target, options: HandOverOptions): Promise<HandedOver> {
  const { family, validation } = validated(job);
  const { hyperparameters } = validation;
  const out = resolve(options.out);
  const fault = target.folderFault(out, family);
  if (fault !== undefined) throw new UserError(fault);
  const encoder: Encoder = { family, hyperparameters, source: job.config, ...await companionFiles(job, options.signal) };
  const projection = options.projection && { ...options.projection, features: featureWidth(encoder, target.format !== 'onnx') };
  const format = target.format === 'onnx' ? 'safetensors' : target.format;
  const python = target.python(encoder);
  const beside = [
    ...target.files(encoder),
    ...(projection === undefined ? [] : projectionFiles(projection, format)),
    textFile(SNIPPET, pythonSnippet(python, { projection, format })),
  ];
  const files = target.format === 'onnx' ? await writeOnnx(job, out, beside, options) : await writeWeights(job, encoder, out, target.format, beside, options);
  return { out, files, projection, notes: [...partsLeftOut(options.asked ?? job, job, target), ...target.notes(encoder)], snippet: pythonSnippet(python, { projection, format, folder: out }) };
}

function partsLeftOut(asked: Job, ready: Job, target: Target): string[] {
  const kept = (job: Job): string[] => optionalParts(job).filter(part => part.kept).map(({ id }) => id);
  const left = kept(asked).filter(id => !kept(ready).includes(id));
  return left.length === 0 ? [] : [t`What ${target.title} loads has no ${left.join(', ')}, so that is left out.`];
}

async function writeWeights(job: Job, { config, preprocessor }: Encoder, out: string, format: OutputFormat, beside: readonly ExtraFile[], options: HandOverOptions): Promise<readonly string[]> {
  const { dtype, overwrite, signal, onProgress, onResume } = options;
  const result = await extract(job.plan, validated(job).validation, {
    out, format, dtype, config, preprocessor, beside, overwrite: overwrite === true,
    ...(signal && { signal }), ...(onProgress && { onProgress }), ...(onResume && { onResume }),
  });
  return result.files;
}

async function writeOnnx(job: Job, out: string, beside: readonly ExtraFile[], { dtype, model, overwrite, signal, onProgress }: HandOverOptions): Promise<readonly string[]> {
  if (dtype !== 'keep') throw new UserError(t('An ONNX model has its weights in the dtype that they are stored in. Hand over without a dtype.'));
  await recover(out);
  const names = [ONNX_MODEL, `${ONNX_MODEL}.data`, PREPROCESSOR, ...beside.map(({ name }) => name)];
  const earlier = await checkFolder(out, names, job.plan, overwrite === true);
  // Without a manifest nothing names a projection that an ONNX model had beside it.
  const projection = overwrite === true && earlier.length === 0 ? (await earlierProjection(out)).filter(name => !names.includes(name)) : [];
  const runnable = await model(job);
  const sizes = pictureSizes(runnable.graph);
  const { spec } = await preprocessingOrFamilys(job, sizes, signal);
  // As `export` does: the rule in full, since who runs the model does not know what a family's own code does besides its file.
  const rule = jsonFile(PREPROCESSOR, writtenRule(spec, { width: sizes.side, height: sizes.side }));
  const paths = await exportOnnx(runnable, {
    path: join(out, ONNX_MODEL), outputs: handedOn(runnable.graph), weights: 'one-file', beside: [...beside, rule], overwrite: overwrite === true,
    // Without its files a manifest would say what is not there.
    stale: earlier.length === 0 ? projection : [...earlier, MANIFEST_NAME],
    ...(signal && { signal }), ...(onProgress && { onProgress }),
  });
  return paths.map(path => basename(path));
}
