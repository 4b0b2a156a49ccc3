import { validated, type Job } from '../job';
import { formatValidation, validationToJson } from '../validation/report';
import { recipeLine } from './keys';
import { printable, type Terminal } from './terminal';

/** Prints the strict validation; gives the JSON instead when that is wanted. */
export function runValidate(job: Job, terminal: Terminal, asJson: boolean): { valid: boolean; json?: unknown } {
  const { validation } = validated(job);
  job.checkpoint.warnings.forEach(warning => { terminal.warn(warning); });
  if (asJson) return { valid: validation.valid, json: { checkpoint: job.checkpoint.location, recipe: job.recipe.name, ...validationToJson(validation) } };
  terminal.note(recipeLine(job));
  terminal.print(printable(formatValidation(validation)));
  return { valid: validation.valid };
}
