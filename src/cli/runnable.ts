import { encoderModel, type EncoderModel } from '../encoder/model';
import { UserError } from '../errors';
import { validated, type Job } from '../job';

/** The job's encoder, ready to run. @throws UserError when it would not load strictly, so it cannot run either */
export function runnable(job: Job): EncoderModel {
  const { family, validation } = validated(job);
  if (!validation.valid) throw new UserError('The encoder would not load strictly, so it cannot be run. See what is wrong with: vision-encoder validate');
  return encoderModel(job.plan, family, validation.hyperparameters, job.config);
}
