import type { EncoderModel } from './encoder/model';
import { forwardGraph } from './architecture/forwardGraphs';
import { UserError } from './errors';
import { clipPreprocessing, type PreprocessSpec } from './image/preprocess';
import { parsePreprocessorConfig } from './image/preprocessorConfig';
import { ownPreprocessor, validated, type Job } from './job';

export interface ChosenPreprocessing {
  readonly spec: PreprocessSpec;
  /** Where it comes from, for a person. */
  readonly from: string;
}

/**
 * How a job's encoder wants its pictures: as the preprocessor_config.json beside the checkpoint says, else by its family's rule.
 * @throws UserError when that file asks for what is not supported
 */
export async function usualPreprocessing(job: Job, model: EncoderModel, signal?: AbortSignal): Promise<ChosenPreprocessing> {
  const own = await ownPreprocessor(job, signal);
  if (own === undefined) return { spec: familyRule(job, model), from: model.graph.kind === 'qwen-vl' ? 'Qwen-VL\'s own rule (--resize square)' : `the rule of ${validated(job).family.title}` };
  return { spec: parsePreprocessorConfig(own.value), from: 'the checkpoint\'s preprocessor_config.json' };
}

/** The same with the geometry chosen by the person; colours are treated as the checkpoint or its family says. */
export async function resizedPreprocessing(job: Job, model: EncoderModel, resize: 'square' | 'crop', signal?: AbortSignal): Promise<PreprocessSpec> {
  const { filter, rescale, normalize } = await usualPreprocessing(job, model, signal).then(({ spec }) => spec, (error: unknown) => {
    if (error instanceof UserError) return familyRule(job, model);
    throw error;
  });
  const { resize: rule, crop } = clipPreprocessing(forwardGraph(model.graph).imageSize, resize);
  return { filter, rescale, ...(normalize && { normalize }), ...(rule && { resize: rule }), ...(crop && { crop }) };
}

/** Qwen-VL's own code resizes straight to the square; the family's file is CLIP's, which its users go by. */
function familyRule(job: Job, { graph }: EncoderModel): PreprocessSpec {
  const { family, validation } = validated(job);
  return graph.kind === 'qwen-vl' ? clipPreprocessing(forwardGraph(graph).imageSize, 'square') : parsePreprocessorConfig(family.preprocessorConfig(validation.hyperparameters));
}
